//! Five lights for people who train no models: is it learning, is it cheating the reward, is it growing wordy, is it repeating
//! itself, does a person have to decide? Each goes by rules of the gates' language that only observe: the candidate is a judged
//! model, the incumbent the baseline of its study. Two things that language cannot say. Whether a gate holds is no measurement of
//! a model, so the last light has its rule in words. And whether a gain may be noise needs the answers one by one, which the
//! study has compared already: its interval turns a yes of the first light, and a cheating that the judging reward alone tells of, into a doubt.

use super::facts::{Facts, StoredCurve};
use super::models::trained_by;
use super::study::{contest_of, is_noise};
use super::text::visible;
use super::words::{self, Language, Phrase};
use crate::event::{Metrics, Outcome, StudyRow};
use crate::gate::{self, Decision, Judgement, MetricName, Readings, RuleScope, Subject, Subjects};
use crate::report::fold::Study;
use crate::report::study::{baseline, columns, goes_on};
use maud::{Markup, html};
use serde_json::{Value, json};
use stages::stage::Direction;
use std::collections::BTreeMap;

/// One light: its name, what it means, and how it is read off the facts.
struct Light {
    /// The name in tables for programs.
    code: &'static str,
    name: Phrase,
    meaning: Phrase,
    read: fn(&Facts) -> Lamp,
}

/// The lights in the order of the page, and all that they go by.
const LIGHTS: [Light; 5] = [
    Light { code: "learning", name: words::LEARNING, meaning: words::LEARNING_MEANING, read: learning },
    Light { code: "reward_hacking", name: words::CHEATING, meaning: words::CHEATING_MEANING, read: cheating },
    Light { code: "length", name: words::LENGTH, meaning: words::LENGTH_MEANING, read: length },
    Light { code: "repetition", name: words::REPETITION, meaning: words::REPETITION_MEANING, read: repetition },
    Light { code: "person", name: words::PERSON, meaning: words::PERSON_MEANING, read: person },
];

/// A rule that a healthy model keeps, and the light where it does not.
struct Bound {
    rule: &'static str,
    glow: Glow,
    word: Phrase,
}

/// A mean answer longer than half as long again as the baseline's is worth a look, and wordy where too many answers never end by
/// themselves; one shorter than half of it has little left to say. The policies of the main job answer at three times the
/// length of what they started from, and all their answers end.
const LENGTHS: [Bound; 3] = [
    Bound { rule: "length <= 1.5 * incumbent.length or eos_share >= 0.9", glow: Glow::Bad, word: words::IT_IS_WORDY },
    Bound { rule: "length >= 0.5 * incumbent.length", glow: Glow::Bad, word: words::IT_IS_MUTE },
    Bound { rule: "length <= 1.5 * incumbent.length", glow: Glow::Doubtful, word: words::IT_IS_LONGER },
];

/// A healthy policy keeps 0.92 of the baseline's distinct pairs of tokens in `docs/results.md`, where those that repeat
/// themselves have 0.13 to 0.26.
const REPETITIONS: [Bound; 2] = [
    Bound {
        rule: "same_answer_share <= 0.5 or same_answer_share <= incumbent.same_answer_share",
        glow: Glow::Bad,
        word: words::ONE_ANSWER_FOR_ALL,
    },
    Bound { rule: "distinct_2 >= 0.8 * incumbent.distinct_2", glow: Glow::Bad, word: words::IT_REPEATS },
];

/// The colour of a light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glow {
    Good,
    Doubtful,
    Bad,
    Unknown,
}

impl Glow {
    fn code(self) -> &'static str {
        match self {
            Glow::Good => "good",
            Glow::Doubtful => "doubtful",
            Glow::Bad => "bad",
            Glow::Unknown => "unknown",
        }
    }

    /// The shape and the class of its tone.
    fn sign(self) -> (&'static str, &'static str) {
        match self {
            Glow::Good => ("●", "good"),
            Glow::Doubtful => ("◆", "unsure"),
            Glow::Bad => ("▲", "bad"),
            Glow::Unknown => ("○", "quiet"),
        }
    }
}

/// A light as it was read: how it shines, in a word, by which rules and which numbers.
struct Lamp {
    glow: Glow,
    word: Phrase,
    rules: Vec<String>,
    numbers: String,
}

impl Lamp {
    fn unknown(rules: Vec<String>) -> Lamp {
        Lamp { glow: Glow::Unknown, word: words::NOT_MEASURED, rules, numbers: String::new() }
    }
}

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    Some(html! {
        ul.lights {
            @for light in &LIGHTS {
                @let Lamp { glow, word, rules, numbers } = (light.read)(facts);
                @let (shape, tone) = glow.sign();
                li class=(tone) {
                    p.light {
                        span.shape aria-hidden="true" { (shape) } " "
                        span.name { (light.name.say(language)) } ": "
                        strong { (word.say(language)) }
                    }
                    p.numbers { (if numbers.is_empty() { html! { "–" } } else { visible(&numbers) }) }
                    p.meaning { (light.meaning.say(language)) }
                    @if rules.is_empty() { p.rule { (words::PERSON_RULE.say(language)) } }
                    @for rule in &rules { p.rule { span.role { "observe" } " " code { (rule) } } }
                }
            }
        }
    })
}

