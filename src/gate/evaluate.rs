//! A checked rule and the measured numbers → pass, fail, unsure or error, and a sentence with every number in it.
//! A number that is missing, null, NaN or infinite is an error of the whole rule: it never reads as false.

mod across;
mod assess;
mod certainty;
mod comparison;
mod growing;
mod linear;
mod members;
mod nearest;
mod quantity;
mod resampled;
mod view;
mod winner;

use super::Decision;
use super::tree::{Rule, Test};
pub(super) use assess::standard_error;
use comparison::{Conclusion, Multiplicity};
pub(super) use quantity::value;
pub(super) use view::View;
pub use view::{LookTerms, Readings, Rivals, Subject, Subjects};

#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub decision: Decision,
    /// `mean_score 0.412 > incumbent.mean_score 0.105 (by 0.307)`
    pub explanation: String,
    /// The nearest rule that would have passed, of one that did not, where only its thresholds had to be others.
    pub nearest: Option<String>,
    /// Whether what decided, by a rule that asks for no confidence, may be noise alone.
    pub is_within_noise: bool,
}

pub fn evaluate(rule: &Rule, subjects: &Subjects) -> Judgement {
    let view = View { leaves: &rule.leaves, subjects };
    let among = view.chosen_among();
    let stake = subjects.look.map(|look| look.stake);
    let multiplicity = Multiplicity { divisor: among as f64, stake, is_negated: false };
    let claim = makes_several_claims(&rule.test, false).then(|| claim(&rule.test, false, view));
    let Conclusion { decision, mut explanation, nearest, is_within_noise, .. } =
        judge(&rule.test, claim.as_ref(), multiplicity, view);
    if let Some(look) = subjects.look.filter(|look| rule.looks_at_items() && !look.note.is_empty()) {
        explanation += &format!("; {}", look.note);
    }
    Judgement { decision, explanation, nearest, is_within_noise }
}

/// Judges a test. `claim` is the claim of the same test, where the rule makes several.
fn judge(test: &Test, claim: Option<&Claim>, multiplicity: Multiplicity, view: View) -> Conclusion {
    match test {
        Test::Compare { first, links, margin, confidence } => {
            comparison::links(first, links, margin.as_ref(), confidence.as_ref(), multiplicity, view)
        }
        Test::Between { value, low, high, confidence } => {
            comparison::between([value, low, high], confidence.as_ref(), multiplicity, view)
        }
        Test::Improves { metric, over, margin, confidence } => {
            comparison::improves([*metric, *over], margin.as_ref(), confidence.as_ref(), multiplicity, view)
        }
        Test::And(tests) => joined(tests, Decision::Fail, claim, multiplicity, view),
        Test::Or(tests) => joined(tests, Decision::Pass, claim, multiplicity, view),
        Test::Not(test) => {
            let claim = claim.and_then(|claim| claim.parts.first());
            let multiplicity = Multiplicity { is_negated: !multiplicity.is_negated, ..multiplicity };
            let inner = judge(test, claim, multiplicity, view);
            let decision = match inner.decision {
                Decision::Pass => Decision::Fail,
                Decision::Fail => Decision::Pass,
                undecided => undecided,
            };
            let explanation = format!("not ({})", inner.explanation);
            Conclusion { decision, explanation, nearest: None, ..inner }
        }
    }
}

