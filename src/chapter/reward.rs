//! The reward models: their checkpoints, how far they may be believed, the scores they give, and whether they pay for length.

use super::charts::{self, Figure, Histogram, figure};
use super::facts::{Facts, ScorePairs, StoredStage, Taste};
use super::table::{TableEntry, words as plain};
use super::words::{self, Language};
use crate::event::{Metrics, Outcome};
use crate::report::explain::Checkpoint;
use crate::report::fold::StageRun;
use crate::report::format::number;
use maud::{Markup, html};
use stages::rl;
use stages::stage::Direction;
use std::collections::BTreeSet;

/// Points of a cloud.
const SPECKS: usize = 240;

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    let of: Vec<(&str, Vec<Figure>)> = of_models(facts, language).collect();
    if of.is_empty() && facts.tastes.is_empty() {
        return None;
    }
    Some(html! {
        @for (name, figures) in &of {
            article.reward {
                h3 { (name) }
                @if let Some(ceiling) = ceiling(facts, name, language) { p { (ceiling) } }
                div.figures { @for each in figures { (figure(each, language)) } }
            }
        }
        @if !facts.tastes.is_empty() {
            article.reward {
                h3 { (words::SCORE_BY_LENGTH.say(language)) }
                div.figures { @for taste in &facts.tastes { (figure(&length(facts, taste, language), language)) } }
                @if facts.left_out.rewards > 0 {
                    p.note {
                        (words::MORE_REWARDS.fill(language, &[("count", &facts.left_out.rewards.to_string())])) " "
                        code { (facts.all_tables()) }
                    }
                }
            }
        }
    })
}

/// A sentence on how far the people agree with each other who made the data of a reward model: no model can be expected to
/// agree with them more often.
fn ceiling(facts: &Facts, model: &str, language: Language) -> Option<String> {
    let found = |name: &str| facts.run.stages.iter().find(|stage| stage.head.name == name);
    let mut left = vec![model];
    let mut seen = BTreeSet::new();
    while let Some(stage) = left.pop().filter(|name| seen.insert(*name)).and_then(found) {
        if let Some(Outcome::Done { metrics, .. }) = &stage.outcome
            && let Some(agreement) = value(metrics, "agreement")
        {
            let (share, people) = (number(Some(agreement)), stage.head.name.as_str());
            return Some(words::CEILING.fill(language, &[("people", people), ("share", &share)]));
        }
        // Rows of people may have come through stages that mix them with others.
        let of_rows = stage.head.from.iter().filter(|(port, _)| port == "data" || port == "people");
        left.extend(of_rows.flat_map(|(_, sources)| sources).map(|source| &*source.name));
    }
    None
}

/// Every figure of the section, with the stage or the reward that it is about.
pub fn figures(facts: &Facts, language: Language) -> Vec<(String, Figure)> {
    let of_models = of_models(facts, language)
        .flat_map(|(name, figures)| figures.into_iter().map(move |figure| (name.to_owned(), figure)));
    let of_tastes = facts.tastes.iter().map(|taste| (taste.reward.clone(), length(facts, taste, language)));
    of_models.chain(of_tastes).collect()
}

/// The reward models with their figures.
fn of_models(facts: &Facts, language: Language) -> impl Iterator<Item = (&str, Vec<Figure>)> {
    let is_reward =
        |stage: &&StageRun| stages::kinds::kind(&stage.head.kind).is_some_and(|kind| kind.reliability.is_some());
    facts.run.stages.iter().filter(is_reward).filter_map(move |stage| {
        let stored = facts.stored(stage).filter(|stored| !stored.checkpoints.is_empty())?;
        let pairs = stored.pairs.as_ref().map(|pairs| histogram(pairs, language));
        let figures = [by_checkpoint(stage, stored, language), reliability(stage, stored, language), pairs];
        Some((stage.head.name.as_str(), figures.into_iter().flatten().collect()))
    })
}

/// The metric that is better when it is higher by which a checkpoint was chosen, else the first such metric.
fn telling_metric(stage: &StageRun, checkpoints: &[Checkpoint]) -> Option<String> {
    let declared = || stage.head.metrics.iter().filter(|(_, direction)| *direction == Direction::Higher);
    let is_higher = |name: &&String| declared().any(|(known, _)| known == *name);
    let chosen_by = stage.verdict.iter().flat_map(|verdict| &verdict.chosen_by).filter(is_higher);
    let mut all = chosen_by.chain(declared().map(|(name, _)| name));
    all.find(|name| checkpoints.iter().any(|checkpoint| checkpoint.metrics.contains_key(*name))).cloned()
}

