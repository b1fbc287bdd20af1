//! One comparison as a question to the items, and how certain its answer is, as numbers and in words.

use super::super::tree::{Confidence, Margin, Number};
use super::super::{Decision, show};

/// One comparison to be weighed. The margin is not yet part of `right`.
pub struct Question<'a> {
    pub left: &'a Number,
    pub right: &'a Number,
    pub is_upwards: bool,
    pub margin: Option<&'a Margin>,
}

/// The evidence of the items about `left - right`, in the direction of the comparison: above 0 it holds.
#[derive(Clone, Debug)]
pub struct Certainty {
    /// One-sided bounds of the difference.
    pub lower: f64,
    pub upper: f64,
    /// The p-values of "it does not hold" and of "it holds": small is strong.
    pub p_holds: f64,
    pub p_fails: f64,
    /// The form it was weighed by, and the number of items: `bootstrap, 120 items`.
    pub ground: String,
}

impl Certainty {
    /// The text for a rule that asks for no confidence: the part of the difference that may be noise. Interval and
    /// p-value are both two-sided, so that they say the same.
    pub fn noise(&self) -> String {
        let p = (2.0 * self.p_holds.min(self.p_fails)).min(1.0);
        let noise = if p > 0.05 { ": within noise" } else { "" };
        let number = |bound: f64| match bound {
            bound if !bound.is_finite() => "anything".to_owned(),
            // Rounding of a closed form.
            bound if bound.abs() < 1e-12 => "0".to_owned(),
            bound => show::number(bound, 2),
        };
        format!("95 % interval {} to {}{noise}; two-sided p {}", number(self.lower), number(self.upper), p_value(p))
    }

    /// The text for a rule with confidence: the bounds, the p-value and the ground. The level was divided by `divisor`.
    pub fn text(&self, decision: Decision, confidence: &Confidence, divisor: f64) -> String {
        let Certainty { lower, upper, p_holds, p_fails, ground } = self;
        let number = |bound: f64| if bound.is_finite() { show::number(bound, 3) } else { "anything".to_owned() };
        let level = confidence.level();
        let percent = show::number(100.0 * (1.0 - level / divisor), 4);
        let bounds = match decision {
            Decision::Pass => format!("at least {} at {percent} %", number(*lower)),
            Decision::Fail => format!("misses by at least {} at {percent} %", number(-upper)),
            _ => match lower.is_finite() || upper.is_finite() {
                true => format!("above {} and below {}, each at {percent} %", number(*lower), number(*upper)),
                false => format!("nothing is known at {percent} %"),
            },
        };
        let p = if decision == Decision::Fail { *p_fails } else { *p_holds };
        let level = show::number(level, 4);
        let claims = if divisor > 1.0 { format!(" against {level}/{divisor}") } else { String::new() };
        format!("{bounds}; p {}{claims}; {ground}", p_value(p))
    }
}

/// The p-value as text. Below 0.0001 the number of resamples and the tails of the approximations say no more.
fn p_value(p: f64) -> String {
    if p < 1e-4 { "< 0.0001".to_owned() } else { show::number(p, 2) }
}

/// `120 items in 40 groups`.
pub fn count(items: usize, clusters: usize, unit: &str) -> String {
    let unit = if items == 1 { unit.trim_end_matches('s') } else { unit };
    let groups = if clusters < items { format!(" in {clusters} groups") } else { String::new() };
    format!("{items} {unit}{groups}")
}
