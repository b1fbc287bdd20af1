//! Labels that are there, and labels that are needed.

use super::label::EffectiveLabels;
use super::worklist::Worklist;
use std::collections::{BTreeMap, BTreeSet};

/// Labels that are there, and labels that are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelCount {
    pub done: usize,
    pub needed: usize,
}

impl LabelCount {
    /// Counts each needed item once, and each item that a second person is to judge once more.
    pub fn of(worklist: &Worklist, labels: &EffectiveLabels) -> LabelCount {
        let mut people: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for (place, label) in worklist.labelled(labels) {
            if !worklist.items[place].is_gold {
                people.entry(place).or_default().insert(&label.by);
            }
        }
        let asked = &worklist.asked;
        let twice = people.values().filter(|by| by.len() > 1).count();
        let done = people.len().min(asked.items) + twice.min(asked.overlapped);
        LabelCount { done, needed: asked.items + asked.overlapped }
    }

    pub fn is_enough(self) -> bool {
        self.done >= self.needed
    }
}

/// The middle number, or the mean of the two in the middle.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => None,
        count if count % 2 == 1 => Some(numbers[middle]),
        _ => Some(f64::midpoint(numbers[middle - 1], numbers[middle])),
    }
}
