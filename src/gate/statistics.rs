//! The statistics behind `with 95% confidence`: bounds and p-values for the claim that a quantity is above, or below, a
//! threshold. Everything is one-sided at a level `alpha`.
//!
//! Nothing is kept between calls, and the same table gives the same bits on every machine and with any number of
//! threads.
//!
//! p-values and bounds are dual: `lower > threshold` says the same as `p_above <= alpha`, and `upper < threshold` the
//! same as `p_below <= alpha`. No number that is returned from here is NaN.

pub use anytime::anytime_win_rate;
pub use betting::betting;
pub use between::{Spread, sample_deviation, sample_mean};
pub use distributions::normal_above;
pub use glance::{Glance, glance_mean, glance_share, glance_win_rate};
pub use mean::{differing, least_differing, mean};
pub use paired::paired;
pub use percentile::percentile;
pub use sample::Sample;
pub use selection::{Contest, selection_bias};
pub use share::{share, win_rate, wins_needed};
pub use spending::GrowingTable;

mod anytime;
mod betting;
mod between;
mod distributions;
mod glance;
mod mean;
mod paired;
mod percentile;
mod random;
mod sample;
mod selection;
mod share;
mod spending;

#[cfg(test)]
pub(super) mod tests;

/// The version of these statistics. It changes whenever the same table could give other numbers than before.
pub const VERSION: u32 = 2;

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
    /// Both in one: the level is kept wherever one of them keeps it. The form stays.
    fn more_careful(self, other: &Inference) -> Inference {
        Inference {
            lower: self.lower.min(other.lower),
            upper: self.upper.max(other.upper),
            p_above: self.p_above.max(other.p_above),
            p_below: self.p_below.max(other.p_below),
            form: self.form,
        }
    }

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
    /// A mean of independent differences of three values, as of a paired metric of 0 and 1: the exact test of McNemar.
    McNemar,
    /// A share of independent items: the exact binomial bound.
    ClopperPearson,
    /// A share of clustered items: the more careful of the binomial bound with the effective number of independent items
    /// and the mean over the clusters.
    KornGraubard,
    /// A win rate of independent pairs: the exact sign test, ties dropped.
    SignTest,
    /// A win rate of independent pairs that may be looked at again and again: e-values, ties dropped.
    SignTestByEValues,
    /// A win rate of clustered pairs: as a mean over the clusters.
    ClusteredWins,
    /// A mean of numbers with declared bounds: by betting against the claim.
    Betting,
    /// A smooth function of means, as a product of two: its pseudo-values of the jackknife, as a mean.
    Jackknife,
    /// Any other statistic: the percentile bootstrap over clusters.
    Percentile,
    /// A mean of a few stages that are taken to be normal.
    Student,
    /// The difference of two such means.
    Welch,
}

impl Form {
    /// A short name for explanations.
    pub fn name(self) -> &'static str {
        match self {
            Form::SignFlipSkewed => "sign flips and skewed t",
            Form::McNemar => "exact McNemar test",
            Form::ClopperPearson => "Clopper-Pearson",
            Form::KornGraubard => "Korn-Graubard and sign flips",
            Form::SignTest => "sign test",
            Form::SignTestByEValues => "sign test by e-values, valid after any number of looks",
            Form::ClusteredWins => "win rate over clusters",
            Form::Betting => "betting test",
            Form::Jackknife => "jackknife with sign flips and skewed t",
            Form::Percentile => "percentile bootstrap",
            Form::Student => "t",
            Form::Welch => "Welch's t",
        }
    }
}

impl Form {
    /// The number of items, or of groups, from which on the level was measured; `None` for exact forms, which need none,
    /// and for those without a promise.
    pub fn enough(self, is_grouped: bool) -> Option<usize> {
        match self {
            Form::SignFlipSkewed | Form::Jackknife if !is_grouped => Some(30),
            Form::SignFlipSkewed | Form::Jackknife | Form::ClusteredWins => Some(40),
            Form::KornGraubard => Some(10),
            Form::McNemar | Form::ClopperPearson | Form::SignTest | Form::SignTestByEValues => None,
            Form::Betting | Form::Percentile | Form::Student | Form::Welch => None,
        }
    }

    /// Whether it is about means of numbers without bounds, where harm that was not seen can be of any size.
    pub fn is_of_means(self) -> bool {
        matches!(self, Form::SignFlipSkewed | Form::Jackknife)
    }
}

/// The largest share of harmed items that a sample of so many shows none of with the chance `alpha`: no test of a mean
/// excludes harm to fewer (Bahadur & Savage 1956).
pub fn unseen_harm(items: usize, alpha: f64) -> f64 {
    1.0 - libm::pow(alpha, 1.0 / items as f64)
}

/// The least number of items of which harm to this share of all leaves none unharmed but with the chance `alpha`.
pub fn items_to_see(share: f64, alpha: f64) -> usize {
    (libm::log(alpha) / libm::log1p(-share)).ceil() as usize
}

/// The level that is used: NaN says nothing, and above one half the two bounds would cross.
fn usable_level(alpha: f64) -> f64 {
    if alpha.is_nan() { 0.0 } else { alpha.clamp(0.0, 0.5) }
}
