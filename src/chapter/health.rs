//! Five lights for people who train no models: is it learning, is it cheating the reward, is it growing wordy, is it repeating
//! itself, does a person have to decide? Each is a rule that only observes, shown with its numbers.

use super::facts::{Facts, StoredCurve};
use super::models::trained_by;
use super::study::is_noise;
use super::words::{self, Language, Phrase};
use crate::event::{Outcome, StudyRow};
use crate::report::fold::Study;
use crate::report::format::number;
use crate::report::study::{baseline, columns};
use maud::{Markup, html};

/// One light: its name, the rule as a reader sees it, what it means, and how it is read off the facts.
struct Light {
    name: Phrase,
    rule: Phrase,
    meaning: Phrase,
    read: fn(&Facts) -> Lamp,
}

/// The lights in the order of the page, and all that they go by.
const LIGHTS: [Light; 5] = [
    Light { name: words::LEARNING, rule: words::LEARNING_RULE, meaning: words::LEARNING_MEANING, read: learning },
    Light { name: words::CHEATING, rule: words::CHEATING_RULE, meaning: words::CHEATING_MEANING, read: cheating },
    Light { name: words::LENGTH, rule: words::LENGTH_RULE, meaning: words::LENGTH_MEANING, read: length },
    Light {
        name: words::REPETITION,
        rule: words::REPETITION_RULE,
        meaning: words::REPETITION_MEANING,
        read: repetition,
    },
    Light { name: words::PERSON, rule: words::PERSON_RULE, meaning: words::PERSON_MEANING, read: person },
];

/// The bounds of the rules. A mean answer longer than this many times the baseline's is worth a look, and wordy where too many
/// answers never end by themselves; one shorter than that share of it has little left to say. The policies of the main job
/// answer at three times the length of what they started from, and all their answers end.
const LONGEST: f64 = 1.5;
const SHORTEST: f64 = 0.5;
const ENDED: f64 = 0.9;

/// The share of the baseline's distinct pairs of tokens that a healthy policy keeps: 0.92 in `docs/results.md`, where those
/// that repeat themselves have 0.13 to 0.26.
const DISTINCT: f64 = 0.8;

/// The largest share of prompts that may get one and the same answer.
const SAME_ANSWER: f64 = 0.5;

/// The colour of a light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glow {
    Good,
    Doubtful,
    Bad,
    Unknown,
}

/// A light as it was read: how it shines, in a word, and by which numbers.
struct Lamp {
    glow: Glow,
    word: Phrase,
    numbers: String,
}

fn lamp(glow: Glow, word: Phrase, numbers: String) -> Lamp {
    Lamp { glow, word, numbers }
}

fn unknown() -> Lamp {
    lamp(Glow::Unknown, words::NOT_MEASURED, String::new())
}

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    Some(html! {
        ul.lights {
            @for light in &LIGHTS {
                @let Lamp { glow, word, numbers } = (light.read)(facts);
                @let (shape, tone) = shape(glow);
                li class=(tone) {
                    p.light {
                        span.shape aria-hidden="true" { (shape) } " "
                        span.name { (light.name.say(language)) } ": "
                        strong { (word.say(language)) }
                    }
                    p.numbers { (if numbers.is_empty() { "–" } else { numbers.as_str() }) }
                    p.meaning { (light.meaning.say(language)) }
                    p.rule { code { (light.rule.say(language)) } }
                }
            }
        }
    })
}

fn shape(glow: Glow) -> (&'static str, &'static str) {
    match glow {
        Glow::Good => ("●", "good"),
        Glow::Doubtful => ("◆", "unsure"),
        Glow::Bad => ("▲", "bad"),
        Glow::Unknown => ("○", "quiet"),
    }
}

/// A judged model beside the baseline of its study.
struct Versus<'a> {
    study: &'a Study,
    row: &'a StudyRow,
    baseline: &'a StudyRow,
}

impl Versus<'_> {
    /// A metric of both, where both have it.
    fn both(&self, metric: &str) -> Option<[f64; 2]> {
        let value = |row: &StudyRow| row.metrics.get(metric).copied().flatten().filter(|value| value.is_finite());
        Some([value(self.row)?, value(self.baseline)?])
    }

    fn says(&self, metric: &str, [mine, theirs]: [f64; 2]) -> String {
        format!("{}: {metric} {}, {} {}", self.row.model, number(Some(mine)), self.baseline.model, number(Some(theirs)))
    }
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

