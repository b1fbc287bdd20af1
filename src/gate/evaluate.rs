//! A checked rule and the measured numbers → pass, fail, unsure or error, and a sentence with every number in it.
//! A number that is missing, null, NaN or infinite is an error of the whole rule: it never reads as false.

mod quantity;

use super::lexer::Comparison;
use super::pairs::Item;
use super::show;
use super::tree::{Leaves, Margin, Number, Rule, Test};
pub(super) use quantity::Gap;
use quantity::{Part, Quantity, quantity};
use stages::stage::Direction;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pass, fail, unsure or error: the journal's word for what a gate says.
pub use crate::event::Decision as Outcome;

pub(super) use quantity::value;

/// What was measured of one artifact.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Its own record.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// Under the judge.
    pub judged: BTreeMap<String, Option<f64>>,
    /// Its answers under the judge.
    pub items: Option<Arc<Vec<Item>>>,
}

/// The numbers a rule is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub candidate: &'a Subject,
    pub incumbent: Option<&'a Subject>,
    pub stages: &'a BTreeMap<String, Subject>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub outcome: Outcome,
    /// `mean_score 0.412 > incumbent.mean_score 0.105 (by 0.307)`
    pub explanation: String,
}

pub fn evaluate(rule: &Rule, facts: &Facts) -> Judgement {
    judge(&rule.test, &rule.leaves, facts)
}

fn judge(test: &Test, leaves: &Leaves, facts: &Facts) -> Judgement {
    match test {
        Test::Compare { first, links, margin } => compare(first, links, margin.as_ref(), leaves, facts),
        Test::Between { value, low, high } => between([value, low, high], leaves, facts),
        Test::Improves { metric, over, margin } => improves(*metric, *over, margin.as_ref(), leaves, facts),
        Test::And(tests) => joined(tests, "and", Outcome::Fail, leaves, facts),
        Test::Or(tests) => joined(tests, "or", Outcome::Pass, leaves, facts),
        Test::Not(test) => {
            let inner = judge(test, leaves, facts);
            let outcome = match inner.outcome {
                Outcome::Pass => Outcome::Fail,
                Outcome::Fail => Outcome::Pass,
                undecided => undecided,
            };
            Judgement { outcome, explanation: format!("not ({})", inner.explanation) }
        }
    }
}

/// Kleene logic, but any error wins: every part is evaluated, and none hides another's error. `decisive` is the
/// outcome that settles the whole alone.
fn joined(tests: &[Test], word: &str, decisive: Outcome, leaves: &Leaves, facts: &Facts) -> Judgement {
    let parts: Vec<Judgement> = tests.iter().map(|test| judge(test, leaves, facts)).collect();
    let any = |outcome: Outcome| parts.iter().any(|part| part.outcome == outcome);
    let otherwise = if decisive == Outcome::Fail { Outcome::Pass } else { Outcome::Fail };
    let outcome =
        [Outcome::Error, decisive, Outcome::Unsure].into_iter().find(|outcome| any(*outcome)).unwrap_or(otherwise);
    let texts = tests.iter().zip(&parts).map(|(test, part)| match test {
        Test::And(_) | Test::Or(_) => format!("({})", part.explanation),
        _ => part.explanation.clone(),
    });
    Judgement { outcome, explanation: texts.collect::<Vec<_>>().join(&format!(" {word} ")) }
}

fn compare(
    first: &Number,
    links: &[(Comparison, Number)],
    margin: Option<&Margin>,
    leaves: &Leaves,
    facts: &Facts,
) -> Judgement {
    let mut sides = vec![quantity(first, leaves, facts)];
    sides.extend(links.iter().map(|(_, number)| quantity(number, leaves, facts)));
    if let (Some(margin), [_, right]) = (margin, &mut sides[..]) {
        let is_downwards = matches!(links[0].0, Comparison::Below | Comparison::AtMost);
        add_margin(right, margin, if is_downwards { -1.0 } else { 1.0 });
    }
    let digits = digits(&sides);
    let mut sentence = sides[0].show(digits);
    let mut notes = Vec::new();
    let mut holds = true;
    for ((comparison, _), two) in links.iter().zip(sides.windows(2)) {
        let (sign, right) = (comparison.sign(), two[1].show(digits));
        let (Ok(a), Ok(b)) = (&two[0].value, &two[1].value) else {
            sentence += &format!(" {sign} {right}");
            continue;
        };
        let is_so = comparison.holds(*a, *b);
        holds &= is_so;
        let apart = show::number((a - b).abs(), 4);
        sentence += &format!(" {}{sign} {right}", if is_so { "" } else { "is not " });
        match (comparison, is_so) {
            (Comparison::Equal, true) | (Comparison::Unequal, false) => {}
            _ if a == b => notes.push("equal".to_owned()),
            (Comparison::Equal, false) => notes.push(format!("off by {apart}")),
            (_, true) => notes.push(format!("by {apart}")),
            (Comparison::Above | Comparison::AtLeast, false) => notes.push(format!("short by {apart}")),
            (_, false) => notes.push(format!("over by {apart}")),
        }
    }
    conclude(&sides, sentence, &notes, holds)
}

