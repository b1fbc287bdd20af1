//! The next task of a person: a pure function of the worklist and of the labels that are there. Sides are balanced,
//! and a second person sees an item the other way round.

use super::label::EffectiveLabels;
use super::worklist::{WorkItem, Worklist};
use crate::draw::{Draw, Stream};
use std::collections::{BTreeMap, BTreeSet};

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

/// A person at work on a worklist.
pub struct Sitting<'a> {
    worklist: &'a Worklist,
    by: &'a str,
    /// The tasks of this person so far, in the order in which they were judged.
    shown: Vec<Task>,
    /// The round after the last, for each item that they have seen.
    rounds: BTreeMap<usize, u32>,
    /// For each item that others have judged: how many of them, and the order in which the first saw it.
    others: BTreeMap<usize, (usize, Vec<usize>)>,
    /// Items with a label of anybody, or that are shown.
    labelled: BTreeSet<usize>,
    /// Shown with the first answer on the left, less those with the second there: of all, and of items that a second
    /// person is to judge.
    balance: [i64; 2],
    /// Items that somebody else is looking at.
    taken: &'a BTreeSet<usize>,
}

/// The number of tasks in which one is gold, and one a repeat, by their shares.
fn block(share: f64) -> Option<usize> {
    (share > 0.0).then(|| (1.0 / share).round().max(2.0) as usize)
}

/// The fewest tasks between an item and its repeat.
const APART: usize = 10;

