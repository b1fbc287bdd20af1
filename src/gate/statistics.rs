//! The confidence behind gate rules: how sure a table of numbers makes us that a quantity is above, or below, a
//! threshold. Everything is one-sided at a level `alpha`.
//!
//! It does not know what the numbers mean, which rule asked, or what follows from the answer; it reads no files, keeps
//! nothing between calls, and gives the same bits for the same table on every machine and any number of threads.
//!
//! p-values and bounds are dual: `lower > threshold` says the same as `p_above <= alpha`, and `upper < threshold` the
//! same as `p_below <= alpha`. No number that leaves here is NaN.

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
pub mod simulation;

#[cfg(test)]
mod tests;

/// Changes whenever the same table could give other numbers than before.
pub const VERSION: u32 = 1;

/// How often a form that resamples does so for a gate.
pub const RESAMPLES: usize = 10_000;

/// Where the draws over these numbers start, for [`percentile`].
pub fn seed(numbers: impl Iterator<Item = f64>) -> u64 {
    let mut hash = random::Hash::new();
    numbers.for_each(|number| hash.add(number.to_bits()));
    hash.finish()
}

/// What is known about one quantity against one threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighed {
    /// With confidence 1 - alpha the quantity is above this; minus infinity when nothing can be said.
    pub lower: f64,
    /// With confidence 1 - alpha the quantity is below this; plus infinity when nothing can be said.
    pub upper: f64,
    /// How easily a quantity that is not above the threshold would look like this one.
    pub p_above: f64,
    /// How easily a quantity that is not below the threshold would look like this one.
    pub p_below: f64,
    pub form: Form,
}

impl Weighed {
    /// The answer when nothing can be said.
    fn nothing(form: Form) -> Weighed {
        Weighed { lower: f64::NEG_INFINITY, upper: f64::INFINITY, p_above: 1.0, p_below: 1.0, form }
    }
}

/// How the numbers of a [`Weighed`] were come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A mean: the sign-flip test and the skewness-corrected t test together, the more careful of the two.
    SignFlipSkewed,
    /// A share of independent items: the exact binomial bound.
    ClopperPearson,
    /// A share of clustered items: the binomial bound with the number of independent items they are worth.
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

/// The level really used: a level that is no number says nothing, and above one half the two bounds would cross.
fn usable_level(alpha: f64) -> f64 {
    if alpha.is_nan() { 0.0 } else { alpha.clamp(0.0, 0.5) }
}
