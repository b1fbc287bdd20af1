//! Accuracy and calibration of a reward model on held-out preferences.

use super::{mean, same_length, sigmoid};
use serde::Serialize;

/// Share of pairs in which the chosen answer has the higher score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Equal scores count as wrong.
    pub strict: f64,
    /// Equal scores count one half, as a coin would score.
    pub with_ties: f64,
}

/// Accuracy from Δ = score of the chosen − score of the rejected answer.
pub fn accuracy(deltas: &[f64]) -> Accuracy {
    let share = |tie: f64| {
        let rightness = |delta: &f64| if *delta == 0.0 { tie } else { f64::from(u8::from(*delta > 0.0)) };
        mean(&deltas.iter().map(rightness).collect::<Vec<_>>())
    };
    Accuracy { strict: share(0.0), with_ties: share(0.5) }
}

/// Confidence of the model in its own preference, σ(|Δ|), and whether it is right: 1, 0, or ½ for a tie. The *chosen*
/// answer is always the preferred one, so the calibration of σ(Δ) itself would measure nothing.
pub fn confidence(delta: f64) -> (f64, f64) {
    (sigmoid(delta.abs()), if delta == 0.0 { 0.5 } else { f64::from(u8::from(delta > 0.0)) })
}

/// (p − outcome)² (Brier 1950, for an event that happens, 1, or not, 0).
pub fn brier(probability: f64, outcome: f64) -> f64 {
    (probability - outcome).powi(2)
}

/// LatePredictions and observed frequency of the probabilities in (low, high]; the first row includes 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReliabilityRow {
    pub low: f64,
    pub high: f64,
    pub count: usize,
    /// Mean probability.
    pub predicted: f64,
    /// Share of the outcomes.
    pub happened: f64,
}

/// A reliability table over equal bins of [0, 1]; empty bins have no row.
pub fn reliability(probabilities: &[f64], outcomes: &[f64], bins: usize) -> Vec<ReliabilityRow> {
    same_length(&[probabilities, outcomes]);
    let mut sums = vec![(0, 0.0, 0.0); bins];
    let edge = |bin: usize| bin as f64 / bins as f64;
    for (p, y) in probabilities.iter().zip(outcomes) {
        // Compared with the edges: p·bins is now and then above a whole number where p is on an edge.
        let bin = (1..bins).take_while(|bin| *p > edge(*bin)).count();
        let (count, predicted, happened) = &mut sums[bin];
        *count += 1;
        *predicted += p;
        *happened += y;
    }
    let row = |(bin, (count, predicted, happened)): (usize, (usize, f64, f64))| ReliabilityRow {
        low: edge(bin),
        high: edge(bin + 1),
        count,
        predicted: predicted / count as f64,
        happened: happened / count as f64,
    };
    sums.into_iter().enumerate().filter(|(_, (count, ..))| *count > 0).map(row).collect()
}

/// Expected calibration error: mean |predicted − happened| of the rows, by their counts (Guo et al. 2017, eq. 3).
pub fn calibration_error(rows: &[ReliabilityRow]) -> f64 {
    let total = rows.iter().map(|row| row.count).sum::<usize>() as f64;
    rows.iter().map(|row| row.count as f64 * (row.predicted - row.happened).abs()).sum::<f64>() / total
}