fn between(numbers: [&Number; 3], leaves: &Leaves, facts: &Facts) -> Judgement {
    let sides = numbers.map(|number| quantity(number, leaves, facts));
    let digits = digits(&sides);
    let (mut holds, mut notes) = (true, Vec::new());
    if let [Ok(value), Ok(low), Ok(high)] = &sides.each_ref().map(|side| side.value.as_ref()) {
        holds = low <= value && value <= high;
        if value < low {
            notes.push(format!("short by {}", show::number(*low - *value, 4)));
        }
        if value > high {
            notes.push(format!("over by {}", show::number(*value - *high, 4)));
        }
    }
    let [value, low, high] = sides.each_ref().map(|side| side.show(digits));
    let sentence = format!("{value} {}between {low} and {high}", if holds { "" } else { "is not " });
    conclude(&sides, sentence, &notes, holds)
}

fn improves(metric: usize, over: usize, margin: Option<&Margin>, leaves: &Leaves, facts: &Facts) -> Judgement {
    let mut sides = [metric, over].map(|name| quantity(&Number::Name(name), leaves, facts));
    let is_lower = leaves.names[metric].meaning.is_some_and(|meaning| meaning.direction == Direction::Lower);
    if let Some(margin) = margin {
        add_margin(&mut sides[1], margin, if is_lower { -1.0 } else { 1.0 });
    }
    let digits = digits(&sides);
    let (mut holds, mut notes) = (true, Vec::new());
    if let [Ok(value), Ok(threshold)] = &sides.each_ref().map(|side| side.value.as_ref()) {
        let gain = if is_lower { *threshold - *value } else { *value - *threshold };
        holds = gain > 0.0;
        notes.push(match gain {
            gain if gain > 0.0 => format!("by {}", show::number(gain, 4)),
            gain if gain < 0.0 => format!("short by {}", show::number(-gain, 4)),
            _ => "equal".to_owned(),
        });
    }
    let [value, threshold] = sides.each_ref().map(|side| side.show(digits));
    let verb = if holds { "improves over" } else { "does not improve over" };
    conclude(&sides, format!("{value} {verb} {threshold}"), &notes, holds)
}

/// The margin raises what is asked for (`sign` 1), or lowers it (-1).
fn add_margin(right: &mut Quantity, margin: &Margin, sign: f64) {
    let Ok(value) = right.value else { return };
    let amount = if margin.is_percent { margin.amount / 100.0 * value.abs() } else { margin.amount };
    let threshold = value + sign * amount;
    right.close();
    right.parts.push(Part::Text(format!(" {} {} = ", if sign > 0.0 { "+" } else { "-" }, margin.text)));
    right.parts.push(Part::Value(threshold));
    right.value = if threshold.is_finite() {
        Ok(threshold)
    } else {
        Err(Gap::Error("the margin gives no finite number".to_owned()))
    };
}

fn digits(sides: &[Quantity]) -> usize {
    let numbers: Vec<f64> = sides.iter().flat_map(Quantity::numbers).filter(|number| number.is_finite()).collect();
    show::digits(&numbers)
}

fn conclude(sides: &[Quantity], sentence: String, notes: &[String], holds: bool) -> Judgement {
    let mut reasons: Vec<&str> = sides.iter().filter_map(|side| side.value.as_ref().err()).map(Gap::reason).collect();
    reasons.dedup();
    if !reasons.is_empty() {
        let is_error = sides.iter().any(|side| matches!(side.value, Err(Gap::Error(_))));
        let outcome = if is_error { Outcome::Error } else { Outcome::Unsure };
        return Judgement { outcome, explanation: format!("{sentence} ({})", reasons.join("; ")) };
    }
    let outcome = if holds { Outcome::Pass } else { Outcome::Fail };
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
    Judgement { outcome, explanation: sentence + &notes }
}

#[cfg(test)]
mod tests;
