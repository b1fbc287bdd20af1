//! The shell of the pages for labels.

use super::super::page::STYLE;
use super::super::words::Language;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A document about a stage, with this body.
pub fn document(stage: &str, title: &str, body: &Markup, language: Language) -> String {
    let page = html! {
        (DOCTYPE)
        html lang=(language.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (stage) ": " (title) }
                style { (PreEscaped(STYLE)) }
            }
            (body)
        }
    };
    page.into_string()
}
