//! What is said behind a comparison: how far apart its sides lie, and how sure that is. Knows numbers, not rules.

use super::super::lexer::Comparison;
use super::super::show;
use super::super::tree::Confidence;
use super::super::Decision;
use super::evidence::Evidence;

/// By how much a comparison holds, or does not; `None` where that goes without saying.
pub fn distance(comparison: Comparison, left: f64, right: f64) -> Option<String> {
    let apart = show::number((left - right).abs(), 4);
    match (comparison, comparison.holds(left, right)) {
        (Comparison::Equal, true) | (Comparison::Unequal, false) => None,
        _ if left == right => Some("equal".to_owned()),
        (Comparison::Equal, false) => Some(format!("off by {apart}")),
        (_, true) => Some(format!("by {apart}")),
        (Comparison::Above | Comparison::AtLeast, false) => Some(format!("short by {apart}")),
        (_, false) => Some(format!("over by {apart}")),
    }
}

/// Of a rule that asks for no confidence: how much of it may be noise. Interval and p-value are both two-sided, so that
/// they say the same.
pub fn noise(evidence: &Evidence) -> String {
    let Evidence { lower, upper, p_holds, p_fails, .. } = evidence;
    let p = (2.0 * p_holds.min(*p_fails)).min(1.0);
    let noise = if p > 0.05 { ": within noise" } else { "" };
    let number = |bound: f64| match bound {
        bound if !bound.is_finite() => "anything".to_owned(),
        // Rounding of a closed form.
        bound if bound.abs() < 1e-12 => "0".to_owned(),
        bound => show::number(bound, 2),
    };
    format!("95 % interval {} to {}{noise}; two-sided p {}", number(*lower), number(*upper), p_value(p))
}

/// Of a rule with confidence: what is sure, and on what ground.
pub fn sure(evidence: &Evidence, outcome: Decision, confidence: &Confidence, divisor: f64) -> String {
    let Evidence { lower, upper, p_holds, p_fails, ground } = evidence;
    let number = |bound: f64| if bound.is_finite() { show::number(bound, 3) } else { "anything".to_owned() };
    let level = 1.0 - confidence.percent / 100.0;
    let percent = show::number(100.0 * (1.0 - level / divisor), 4);
    let bounds = match outcome {
        Decision::Pass => format!("at least {} at {percent} %", number(*lower)),
        Decision::Fail => format!("misses by at least {} at {percent} %", number(-upper)),
        _ => match lower.is_finite() || upper.is_finite() {
            true => format!("above {} and below {}, each at {percent} %", number(*lower), number(*upper)),
            false => format!("nothing is known at {percent} %"),
        },
    };
    let p = if outcome == Decision::Fail { *p_fails } else { *p_holds };
    let level = show::number(level, 4);
    let claims = if divisor > 1.0 { format!(" against {level}/{divisor}") } else { String::new() };
    format!("{bounds}; p {}{claims}; {ground}", p_value(p))
}

/// Below this the number of resamples and the tails of the approximations say no more.
fn p_value(p: f64) -> String {
    if p < 1e-4 { "< 0.0001".to_owned() } else { show::number(p, 2) }
}
