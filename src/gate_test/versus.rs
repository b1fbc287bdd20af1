//! `versus: {sft: {win: 60, loss: 40, tie_changed: 2, tie_unchanged: 98}}`: makes up answers with these counts. Their
//! texts and scores say who wins, and agree with the means that the test gives.

use super::givens::Givens;
use crate::diagnostic::Diagnostic;
use crate::gate::{Counts, Item, Items, Readings, RuleScope};
use crate::spec::expect;
use crate::spec::node::{Node, WithSpan};
use stages::stage::did_you_mean;
use std::collections::{BTreeMap, BTreeSet};

/// The counts of the candidate's answers against those of one other artifact.
pub struct Matchup {
    /// An index into the judges of the gate.
    pub judge: usize,
    /// `incumbent`, or a stage.
    pub other: WithSpan<String>,
    pub counts: Counts,
}

/// The field that answers are judged by.
pub const FIELD: &str = "score";

/// The largest number of answers. A study has some thousands; more than this is a typing mistake that would take all
/// memory.
const MAX: u64 = 1_000_000;

pub fn read(node: &Node, judge: usize, mistakes: &mut Vec<Diagnostic>) -> Vec<Matchup> {
    let what = "a mapping such as `{sft: {win: 60, loss: 40}}`";
    let Some(map) = expect::map(node, what, mistakes) else { return Vec::new() };
    let mut all = Vec::new();
    for (other, node) in map {
        let Some(counts) = expect::map(node, "a mapping such as `{win: 60, loss: 40}`", mistakes) else { continue };
        expect::known_keys(counts, "`versus`", &Counts::NAMES, mistakes);
        let before = mistakes.len();
        let counts = Counts::named(Counts::NAMES.map(|key| {
            let count = node.get(key).and_then(|node| expect::whole_number(node, mistakes)).unwrap_or(0);
            count.min(MAX + 1)
        }));
        if mistakes.len() == before && !(1..=MAX).contains(&counts.total()) {
            let message = match counts.total() {
                0 => "these are no answers at all".to_owned(),
                _ => format!("these are more than {MAX} answers"),
            };
            mistakes.push(Diagnostic::error(other.span, message).help("{win: 60, loss: 40, tie_unchanged: 100}"));
        }
        all.push(Matchup { judge, other: other.clone(), counts });
    }
    all
}

/// Makes the items of the candidate and of all artifacts that it is compared with.
pub fn make(
    all: &[Matchup],
    scope: &RuleScope,
    stages: &BTreeSet<String>,
    givens: &mut Givens,
    mistakes: &mut Vec<Diagnostic>,
) {
    for matchup in all {
        let (name, span) = (matchup.other.value.as_str(), matchup.other.span);
        let mut refuse = |message: String, help: &str| mistakes.push(Diagnostic::error(span, message).help(help));
        let first = all.iter().find(|first| first.judge == matchup.judge).unwrap_or(matchup);
        if first.counts.total() != matchup.counts.total() {
            let (mine, theirs) = (matchup.counts.total(), first.counts.total());
            let message = format!("{mine} answers against `{name}`, and {theirs} against `{}`", first.other.value);
            refuse(message, "the candidate answers the same prompts against all");
            continue;
        }
        let other = match name {
            "incumbent" if scope.incumbent.is_some() => givens.incumbent.get_or_insert_default(),
            stage if stages.contains(stage) => givens.stages.entry(stage.to_owned()).or_default(),
            _ => {
                let incumbent = scope.incumbent.as_ref().map(|_| "incumbent");
                let names: Vec<&str> = stages.iter().map(String::as_str).chain(incumbent).collect();
                let help = did_you_mean(name, &names);
                refuse(format!("no rule of this gate names `{name}`"), &help);
                continue;
            }
        };
        let Some((_, candidate)) = givens.candidates.first_mut() else { continue };
        let mine = candidate.judged.entry(matchup.judge).or_default();
        let theirs = other.judged.entry(matchup.judge).or_default();
        if theirs.items.is_some() {
            refuse(format!("`versus` makes up the items of `{name}`, and they are given"), "leave one of the two out");
            continue;
        }
        let metric = scope.judges[matchup.judge].metrics.iter().find(|metric| metric.field.as_deref() == Some(FIELD));
        let mean =
            |readings: &Readings| metric.and_then(|metric| readings.metrics.get(&metric.name).copied().flatten());
        let (my_mean, their_mean) = (mean(mine).unwrap_or(0.0), mean(theirs));
        let gaps = their_mean.map_or(Gaps::EQUAL, |their_mean| gaps(&matchup.counts, their_mean - my_mean));
        let (mine_made, theirs_made) = answers(&matchup.counts, my_mean, gaps, name);
        (mine.items, theirs.items) = (Some(mine_made.into()), Some(theirs_made.into()));
    }
}

/// The distance of the other's score below the candidate's where the candidate wins, and above it where it loses.
struct Gaps {
    below: f64,
    above: f64,
}

impl Gaps {
    const EQUAL: Gaps = Gaps { below: 1.0, above: 1.0 };
}

/// The gaps with which the means differ by `difference`: `above * loss - below * win = total * difference`.
fn gaps(counts: &Counts, difference: f64) -> Gaps {
    let (win, loss, sum) = (counts.win as f64, counts.loss as f64, counts.total() as f64 * difference);
    match (counts.win > 0, counts.loss > 0) {
        (true, true) if sum >= 0.0 => Gaps { below: 1.0, above: (win + sum) / loss },
        (true, true) => Gaps { below: (loss - sum) / win, above: 1.0 },
        (true, false) if sum < 0.0 => Gaps { below: -sum / win, above: 1.0 },
        (false, true) if sum > 0.0 => Gaps { below: 1.0, above: sum / loss },
        // No answers can have both these counts and these means.
        _ => Gaps::EQUAL,
    }
}

/// The items of the candidate and of the other, in the order of the counts.
fn answers(counts: &Counts, mean: f64, gaps: Gaps, name: &str) -> (Items, Items) {
    let mut theirs = Vec::new();
    for (count, score, is_changed) in [
        (counts.win, mean - gaps.below, true),
        (counts.loss, mean + gaps.above, true),
        (counts.tie_changed, mean, true),
        (counts.tie_unchanged, mean, false),
    ] {
        theirs.extend((0..count).map(|_| (score, is_changed)));
    }
    let table = |of: &dyn Fn(usize, bool) -> String, scores: Vec<Option<f64>>| {
        let row = |(at, (_, is_changed)): (usize, &(f64, bool))| Item {
            id: (at + 1).to_string(),
            prompt: String::new(),
            text: Some(of(at + 1, *is_changed)),
            group: None,
            subset: None,
        };
        let rows = theirs.iter().enumerate().map(row).collect();
        Items { rows, fields: BTreeMap::from([(FIELD.to_owned(), scores)]), fault: None }
    };
    let mine = |at: usize| format!("answer {at}");
    let other = |at: usize, is_changed: bool| if is_changed { format!("answer {at} of {name}") } else { mine(at) };
    (
        table(&|at, _| mine(at), vec![Some(mean); theirs.len()]),
        table(&other, theirs.iter().map(|(score, _)| Some(*score)).collect()),
    )
}