/// Joins tests by Kleene logic, except that any error wins: every part is evaluated, and none hides another's error.
/// `decisive` is the decision that settles the whole alone: fail for `and`, pass for `or`.
fn joined(
    tests: &[Test],
    decisive: Decision,
    claim: Option<&Claim>,
    multiplicity: Multiplicity,
    view: View,
) -> Conclusion {
    let (word, otherwise) = match decisive {
        Decision::Fail => ("and", Decision::Pass),
        _ => ("or", Decision::Fail),
    };
    let is_any_of = (decisive == Decision::Pass) != multiplicity.is_negated;
    let claims = claim.map_or(&[][..], |claim| &claim.parts);
    let levels =
        if is_any_of { stepped_down(claims, multiplicity, tests.len()) } else { vec![multiplicity; tests.len()] };
    let parts: Vec<Conclusion> = tests
        .iter()
        .zip(levels)
        .enumerate()
        .map(|(at, (test, level))| judge(test, claims.get(at), level, view))
        .collect();
    let any = |decision: &Decision| parts.iter().any(|part| part.decision == *decision);
    let decision = [Decision::Error, decisive, Decision::Unsure].into_iter().find(any).unwrap_or(otherwise);
    let texts = tests.iter().zip(&parts).map(|(test, part)| match test {
        Test::And(_) | Test::Or(_) => format!("({})", part.explanation),
        _ => part.explanation.clone(),
    });
    let explanation = texts.collect::<Vec<_>>().join(&format!(" {word} "));
    let is_short = matches!(decision, Decision::Fail | Decision::Unsure);
    let nearest = if is_any_of || !is_short { None } else { all_nearest(tests, &parts, word, view) };
    let settles = |part: &&Conclusion| part.decision == decision;
    let is_within_noise = match decision == decisive {
        // One is enough, so it takes noise in each of them.
        true => parts.iter().filter(settles).all(|part| part.is_within_noise),
        false => parts.iter().filter(settles).any(|part| part.is_within_noise),
    };
    Conclusion { decision, explanation, p: None, nearest, is_within_noise }
}

/// The rule in which every part that did not pass is replaced by the nearest that would have.
fn all_nearest(tests: &[Test], parts: &[Conclusion], word: &str, view: View) -> Option<String> {
    let nearest = |(test, part): (&Test, &Conclusion)| match part.decision {
        Decision::Pass => Some(nearest::test(test, view.leaves)),
        _ => part.nearest.clone(),
    };
    let all = tests.iter().zip(parts).map(nearest).collect::<Option<Vec<_>>>()?;
    Some(all.join(&format!(" {word} ")))
}

/// The claim that a part of a rule makes with confidence.
struct Claim {
    /// The p-value divided by the level asked for, adjusted for the claims within; `None` without any.
    p: Option<f64>,
    parts: Vec<Claim>,
}

/// Whether anywhere one of several claims is enough.
fn makes_several_claims(test: &Test, is_negated: bool) -> bool {
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

/// Weighs every comparison once. It is weighed once more at the level that is left to it, however deep it lies.
fn claim(test: &Test, is_negated: bool, view: View) -> Claim {
    let of = |tests: &[Test], is_any_of: bool| {
        let parts: Vec<Claim> = tests.iter().map(|test| claim(test, is_negated, view)).collect();
        let all = parts.iter().filter_map(|part| part.p);
        let count = all.clone().count() as f64;
        let p = if is_any_of { all.reduce(f64::min).map(|p| p * count) } else { all.reduce(f64::max) };
        Claim { p, parts }
    };
    match test {
        Test::And(tests) => of(tests, is_negated),
        Test::Or(tests) => of(tests, !is_negated),
        Test::Not(test) => {
            let inner = claim(test, !is_negated, view);
            Claim { p: inner.p, parts: vec![inner] }
        }
        Test::Compare { .. } | Test::Between { .. } | Test::Improves { .. } => {
            let multiplicity =
                Multiplicity { divisor: 1.0, stake: view.subjects.look.map(|look| look.stake), is_negated };
            let p = test.is_confident().then(|| judge(test, None, multiplicity, view).p).flatten();
            Claim { p, parts: Vec::new() }
        }
    }
}

/// The levels of several claims of which one is enough, which gives luck more chances: Holm's step-down (1979). The
/// strongest claim is held against the level divided by their number, the next by one less, until one fails.
fn stepped_down(claims: &[Claim], multiplicity: Multiplicity, count: usize) -> Vec<Multiplicity> {
    let mut levels = vec![multiplicity; count];
    let mut ranked: Vec<(usize, f64)> =
        claims.iter().enumerate().filter_map(|(at, claim)| Some((at, claim.p?))).collect();
    ranked.sort_by(|one, other| one.1.total_cmp(&other.1));
    let mut hypotheses = ranked.len();
    for (at, p) in ranked {
        let divisor = multiplicity.divisor * hypotheses as f64;
        levels[at] = Multiplicity { divisor, ..multiplicity };
        if p * divisor <= 1.0 {
            hypotheses -= 1;
        }
    }
    levels
}

#[cfg(test)]
mod tests;
