//! The page on which people label: one question at a time, blind, by keyboard or by touch. The server writes every text that
//! people or models wrote, as everywhere; the script only moves them about.

mod document;
pub mod owner;

use super::page::policy as policy_of;
use super::text::judged;
use super::words::Language;
use super::words::labelling as words;
use document::document;
use formats::dialogue::Prompt;
use maud::{Markup, PreEscaped, html};
use serde_json::{Value, json};
use stages::people::criteria::{Bilingual, Sheet};
use stages::people::form::Form;
use stages::people::worklist::Questionnaire;

const SCRIPT: &str = include_str!("labelling.js");

/// The scripts of the pages for labels.
pub const SCRIPTS: [&str; 2] = [SCRIPT, owner::SCRIPT];

/// The policy that the pages are sent with.
pub fn policy() -> String {
    policy_of(&SCRIPTS)
}

/// A text in a language of the pages.
pub fn said(text: &Bilingual, language: Language) -> &str {
    match language {
        Language::English => &text.en,
        Language::Japanese => &text.ja,
    }
}

/// The place that a page has.
pub struct PageOfLabels<'a> {
    pub stage: &'a str,
    /// The pseudonym, where only one person labels.
    pub person: Option<&'a str>,
    /// The name under which the browser keeps what is not saved yet: another one for each file.
    pub queue: String,
    /// Whether the reader may see how far others are.
    pub is_owner: bool,
}

/// The question above the answers.
pub fn question(asked: &Questionnaire, language: Language) -> &str {
    match (asked.criteria.as_ref(), asked.form) {
        (Some(sheet), _) => said(&sheet.question, language),
        (None, Form::Pairs) => words::QUESTION_OF_PAIRS.say(language),
        (None, Form::Edit) => words::EDIT_SAYS.say(language),
        (None, Form::Ranking | Form::Ratings) => words::RANKING_SAYS.say(language),
    }
}

/// The page of a stage.
pub fn page(place: &PageOfLabels, asked: &Questionnaire, language: Language) -> String {
    let PageOfLabels { stage, is_owner, .. } = place;
    let (sheet, question) = (asked.criteria.as_ref(), question(asked, language));
    let data = data(place, asked, language).to_string();
    let body = html! {
            body.labelling {
                header {
                    h1 { (stage) ": " (words::LABELS.say(language)) }
                    p.meta #count role="status" {}
                    @if *is_owner { p { a href="owner" { (words::TO_OWNER.say(language)) } } }
                }
                main data-page=(data) {
                    form #who hidden {
                        p { label for="person" { (words::WHO.say(language)) } br; input #person name="person" required maxlength="40" autocomplete="off"; }
                        p { button type="submit" { (words::BEGIN.say(language)) } }
                    }
                    section #task aria-label=(words::PROMPT.say(language)) hidden {
                        h2 #question { (question) }
                        div #prompt {}
                        div #answers {}
                        div #controls {}
                        div #suggestion role="status" hidden {}
                        details #noting { summary { (words::NOTE.say(language)) } textarea #note rows="2" maxlength="4000" aria-label=(words::NOTE.say(language)) {} }
                        @if let Some(sheet) = sheet { (criteria(sheet, language)) }
                        details #help { summary { (words::HELP.say(language)) } p.note { (words::KEYS.say(language)) } }
                    }
                    p.buttons #moves hidden {
                        button #skip type="button" { (words::SKIP.say(language)) } " "
                        button #undo type="button" { (words::UNDO.say(language)) }
                    }
                    p #done hidden { (words::DONE.say(language)) }
                    p #saved role="status" {}
                }
                script { (PreEscaped(SCRIPT)) }
            }
    };
    document(stage, words::LABELS.say(language), &body, language)
}

/// The things that the script is told: the form, the scales, and the words of what it makes.
fn data(place: &PageOfLabels, asked: &Questionnaire, language: Language) -> Value {
    let PageOfLabels { stage, person, queue, .. } = place;
    let criteria = asked.criteria.iter().flat_map(|sheet| &sheet.criteria).map(|criterion| {
        json!({"name": criterion.name, "question": said(&criterion.question, language), "scale": criterion.scale})
    });
    let words = [
        ("answer", words::ANSWER),
        ("better", words::BETTER),
        ("tie", words::TIE),
        ("bothBad", words::BOTH_BAD),
        ("send", words::SEND),
        ("tiedWith", words::TIED_WITH),
        ("clear", words::CLEAR),
        ("saved", words::SAVED),
        ("notSaved", words::NOT_SAVED),
        ("disk", words::DISK),
        ("refused", words::REFUSED),
        ("ofOther", words::OF_OTHER),
        ("count", words::COUNT),
        ("noName", words::NO_NAME),
        ("order", words::ORDER),
        ("suggested", words::SUGGESTED),
        ("asYours", words::AS_YOURS),
        ("keep", words::KEEP),
        ("more", words::MORE),
    ];
    let words: serde_json::Map<String, Value> =
        words.into_iter().map(|(name, phrase)| (name.to_owned(), phrase.say(language).into())).collect();
    json!({"stage": stage, "queue": queue, "form": asked.form, "person": person, "criteria": criteria.collect::<Vec<_>>(), "words": words})
}

fn criteria(sheet: &Sheet, language: Language) -> Markup {
    html! {
        details #criteria {
            summary { (words::CRITERIA.say(language)) }
            @for criterion in &sheet.criteria {
                h3 { (said(&criterion.question, language)) }
                dl {
                    @for (rating, anchor) in &criterion.anchors {
                        dt { (rating) ": " (if language == Language::Japanese { &anchor.ja } else { &anchor.en }) }
                        dd { (words::EXAMPLE.say(language)) ": " (judged(said(&anchor.example, language))) }
                    }
                }
            }
        }
    }
}

/// A prompt as people read it: the turns of a dialogue, each with its role.
pub fn prompt(prompt: &Prompt) -> String {
    let turns = match prompt {
        Prompt::Text(text) => html! { p { (judged(text)) } },
        Prompt::Chat(turns) => html! {
            @for turn in turns { p.turn { span.role { (turn.role) } " " (judged(&turn.content)) } }
        },
    };
    turns.into_string()
}

/// An answer as people read it.
pub fn answer(text: &str) -> String {
    judged(text).into_string()
}
