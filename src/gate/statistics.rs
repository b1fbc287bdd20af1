//! The statistics behind `with 95% confidence`: bounds and p-values for the claim that a quantity is above, or below, a
//! threshold. Everything is one-sided at a level `alpha`.
//!
//! Nothing is kept between calls, and the same table gives the same bits on every machine and with any number of
//! threads.
//!
//! p-values and bounds are dual: `lower > threshold` says the same as `p_above <= alpha`, and `upper < threshold` the
//! same as `p_below <= alpha`. No number that is returned from here is NaN.

pub use glance::{Glance, glance_mean, glance_share, glance_win_rate};
pub use mean::mean;
pub use percentile::percentile;
pub use sample::Sample;
pub use share::{share, win_rate, wins_needed};

mod distributions;
mod glance;
mod mean;
mod percentile;
mod random;
mod sample;
mod share;

#[cfg(test)]
pub(super) mod tests;

/// The version of these statistics. It changes whenever the same table could give other numbers than before.
pub const VERSION: u32 = 1;

/// The number of resamples that a gate asks for.
pub const RESAMPLES: usize = 10_000;

/// The seed of the draws over these numbers, for [`percentile`].
pub fn seed(numbers: impl Iterator<Item = f64>) -> u64 {
    let mut hash = random::Hash::new();
    numbers.for_each(|number| hash.add(number.to_bits()));
    hash.finish()
}

/// The evidence of a sample about one quantity against one threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inference {
    /// With confidence 1 - alpha the quantity is above this; minus infinity when nothing can be said.
    pub lower: f64,
    /// With confidence 1 - alpha the quantity is below this; plus infinity when nothing can be said.
    pub upper: f64,
    /// The p-value of "not above the threshold": the chance of a sample like this one if it were so.
    pub p_above: f64,
    /// The p-value of "not below the threshold".
    pub p_below: f64,
    pub form: Form,
}

impl Inference {
    /// The answer when nothing can be said.
    fn nothing(form: Form) -> Inference {
        Inference { lower: f64::NEG_INFINITY, upper: f64::INFINITY, p_above: 1.0, p_below: 1.0, form }
    }
}

/// The method that the numbers of an [`Inference`] come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A mean: the more careful of the sign-flip test and the skewness-corrected t test.
    SignFlipSkewed,
    /// A share of independent items: the exact binomial bound.
    ClopperPearson,
    /// A share of clustered items: the binomial bound with the effective number of independent items.
    KornGraubard,
    /// A win rate of independent pairs: the exact sign test, ties dropped.
    SignTest,
    /// A win rate of clustered pairs: as a mean over the clusters.
    ClusteredWins,
    /// Any other statistic: the percentile bootstrap over clusters.
    Percentile,
}

impl Form {
    /// A short name for explanations.
    pub fn name(self) -> &'static str {
        match self {
            Form::SignFlipSkewed => "sign flips and skewed t",
            Form::ClopperPearson => "Clopper-Pearson",
            Form::KornGraubard => "Korn-Graubard",
            Form::SignTest => "sign test",
            Form::ClusteredWins => "win rate over clusters",
            Form::Percentile => "percentile bootstrap",
        }
    }
}

/// The level that is used: NaN says nothing, and above one half the two bounds would cross.
fn usable_level(alpha: f64) -> f64 {
    if alpha.is_nan() { 0.0 } else { alpha.clamp(0.0, 0.5) }
}
