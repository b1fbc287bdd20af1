//! The document around the sections: one file with its style and its script, which asks nobody for anything.

use super::facts::Facts;
use super::words::{self, Language, Phrase};
use super::{
    answers, curves, dark, families, gates, glossary, graph, health, models, provenance, reward, study, verdict,
};
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

/// One section as it stands in the page; `None` where the run has nothing of the kind.
pub fn fragment<F>(fragment: &PageFragment<F>, facts: &F, language: Language) -> Option<Markup> {
    let PageFragment { name, title, content } = fragment;
    let content = content(facts, language)?;
    Some(html! {
        section id=(name) data-fragment=(name) aria-labelledby={ (name) "-title" } {
            h2 id={ (name) "-title" } { (title.say(language)) }
            (content)
        }
    })
}

/// The whole page.
pub fn page(facts: &Facts, language: Language) -> String {
    document([&facts.run.pipeline, words::REPORT.say(language)], &FRAGMENTS, facts, language)
}

/// A page with these sections, about a pipeline: its name, and what the page is.
pub fn document<F>(
    [pipeline, what]: [&str; 2],
    fragments: &[PageFragment<F>],
    facts: &F,
    language: Language,
) -> String {
    let sections: Vec<(&PageFragment<F>, Markup)> =
        fragments.iter().filter_map(|each| Some((each, fragment(each, facts, language)?))).collect();
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'",
        source(STYLE),
        source(SCRIPT)
    );
    let page = html! {
        (DOCTYPE)
        html lang=(language.code()) {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "pipeline " (env!("CARGO_PKG_VERSION")) };
                title { (pipeline) ": " (what) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#verdict" { (words::TO_THE_VERDICT.say(language)) }
                header {
                    h1 { (pipeline) }
                    nav aria-label=(words::CONTENTS.say(language)) {
                        ul { @for (each, _) in &sections { li { a href={ "#" (each.name) } { (each.title.say(language)) } } } }
                    }
                }
                main { @for (_, section) in &sections { (section) } }
                footer { p { (words::FOOTER.say(language)) } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// The hash by which the policy of the page knows a style or a script.
fn source(text: &str) -> String {
    format!("sha256-{}", base64(&Sha256::digest(text.as_bytes())))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().chain([0; 2].iter()).take(3).fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let digits = (0..4).map(|at| char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]));
        text.extend(digits.take(three.len() + 1));
        text.extend(std::iter::repeat_n('=', 3 - three.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_source_is_that_of_the_standard() {
        assert_eq!([b"".as_slice(), b"f", b"fo", b"foo", b"foob"].map(base64).join(" "), " Zg== Zm8= Zm9v Zm9vYg==");
        // The example of the specification of content security policies, level 2.
        assert_eq!(source("alert('Hello, world.');"), "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=");
    }
}
