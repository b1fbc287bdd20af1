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
    /// The skewness that counts instead for the claims of "above" and of "below": see [`Moments::balanced_at`].
    pub balanced: SkewnessAtTie,
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
            return Moments {
                clusters,
                estimate,
                standard_error: 0.0,
                skewness: 0.0,
                balanced: SkewnessAtTie::default(),
            };
        }
        if !largest.is_finite() {
            return Moments {
                clusters,
                estimate,
                standard_error: f64::INFINITY,
                skewness: 0.0,
                balanced: SkewnessAtTie::default(),
            };
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
        let skewness = cubes / count / (spread * spread.sqrt());
        Moments { clusters, estimate, standard_error, skewness, balanced: SkewnessAtTie::default() }
    }

    /// Adds the skewness that the clusters would have if they were no better than `tie`: with those above and those below
    /// it weighed so that both sides balance. Where wins are many and losses few, the losses are a tail to the left
    /// for no other reason than that the claim is true; what is left here is the tail that the sizes alone show.
    ///
    /// It holds where the sizes are known: where they repeat (ratings, groups of right and wrong answers), and no loss
    /// seen is larger than the largest win. Of sizes that all differ the tail may not have been drawn yet.
    pub fn balanced_at(mut self, tie: f64, sums: &[f64], weights: &[f64]) -> Moments {
        let apart: Vec<f64> = sums.iter().zip(weights).map(|(sum, weight)| sum - tie * weight).collect();
        let mut sizes: Vec<f64> = apart.iter().map(|apart| apart.abs()).collect();
        sizes.sort_unstable_by(f64::total_cmp);
        let largest = sizes.last().copied().unwrap_or(0.0);
        sizes.dedup_by(|one, other| (*one - *other).abs() <= 1e-9 * largest);
        if 2 * sizes.len() > apart.len() || !largest.is_finite() {
            return self;
        }
        let mut sides = [TieSide::default(); 2];
        for apart in &apart {
            sides[usize::from(*apart > 0.0)].add(apart.abs() / largest);
        }
        let [below, above] = sides;
        if below.sum > 0.0 && above.sum > 0.0 {
            let of = |part: fn(&TieSide) -> f64, sign: f64| below.sum * part(&above) + sign * above.sum * part(&below);
            let (mass, spread) = (of(|side| side.count, 1.0), of(|side| side.squares, 1.0));
            let (spread, cubes) = (spread / mass, of(|side| side.cubes, -1.0) / mass);
            let skewness = cubes / (spread * spread.sqrt());
            let if_larger =
                |wins: &TieSide, losses: &TieSide| (losses.largest <= wins.largest + 1e-9).then_some(skewness);
            self.balanced = SkewnessAtTie { above: if_larger(&above, &below), below: if_larger(&below, &above) };
        }
        self
    }

    /// The moments of the same numbers with opposite signs.
    pub fn mirrored(self) -> Moments {
        let SkewnessAtTie { above, below } = self.balanced;
        let balanced = SkewnessAtTie { above: below.map(|skewness| -skewness), below: above.map(|skewness| -skewness) };
        Moments { estimate: -self.estimate, skewness: -self.skewness, balanced, ..self }
    }
}

/// The clusters on one side of a tie.
#[derive(Clone, Copy, Default)]
struct TieSide {
    count: f64,
    sum: f64,
    squares: f64,
    cubes: f64,
    largest: f64,
}

/// The skewness of [`Moments::balanced_at`], for each of the two claims where it holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SkewnessAtTie {
    pub above: Option<f64>,
    below: Option<f64>,
}

impl TieSide {
    fn add(&mut self, distance: f64) {
        self.count += 1.0;
        self.sum += distance;
        self.squares += distance * distance;
        self.cubes += distance * distance * distance;
        self.largest = self.largest.max(distance);
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