/// The T for which σ(Δ/T) has the lowest log loss: above 1 for an overconfident model (Guo et al. 2017, §4.2). `None`
/// if no finite T > 0 is best: all pairs are right, or at least as many are wrong as right.
pub fn temperature(deltas: &[f64]) -> Option<f64> {
    let is_wrong_once = deltas.iter().any(|delta| *delta < 0.0);
    let scale = mean(&deltas.iter().map(|delta| delta.abs()).collect::<Vec<_>>());
    let leans_right = mean(deltas) > 0.0;
    if !(is_wrong_once && leans_right && scale.is_finite()) {
        return None;
    }
    // The log loss is convex in 1/T. Its derivative rises from below 0 at 1/T = 0 to above 0: bisect.
    let gradient = |inverse: f64| -deltas.iter().map(|delta| delta * sigmoid(-delta * inverse)).sum::<f64>();
    let (mut low, mut high) = (0.0, 1.0 / scale);
    while gradient(high) < 0.0 {
        (low, high) = (high, 2.0 * high);
    }
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return Some(1.0 / middle);
        }
        if gradient(middle) < 0.0 { low = middle } else { high = middle }
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden::{close, group, is_gradient, number, row};
    use super::super::{PairLoss, softplus};
    use super::*;

    fn scores() -> [Vec<f64>; 3] {
        let golden = group("reward_model");
        ["chosen", "rejected", "margin"].map(|name| row(&golden[name]))
    }

    #[test]
    fn accuracy_is_the_golden_one() {
        let golden = group("reward_model");
        let [chosen, rejected, _] = scores();
        let deltas: Vec<f64> = chosen.iter().zip(&rejected).map(|(chosen, rejected)| chosen - rejected).collect();
        let [strict, with_ties] = ["accuracy_strict", "accuracy_half_ties"].map(|name| number(&golden[name]));
        assert_eq!(accuracy(&deltas), Accuracy { strict, with_ties });
    }

    #[test]
    fn calibration_is_the_golden_one() {
        let golden = group("calibration");
        let [p, y] = ["p", "y"].map(|name| row(&golden[name]));
        let rows = reliability(&p, &y, 5);
        let table = golden["bins"].as_array().unwrap();
        assert_eq!(rows.len(), table.len());
        for (ours, theirs) in rows.iter().zip(table) {
            let ours = [ours.low, ours.high, ours.count as f64, ours.predicted, ours.happened];
            close(&ours, &["lo", "hi", "n", "conf", "acc"].map(|name| number(&theirs[name])), 1e-15);
        }
        let of_each =
            |cost: fn(f64, f64) -> f64| mean(&p.iter().zip(&y).map(|(p, y)| cost(*p, *y)).collect::<Vec<_>>());
        // The log loss of a probability is what the score that stands for it loses.
        let log_loss = of_each(|p, y| PairLoss::BradleyTerry.of((2.0 * y - 1.0) * (p / (1.0 - p)).ln(), 0.0, 0.0).0);
        let ours = [calibration_error(&rows), of_each(brier), log_loss];
        close(&ours, &["ece_5bins", "brier", "logloss"].map(|name| number(&golden[name])), 1e-15);
    }

    #[test]
    fn a_probability_on_an_edge_is_in_the_bin_below() {
        for bins in [5, 10, 15, 100] {
            for bin in 1..=bins {
                let edge = bin as f64 / bins as f64;
                assert_eq!(reliability(&[edge], &[1.0], bins)[0].high, edge);
            }
        }
        assert!((0.07_f64 * 100.0).ceil() > 7.0, "what the edges are compared for");
        assert_eq!(reliability(&[0.0], &[1.0], 5)[0].low, 0.0);
    }

    #[test]
    fn a_model_is_as_sure_of_a_wrong_preference_as_of_a_right_one() {
        let expected = 2.0_f64.exp() / (1.0 + 2.0_f64.exp());
        for (delta, right) in [(2.0, 1.0), (-2.0, 0.0)] {
            let (confidence, outcome) = confidence(delta);
            close(&[confidence, outcome], &[expected, right], 1e-15);
        }
        assert_eq!(confidence(0.0), (0.5, 0.5));
    }

    #[test]
    fn the_temperature_is_where_certainty_equals_accuracy() {
        // Three of four are right at Δ = ±d: σ(d/T) must be ¾, so T = d / ln 3.
        for d in [1e-6, 1.0, 5.0, 3e4] {
            let fitted = temperature(&[d, d, -d, d]).unwrap();
            close(&[fitted * 3.0_f64.ln() / d], &[1.0], 1e-12);
        }
        let deltas = [0.4, 2.5, -0.7, 1.9, -0.1, 3.3];
        let fitted = temperature(&deltas).unwrap();
        let loss = |t: f64| deltas.iter().map(|delta| softplus(-delta / t)).sum::<f64>();
        is_gradient(loss, fitted, 0.0);
        assert!(loss(fitted) < loss(1.01 * fitted) && loss(fitted) < loss(0.99 * fitted));
    }

    #[test]
    fn no_temperature_is_best_for_a_model_without_errors_or_without_skill() {
        for deltas in [&[1.0, 2.0][..], &[1.0, -1.0], &[-1.0], &[0.0], &[], &[1.0, -0.5, f64::NAN]] {
            assert_eq!(temperature(deltas), None, "{deltas:?}");
        }
    }
}
