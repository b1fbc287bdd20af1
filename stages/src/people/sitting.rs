//! The next task of a person: a pure function of the worklist and of the labels that are there. Sides are balanced,
//! and a second person sees an item the other way round.

use super::tally::LabelTally;
pub use super::tally::Task;
use super::worklist::{WorkItem, Worklist};
use crate::draw::{Draw, Stream};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A person at work on a worklist.
pub struct Sitting<'a> {
    worklist: &'a Worklist,
    tally: &'a LabelTally,
    by: &'a str,
    /// The tasks of this person so far, in the order in which they were judged.
    shown: Vec<Cow<'a, Task>>,
    /// By item: the round after the last in which they have seen it.
    rounds: Vec<u32>,
    /// Items that nobody has a label of, and that are shown.
    begun: usize,
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
    /// `tally` counts the labels that are there, and `taken` are items that others are looking at just now.
    pub fn new(worklist: &'a Worklist, tally: &'a LabelTally, by: &'a str, taken: &'a BTreeSet<usize>) -> Sitting<'a> {
        let rounds = vec![0; worklist.items.len()];
        let (shown, begun, balance) = (Vec::new(), 0, [0, 0]);
        let mut sitting = Sitting { worklist, tally, by, shown, rounds, begun, balance, taken };
        for task in tally.own(by) {
            // Where nobody else has judged it, the label is the only one.
            let is_first = tally.once.contains_key(&task.item);
            sitting.see(Cow::Borrowed(task), is_first);
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

    /// Enters a task as shown; `is_first` says whether this person is the first to judge an item.
    fn see(&mut self, task: Cow<'a, Task>, is_first: bool) {
        let lean = lean(&task.order);
        self.balance[0] += lean;
        if self.item(task.item).is_overlapped && task.round == 0 && is_first {
            self.balance[1] += lean;
        }
        let known = &mut self.rounds[task.item];
        *known = (*known).max(task.round + 1);
        self.shown.push(task);
    }

    /// The next task of this person; `None` when nothing is left for them.
    pub fn next_task(&mut self) -> Option<Task> {
        let number = self.shown.len();
        let task = self.repeat(number).or_else(|| self.gold(number)).or_else(|| self.ask())?;
        let is_fresh = self.tally.fresh.contains(&task.item);
        self.begun += usize::from(is_fresh && self.rounds[task.item] == 0);
        self.see(Cow::Owned(task.clone()), is_fresh);
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
        let is_new = |task: &&Task| task.round == 0 && self.rounds[task.item] == 1 && !self.item(task.item).is_gold;
        let earlier: Vec<&Task> = self.shown[..number - APART].iter().map(AsRef::as_ref).filter(is_new).collect();
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
        let gold = self.worklist.gold.iter().copied();
        let unseen: Vec<usize> = gold.filter(|place| self.rounds[*place] == 0).collect();
        let item = *unseen.get(self.stream("gold item", number).below(unseen.len().max(1)))?;
        Some(Task { item, round: 0, order: self.order(item) })
    }

    /// An item that still needs a label: first those that a second person is to judge and that fit the balance of the
    /// sides, then new ones, then the rest of the second ones.
    fn ask(&self) -> Option<Task> {
        let mut second = self.tally.once.iter().filter(|(place, _)| self.is_open(**place)).peekable();
        let first = second.peek().copied();
        // The other way round, the side of the first answer is the other one.
        let balanced = second.find(|(_, seen)| (self.balance[0] - lean(seen)).abs() <= 1);
        let turned = |(place, seen): (&usize, &Vec<usize>)| {
            let order: Vec<usize> = seen.iter().rev().copied().collect();
            // Nobody knows how an imported one was shown.
            (*place, if order.is_empty() { self.order(*place) } else { order })
        };
        let found = balanced.map(turned).or_else(|| self.new_item()).or_else(|| first.map(turned));
        found.map(|(item, order)| Task { item, round: 0, order })
    }

    fn is_open(&self, place: usize) -> bool {
        self.rounds[place] == 0 && !self.taken.contains(&place)
    }

    /// The first item that nobody has judged, with the side that it is shown on.
    fn new_item(&self) -> Option<(usize, Vec<usize>)> {
        let is_enough = self.tally.labelled + self.begun >= self.worklist.asked.items;
        let fresh = if is_enough { &self.tally.fresh_overlapped } else { &self.tally.fresh };
        let mut first = None;
        for place in fresh.iter().copied().filter(|place| self.is_open(*place)) {
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
