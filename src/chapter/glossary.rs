//! Words of the page for people who train no models.

use super::words::{self, Language};
use maud::{Markup, html};

pub fn section<F>(_: &F, language: Language) -> Option<Markup> {
    Some(html! {
        dl.glossary {
            @for (term, meaning) in words::GLOSSARY_ENTRIES {
                div { dt { (term.say(language)) } dd { (meaning.say(language)) } }
            }
        }
    })
}