fn value(metrics: &Metrics, name: &str) -> Option<f64> {
    metrics.get(name).copied().flatten().filter(|value| value.is_finite())
}

fn by_checkpoint(stage: &StageRun, stored: &StoredStage, language: Language) -> Option<Figure> {
    let checkpoints = &stored.checkpoints;
    let metric = telling_metric(stage, checkpoints)?;
    let points: Vec<[f64; 2]> = checkpoints
        .iter()
        .filter_map(|checkpoint| Some([checkpoint.step as f64, value(&checkpoint.metrics, &metric)?]))
        .collect();
    if points.len() < 2 {
        return None;
    }
    let chosen = stage.judged_step().or_else(|| checkpoints.last().map(|last| last.step));
    let name = words::BY_CHECKPOINT.fill(language, &[("metric", &metric)]);
    let rows = checkpoints.iter().map(|checkpoint| {
        let mark = if Some(checkpoint.step) == chosen { words::CHOSEN.say(language) } else { "" };
        let value = checkpoint.metrics.get(&metric).map_or("–".to_owned(), |value| number(*value));
        vec![TableEntry::Number(checkpoint.step.to_string()), TableEntry::Number(value), plain(mark)]
    });
    let step = chosen.map(|step| step.to_string()).unwrap_or_default();
    Some(Figure {
        name,
        says: words::CHECKPOINTS_SAY
            .fill(language, &[("count", &points.len().to_string()), ("metric", &metric), ("step", &step)]),
        drawing: charts::checkpoints(&points, chosen.map(|step| step as f64)),
        caption: html! { (words::CHOSEN_IS_RINGED.fill(language, &[("step", &step)])) },
        headers: vec![words::STEP_COLUMN.say(language), words::VALUE.say(language), ""],
        rows: rows.collect(),
    })
}

/// The checkpoint that goes on, else the last.
fn going_on<'a>(stage: &StageRun, stored: &'a StoredStage) -> Option<&'a Checkpoint> {
    let step = stage.judged_step();
    stored.checkpoints.iter().find(|checkpoint| Some(checkpoint.step) == step).or(stored.checkpoints.last())
}

fn reliability(stage: &StageRun, stored: &StoredStage, language: Language) -> Option<Figure> {
    let checkpoint = going_on(stage, stored).filter(|checkpoint| !checkpoint.reliability.is_empty())?;
    let bins = &checkpoint.reliability;
    let points: Vec<([f64; 2], u64)> = bins.iter().map(|bin| ([bin.predicted, bin.happened], bin.count)).collect();
    let rows = bins.iter().map(|bin| {
        vec![
            plain(&format!("{:.2}–{:.2}", bin.low, bin.high)),
            TableEntry::Number(bin.count.to_string()),
            TableEntry::Number(format!("{:.3}", bin.predicted)),
            TableEntry::Number(format!("{:.3}", bin.happened)),
        ]
    });
    let ece = value(&checkpoint.metrics, "ece");
    Some(Figure {
        name: words::RELIABILITY.say(language).to_owned(),
        says: words::RELIABILITY_SAYS.say(language).to_owned(),
        drawing: charts::reliability(&points),
        caption: html! {
            (words::RELIABILITY_CAPTION.say(language))
            @if ece.is_some() { " ece " (number(ece)) }
        },
        headers: [words::SAYS_CHANCE, words::PAIRS, words::SAID, words::HAPPENED]
            .map(|phrase| phrase.say(language))
            .into(),
        rows: rows.collect(),
    })
}

