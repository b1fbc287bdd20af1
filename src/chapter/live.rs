//! The sections that a page has while a run goes on, beside the sections of its report: what is at work, and the gates that wait for a
//! person. Like those, each section is a function of facts and a language.

use super::answers::contest_block;
use super::facts::{AnswerContest, Facts};
use super::labelling;
use super::page::{FRAGMENTS, PageFragment, PageFrame, Section, contents, fragment, framed, policy as policy_of};
use super::text::visible;
use super::words::Language;
use super::words::live as words;
use crate::approvals::{Approval, Ruling};
use crate::event::{Outcome, Verdict, WaitReason};
use crate::report::fold::StageRun;
use crate::report::format::moment;
use maud::{Markup, html};

/// The facts of a page that lives.
pub struct LiveFacts {
    pub facts: Facts,
    pub work: Vec<WorkNow>,
    /// Every decision of a person in the file beside the pipeline, in its order.
    pub approvals: Vec<Approval>,
    /// The name under which a decision is written unless another is given.
    pub person: String,
    pub stopping: Stopping,
}

/// An action that is at work.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkNow {
    pub stage: String,
    pub part: Option<String>,
    pub done: u64,
    /// 0 where it is not known.
    pub total: u64,
    pub message: String,
    /// The end of its log.
    pub log: String,
}

/// Whether the run can be stopped from the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// It has ended, or its process is not within reach.
    Impossible,
    Possible,
    /// It was told to.
    UnderWay,
}

/// The sections above those of the report.
pub const LIVE_FRAGMENTS: [PageFragment<LiveFacts>; 3] = [
    PageFragment { name: "asked", title: words::ASKED, content: labels },
    PageFragment { name: "decide", title: words::DECIDE, content: decide },
    PageFragment { name: "now", title: words::NOW, content: now },
];

const SCRIPT: &str = include_str!("live.js");

/// The changed answers that are shown where a person decides; the section of the answers has more.
const SHOWN: usize = 20;

/// Whether a page may have a section of this name.
pub fn is_section(name: &str) -> bool {
    let of_report = FRAGMENTS.iter().map(|each| each.name);
    of_report.chain(LIVE_FRAGMENTS.iter().map(|each| each.name)).any(|known| known == name)
}

/// The sections of the report of these facts.
pub fn report_sections(facts: &Facts, language: Language) -> Vec<Section> {
    FRAGMENTS.iter().filter_map(|each| fragment(each, facts, language)).collect()
}

/// The sections that only a living page has.
pub fn live_sections(facts: &LiveFacts, language: Language) -> Vec<Section> {
    LIVE_FRAGMENTS.iter().filter_map(|each| fragment(each, facts, language)).collect()
}