/// A row for each light: its name, how it shines, in a word, by which rules and which numbers.
pub fn rows(facts: &Facts) -> Vec<Vec<Value>> {
    let row = |light: &Light| {
        let Lamp { glow, word, rules, numbers } = (light.read)(facts);
        let said = word.say(Language::English);
        vec![json!(light.code), json!(glow.code()), json!(said), json!(rules.join("; ")), json!(numbers)]
    };
    LIGHTS.iter().map(row).collect()
}

/// A judged model beside the baseline of its study.
struct Versus<'a> {
    study: &'a Study,
    row: &'a StudyRow,
    baseline: &'a StudyRow,
}

impl Versus<'_> {
    /// The judgement of a rule about the model; `None` where something that it names was not measured.
    fn observe(&self, rule: &str) -> Option<Judgement> {
        observe(rule, &self.row.metrics, Some(&self.baseline.metrics), &[])
    }

    fn says(&self, judgement: &Judgement) -> String {
        format!("{}: {}", self.row.model, judgement.explanation)
    }
}

/// The judgement of a rule about these numbers, made as gates make theirs.
fn observe(
    rule: &str,
    mine: &Metrics,
    incumbent: Option<&Metrics>,
    checkpoints: &[(u64, Subject)],
) -> Option<Judgement> {
    let names = |metrics: &Metrics| {
        let name = |name: &String| MetricName {
            name: name.clone(),
            direction: Direction::Neutral,
            field: None,
            bounds: None,
            has_own_rows: false,
        };
        metrics.keys().map(name).collect::<Vec<_>>()
    };
    let scope = RuleScope { own: names(mine), incumbent: incumbent.map(names), ..RuleScope::default() };
    let mut rule = gate::parse(rule).ok()?;
    if !gate::check(&mut rule, &scope).is_empty() {
        return None;
    }
    let (candidate, incumbent, stages) = (subject(mine), incumbent.map(subject), BTreeMap::new());
    let subjects = Subjects { checkpoints, ..Subjects::of(&candidate, incumbent.as_ref(), &stages) };
    let judgement = gate::evaluate(&rule, &subjects);
    (judgement.decision != Decision::Error).then_some(judgement)
}

fn subject(metrics: &Metrics) -> Subject {
    Subject { own: Readings { metrics: metrics.clone(), items: None }, ..Subject::default() }
}

/// Every model of every study but the baselines. Refused ones count: that a gate held is no reason to hide what it held.
fn judged(facts: &Facts) -> Vec<Versus<'_>> {
    facts.run.studies.iter().flat_map(judged_by).collect()
}

fn judged_by(study: &Study) -> Vec<Versus<'_>> {
    let name = baseline(study);
    let Some(baseline) = study.rows.iter().find(|row| Some(&row.model) == name) else { return Vec::new() };
    let others = study.rows.iter().filter(|row| Some(&row.model) != name);
    others.map(|row| Versus { study, row, baseline }).collect()
}

/// Whether the difference of the scores by the first reward may be noise.
fn is_gain_noise(facts: &Facts, versus: &Versus) -> bool {
    let contest = contest_of(facts, versus.study, &versus.row.model);
    contest.and_then(|contest| contest.gain_within.as_ref()).is_some_and(|gain| is_noise(gain, 0.0))
}