fn histogram(pairs: &ScorePairs, language: Language) -> Figure {
    let histogram = Histogram::of(&pairs.chosen, &pairs.rejected);
    let [chosen, rejected] = [words::CHOSEN_ANSWERS, words::REJECTED_ANSWERS].map(|phrase| phrase.say(language));
    let rows = histogram.0.iter().map(|(low, high, first, second)| {
        vec![
            plain(&format!("{} – {}", number(Some(*low)), number(Some(*high)))),
            TableEntry::Number(first.to_string()),
            TableEntry::Number(second.to_string()),
        ]
    });
    Figure {
        name: words::SCORES_OF_PAIRS.say(language).to_owned(),
        says: words::HISTOGRAM_SAYS.fill(language, &[("count", &pairs.chosen.len().to_string())]),
        drawing: histogram.drawing(),
        caption: html! {
            span.key { (charts::sample(0)) " " (chosen) } " " span.key { (charts::sample(1)) " " (rejected) }
        },
        headers: vec![words::SCORE.say(language), chosen, rejected],
        rows: rows.collect(),
    }
}

fn length(facts: &Facts, taste: &Taste, language: Language) -> Figure {
    let clouds: Vec<Vec<[f64; 2]>> = taste.models.iter().map(|(_, points)| some(points)).collect();
    let clouds: Vec<&[[f64; 2]]> = clouds.iter().map(Vec::as_slice).collect();
    let rows = taste.models.iter().map(|(model, points)| {
        let mean = |axis: usize| points.iter().map(|point| point[axis]).sum::<f64>() / points.len().max(1) as f64;
        let correlation = correlation(points).map_or("–".to_owned(), |value| format!("{value:+.2}"));
        vec![
            plain(&model.to_string()),
            TableEntry::Number(points.len().to_string()),
            TableEntry::Number(number(Some(mean(0)))),
            TableEntry::Number(number(Some(mean(1)))),
            TableEntry::Number(correlation),
        ]
    });
    let name = words::SCORED_BY_MODEL.fill(language, &[("reward", &taste.reward)]);
    let shown = taste.models.iter().zip(&clouds).any(|((_, points), shown)| points.len() > shown.len());
    Figure {
        name,
        says: words::LENGTH_SAYS.fill(language, &[("reward", &taste.reward)]),
        drawing: charts::clouds(&clouds),
        caption: html! {
            @for (at, (model, points)) in taste.models.iter().enumerate() {
                span.key {
                    (charts::cloud_sample(at)) " " (model)
                    @if let Some(value) = correlation(points) { " r = " (format!("{value:+.2}")) }
                } " "
            }
            (words::LENGTH_CAPTION.say(language))
            @if shown {
                " " (words::SOME_POINTS.fill(language, &[("count", &SPECKS.to_string())])) " "
                code { (facts.all_tables()) }
            }
        },
        headers: [words::MODEL, words::ANSWERS, words::CHARACTERS, words::SCORE, words::CORRELATION]
            .map(|phrase| phrase.say(language))
            .into(),
        rows: rows.collect(),
    }
}

/// Every nth point, so that no more than fit are drawn.
fn some(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    points.iter().step_by(points.len().div_ceil(SPECKS).max(1)).copied().collect()
}

/// The correlation of length and score; `None` where one of them does not vary.
fn correlation(points: &[[f64; 2]]) -> Option<f64> {
    let axis = |axis: usize| points.iter().map(|point| point[axis]).collect::<Vec<_>>();
    Some(rl::correlation(&axis(0), &axis(1))).filter(|value| points.len() > 2 && value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ArtifactName;
    use crate::report::fold::fold;
    use crate::report::sample::*;
    use std::sync::Arc;

    #[test]
    fn the_agreement_of_people_stands_beside_the_model_that_learned_from_them() {
        let stages = [("people", "label"), ("rows", "merge"), ("rm", "rm"), ("other", "rm")];
        let labelled = done(0, true, 1.0, &[("agreement", 0.8125)]);
        let mut run = fold(&[run_started(&stages), ended("people", labelled)]).unwrap();
        let mut takes = |at: usize, port: &str, from: &str| {
            let head = Arc::make_mut(&mut run.stages[at].head);
            head.from = vec![(port.to_owned(), vec![ArtifactName::open(from)])];
        };
        takes(1, "people", "people");
        takes(2, "data", "rows");
        takes(3, "data", "data/pairs.jsonl");
        let facts = Facts::of(run, false);
        let said = |model: &str| ceiling(&facts, model, Language::English);
        let told = said("rm").unwrap();
        assert!(told.contains("people of people, who made its data") && told.contains("0.81"), "{told}");
        assert_eq!(said("other"), None);
    }
}
