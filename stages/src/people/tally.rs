//! Labels of a worklist, counted item by item and kept up to date label by label: the next task of a person costs no look at
//! all of them.

use super::label::{EffectiveLabels, Label};
use super::progress::LabelCount;
use super::worklist::Worklist;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An item as it is shown to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its place in the worklist.
    pub item: usize,
    /// 1 where the person has judged it before.
    pub round: u32,
    /// The places of its answers in the order in which they are shown, from the left.
    pub order: Vec<usize>,
}

/// The place of a task among those of a person: by time, item and round.
type Moment = (String, usize, u32);

/// Labels of a worklist, counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelTally {
    /// Items that are no gold and that nobody has judged for the first time.
    pub fresh: BTreeSet<usize>,
    /// Those of them that a second person is to judge as well.
    pub fresh_overlapped: BTreeSet<usize>,
    /// Items for a second person that one has judged, and the order in which that one saw the answers.
    pub once: BTreeMap<usize, Vec<usize>>,
    /// The tasks of each person, in the order in which they were judged.
    own: HashMap<String, BTreeMap<Moment, Task>>,
    /// The number of people with a label of each item.
    people: Vec<u32>,
    /// Items that are no gold, with a label of anybody, and with labels of two people or more.
    pub labelled: usize,
    twice: usize,
}

impl LabelTally {
    pub fn of(worklist: &Worklist, labels: &EffectiveLabels) -> LabelTally {
        let mut tally = LabelTally { people: vec![0; worklist.items.len()], ..LabelTally::default() };
        for place in 0..worklist.items.len() {
            tally.count(worklist, labels, place);
        }
        for (place, label) in worklist.labelled(labels) {
            tally.add(place, label);
        }
        tally
    }

    /// Takes in that a label was added, has gone, or stands in the place of another one: `labels` are those after it.
    pub fn exchange(
        &mut self,
        worklist: &Worklist,
        labels: &EffectiveLabels,
        old: Option<&Label>,
        new: Option<&Label>,
    ) {
        for label in old.into_iter().chain(new) {
            let Some(place) = worklist.place(&label.item) else { continue };
            if let Some(own) = self.own.get_mut(&label.by) {
                own.remove(&moment(place, label));
            }
            self.count(worklist, labels, place);
        }
        if let Some((place, label)) = new.and_then(|label| Some((worklist.place(&label.item)?, label))) {
            self.add(place, label);
        }
    }

    fn add(&mut self, place: usize, label: &Label) {
        let task = Task { item: place, round: label.round, order: label.order.clone() };
        self.own.entry(label.by.clone()).or_default().insert(moment(place, label), task);
    }

    /// Counts the labels of one item anew.
    fn count(&mut self, worklist: &Worklist, labels: &EffectiveLabels, place: usize) {
        let item = &worklist.items[place];
        if item.is_gold {
            return;
        }
        let all = || labels.of_item(&item.digest);
        let first: Vec<&Label> = all().filter(|label| label.round == 0).collect();
        let people = all().map(|label| label.by.as_str()).collect::<BTreeSet<_>>().len() as u32;
        let old = std::mem::replace(&mut self.people[place], people);
        let step = |least: u32| isize::from(people >= least) - isize::from(old >= least);
        self.labelled = self.labelled.saturating_add_signed(step(1));
        self.twice = self.twice.saturating_add_signed(step(2));
        put(&mut self.fresh, place, first.is_empty());
        put(&mut self.fresh_overlapped, place, first.is_empty() && item.is_overlapped);
        match &first[..] {
            [only] if item.is_overlapped => drop(self.once.insert(place, only.order.clone())),
            _ => drop(self.once.remove(&place)),
        }
    }

    /// The tasks that a person has judged, in the order of time.
    pub fn own(&self, by: &str) -> impl Iterator<Item = &Task> {
        self.own.get(by).into_iter().flat_map(|own| own.values())
    }

    /// Counts each needed item once, and each item that a second person is to judge once more.
    pub fn progress(&self, worklist: &Worklist) -> LabelCount {
        let asked = &worklist.asked;
        let done = self.labelled.min(asked.items) + self.twice.min(asked.overlapped);
        LabelCount { done, needed: asked.items + asked.overlapped }
    }
}

fn moment(place: usize, label: &Label) -> Moment {
    (label.at.clone(), place, label.round)
}

fn put(set: &mut BTreeSet<usize>, place: usize, is_in: bool) {
    if is_in {
        set.insert(place);
    } else {
        set.remove(&place);
    }
}
