//! Drift: whether a person is right less often at the end of their labels than at the beginning. Right is what agrees with gold, with
//! what they said before, and with what others said.

use super::interval::Share;
use super::label::{EffectiveLabels, Label};
use super::likeness::{alike, ordered_alike};
use super::worklist::Worklist;
use std::collections::BTreeMap;

/// The labels that are right in the first and in the last third of a person's, of those that can be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionThirds {
    pub first: Share,
    pub last: Share,
}

impl SessionThirds {
    /// The chance that so few of the last third are right, or fewer, if both thirds are alike: Fisher's exact test, one-sided.
    pub fn chance(self) -> f64 {
        let SessionThirds { first, last } = self;
        let (right, all) = (first.times + last.times, first.all + last.all);
        let log_choose = |of: usize, some: usize| {
            let log = |number: usize| libm::lgamma(number as f64 + 1.0);
            log(of) - log(some) - log(of - some)
        };
        let chance = |times: usize| {
            let log = log_choose(right, times) + log_choose(all - right, last.all - times) - log_choose(all, last.all);
            libm::exp(log)
        };
        // The last third has at least those that there is no room for in the first.
        (right.saturating_sub(first.all)..=last.times).map(chance).sum::<f64>().min(1.0)
    }
}

/// The thirds of everybody who labelled, by their names. Labels of other tools have no order.
pub fn thirds(worklist: &Worklist, labels: &EffectiveLabels) -> BTreeMap<String, SessionThirds> {
    let mut by_person: BTreeMap<&str, Vec<(usize, &Label)>> = BTreeMap::new();
    for (place, label) in worklist.labelled(labels).filter(|(_, label)| !label.is_imported()) {
        by_person.entry(&label.by).or_default().push((place, label));
    }
    let of = |(by, mut own): (&str, Vec<(usize, &Label)>)| {
        own.sort_by_key(|(place, label)| (&label.at, *place, label.round));
        let (third, mut thirds) = (own.len() / 3, SessionThirds::default());
        for (number, (place, label)) in own.iter().enumerate() {
            let share = match number {
                number if number < third => &mut thirds.first,
                number if number >= own.len() - third => &mut thirds.last,
                _ => continue,
            };
            checked(worklist, labels, *place, label).into_iter().for_each(|is_right| share.add(is_right));
        }
        (by.to_owned(), thirds)
    };
    by_person.into_iter().map(of).collect()
}

/// Whether a label is right, by each thing that it can be held against.
fn checked(worklist: &Worklist, labels: &EffectiveLabels, place: usize, label: &Label) -> Vec<bool> {
    let item = &worklist.items[place];
    let is_right = |likeness: f64| likeness >= 0.5;
    if item.is_gold {
        let ranks = label.judgement.ranks(worklist.asked.criteria.as_ref());
        let likeness = ranks.zip(item.known.as_ref()).and_then(|(ranks, known)| ordered_alike(&ranks, known));
        return likeness.map(is_right).into_iter().collect();
    }
    let is_held_against = |other: &&Label| match label.round {
        0 => other.round == 0 && other.by != label.by,
        _ => other.round == 0 && other.by == label.by,
    };
    let others = labels.of_item(&item.digest).filter(is_held_against);
    others.filter_map(|other| alike(&other.judgement, &label.judgement)).map(is_right).collect()
}

/// The share that is right in the first thirds of everybody less that in the last thirds; `None` where a part has nothing to check.
pub fn drift(thirds: &BTreeMap<String, SessionThirds>) -> Option<f64> {
    let share = |part: fn(&SessionThirds) -> Share| {
        let (times, all) =
            thirds.values().map(part).fold((0, 0), |(times, all), one| (times + one.times, all + one.all));
        (all > 0).then(|| times as f64 / all as f64)
    };
    Some(share(|thirds| thirds.first)? - share(|thirds| thirds.last)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_of_a_fall_is_that_of_fishers_exact_test() {
        let thirds = |first: [usize; 2], last: [usize; 2]| SessionThirds {
            first: Share { times: first[0], all: first[1] },
            last: Share { times: last[0], all: last[1] },
        };
        // scipy.stats.fisher_exact([[9, 1], [3, 7]], alternative="greater"): 0.00988…; the lady who tastes tea: 17/70.
        for (thirds, chance) in [
            (thirds([9, 10], [3, 10]), 0.009_883_305_548_940_226),
            (thirds([3, 4], [1, 4]), 17.0 / 70.0),
            (thirds([5, 5], [5, 5]), 1.0),
            (thirds([0, 0], [0, 3]), 1.0),
            (SessionThirds::default(), 1.0),
        ] {
            assert!((thirds.chance() - chance).abs() < 1e-9, "{thirds:?}: {}", thirds.chance());
        }
    }
}
