//! Agreement of people: Krippendorff's α with the distance that fits what they say, Gwet's AC1, Kendall's W; what is
//! undefined is a word. Intervals by resampling items, and the share of each item in α, from which a gate can tell how
//! sure it is (the jackknife).

use crate::draw::Draw;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt;

/// The reason why a measure of agreement has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoValue {
    NoPairs,
    /// Chance alone would agree as well.
    OneValue,
    NotTwoPeople,
    NoRanks,
    Nothing,
}

impl fmt::Display for NoValue {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str(match self {
            NoValue::NoPairs => "undefined: no item has labels of two people",
            NoValue::OneValue => "undefined: everybody says the same of every item, as chance alone would",
            NoValue::NotTwoPeople => "undefined: it takes exactly two people with items in common",
            NoValue::Nothing => "undefined: there is nothing to measure it on",
            NoValue::NoRanks => "undefined: nobody ranks anything before anything",
        })
    }
}

pub type Statistic = Result<f64, NoValue>;

/// The mean of numbers, where there are any.
pub fn mean(values: &[f64]) -> Statistic {
    if values.is_empty() { Err(NoValue::Nothing) } else { Ok(values.iter().sum::<f64>() / values.len() as f64) }
}

/// The distance of two things that people may say, from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Distance {
    Nominal,
    /// By the ranks that the values have among all that was said.
    Ordinal,
    /// The square of the difference of these values.
    Interval(Vec<f64>),
    /// The distance of each value to each, row by row: of rankings, that of Kendall.
    Table(Vec<f64>),
}

/// Judgements of items, as numbers of the values that were said.
#[derive(Clone, Debug, PartialEq)]
pub struct CodedUnits {
    pub values: usize,
    /// The values that were said of each item, in any order.
    pub units: Vec<Vec<usize>>,
    pub distance: Distance,
}

/// PairSums over items, of which α is a function.
#[derive(Clone, Debug, Default)]
struct PairSums {
    /// Each pair of values that was said of one item, weighed by 1 / (said − 1).
    pairs: BTreeMap<(usize, usize), f64>,
    /// The number of times that each value was said.
    counts: Vec<f64>,
}

impl CodedUnits {
    fn sums(&self, unit: &[usize]) -> PairSums {
        let mut sums = PairSums { counts: vec![0.0; self.values], ..PairSums::default() };
        if unit.len() < 2 {
            return sums;
        }
        let weight = 1.0 / (unit.len() - 1) as f64;
        for (at, one) in unit.iter().enumerate() {
            sums.counts[*one] += 1.0;
            for (_, other) in unit.iter().enumerate().filter(|(other, _)| *other != at) {
                *sums.pairs.entry((*one, *other)).or_default() += weight;
            }
        }
        sums
    }

    /// The distances of all values, row by row.
    fn distances(&self, counts: &[f64]) -> Vec<f64> {
        let of = |one: usize, other: usize| match &self.distance {
            Distance::Nominal => f64::from(u8::from(one != other)),
            Distance::Interval(values) => (values[one] - values[other]).powi(2),
            Distance::Table(table) => table[one * self.values + other],
            Distance::Ordinal => {
                let (low, high) = (one.min(other), one.max(other));
                let between: f64 = counts[low..=high].iter().sum();
                (between - f64::midpoint(counts[low], counts[high])).powi(2)
            }
        };
        (0..self.values)
            .flat_map(|one| (0..self.values).map(move |other| (one, other)))
            .map(|(a, b)| of(a, b))
            .collect()
    }

    fn alpha_of(&self, pairs: impl Iterator<Item = ((usize, usize), f64)>, counts: &[f64]) -> Statistic {
        let distances = self.distances(counts);
        self.alpha_from(self.observed(pairs, &distances), &distances, counts)
    }

    /// The distances of pairs of values that were said of one item, weighed.
    fn observed(&self, pairs: impl Iterator<Item = ((usize, usize), f64)>, distances: &[f64]) -> f64 {
        pairs.map(|((one, other), weight)| weight * distances[one * self.values + other]).sum()
    }

    fn alpha_from(&self, observed: f64, distances: &[f64], counts: &[f64]) -> Statistic {
        let said: f64 = counts.iter().sum();
        if said < 2.0 {
            return Err(NoValue::NoPairs);
        }
        let row = |(one, count): (usize, &f64)| {
            let distances = &distances[one * self.values..][..self.values];
            count * counts.iter().zip(distances).map(|(other, distance)| other * distance).sum::<f64>()
        };
        let expected: f64 = counts.iter().enumerate().map(row).sum();
        if expected == 0.0 { Err(NoValue::OneValue) } else { Ok(1.0 - (said - 1.0) * observed / expected) }
    }

    fn total(&self) -> PairSums {
        let mut total = PairSums { counts: vec![0.0; self.values], ..PairSums::default() };
        for unit in &self.units {
            let one = self.sums(unit);
            one.pairs.iter().for_each(|(pair, weight)| *total.pairs.entry(*pair).or_default() += weight);
            total.counts.iter_mut().zip(one.counts).for_each(|(sum, count)| *sum += count);
        }
        total
    }

