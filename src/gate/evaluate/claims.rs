//! Several claims in one rule: how much stricter each is taken so that the whole keeps the level it asks for. Knows
//! p-values, not where they come from.

use super::super::tree::{Leaves, Test};
use super::{Facts, judge};

/// How much stricter than it says a confidence is taken, because several claims are made at once.
#[derive(Clone, Copy)]
pub struct Level {
    pub divisor: f64,
    /// Under `not`: what the rule claims is that the comparison fails.
    pub is_negated: bool,
}

/// What a part of a rule claims with confidence.
pub struct Claim {
    /// Of a false claim at the level asked for, over that level, adjusted for the claims within; `None` without any.
    p: Option<f64>,
    pub parts: Vec<Claim>,
}

/// Whether anywhere one of several claims is enough.
pub fn makes_several_claims(test: &Test, is_negated: bool) -> bool {
    let of = |tests: &[Test], is_any_of: bool| {
        is_any_of && tests.iter().filter(|test| test.is_confident()).count() > 1
            || tests.iter().any(|test| makes_several_claims(test, is_negated))
    };
    match test {
        Test::And(tests) => of(tests, is_negated),
        Test::Or(tests) => of(tests, !is_negated),
        Test::Not(test) => makes_several_claims(test, !is_negated),
        Test::Compare { .. } | Test::Between { .. } | Test::Improves { .. } => false,
    }
}

/// Every comparison is weighed once here and once more at the level that is left to it, however deep it lies.
pub fn claim(test: &Test, is_negated: bool, leaves: &Leaves, facts: &Facts) -> Claim {
    let of = |tests: &[Test], is_any_of: bool| {
        let parts: Vec<Claim> = tests.iter().map(|test| claim(test, is_negated, leaves, facts)).collect();
        let all = parts.iter().filter_map(|part| part.p);
        let count = all.clone().count() as f64;
        let p = if is_any_of { all.reduce(f64::min).map(|p| p * count) } else { all.reduce(f64::max) };
        Claim { p, parts }
    };
    match test {
        Test::And(tests) => of(tests, is_negated),
        Test::Or(tests) => of(tests, !is_negated),
        Test::Not(test) => {
            let inner = claim(test, !is_negated, leaves, facts);
            Claim { p: inner.p, parts: vec![inner] }
        }
        Test::Compare { .. } | Test::Between { .. } | Test::Improves { .. } => {
            let level = Level { divisor: 1.0, is_negated };
            let p = test.is_confident().then(|| judge(test, None, level, leaves, facts).p).flatten();
            Claim { p, parts: Vec::new() }
        }
    }
}

/// Where one of several claims is enough, each gets more chances to be true by luck: Holm's step-down (1979). The
/// strongest claim is held against the level divided by their number, the next by one less, until one fails.
pub fn stepped_down(claims: &[Claim], level: Level, count: usize) -> Vec<Level> {
    let mut levels = vec![level; count];
    let mut ranked: Vec<(usize, f64)> =
        claims.iter().enumerate().filter_map(|(at, claim)| Some((at, claim.p?))).collect();
    ranked.sort_by(|one, other| one.1.total_cmp(&other.1));
    let mut hypotheses = ranked.len();
    for (at, p) in ranked {
        let divisor = level.divisor * hypotheses as f64;
        levels[at] = Level { divisor, ..level };
        if p * divisor <= 1.0 {
            hypotheses -= 1;
        }
    }
    levels
}
