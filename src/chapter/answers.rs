//! Changed answers side by side, the largest gains and losses first.

use super::facts::{AnswerContest, Facts};
use super::text::{answer, visible};
use super::words::{self, Language};
use crate::report::answers::AnswerRow;
use crate::report::fold::Study;
use maud::{Markup, html};

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    let contests: Vec<&AnswerContest> = facts.contests.iter().filter(|contest| !contest.pairs.is_empty()).collect();
    // The journal has a few answers of each study itself.
    let told = facts.run.studies.iter().filter(|study| !study.comparisons.is_empty());
    let told: Vec<&Study> = told.filter(|study| contests.iter().all(|contest| contest.of != study.eval)).collect();
    if contests.is_empty() && told.is_empty() {
        return None;
    }
    Some(html! {
        (search(language))
        @if facts.left_out.contests > 0 {
            p.note {
                (words::MORE_CONTESTS.fill(language, &[("count", &facts.left_out.contests.to_string())])) " "
                code { (facts.all_tables()) }
            }
        }
        @for (at, contest) in contests.iter().enumerate() { (contest_block(facts, contest, at + 1 == contests.len(), language)) }
        @for study in told { (of_journal(study, language)) }
    })
}

/// The field that searches the answers; without a script there is none.
pub fn search(language: Language) -> Markup {
    html! {
        p.search hidden {
            label for="search" { (words::SEARCH.say(language)) } " "
            input #search type="search" autocomplete="off" spellcheck="false";
            " " span #found role="status" {}
        }
    }
}

pub fn contest_block(facts: &Facts, contest: &AnswerContest, is_open: bool, language: Language) -> Markup {
    let [mine, other] = [&contest.candidate, &contest.other].map(ToString::to_string);
    let changed = contest.counts.changed();
    let shown = contest.pairs.len() as u64;
    html! {
        details.contest open[is_open] {
            summary {
                (words::ANSWERS_OF.fill(language, &[("candidate", &mine), ("other", &other), ("of", &contest.of)])) " "
                span.kind { (words::CHANGED_COUNT.fill(language, &[("changed", &changed.to_string()), ("all", &contest.counts.total().to_string())])) }
            }
            @if shown < changed {
                p.note {
                    (words::SHOWN_OF.fill(language, &[("shown", &shown.to_string()), ("all", &changed.to_string())])) " "
                    code { (facts.all_tables()) }
                }
            }
            div.pairs-of-answers { @for pair in &contest.pairs { (pair_block(pair, [&mine, &other], language)) } }
        }
    }
}

/// Two answers to one prompt, the other model's first.
pub fn pair_block(pair: &AnswerRow, [mine, other]: [&str; 2], language: Language) -> Markup {
    let sign = |gain: f64| match () {
        () if gain > 0.0 => ("▲", "good"),
        () if gain < 0.0 => ("▼", "bad"),
        () => ("=", "quiet"),
    };
    let theirs = pair.against.as_ref().map(|theirs| (other, &theirs.answer, theirs.score));
    html! {
        article.answer {
            p.prompt {
                @if let Some(gain) = pair.gain() {
                    @let (sign, tone) = sign(gain);
                    span class={ "gain " (tone) } { (sign) " " (format!("{gain:+.3}")) } " "
                }
                (answer(&pair.prompt, words::EMPTY.say(language)))
            }
            div.two {
                @for (who, text, score) in theirs.into_iter().chain([(mine, &pair.answer, pair.score)]) {
                    (given(who, text, score, language))
                }
            }
        }
    }
}

/// One answer, with who gave it and its score.
fn given(who: &str, text: &str, score: Option<f64>, language: Language) -> Markup {
    html! {
        div {
            p.who { (visible(who)) @if let Some(score) = score { " " span.n { (format!("{score:.3}")) } } }
            p { (answer(text, words::EMPTY.say(language))) }
        }
    }
}

/// The answers that the journal holds, where the tables of items are gone.
fn of_journal(study: &Study, language: Language) -> Markup {
    html! {
        details.contest open {
            summary { (study.eval) }
            div.pairs-of-answers {
                @for (prompt, answers) in &study.comparisons {
                    article.answer {
                        p.prompt { (answer(prompt, words::EMPTY.say(language))) }
                        div.two {
                            @for each in answers { (given(&each.model.to_string(), &each.text, each.score, language)) }
                        }
                    }
                }
            }
        }
    }
}
