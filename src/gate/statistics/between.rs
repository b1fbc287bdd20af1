//! The mean of a few numbers that are taken to be normal, as the results of the same training by other seeds: Student's t
//! (1908), and Welch's (1947, Biometrika 34) for the difference of two such means.

use super::distributions::{student_above, student_quantile};
use super::{Form, Inference};

pub fn sample_mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

fn sample_variance(numbers: &[f64]) -> f64 {
    let mean = sample_mean(numbers);
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    squares / (numbers.len() as f64 - 1.0)
}

/// The standard deviation of a sample; not a number of a single one.
pub fn sample_deviation(numbers: &[f64]) -> f64 {
    sample_variance(numbers).sqrt()
}

/// A mean and how well it is known.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub mean: f64,
    /// The square of the standard error.
    variance: f64,
    degrees: f64,
    form: Form,
}

/// Below this share of the numbers a spread is rounding.
const ROUNDING: f64 = 1e-12;

impl Spread {
    /// `None` for fewer than two numbers.
    pub fn of(numbers: &[f64]) -> Option<Spread> {
        let count = numbers.len() as f64;
        if numbers.len() < 2 {
            return None;
        }
        let (mean, variance) = (sample_mean(numbers), sample_variance(numbers) / count);
        Some(Spread { mean, variance, degrees: count - 1.0, form: Form::Student })
    }

    /// A number without any spread.
    pub fn exactly(mean: f64) -> Spread {
        Spread { mean, variance: 0.0, degrees: f64::INFINITY, form: Form::Student }
    }

    /// The difference of two that have nothing to do with each other, with the degrees of freedom of Welch and
    /// Satterthwaite.
    pub fn minus(self, other: Spread) -> Spread {
        let variance = self.variance + other.variance;
        let share = |one: Spread| one.variance * one.variance / one.degrees;
        let degrees = variance * variance / (share(self) + share(other));
        let form = if self.variance > 0.0 && other.variance > 0.0 { Form::Welch } else { Form::Student };
        Spread { mean: self.mean - other.mean, variance, degrees, form }
    }

    pub fn has_no_error(&self) -> bool {
        self.variance.sqrt() <= ROUNDING * self.mean.abs().max(f64::MIN_POSITIVE)
    }

    /// One-sided bounds of the mean at this level, and the p-values of "not above 0" and "not below 0".
    pub fn inference(&self, alpha: f64) -> Inference {
        let Spread { mean, variance, degrees, form } = *self;
        let (error, t) = (variance.sqrt(), mean / variance.sqrt());
        let half_width = student_quantile(alpha, degrees) * error;
        Inference {
            lower: mean - half_width,
            upper: mean + half_width,
            p_above: student_above(t, degrees),
            p_below: student_above(-t, degrees),
            form,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(one: f64, other: f64) {
        assert!((one - other).abs() <= 1e-9 * other.abs().max(1e-3), "{one} is not {other}");
    }

    #[test]
    fn stages_that_agree_to_the_last_bit_say_nothing_of_another() {
        assert!(Spread::of(&[0.3, 0.1 + 0.2]).unwrap().minus(Spread::exactly(0.1)).has_no_error());
        assert!(!Spread::of(&[0.3, 0.31]).unwrap().minus(Spread::exactly(0.1)).has_no_error());
        assert!(Spread::of(&[0.3]).is_none());
    }

    /// `scipy.stats.ttest_1samp`, `ttest_ind(equal_var=False)`, and the intervals of their results.
    #[test]
    fn they_agree_with_scipy() {
        let one = [0.62, 0.70, 0.75, 0.68, 0.70];
        let other = [0.50, 0.61, 0.55];
        let against = Spread::of(&one).unwrap().minus(Spread::exactly(0.6));
        let inference = against.inference(0.05);
        close(inference.p_above, 0.006370139836396129);
        close(inference.p_below, 0.9936298601636039);
        close(inference.lower, 0.04528200455115028);
        close(inference.upper, 0.13471799544884988);
        let two = Spread::of(&one).unwrap().minus(Spread::of(&other).unwrap());
        let inference = two.inference(0.05);
        close(inference.p_above, 0.012749527766155674);
        close(inference.p_below, 0.9872504722338443);
        close(inference.lower, 0.05396579622089849);
        close(inference.upper, 0.21936753711243495);
    }
}
