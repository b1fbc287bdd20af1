//! One person's labels: how many, how fast, and what makes one doubt them. Nothing is refused for it; a gate decides.

use super::drift::{SessionThirds, thirds};
use super::interval::{Share, at_least, clopper_pearson};
use super::label::EffectiveLabels;
use super::measure::{People, is_too_fast};
use super::progress::median;
use super::worklist::Worklist;
use std::collections::BTreeMap;
use std::fmt;

/// A reason to doubt a person's labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// They choose one side more often than chance would.
    OneSide,
    /// On gold and repeats they are right too seldom.
    Wavers,
    /// They are faster than one can read.
    TooFast,
    /// They are right less often in the last third of their labels than in the first.
    Drifts,
}

impl fmt::Display for Doubt {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str(match self {
            Doubt::OneSide => "chooses one side more often than chance would",
            Doubt::Wavers => "often wrong on gold, or unlike before on repeats",
            Doubt::TooFast => "faster than one can read",
            Doubt::Drifts => "less often right in the last third of their labels than in the first",
        })
    }
}

/// The labels of one person.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonCount {
    pub by: String,
    /// With gold and repeats.
    pub labels: usize,
    /// The median of the seconds that a label took.
    pub seconds: f64,
    /// Choices of the answer on the left, of pairs that are no tie.
    pub left: Share,
    /// Gold that was judged as is known.
    pub gold: Share,
    /// Repeats that were judged as before.
    pub again: Share,
    pub too_fast: Share,
    /// Labels of the first and of the last third that can be checked.
    pub thirds: SessionThirds,
    pub doubts: Vec<Doubt>,
}

/// The people who have labelled items of a worklist, by their names.
pub fn people(worklist: &Worklist, labels: &EffectiveLabels) -> Vec<PersonCount> {
    let people = People::of(worklist, labels);
    let mut seconds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut too_fast: BTreeMap<&str, Share> = BTreeMap::new();
    for (place, label) in worklist.labelled(labels) {
        seconds.entry(&label.by).or_default().push(label.seconds);
        too_fast.entry(&label.by).or_default().add(is_too_fast(&worklist.items[place], label));
    }
    let thirds = thirds(worklist, labels);
    let shares = ["left_share", "gold_accuracy", "self_agreement"].map(|metric| {
        let mut by: BTreeMap<&str, Share> = BTreeMap::new();
        people.said(metric).into_iter().for_each(|(person, value)| by.entry(person).or_default().add(value >= 0.5));
        by
    });
    let count = |(by, seconds): (&str, Vec<f64>)| {
        let [left, gold, again] = [0, 1, 2].map(|at: usize| shares[at].get(by).copied().unwrap_or_default());
        let too_fast = too_fast.get(by).copied().unwrap_or_default();
        let thirds = thirds.get(by).copied().unwrap_or_default();
        let mut doubts = doubts(left, gold, again, too_fast);
        doubts.extend((thirds.chance() < LEVEL).then_some(Doubt::Drifts));
        let labels = seconds.len();
        let seconds = median(seconds).unwrap_or_default();
        PersonCount { by: by.to_owned(), labels, seconds, left, gold, again, too_fast, thirds, doubts }
    };
    seconds.into_iter().map(count).collect()
}

/// The level of each doubt.
const LEVEL: f64 = 0.01;
/// The share of gold and repeats that somebody who reads gets right.
const RIGHT: f64 = 0.85;
/// The share of labels that may be made in haste.
const HASTE: f64 = 0.1;

fn doubts(left: Share, gold: Share, again: Share, too_fast: Share) -> Vec<Doubt> {
    let [low, high] = clopper_pearson(left.times, left.all, 1.0 - LEVEL);
    let known = Share { times: gold.times + again.times, all: gold.all + again.all };
    let as_few = 1.0 - at_least(known.times + 1, known.all, RIGHT);
    let doubts = [
        (Doubt::OneSide, left.all > 0 && (low > 0.5 || high < 0.5)),
        (Doubt::Wavers, known.all > 0 && as_few < 2.5 * LEVEL),
        (Doubt::TooFast, too_fast.all > 0 && at_least(too_fast.times, too_fast.all, HASTE) < LEVEL),
    ];
    doubts.into_iter().filter(|(_, is_so)| *is_so).map(|(doubt, _)| doubt).collect()
}