    /// Krippendorff's α over the items with two labels or more: 1 is full agreement, 0 is chance (Krippendorff 2011).
    ///
    /// # Errors
    /// It is undefined.
    pub fn alpha(&self) -> Statistic {
        let total = self.total();
        self.alpha_of(total.pairs.iter().map(|(pair, weight)| (*pair, *weight)), &total.counts)
    }

    /// A number for each group of items, whose mean is α and whose spread is that of α: what α loses without the group,
    /// times the number of groups. `groups` has the group of each item, from 0; a group without pairs has `None`.
    ///
    /// # Errors
    /// α is undefined.
    pub fn alpha_by_group(&self, groups: &[usize]) -> Result<Vec<Option<f64>>, NoValue> {
        let alpha = self.alpha()?;
        let total = self.total();
        let count = groups.iter().max().map_or(0, |last| last + 1);
        let mut of_group: Vec<Vec<usize>> = vec![Vec::new(); count];
        groups.iter().enumerate().for_each(|(unit, group)| of_group[*group].push(unit));
        let without = |units: &Vec<usize>| {
            let units: Vec<&Vec<usize>> =
                units.iter().map(|unit| &self.units[*unit]).filter(|one| one.len() > 1).collect();
            if units.is_empty() {
                return None;
            }
            let (mut pairs, mut counts) = (total.pairs.clone(), total.counts.clone());
            for unit in units {
                let one = self.sums(unit);
                one.pairs.iter().for_each(|(pair, weight)| *pairs.entry(*pair).or_default() -= weight);
                counts.iter_mut().zip(one.counts).for_each(|(sum, count)| *sum -= count);
            }
            // A value that only this group has leaves a rounding error.
            Some(self.alpha_of(pairs.into_iter(), &counts).unwrap_or(alpha))
        };
        let left: Vec<Option<f64>> = of_group.par_iter().map(without).collect();
        let known: Vec<f64> = left.iter().flatten().copied().collect();
        let (groups, mean) = (known.len() as f64, known.iter().sum::<f64>() / known.len() as f64);
        Ok(left.into_iter().map(|without| without.map(|without| alpha + (groups - 1.0) * (mean - without))).collect())
    }

    /// The 2.5th and the 97.5th percentile of α over items that are drawn anew. `None` where α is undefined, or
    /// undefined in more than one of twenty draws.
    pub fn bootstrap(&self, draw: Draw, resamples: usize) -> Option<[f64; 2]> {
        self.alpha().ok()?;
        // Items of which the same was said are alike, and are only counted.
        let mut alike: BTreeMap<Vec<usize>, u32> = BTreeMap::new();
        let mut pattern_of = Vec::new();
        for unit in self.units.iter().filter(|unit| unit.len() > 1) {
            let mut sorted = unit.clone();
            sorted.sort_unstable();
            let next = alike.len() as u32;
            pattern_of.push(*alike.entry(sorted).or_insert(next));
        }
        let mut patterns = vec![Vec::new(); alike.len()];
        alike.into_iter().for_each(|(unit, number)| patterns[number as usize] = unit);
        let mut sizes = vec![0_u32; patterns.len()];
        pattern_of.iter().for_each(|pattern| sizes[*pattern as usize] += 1);
        let all = pattern_of.len() as u32;
        let sums: Vec<PairSums> = patterns.iter().map(|unit| self.sums(unit)).collect();
        let all_observed = |distances: &[f64]| -> Vec<f64> {
            sums.iter()
                .map(|one| self.observed(one.pairs.iter().map(|(pair, weight)| (*pair, *weight)), distances))
                .collect()
        };
        // Ordinal distances go by what was drawn; others are the same in every resample.
        let fixed = (self.distance != Distance::Ordinal).then(|| {
            let distances = self.distances(&[]);
            (all_observed(&distances), distances)
        });
        let of_one = |number: usize| {
            let mut source = draw.stream(number as u64, 0).resampling();
            let mut times = vec![0_u32; sums.len()];
            if sums.len() <= FEW {
                // The items of each pattern in turn, among those that are left.
                let (mut drawn, mut left) = (all, all);
                for (times, of) in times.iter_mut().zip(&sizes) {
                    *times = source.below(drawn, f64::from(*of) / f64::from(left));
                    drawn -= *times;
                    left -= of;
                }
            } else {
                source.indices(pattern_of.len(), |at| times[pattern_of[at] as usize] += 1);
            }
            let mut counts = vec![0.0; self.values];
            for (unit, times) in patterns.iter().zip(&times) {
                unit.iter().for_each(|value| counts[*value] += f64::from(*times));
            }
            let of = |(observed, distances): &(Vec<f64>, Vec<f64>)| {
                let drawn = observed.iter().zip(&times).map(|(one, times)| one * f64::from(*times));
                self.alpha_from(drawn.sum(), distances, &counts).ok()
            };
            match &fixed {
                Some(fixed) => of(fixed),
                None => {
                    let distances = self.distances(&counts);
                    of(&(all_observed(&distances), distances))
                }
            }
        };
        let mut values: Vec<f64> = (0..resamples).into_par_iter().filter_map(of_one).collect();
        if values.len() * 20 < resamples * 19 {
            return None;
        }
        values.sort_by(f64::total_cmp);
        Some([0.025, 0.975].map(|share| percentile(&values, share)))
    }

