//! Numbers gathered by cluster, from which every form starts.

use super::random::Hash;
use std::collections::BTreeMap;

/// Numbers of items gathered by cluster: a cluster has the sum of its values and its number of items (its weight).
/// The estimate is the sum of sums over the sum of weights. Without groups every item is a cluster of weight 1.
///
/// A value that is not finite empties the whole sample: nothing can be said about a table with a hole in it, and an
/// empty sample says exactly that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    sums: Vec<f64>,
    weights: Vec<f64>,
    items: usize,
}

impl Sample {
    pub fn of_items(values: &[f64]) -> Sample {
        if values.iter().any(|value| !value.is_finite()) {
            return Sample::default();
        }
        // Adding zero turns -0 into 0, so that equal tables have equal bits.
        let sums = values.iter().map(|value| value + 0.0).collect();
        Sample { sums, weights: vec![1.0; values.len()], items: values.len() }
    }

    /// `groups[i]` names the cluster of item `i`. Clusters are kept in the order of their names.
    pub fn of_groups(values: &[f64], groups: &[usize]) -> Sample {
        assert_eq!(values.len(), groups.len(), "every item needs the name of its group");
        let mut clusters: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        for (value, group) in values.iter().zip(groups) {
            let cluster = clusters.entry(*group).or_insert((0.0, 0.0));
            cluster.0 += value;
            cluster.1 += 1.0;
        }
        if clusters.values().any(|(sum, _)| !sum.is_finite()) {
            return Sample::default();
        }
        let (sums, weights) = clusters.into_values().unzip();
        Sample { sums, weights, items: values.len() }
    }

    /// The estimate; zero for an empty sample, about which nothing is ever claimed.
    pub fn mean(&self) -> f64 {
        mean_of(&self.sums, &self.weights)
    }

    pub fn items(&self) -> usize {
        self.items
    }

    pub fn clusters(&self) -> usize {
        self.sums.len()
    }

    /// Linearised standard error of a ratio over clusters (Cochran 1977, Sampling Techniques, eq. 6.13, without the
    /// finite population correction); for weights of 1 the usual s / sqrt(n). `None` with fewer than two clusters.
    pub fn standard_error(&self) -> Option<f64> {
        (self.clusters() >= 2).then(|| Moments::of(&self.sums, &self.weights).standard_error)
    }

    pub(super) fn sums(&self) -> &[f64] {
        &self.sums
    }

    pub(super) fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Whether any cluster holds more than one item.
    pub(super) fn is_clustered(&self) -> bool {
        self.weights.iter().any(|weight| *weight > 1.0)
    }

    /// The seed of the draws, from the bits of sums and weights in order and from nothing else: the same table always
    /// draws the same numbers.
    pub(super) fn seed(&self) -> u64 {
        let mut hash = Hash::new();
        for (sum, weight) in self.sums.iter().zip(&self.weights) {
            hash.add(sum.to_bits());
            hash.add(weight.to_bits());
        }
        hash.finish()
    }

    /// The difference below which all is rounding: sums of a million numbers are good to about 1e-13 of their size.
    pub(super) fn rounding(&self) -> f64 {
        let largest = self.sums.iter().zip(&self.weights).map(|(sum, weight)| (sum / weight).abs()).fold(0.0, f64::max);
        1e-12 * largest
    }
}

/// The moments that a t statistic over clusters needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub clusters: usize,
    pub estimate: f64,
    pub standard_error: f64,
    /// The skewness of the residuals of the clusters, with divisor n in all moments; zero when they do not vary.
    pub skewness: f64,
}

impl Moments {
    pub fn of(sums: &[f64], weights: &[f64]) -> Moments {
        let clusters = sums.len();
        let count = clusters as f64;
        let estimate = mean_of(sums, weights);
        let residuals = || sums.iter().zip(weights).map(|(sum, weight)| sum - estimate * weight);
        // Powers are taken of numbers up to one, so that they neither overflow nor vanish.
        let largest = residuals().fold(0.0, |largest: f64, residual| largest.max(residual.abs()));
        if largest == 0.0 {
            return Moments { clusters, estimate, standard_error: 0.0, skewness: 0.0 };
        }
        if !largest.is_finite() {
            return Moments { clusters, estimate, standard_error: f64::INFINITY, skewness: 0.0 };
        }
        let (mut squares, mut cubes) = (0.0, 0.0);
        for residual in residuals() {
            let part = residual / largest;
            squares += part * part;
            cubes += part * part * part;
        }
        let freedom = if clusters >= 2 { count - 1.0 } else { 1.0 };
        let standard_error = largest * (squares * (count / freedom)).sqrt() / weights.iter().sum::<f64>();
        let spread = squares / count;
        Moments { clusters, estimate, standard_error, skewness: cubes / count / (spread * spread.sqrt()) }
    }

    /// The moments of the same numbers with opposite signs.
    pub fn mirrored(self) -> Moments {
        Moments { estimate: -self.estimate, skewness: -self.skewness, ..self }
    }
}

fn mean_of(sums: &[f64], weights: &[f64]) -> f64 {
    if sums.is_empty() {
        return 0.0;
    }
    // Two infinities of opposite sign cannot meet here: every sum is finite, and a total that overflows is clamped.
    let total: f64 = sums.iter().sum::<f64>();
    let total = if total.is_nan() { 0.0 } else { total.clamp(f64::MIN, f64::MAX) };
    total / weights.iter().sum::<f64>()
}
