//! Changed answers side by side, the largest gains and losses first.

use super::facts::{AnswerContest, AnswerPair, Facts};
use super::text::{answer, visible};
use super::words::{self, Language};
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
        p.search hidden {
            label for="search" { (words::SEARCH.say(language)) } " "
            input #search type="search" autocomplete="off" spellcheck="false";
            " " span #found role="status" {}
        }
        @for (at, contest) in contests.iter().enumerate() { (contest_block(facts, contest, at + 1 == contests.len(), language)) }
        @for study in told { (of_journal(study, language)) }
    })
}

fn contest_block(facts: &Facts, contest: &AnswerContest, is_open: bool, language: Language) -> Markup {
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
                    code { (facts.command(&format!("answers {mine}"))) " --against " (other) " --changed" }
                }
            }
            div.pairs-of-answers { @for pair in &contest.pairs { (pair_block(pair, [&mine, &other], language)) } }
        }
    }
}

fn pair_block(pair: &AnswerPair, [mine, other]: [&str; 2], language: Language) -> Markup {
    let AnswerPair { prompt, texts, scores } = pair;
    let gain = pair.gain();
    let tone = if gain > 0.0 {
        "good"
    } else if gain < 0.0 {
        "bad"
    } else {
        "quiet"
    };
    let sign = if gain > 0.0 {
        "▲"
    } else if gain < 0.0 {
        "▼"
    } else {
        "="
    };
    html! {
        article.answer {
            p.prompt { span class={ "gain " (tone) } { (sign) " " (format!("{gain:+.3}")) } " " (answer(prompt, words::EMPTY.say(language))) }
            div.two {
                @for at in [1, 0] {
                    div {
                        p.who { ([mine, other][at]) " " span.n { (format!("{:.3}", scores[at])) } }
                        p { (answer(&texts[at], words::EMPTY.say(language))) }
                    }
                }
            }
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
                            @for given in answers {
                                div {
                                    p.who {
                                        (visible(&given.model.to_string())) " "
                                        @if let Some(score) = given.score { span.n { (format!("{score:.3}")) } }
                                    }
                                    p { (answer(&given.text, words::EMPTY.say(language))) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