    /// The share of the pairs of people who say the same, as the mean over items; `None` of an item with one label.
    pub fn agreement_of(&self, unit: &[usize]) -> Option<f64> {
        let said = unit.len();
        if said < 2 {
            return None;
        }
        let equal =
            |at: usize| unit.iter().enumerate().filter(|(other, one)| *other != at && **one == unit[at]).count();
        Some((0..said).map(equal).sum::<usize>() as f64 / (said * (said - 1)) as f64)
    }

    /// Gwet's AC1, which keeps its meaning where nearly everybody says the same (Gwet 2008).
    ///
    /// # Errors
    /// It is undefined.
    pub fn ac1(&self) -> Statistic {
        let agreements: Vec<f64> = self.units.iter().filter_map(|unit| self.agreement_of(unit)).collect();
        if agreements.is_empty() {
            return Err(NoValue::NoPairs);
        }
        let labelled: Vec<&Vec<usize>> = self.units.iter().filter(|unit| !unit.is_empty()).collect();
        let mut shares = vec![0.0; self.values];
        for unit in &labelled {
            unit.iter().for_each(|value| shares[*value] += 1.0 / unit.len() as f64);
        }
        shares.iter_mut().for_each(|share| *share /= labelled.len() as f64);
        let used = shares.iter().filter(|share| **share > 0.0).count();
        if used < 2 {
            return Err(NoValue::OneValue);
        }
        let observed = agreements.iter().sum::<f64>() / agreements.len() as f64;
        let expected = shares.iter().map(|share| share * (1.0 - share)).sum::<f64>() / (used - 1) as f64;
        Ok((observed - expected) / (1.0 - expected))
    }
}

/// The most patterns of which each is drawn as a whole; of more, each item is.
const FEW: usize = 16;

/// Linear between neighbours (Hyndman & Fan 1996, definition 7).
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    sorted[below] + part * (sorted[(below + 1).min(sorted.len() - 1)] - sorted[below])
}

/// The distance of two rankings of the same things: the share of the pairs that they order differently, where a tie in
/// one of them alone counts one half (Kendall's τ distance; Fagin et al. 2004).
pub fn kendall_distance(one: &[f64], other: &[f64]) -> f64 {
    let (mut sum, mut pairs) = (0.0, 0.0);
    for first in 0..one.len() {
        for second in first + 1..one.len() {
            let sign = |ranks: &[f64]| ranks[first].partial_cmp(&ranks[second]).map_or(0, |order| order as i8);
            sum += f64::from((sign(one) - sign(other)).abs()) / 2.0;
            pairs += 1.0;
        }
    }
    if pairs > 0.0 { sum / pairs } else { 0.0 }
}

/// Kendall's coefficient of concordance of several rankings of the same things, with its correction for ties (Kendall &
/// Gibbons 1990).
///
/// # Errors
/// It is undefined.
pub fn kendall_w(rankings: &[Vec<f64>]) -> Statistic {
    let (people, things) = (rankings.len() as f64, rankings.first().map_or(0, Vec::len));
    if rankings.len() < 2 || things < 2 {
        return Err(NoValue::NoPairs);
    }
    let midranks: Vec<Vec<f64>> = rankings.iter().map(|ranks| midranks(ranks)).collect();
    let sums: Vec<f64> = (0..things).map(|thing| midranks.iter().map(|ranks| ranks[thing]).sum()).collect();
    let mean = sums.iter().sum::<f64>() / things as f64;
    let spread: f64 = sums.iter().map(|sum| (sum - mean).powi(2)).sum();
    let n = things as f64;
    let ties = |ranks: &Vec<f64>| -> f64 {
        let mut counts: BTreeMap<u64, f64> = BTreeMap::new();
        ranks.iter().for_each(|rank| *counts.entry(rank.to_bits()).or_default() += 1.0);
        counts.values().map(|count| count.powi(3) - count).sum()
    };
    let tied: f64 = midranks.iter().map(ties).sum();
    let most = people * people * (n.powi(3) - n) - people * tied;
    if most <= 0.0 { Err(NoValue::NoRanks) } else { Ok(12.0 * spread / most) }
}

/// Ranks from 1, ties sharing the mean of their places.
fn midranks(ranks: &[f64]) -> Vec<f64> {
    let place = |rank: &f64| {
        let below = ranks.iter().filter(|other| *other < rank).count() as f64;
        let equal = ranks.iter().filter(|other| *other == rank).count() as f64;
        below + f64::midpoint(equal, 1.0)
    };
    ranks.iter().map(place).collect()
}