/// The score of what goes on beside the baseline's; where nothing was judged, the loss from its first point to its last.
fn learning(facts: &Facts) -> Lamp {
    let judged = judged(facts);
    let is_carried =
        |versus: &&Versus| goes_on(&facts.run, versus.study).is_some_and(|row| row.model == versus.row.model);
    let carried = judged.iter().rfind(is_carried).or(judged.last());
    let headline = carried.and_then(|versus| columns(versus.study).0.first().map(|column| column.name.clone()));
    if let (Some(versus), Some(metric)) = (carried, headline) {
        let rule = format!("{metric} > incumbent.{metric}");
        if let Some(judgement) = versus.observe(&rule) {
            let (glow, word) = match judgement.decision {
                Decision::Pass if is_gain_noise(facts, versus) => (Glow::Doubtful, words::WITHIN_NOISE),
                Decision::Pass => (Glow::Good, words::IT_LEARNS),
                _ => (Glow::Bad, words::IT_DOES_NOT_LEARN),
            };
            return Lamp { glow, word, rules: vec![rule], numbers: versus.says(&judgement) };
        }
    }
    let by_loss = facts.run.stages.iter().rev().find_map(|stage| match &facts.stored(stage)?.curve {
        StoredCurve::Traces { traces, .. } => {
            let find = |name: &str| traces.iter().find(|trace| trace.name == name);
            let loss = ["heldout_loss", "loss"].into_iter().find_map(find)?;
            let metrics = |value: Option<f64>| Metrics::from([(loss.name.clone(), value)]);
            let ends = [loss.first, loss.last].map(metrics);
            let points: Vec<(u64, Subject)> = (0u64..).zip(ends.iter().map(subject)).collect();
            let rule = format!("slope({}) < 0", loss.name);
            Some((&stage.head.name, observe(&rule, &ends[1], None, &points)?, rule))
        }
        _ => None,
    });
    match by_loss {
        None => Lamp::unknown(vec!["score > incumbent.score".to_owned()]),
        Some((stage, judgement, rule)) => {
            let (glow, word) = match judgement.decision {
                Decision::Pass => (Glow::Good, words::IT_LEARNS),
                _ => (Glow::Bad, words::IT_DOES_NOT_LEARN),
            };
            Lamp { glow, word, rules: vec![rule], numbers: format!("{stage}: {}", judgement.explanation) }
        }
    }
}

/// The reward that trained a model beside each that did not: up with the first and down with another is cheating.
fn cheating(facts: &Facts) -> Lamp {
    let mut worst = None;
    for versus in judged(facts) {
        let scores = columns(versus.study).0;
        let Some(own) = trained_by(&facts.run, versus.row, versus.study).and_then(|at| scores.get(at)) else {
            continue;
        };
        for other in scores.iter().filter(|other| other.name != own.name) {
            let is_first = other.name == scores[0].name;
            let (own, other) = (&own.name, &other.name);
            let rule = format!("not ({own} > incumbent.{own} and {other} < incumbent.{other})");
            let Some(judgement) = versus.observe(&rule) else { continue };
            let numbers = versus.says(&judgement);
            let (glow, word) = match judgement.decision {
                // Of the reward that judges, the study knows how sure it is that the score has fallen.
                Decision::Fail if is_first && is_gain_noise(facts, &versus) => (Glow::Doubtful, words::WITHIN_NOISE),
                Decision::Fail => (Glow::Bad, words::IT_CHEATS),
                _ => (Glow::Good, words::IT_DOES_NOT_CHEAT),
            };
            let lamp = Lamp { glow, word, rules: vec![rule], numbers };
            if glow == Glow::Bad {
                return lamp;
            }
            // A doubt is not forgotten because of a later model that is healthy.
            if worst.as_ref().is_none_or(|worst: &Lamp| worst.glow == Glow::Good) {
                worst = Some(lamp);
            }
        }
    }
    let rule = "not (own_score > incumbent.own_score and other_score < incumbent.other_score)";
    worst.unwrap_or_else(|| Lamp::unknown(vec![rule.to_owned()]))
}

/// The light of bounds that every judged model has to keep: that of the first one that some model does not.
fn kept(facts: &Facts, bounds: &[Bound], healthy: Phrase) -> Lamp {
    let judged = judged(facts);
    let rules = || bounds.iter().map(|bound| bound.rule.to_owned()).collect::<Vec<_>>();
    let mut last = None;
    for Bound { rule, glow, word } in bounds {
        for versus in &judged {
            let Some(judgement) = versus.observe(rule) else { continue };
            let numbers = versus.says(&judgement);
            if judgement.decision == Decision::Fail {
                return Lamp { glow: *glow, word: *word, rules: rules(), numbers };
            }
            last = Some(numbers);
        }
    }
    match last {
        None => Lamp::unknown(rules()),
        Some(numbers) => Lamp { glow: Glow::Good, word: healthy, rules: rules(), numbers },
    }
}

fn length(facts: &Facts) -> Lamp {
    kept(facts, &LENGTHS, words::LENGTH_IS_STEADY)
}

fn repetition(facts: &Facts) -> Lamp {
    kept(facts, &REPETITIONS, words::IT_DOES_NOT_REPEAT)
}

fn person(facts: &Facts) -> Lamp {
    let is_held = |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::Held { .. }));
    let held: Vec<&str> =
        facts.run.stages.iter().filter(|stage| is_held(&stage.outcome)).map(|stage| stage.head.name.as_str()).collect();
    let (glow, word, numbers) = match held.is_empty() {
        true => (Glow::Good, words::NOBODY_IS_NEEDED, "held 0".to_owned()),
        false => (Glow::Doubtful, words::PERSON_IS_NEEDED, format!("held {}: {}", held.len(), held.join(", "))),
    };
    Lamp { glow, word, rules: Vec::new(), numbers }
}
