//! The document around the sections: one file with its style and its script, which asks nobody for anything.

use super::facts::Facts;
use super::words::{self, Language, Phrase};
use super::{
    answers, curves, dark, families, gates, glossary, graph, health, models, provenance, reward, study, verdict,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

/// A section of a page that is made of these facts.
pub struct PageFragment<F> {
    /// The name under which it may be asked for alone.
    pub name: &'static str,
    pub title: Phrase,
    /// Its content below the title; `None` where the facts have nothing of the kind.
    pub content: fn(&F, Language) -> Option<Markup>,
}

/// The sections in the order of the page.
pub const FRAGMENTS: [PageFragment<Facts>; 13] = [
    PageFragment { name: "verdict", title: words::VERDICT, content: verdict::section },
    PageFragment { name: "health", title: words::HEALTH, content: health::section },
    PageFragment { name: "graph", title: words::STAGES, content: graph::section },
    PageFragment { name: "study", title: words::STUDY, content: study::section },
    PageFragment { name: "families", title: words::FAMILIES, content: families::section },
    PageFragment { name: "gates", title: words::GATES, content: gates::section },
    PageFragment { name: "curves", title: words::CURVES, content: curves::section },
    PageFragment { name: "reward", title: words::REWARD_MODELS, content: reward::section },
    PageFragment { name: "models", title: words::MODELS_BY_REWARDS, content: models::section },
    PageFragment { name: "answers", title: words::CHANGED_ANSWERS, content: answers::section },
    PageFragment { name: "dark", title: words::DARK_SIDE, content: dark::section },
    PageFragment { name: "provenance", title: words::PROVENANCE, content: provenance::section },
    PageFragment { name: "glossary", title: words::GLOSSARY, content: glossary::section },
];

pub const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A section that is written out.
#[derive(Clone, Debug)]
pub struct Section {
    pub name: &'static str,
    pub title: Phrase,
    pub html: String,
}

/// The surroundings of the sections of a page.
pub struct PageFrame<'a> {
    /// The pipeline, and what the page is.
    pub title: [&'a str; 2],
    pub language: Language,
    /// The script that keeps the page up to date, and what it begins with; a page in a file has none.
    pub live: Option<(&'static str, Markup)>,
}

/// One section as it stands in the page; `None` where the run has nothing of the kind.
pub fn fragment<F>(fragment: &PageFragment<F>, facts: &F, language: Language) -> Option<Section> {
    let PageFragment { name, title, content } = fragment;
    let content = content(facts, language)?;
    let html = html! {
        section id=(name) data-fragment=(name) aria-labelledby={ (name) "-title" } {
            h2 id={ (name) "-title" } { (title.say(language)) }
            (content)
        }
    };
    Some(Section { name, title: *title, html: html.into_string() })
}

/// The whole page.
pub fn page(facts: &Facts, language: Language) -> String {
    document([&facts.run.pipeline, words::REPORT.say(language)], &FRAGMENTS, facts, language)
}

/// A page with these sections, about a pipeline: its name, and what the page is.
pub fn document<F>(title: [&str; 2], fragments: &[PageFragment<F>], facts: &F, language: Language) -> String {
    let sections: Vec<Section> = fragments.iter().filter_map(|each| fragment(each, facts, language)).collect();
    framed(&PageFrame { title, language, live: None }, &sections)
}

/// The names of the sections, each leading to its place.
pub fn contents(sections: &[Section], language: Language) -> Markup {
    html! {
        nav data-fragment="contents" aria-label=(words::CONTENTS.say(language)) {
            ul { @for each in sections { li { a href={ "#" (each.name) } { (each.title.say(language)) } } } }
        }
    }
}

/// The document with these sections.
pub fn framed(frame: &PageFrame, sections: &[Section]) -> String {
    let PageFrame { title: [pipeline, what], language, live } = frame;
    let page = html! {
        (DOCTYPE)
        html lang=(language.code()) {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy(live.as_ref().map(|(script, _)| *script).as_slice()));
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "pipeline " (env!("CARGO_PKG_VERSION")) };
                title { (pipeline) ": " (what) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#verdict" { (words::TO_THE_VERDICT.say(*language)) }
                header {
                    h1 { (pipeline) }
                    (contents(sections, *language))
                }
                @if let Some((_, start)) = live { (start) }
                main { @for section in sections { (PreEscaped(&section.html)) } }
                footer { p { (words::FOOTER.say(*language)) } }
                script { (PreEscaped(SCRIPT)) }
                @if let Some((script, _)) = live { script { (PreEscaped(script)) } }
            }
        }
    };
    page.into_string()
}

/// The things that a page may load and do: its own style and scripts, and with scripts of a live page what its server answers.
pub fn policy(live: &[&str]) -> String {
    let connect = if live.is_empty() { "" } else { " connect-src 'self';" };
    let live: String = live.iter().map(|script| format!(" '{}'", source(script))).collect();
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'{live};{connect} base-uri 'none'; form-action 'none'",
        source(STYLE),
        source(SCRIPT)
    )
}

/// The hash by which the policy of the page knows a style or a script.
fn source(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_source_is_that_of_the_standard() {
        // The example of the specification of content security policies, level 2.
        assert_eq!(source("alert('Hello, world.');"), "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=");
    }
}
