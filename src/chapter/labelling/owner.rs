//! The page of those who asked for labels: how far it is, how fast each person is and what makes one doubt them, what would
//! settle the rules, and links for others. It shows no label.

use super::super::table::{TableEntry, table};
use super::super::text::visible;
use super::super::words::labelling as words;
use super::super::words::{Language, Phrase};
use super::document::document;
use crate::labels::book::{LabelProgress, Outlook};
use crate::report::format::duration;
use maud::{Markup, PreEscaped, html};
use stages::people::interval::Share;
use stages::people::person::{Doubt, PersonCount};
use stages::people::progress::LabelCount;

pub const SCRIPT: &str = include_str!("owner.js");

/// The state of the labels of a stage.
pub struct LabelsOverview {
    pub progress: LabelProgress,
    pub rules: Vec<RuleOutlook>,
    /// The share of pairs of people who say the same of an item, and the number of items.
    pub agreement: Option<(f64, usize)>,
}

/// A rule of the stage's gate on its way to a verdict.
pub struct RuleOutlook {
    pub rule: String,
    pub metric: String,
    pub outlook: Outlook,
}

/// The page. `invites`: whether other machines are answered.
pub fn page(stage: &str, overview: &LabelsOverview, invites: bool, language: Language) -> String {
    let title = words::OVERVIEW.say(language);
    let body = html! {
            body.labelling {
                header {
                    h1 { (stage) ": " (title) }
                    p { a href="./" { (words::LABELS.say(language)) } }
                }
                main data-no-name=(words::NO_NAME.say(language)) {
                    div #overview { (PreEscaped(self::overview(stage, overview, language))) }
                    section aria-labelledby="invite" {
                        h2 #invite { (words::INVITE.say(language)) }
                        @if invites {
                            form #inviting {
                                p.note { (words::INVITE_SAYS.say(language)) }
                                p { label for="invited" { (words::PERSON.say(language)) } br; input #invited required maxlength="40" autocomplete="off"; }
                                p { button type="submit" { (words::MAKE_LINK.say(language)) } }
                                p { output #link for="invited" {} }
                            }
                        } @else {
                            p.note { (words::NO_INVITING.say(language)) }
                        }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
    };
    document(stage, title, &body, language)
}

/// The part of the page that changes.
pub fn overview(stage: &str, overview: &LabelsOverview, language: Language) -> String {
    let LabelsOverview { progress, rules, agreement } = overview;
    let LabelProgress { count: LabelCount { done, needed }, people, is_closed, later, .. } = progress;
    let numbers = [("done", &*done.to_string()), ("needed", &needed.to_string())];
    let said = html! {
        p.numbers {
            progress max=(needed) value=(done) aria-label=(words::OVERVIEW.say(language)) {}
            " " (words::OF_ALL.fill(language, &numbers))
        }
        @if *is_closed { p.note { (words::CLOSED.say(language)) } }
        @if *later > 0 { p.note { (words::LATER.fill(language, &[("later", &later.to_string()), ("stage", stage)])) } }
        @if !rules.is_empty() { ul.rules { @for rule in rules { li { (visible(&told(rule, language))) } } } }
        @if let Some((share, items)) = agreement {
            p { (words::AGREEMENT.fill(language, &[("share", &percent(*share)), ("items", &items.to_string())])) }
        }
        h2 { (words::PEOPLE.say(language)) }
        @if people.is_empty() {
            p.note { (words::NOBODY.say(language)) }
        } @else {
            (of_people(people, language))
        }
    };
    said.into_string()
}

fn told(rule: &RuleOutlook, language: Language) -> String {
    let RuleOutlook { rule, metric, outlook: Outlook { share, items, more } } = rule;
    let now = words::RULE
        .fill(language, &[("metric", metric), ("share", &format!("{share:.2}")), ("items", &items.to_string())]);
    let then = match more {
        Some(0) => words::ENOUGH.fill(language, &[("rule", rule)]),
        Some(more) => words::SETTLES.fill(language, &[("rule", rule), ("more", &more.to_string())]),
        None => words::NEVER.fill(language, &[("rule", rule)]),
    };
    format!("{now}: {then}")
}

fn of_people(people: &[PersonCount], language: Language) -> Markup {
    let headers = [words::PERSON, words::LABELLED, words::PACE, words::GOLD, words::AGAIN, words::LEFT, words::DOUBTS];
    let headers = headers.map(|phrase| phrase.say(language));
    let row = |person: &PersonCount| {
        let doubts: Vec<&str> = person.doubts.iter().map(|doubt| doubted(*doubt).say(language)).collect();
        vec![
            entry(&person.by),
            TableEntry::Number(person.labels.to_string()),
            entry(&duration(person.seconds)),
            entry(&of(person.gold)),
            entry(&of(person.again)),
            entry(&of(person.left)),
            entry(&doubts.join("; ")),
        ]
    };
    table(words::PEOPLE.say(language), &headers, &people.iter().map(row).collect::<Vec<_>>())
}

fn entry(text: &str) -> TableEntry {
    TableEntry::Text(visible(text))
}

/// A share as the numbers that it is made of.
fn of(share: Share) -> String {
    if share.all == 0 { "–".to_owned() } else { format!("{} / {}", share.times, share.all) }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn doubted(doubt: Doubt) -> Phrase {
    match doubt {
        Doubt::OneSide => words::ONE_SIDE,
        Doubt::Wavers => words::WAVERS,
        Doubt::TooFast => words::TOO_FAST,
        Doubt::Drifts => words::DRIFTS,
    }
}
