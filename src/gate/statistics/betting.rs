//! The inference about a mean of numbers with known bounds, without any assumption on their shape: a game against the
//! claim that the mean is not above the threshold, in which one bets on each number before it is seen (Waudby-Smith &
//! Ramdas 2024, JRSS B 86:1). If the claim is true no betting makes money, so that it ever multiplies what one has by
//! 1/α with a chance of at most α. It holds where harm is rare and large, which forms without bounds do not see.

use super::random::Stream;
use super::sample::Sample;
use super::{Form, Inference, usable_level};
use libm::log;
use stages::stage::Bounds;

/// The part of what could be lost at most that is bet at most.
const BOLDEST: f64 = 0.75;

/// The mean against a threshold, of items that all lie within the bounds. The order of the game is drawn by
/// the number of items alone, which lie in the order of their ids. Bets are the best ones at the level `tuned_for`; the p-value is valid whatever it is.
///
/// Groups are bet on one by one, by their sums: the mean over all items is what is weighed, and sizes are taken as given.
pub fn betting(sample: &Sample, bounds: Bounds, threshold: f64, alpha: f64, tuned_for: f64) -> Inference {
    let form = Form::Betting;
    let width = bounds.high - bounds.low;
    if sample.clusters() < 2 || threshold.is_nan() || !(width > 0.0 && width.is_finite()) {
        return Inference::nothing(form);
    }
    let (level, tuned_for) = (usable_level(alpha), usable_level(tuned_for).max(f64::MIN_POSITIVE));
    let game = Game::of(sample, bounds, tuned_for);
    let mirrored = game.mirrored();
    let at = (threshold - bounds.low) / width;
    Inference {
        lower: bounds.low + width * game.lower(level),
        upper: bounds.high - width * mirrored.lower(level),
        p_above: game.p_above(at),
        p_below: mirrored.p_above(1.0 - at),
        form,
    }
}

/// The numbers on the scale from 0 to 1, in the order of the game.
struct Game {
    rounds: Vec<Round>,
}

#[derive(Clone, Copy)]
struct Round {
    /// The sum of a group over the size of the largest one; of single items, their number.
    sum: f64,
    /// The size of the group over that of the largest.
    weight: f64,
    /// The best bet for what was seen before.
    bet: f64,
}

impl Game {
    fn of(sample: &Sample, bounds: Bounds, tuned_for: f64) -> Game {
        let largest = sample.weights().iter().copied().fold(1.0, f64::max);
        let width = bounds.high - bounds.low;
        let round = |(sum, weight): (&f64, &f64)| {
            // Rounding of a sum must not leave the bounds.
            let sum = ((sum - bounds.low * weight) / width).clamp(0.0, *weight);
            Round { sum: sum / largest, weight: weight / largest, bet: 0.0 }
        };
        let mut rounds: Vec<Round> = sample.sums().iter().zip(sample.weights()).map(round).collect();
        // By their number alone: an order that the numbers drew would be another one for each spelling and threshold.
        let stream = Stream::of(rounds.len() as u64, 0);
        shuffle(&mut rounds, stream);
        // The variance and the mean begin with one made-up round of 1/4 and 1/2.
        let goal = -2.0 * log(tuned_for) / rounds.len() as f64;
        let (mut squares, mut sums, mut weights) = (0.25, 0.5, 1.0);
        for (before, round) in rounds.iter_mut().enumerate() {
            round.bet = (goal * (before + 1) as f64 / squares).sqrt();
            sums += round.sum;
            weights += round.weight;
            let residual = round.sum - round.weight * sums / weights;
            squares += residual * residual;
        }
        Game { rounds }
    }

    fn mirrored(&self) -> Game {
        let rounds = self.rounds.iter().map(|round| Round { sum: round.weight - round.sum, ..*round });
        Game { rounds: rounds.collect() }
    }

    /// The largest factor by which one's money ever grew, betting that the mean is above this. It falls where the mean
    /// rises: each bet does.
    fn most(&self, mean: f64) -> f64 {
        let boldest = BOLDEST / mean;
        let (mut money, mut most) = (1.0_f64, 1.0_f64);
        for round in &self.rounds {
            money *= 1.0 + round.bet.min(boldest) * (round.sum - mean * round.weight);
            most = most.max(money);
        }
        most
    }

    fn p_above(&self, mean: f64) -> f64 {
        match mean {
            mean if mean < 0.0 => 0.0,
            mean if mean >= 1.0 => 1.0,
            mean => 1.0 / self.most(mean),
        }
    }

    /// The bound, dual to `p_above`.
    fn lower(&self, alpha: f64) -> f64 {
        let says_nothing = |mean: f64| 1.0 / self.most(mean) > alpha;
        if says_nothing(0.0) {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, 1.0);
        // To a precision that no explanation prints.
        for _ in 0..40 {
            let middle = 0.5 * (low + high);
            if says_nothing(middle) { high = middle } else { low = middle }
        }
        low
    }
}

/// Fisher & Yates (1938).
fn shuffle(rounds: &mut [Round], mut stream: Stream) {
    for last in (1..rounds.len()).rev() {
        let [other, _] = stream.two_indices(last as u32 + 1);
        rounds.swap(last, other);
    }
}