/// The document. `state` is what the script begins with: the names of the sections, each with its digest.
pub fn page(pipeline: &str, sections: &[Section], state: &str, language: Language) -> String {
    let start = html! {
        div.live data-state=(state) {
            p #connection role="status" hidden { (words::NO_CONNECTION.say(language)) }
            p #announced aria-live="polite" {}
            @if sections.is_empty() { p #nothing { (words::NOTHING_YET.say(language)) } }
        }
    };
    let title = [pipeline, words::LIVE.say(language)];
    framed(&PageFrame { title, language, live: Some((SCRIPT, start)) }, sections)
}

/// The policy that such a page and those for labels below it are sent with.
pub fn policy() -> String {
    policy_of(&[&[SCRIPT][..], &labelling::SCRIPTS].concat())
}

/// The names of the sections as a part of the page that changes with them.
pub fn contents_of(sections: &[Section], language: Language) -> String {
    contents(sections, language).into_string()
}

fn now(live: &LiveFacts, language: Language) -> Option<Markup> {
    let LiveFacts { work, stopping, .. } = live;
    let is_over = work.is_empty() && *stopping == Stopping::Impossible;
    (!is_over).then(|| {
        html! {
            @if work.is_empty() { p.note { (words::NOTHING_AT_WORK.say(language)) } }
            @for each in work { (at_work(each, language)) }
            @match stopping {
                Stopping::Impossible => {}
                Stopping::UnderWay => p.note { (words::STOPPING.say(language)) }
                Stopping::Possible => details.stop data-key="stop" {
                    summary { (words::STOP.say(language)) }
                    form data-post="stop" data-key="form" {
                        p.note { (words::STOP_SAYS.say(language)) }
                        input type="hidden" name="run" value=(live.facts.run.name);
                        p { button type="submit" { (words::STOP_NOW.say(language)) } }
                        p.answer-of-server role="status" {}
                    }
                }
            }
        }
    })
}

fn at_work(work: &WorkNow, language: Language) -> Markup {
    let WorkNow { stage, part, done, total, message, log } = work;
    let name = part.as_ref().map_or_else(|| stage.clone(), |part| format!("{stage}: {part}"));
    html! {
        article.work data-key=(name) {
            h3 { (visible(&name)) }
            p.numbers {
                @if *total > 0 {
                    progress max=(total) value=(done) aria-label=(name) {}
                    " " span.n { (done) " / " (total) }
                }
                @if !message.is_empty() { " " (visible(message)) }
            }
            @if !log.is_empty() {
                details.log data-key="log" {
                    summary { (words::LOG.say(language)) }
                    pre { @for line in log.lines() { (visible(line)) "\n" } }
                }
            }
        }
    }
}

/// The stages that wait for labels, each with the way to its pages.
fn labels(live: &LiveFacts, language: Language) -> Option<Markup> {
    let waits = |stage: &StageRun| match stage.outcome {
        Some(Outcome::Waits { done, needed, on: WaitReason::Labels }) => Some((stage.head.name.clone(), done, needed)),
        _ => None,
    };
    let waiting: Vec<(String, usize, usize)> = live.facts.run.stages.iter().filter_map(waits).collect();
    (!waiting.is_empty()).then(|| {
        html! {
            @for (stage, done, needed) in &waiting {
                article.work data-key=(stage) {
                    h3 { (words::WAITS_FOR_LABELS.fill(language, &[("stage", stage)])) }
                    p.numbers {
                        progress max=(needed) value=(done) aria-label=(stage) {}
                        " " span.n { (done) " / " (needed) }
                    }
                    p { a href={ "label/" (stage) "/" } { (words::TO_LABEL.say(language)) } " · " a href={ "label/" (stage) "/owner" } { (words::TO_OVERVIEW.say(language)) } }
                }
            }
        }
    })
}

fn decide(live: &LiveFacts, language: Language) -> Option<Markup> {
    let asked: Vec<(&StageRun, &Verdict)> = live.facts.run.stages.iter().filter_map(asked).collect();
    (!asked.is_empty()).then(|| html! { @for (stage, verdict) in asked { (question(live, stage, verdict, language)) } })
}

/// The verdict of a gate that left it to a person.
fn asked(stage: &StageRun) -> Option<(&StageRun, &Verdict)> {
    let verdict = stage.verdict.as_deref()?;
    let is_held = matches!(stage.outcome, Some(Outcome::Held { .. }));
    (is_held || verdict.decided.is_some()).then_some((stage, verdict))
}

fn question(live: &LiveFacts, stage: &StageRun, verdict: &Verdict, language: Language) -> Markup {
    let name = &stage.head.name;
    let contests = live.facts.contests.iter().filter(|contest| contest.of == *name && !contest.pairs.is_empty());
    let contests: Vec<AnswerContest> = contests.map(shortened).collect();
    let decisions: Vec<&Approval> =
        live.approvals.iter().filter(|each| each.question == verdict.evidence.question).collect();
    let id = |what: &str| format!("{what}-{name}");
    html! {
        article.question data-key=(name) {
            h3 { (words::QUESTION.fill(language, &[("stage", name)])) }
            ul.rules { @for rule in &verdict.rules { li { (visible(&rule.explanation)) } } }
            @for contest in &contests { (contest_block(&live.facts, contest, true, language)) }
            @if !decisions.is_empty() {
                ul.decisions {
                    @for decision in &decisions { li { (told(decision, language)) } }
                }
                p.note { (words::LAST_COUNTS.say(language)) }
            }
            form data-post="decide" data-key="form" {
                input type="hidden" name="stage" value=(name);
                input type="hidden" name="question" value=(verdict.evidence.question);
                p {
                    label for=(id("reason")) { (words::REASON.say(language)) } br;
                    textarea id=(id("reason")) name="reason" rows="2" required maxlength="2000" {}
                }
                p {
                    label for=(id("by")) { (words::BY.say(language)) } " "
                    input id=(id("by")) name="by" required maxlength="100" autocomplete="name" value=(live.person);
                }
                p.buttons {
                    button type="submit" name="answer" value="approve" { (words::APPROVE.say(language)) } " "
                    button type="submit" name="answer" value="reject" { (words::REJECT.say(language)) }
                }
                p.answer-of-server role="status" {}
            }
        }
    }
}

fn shortened(contest: &AnswerContest) -> AnswerContest {
    let pairs = contest.pairs.iter().take(SHOWN).cloned().collect();
    AnswerContest { pairs, ..contest.clone() }
}

/// A decision: who, when, and why.
fn told(decision: &Approval, language: Language) -> Markup {
    let word = match decision.decision {
        Ruling::Approve => words::APPROVED,
        Ruling::Reject => words::REJECTED,
    };
    html! {
        strong { (word.say(language)) } " · " (visible(&decision.by)) " · " (moment(&decision.at)) " · " bdi { (visible(&decision.reason)) }
        @if let Some(from) = &decision.from { " · " (visible(from)) }
    }
}