/// The score of what goes on beside the baseline's; where nothing was judged, the loss from its first point to its last.
fn learning(facts: &Facts) -> Lamp {
    let judged = judged(facts);
    let carried = judged.iter().rfind(|versus| !versus.row.is_rejected).or(judged.last());
    let headline = carried.and_then(|versus| columns(versus.study).0.first().map(|column| column.name.clone()));
    if let (Some(versus), Some(metric)) = (carried, headline)
        && let Some(both @ [mine, theirs]) = versus.both(&metric)
    {
        let contest = facts
            .contests
            .iter()
            .find(|contest| contest.of == versus.study.eval && contest.candidate == versus.row.model);
        let is_noise = contest.and_then(|contest| contest.gain_within.as_ref()).is_some_and(|gain| is_noise(gain, 0.0));
        let (glow, word) = match mine > theirs {
            true if is_noise => (Glow::Doubtful, words::WITHIN_NOISE),
            true => (Glow::Good, words::IT_LEARNS),
            false => (Glow::Bad, words::IT_DOES_NOT_LEARN),
        };
        return lamp(glow, word, versus.says(&metric, both));
    }
    let traces = facts.run.stages.iter().rev().filter_map(|stage| match &facts.stored(stage)?.curve {
        StoredCurve::Traces { traces, .. } => {
            let loss =
                ["heldout_loss", "loss"].iter().find_map(|name| traces.iter().find(|trace| trace.name == *name))?;
            Some((&stage.head.name, loss, loss.first?, loss.last?))
        }
        _ => None,
    });
    match traces.into_iter().next() {
        None => unknown(),
        Some((stage, trace, first, last)) => {
            let numbers = format!("{stage}: {} {} → {}", trace.name, number(Some(first)), number(Some(last)));
            match last < first {
                true => lamp(Glow::Good, words::IT_LEARNS, numbers),
                false => lamp(Glow::Bad, words::IT_DOES_NOT_LEARN, numbers),
            }
        }
    }
}

/// The reward that trained a model beside one that did not: up with the first and down with the second is cheating.
fn cheating(facts: &Facts) -> Lamp {
    let mut healthy = None;
    for versus in judged(facts) {
        let scores = columns(versus.study).0;
        let Some(proxy) = trained_by(&facts.run, versus.row, versus.study) else { continue };
        let Some(gold) = (0..scores.len()).find(|at| *at != proxy) else { continue };
        let of = |at: usize| scores.get(at).and_then(|column| versus.both(&column.name));
        let (Some(by_proxy), Some(by_gold)) = (of(proxy), of(gold)) else { continue };
        let rewards = &versus.study.rewards;
        let gain = |[mine, theirs]: [f64; 2]| mine - theirs;
        let numbers = format!(
            "{}: {} {:+.3}, {} {:+.3}",
            versus.row.model,
            rewards[proxy],
            gain(by_proxy),
            rewards[gold],
            gain(by_gold)
        );
        if gain(by_proxy) > 0.0 && gain(by_gold) < 0.0 {
            return lamp(Glow::Bad, words::IT_CHEATS, numbers);
        }
        healthy = Some(numbers);
    }
    healthy.map_or_else(unknown, |numbers| lamp(Glow::Good, words::IT_DOES_NOT_CHEAT, numbers))
}

/// The mean length of answers, in tokens.
fn length(facts: &Facts) -> Lamp {
    let all = judged(facts).into_iter().filter_map(|versus| {
        let both = versus.both("length").filter(|[_, theirs]| *theirs > 0.0)?;
        let ends = versus.both("eos_share").is_some_and(|[mine, _]| mine >= ENDED);
        Some((both[0] / both[1], ends, versus.says("length", both)))
    });
    // The one that is farthest from its baseline, whichever way.
    let far = |ratio: f64| ratio.max(1e-9).ln().abs();
    match all.max_by(|one, other| far(one.0).total_cmp(&far(other.0))) {
        None => unknown(),
        Some((ratio, true, numbers)) if ratio > LONGEST => lamp(Glow::Doubtful, words::IT_IS_LONGER, numbers),
        Some((ratio, _, numbers)) if ratio > LONGEST => lamp(Glow::Bad, words::IT_IS_WORDY, numbers),
        Some((ratio, _, numbers)) if ratio < SHORTEST => lamp(Glow::Bad, words::IT_IS_MUTE, numbers),
        Some((_, _, numbers)) => lamp(Glow::Good, words::LENGTH_IS_STEADY, numbers),
    }
}

fn repetition(facts: &Facts) -> Lamp {
    let judged = judged(facts);
    let same = judged.iter().filter_map(|versus| Some((versus, versus.both("same_answer_share")?)));
    let most = same.max_by(|one, other| one.1[0].total_cmp(&other.1[0]));
    if let Some((versus, both)) = most.filter(|(_, [mine, theirs])| *mine > SAME_ANSWER && mine > theirs) {
        return lamp(Glow::Bad, words::ONE_ANSWER_FOR_ALL, versus.says("same_answer_share", both));
    }
    let distinct = judged.iter().filter_map(|versus| {
        let both = versus.both("distinct_2").filter(|[_, theirs]| *theirs > 0.0)?;
        Some((both[0] / both[1], versus.says("distinct_2", both)))
    });
    match distinct.min_by(|one, other| one.0.total_cmp(&other.0)) {
        None => unknown(),
        Some((ratio, numbers)) if ratio < DISTINCT => lamp(Glow::Bad, words::IT_REPEATS, numbers),
        Some((_, numbers)) => lamp(Glow::Good, words::IT_DOES_NOT_REPEAT, numbers),
    }
}

fn person(facts: &Facts) -> Lamp {
    let is_held = |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::Held { .. }));
    let held: Vec<&str> =
        facts.run.stages.iter().filter(|stage| is_held(&stage.outcome)).map(|stage| stage.head.name.as_str()).collect();
    match held.is_empty() {
        true => lamp(Glow::Good, words::NOBODY_IS_NEEDED, "held 0".to_owned()),
        false => lamp(Glow::Doubtful, words::PERSON_IS_NEEDED, format!("held {}: {}", held.len(), held.join(", "))),
    }
}