impl<'a> Sitting<'a> {
    /// `taken` are items that others are looking at just now.
    pub fn new(
        worklist: &'a Worklist,
        labels: &'a EffectiveLabels,
        by: &'a str,
        taken: &'a BTreeSet<usize>,
    ) -> Sitting<'a> {
        let mut sitting = Sitting {
            worklist,
            by,
            shown: Vec::new(),
            rounds: BTreeMap::new(),
            others: BTreeMap::new(),
            labelled: BTreeSet::new(),
            balance: [0, 0],
            taken,
        };
        let mut own: Vec<_> = worklist.labelled(labels).filter(|(_, label)| label.by == by).collect();
        own.sort_by_key(|(place, label)| (&label.at, *place, label.round));
        let mut first: BTreeMap<usize, &str> = BTreeMap::new();
        for (place, label) in worklist.labelled(labels) {
            if !worklist.items[place].is_gold {
                sitting.labelled.insert(place);
            }
            if label.by == by || label.round > 0 {
                continue;
            }
            let (count, order) = sitting.others.entry(place).or_default();
            *count += 1;
            if first.get(&place).is_none_or(|at| label.at.as_str() < *at) {
                first.insert(place, &label.at);
                order.clone_from(&label.order);
            }
        }
        for (item, label) in own {
            sitting.show(Task { item, round: label.round, order: label.order.clone() });
        }
        sitting
    }

    fn item(&self, place: usize) -> &'a WorkItem {
        &self.worklist.items[place]
    }

    fn stream(&self, purpose: &'static str, number: usize) -> Stream {
        let name = blake3::hash(self.by.as_bytes());
        let name = u64::from_le_bytes(std::array::from_fn(|at| name.as_bytes()[at]));
        Draw { seed: self.worklist.asked.seed, kind: "label", purpose }.stream(number as u64, name)
    }

    fn show(&mut self, task: Task) {
        let place = task.item;
        let lean = lean(&task.order);
        self.balance[0] += lean;
        if self.item(place).is_overlapped && task.round == 0 && !self.others.contains_key(&place) {
            self.balance[1] += lean;
        }
        if !self.item(place).is_gold {
            self.labelled.insert(place);
        }
        let next = task.round + 1;
        let known = self.rounds.entry(place).or_default();
        *known = (*known).max(next);
        self.shown.push(task);
    }

    /// The next task of this person; `None` when nothing is left for them.
    pub fn next_task(&mut self) -> Option<Task> {
        let number = self.shown.len();
        let task = self.repeat(number).or_else(|| self.gold(number)).or_else(|| self.ask())?;
        self.show(task.clone());
        Some(task)
    }

    /// Whether the task of this number is the one of its block that a purpose has.
    fn is_turn(&self, purpose: &'static str, block: usize, number: usize) -> bool {
        let draw = self.stream(purpose, number / block).below(block);
        number % block == draw
    }

    /// An item that the person judged some while ago, once more.
    fn repeat(&self, number: usize) -> Option<Task> {
        let block = block(self.worklist.asked.repeats)?;
        if number < APART || !self.is_turn("repeat", block, number) {
            return None;
        }
        let is_new = |task: &&Task| task.round == 0 && self.rounds[&task.item] == 1 && !self.item(task.item).is_gold;
        let earlier: Vec<&Task> = self.shown[..number - APART].iter().filter(is_new).collect();
        let again = *earlier.get(self.stream("repeated", number).below(earlier.len().max(1)))?;
        // The other way round, where the sides stay balanced: who chooses by the side gives another answer.
        let turned: Vec<usize> = again.order.iter().rev().copied().collect();
        let order = if self.is_balanced(&turned) { turned } else { again.order.clone() };
        Some(Task { item: again.item, round: 1, order })
    }

    fn is_balanced(&self, order: &[usize]) -> bool {
        (self.balance[0] + lean(order)).abs() <= 1
    }

    fn gold(&self, number: usize) -> Option<Task> {
        let block = block(self.worklist.asked.gold_share)?;
        if !self.is_turn("gold", block, number) {
            return None;
        }
        let gold = (0..self.worklist.items.len()).filter(|place| self.item(*place).is_gold);
        let unseen: Vec<usize> = gold.filter(|place| !self.rounds.contains_key(place)).collect();
        let item = *unseen.get(self.stream("gold item", number).below(unseen.len().max(1)))?;
        Some(Task { item, round: 0, order: self.order(item) })
    }

    /// An item that still needs a label: first those that a second person is to judge and that fit the balance of the
    /// sides, then new ones, then the rest of the second ones.
    fn ask(&self) -> Option<Task> {
        let is_open = |place: &usize| !self.rounds.contains_key(place) && !self.taken.contains(place);
        let second = self.others.iter().filter(|(place, (count, _))| {
            let item = self.item(**place);
            item.is_overlapped && !item.is_gold && *count == 1 && is_open(place)
        });
        let second: Vec<(usize, Vec<usize>)> =
            second.map(|(place, (_, order))| (*place, order.iter().rev().copied().collect())).collect();
        let task = |(item, order): (usize, Vec<usize>)| Task { item, round: 0, order };
        if let Some(found) = second.iter().find(|(_, order)| self.is_balanced(order)) {
            return Some(task(found.clone()));
        }
        let new = self.new_items(&is_open);
        new.or_else(|| second.into_iter().next()).map(task)
    }

    /// The first item that nobody has judged, with the side that it is shown on.
    fn new_items(&self, is_open: &impl Fn(&usize) -> bool) -> Option<(usize, Vec<usize>)> {
        let is_enough = self.labelled.len() >= self.worklist.asked.items;
        let new = (0..self.worklist.items.len()).filter(|place| {
            let item = self.item(*place);
            let is_wanted = !item.is_gold && (!is_enough || item.is_overlapped);
            is_wanted && is_open(place) && !self.others.contains_key(place)
        });
        let mut first = None;
        for place in new {
            let order = self.order(place);
            let is_even = !self.item(place).is_overlapped || (self.balance[1] + lean(&order)).abs() <= 1;
            if is_even {
                return Some((place, order));
            }
            first.get_or_insert((place, order));
        }
        first
    }

    /// The order in which a new item is shown: of two answers the side that keeps the balance, else any order.
    fn order(&self, place: usize) -> Vec<usize> {
        let item = self.item(place);
        let count = item.answers.len();
        let mut stream = self.stream("side", place);
        if count == 2 {
            let overall = self.balance[0];
            let of_twice = if item.is_overlapped { self.balance[1] } else { 0 };
            let is_first_left = match (overall, of_twice) {
                (0, 0) => stream.below(2) == 0,
                (0, lean) | (lean, _) => lean < 0,
            };
            return if is_first_left { vec![0, 1] } else { vec![1, 0] };
        }
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, stream.below(last + 1));
        }
        order
    }
}

/// 1 if the first of two answers is on the left, −1 if the second is, 0 of more.
fn lean(order: &[usize]) -> i64 {
    match order {
        [0, 1] => 1,
        [1, 0] => -1,
        _ => 0,
    }
}
