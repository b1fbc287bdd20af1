//! The distributions of the test statistics: normal, beta, t and binomial, their tails and their quantiles. Only `libm`
//! and exact operations are used, so every machine gives the same bits.

use libm::{erfc, exp, lgamma, log, log1p};

/// P(Z > z) of a standard normal.
pub fn normal_above(z: f64) -> f64 {
    0.5 * erfc(z / std::f64::consts::SQRT_2)
}

/// The z with P(Z > z) = `tail`, for tails from above 0 up to one half; infinite for a tail of 0. By Newton's method from
/// 0, as for [`student_quantile`].
pub(super) fn normal_quantile(tail: f64) -> f64 {
    const STEPS: usize = 200;
    if tail <= 0.0 {
        return f64::INFINITY;
    }
    let mut z = 0.0;
    for _ in 0..STEPS {
        let step = (normal_above(z) - tail) * exp(0.5 * z * z) * (2.0 * std::f64::consts::PI).sqrt();
        if !step.is_finite() {
            return f64::INFINITY;
        }
        z += step;
        if step <= 1e-12 * z {
            break;
        }
    }
    z
}

/// The regularised incomplete beta function: P(B <= x) of a beta variable with shapes `a`, `b` > 0.
/// `rest` is 1 - x, passed in because the caller may know it more exactly than a subtraction would.
/// Continued fraction DLMF 8.17.22, swapped by DLMF 8.17.4 to where it converges fast.
pub(super) fn beta(x: f64, rest: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if rest <= 0.0 {
        return 1.0;
    }
    let log_x = if x < 0.5 { log(x) } else { log1p(-rest) };
    let log_rest = if rest < 0.5 { log(rest) } else { log1p(-x) };
    let front = exp(a * log_x + b * log_rest + lgamma(a + b) - lgamma(a) - lgamma(b));
    if x <= (a + 1.0) / (a + b + 2.0) {
        (front * beta_fraction(x, a, b) / a).clamp(0.0, 1.0)
    } else {
        1.0 - (front * beta_fraction(rest, b, a) / b).clamp(0.0, 1.0)
    }
}

/// 1 / (1 + d1 / (1 + d2 / (1 + ...))) with the coefficients of DLMF 8.17.23, by the modified Lentz method
/// (Thompson & Barnett 1986, J. Comput. Phys. 64). It takes about sqrt(max(a, b)) steps.
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    const STEPS: usize = 100_000;
    let away_from_zero = |number: f64| if number.abs() < 1e-300 { 1e-300 } else { number };
    let (mut value, mut c, mut d) = (1.0, 1.0, 0.0);
    for step in 1..STEPS {
        let m = (step / 2) as f64;
        let coefficient = if step % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        d = 1.0 / away_from_zero(1.0 + coefficient * d);
        c = away_from_zero(1.0 + coefficient / c);
        value *= c * d;
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    1.0 / value
}

/// P(T > t) of Student's t (DLMF 8.17.4 with Abramowitz & Stegun 26.7.1).
pub(super) fn student_above(t: f64, degrees: f64) -> f64 {
    if t == 0.0 {
        return 0.5;
    }
    let square = t * t;
    if !square.is_finite() {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    let far = 0.5 * beta(degrees / (degrees + square), square / (degrees + square), 0.5 * degrees, 0.5);
    if t > 0.0 { far } else { 1.0 - far }
}

/// The t with P(T > t) = `tail`, for tails from above 0 up to one half; infinite for a tail of 0.
///
/// Found by Newton's method from 0: the tail is convex there, so that no step passes the root. It takes about six steps
/// for the tails in use, and about thirty for a tail of 1e-12.
pub(super) fn student_quantile(tail: f64, degrees: f64) -> f64 {
    const STEPS: usize = 200;
    if tail >= 0.5 {
        return 0.0;
    }
    if tail <= 0.0 {
        return f64::INFINITY;
    }
    let log_front = lgamma(0.5 * (degrees + 1.0)) - lgamma(0.5 * degrees) - 0.5 * log(degrees * std::f64::consts::PI);
    let mut t = 0.0;
    for _ in 0..STEPS {
        let density = exp(log_front - 0.5 * (degrees + 1.0) * log1p(t * t / degrees));
        let step = (student_above(t, degrees) - tail) / density;
        if !step.is_finite() {
            return f64::INFINITY;
        }
        t += step;
        // Each step squares the error, so this was the last one that changed anything; a step back is rounding.
        if step <= 1e-9 * t {
            break;
        }
    }
    t
}

/// P(X >= successes) of a binomial; both numbers may be fractions, as Korn and Graubard need.
pub(super) fn binomial_at_least(successes: f64, trials: f64, share: f64) -> f64 {
    if successes <= 0.0 {
        return 1.0;
    }
    if share >= 1.0 {
        return if successes <= trials { 1.0 } else { 0.0 };
    }
    beta(share, 1.0 - share, successes, trials - successes + 1.0)
}

/// Clopper & Pearson (1934, Biometrika 26): the largest share under which `successes` or more are no likelier than
/// `tail`.
pub(super) fn clopper_pearson_lower(successes: f64, trials: f64, tail: f64) -> f64 {
    if successes <= 0.0 || tail <= 0.0 {
        return 0.0;
    }
    root(0.0, 1.0, |share| binomial_at_least(successes, trials, share) > tail)
}

/// The largest number of `low..high` for which the condition is still false, to the last bit. The condition is false
/// first and then true.
pub(super) fn root(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return low;
        }
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
}
