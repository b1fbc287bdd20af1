//! The rule nearest to one that did not pass which would have passed: the same comparison with another threshold, as
//! text of the rule language. It says how far away the numbers were, in the language in which the rule is mended.

use super::super::lexer::Comparison;
use super::super::show;
use super::super::tree::{Arguments, Confidence, Leaves, Margin, Name, Number, Operator, Test, Who};

/// The significant digits of a threshold that is proposed.
const DIGITS: i32 = 3;

/// A comparison that can be moved.
pub struct Movable<'a> {
    pub left: String,
    pub comparison: Comparison,
    /// The right side, and its value without the margin.
    pub right: (&'a Number, f64),
    /// The amount of the margin.
    pub margin: f64,
    pub confidence: Option<&'a Confidence>,
    pub leaves: &'a Leaves,
}

/// The comparison with the threshold that `reach` allows: by so much the left side clears the right one with its margin,
/// in the direction of the comparison; below 0 it misses it. `None` where nothing would have been enough.
pub fn moved(movable: &Movable, reach: f64) -> Option<String> {
    let Movable { left, comparison, right: (right, value), margin, confidence, leaves } = movable;
    let total = reach + margin;
    if !total.is_finite() {
        return None;
    }
    let (sign, down) = (comparison.sign(), comparison.is_downwards());
    let asked = confidence.map(|confidence| format!(" {}", confidence.phrase())).unwrap_or_default();
    let threshold = match right {
        Number::Literal { .. } => {
            let threshold = if down { -lowered(-(value - total)) } else { lowered(value + total) };
            show::number(threshold, DIGITS as usize + 1)
        }
        _ => {
            let (right, by) = (number(right, leaves), lowered(total));
            let amount = show::number(by.abs(), DIGITS as usize + 1);
            match (by > 0.0, down) {
                (true, _) => format!("{right} by {amount}"),
                (false, true) => format!("{right} + {amount}"),
                (false, false) => format!("{right} - {amount}"),
            }
        }
    };
    Some(format!("{left} {sign} {threshold}{asked}"))
}

/// A number of few digits that is surely below this one.
fn lowered(value: f64) -> f64 {
    if value == 0.0 {
        return -10f64.powi(-DIGITS);
    }
    let unit = 10f64.powi(value.abs().log10().floor() as i32 + 1 - DIGITS);
    let lower = (value / unit).floor();
    // The sum of a threshold and a distance may be off by its last bit.
    let lower = if value / unit - lower < 1e-6 { lower - 1.0 } else { lower };
    // Written by its digits, so that it is the number that a person types.
    format!("{lower}e{}", unit.log10().round()).parse().unwrap_or(lower * unit)
}

/// The amount of a margin on this value.
pub fn amount(margin: Option<&Margin>, value: f64) -> f64 {
    margin.map_or(0.0, |margin| if margin.is_percent { margin.amount / 100.0 * value.abs() } else { margin.amount })
}

/// Whether a side is a number, a mean over items, or a sum or multiple of such.
pub fn is_linear(of: &Number) -> bool {
    match of {
        Number::Literal { .. } | Number::Name(_) => true,
        Number::Negative(inner) => is_linear(inner),
        Number::Chain { first, rest } => {
            is_linear(first) && rest.iter().all(|(operator, inner)| *operator != Operator::Over && is_linear(inner))
        }
        Number::Call { .. } => of.leaf().is_some() || of.is_across(),
    }
}

/// A test as text.
pub fn test(of: &Test, leaves: &Leaves) -> String {
    let asked = |confidence: &Option<Confidence>| {
        confidence.as_ref().map(|confidence| format!(" {}", confidence.phrase())).unwrap_or_default()
    };
    let by = |margin: &Option<Margin>| margin.as_ref().map(|margin| format!(" by {}", margin.text)).unwrap_or_default();
    let all = |tests: &[Test], word: &str| {
        let part = |part: &Test| match part {
            Test::And(_) | Test::Or(_) => format!("({})", test(part, leaves)),
            _ => test(part, leaves),
        };
        tests.iter().map(part).collect::<Vec<_>>().join(word)
    };
    match of {
        Test::Compare { first, links, margin, confidence } => {
            let links = links.iter().map(|(sign, right)| format!(" {} {}", sign.sign(), number(right, leaves)));
            format!("{}{}{}{}", number(first, leaves), links.collect::<String>(), by(margin), asked(confidence))
        }
        Test::Between { value, low, high, confidence } => {
            let [value, low, high] = [value, low, high].map(|side| number(side, leaves));
            format!("{value} between {low} and {high}{}", asked(confidence))
        }
        Test::Improves { metric, over, margin, confidence } => {
            let (metric, over) = (&leaves.names[*metric], &leaves.names[*over]);
            format!("{} improves over {}{}{}", metric.label(), who(over), by(margin), asked(confidence))
        }
        Test::And(tests) => all(tests, " and "),
        Test::Or(tests) => all(tests, " or "),
        Test::Not(inner) => format!("not ({})", test(inner, leaves)),
    }
}

fn who(name: &Name) -> &str {
    match &name.who {
        Who::Candidate => "self",
        Who::Incumbent => "incumbent",
        Who::Stage(stage) => stage,
    }
}

/// A number as text.
pub fn number(of: &Number, leaves: &Leaves) -> String {
    let operand = |inner: &Number| match inner {
        Number::Chain { .. } => format!("({})", number(inner, leaves)),
        _ => number(inner, leaves),
    };
    match of {
        Number::Literal { text, .. } => text.clone(),
        Number::Name(name) => leaves.names[*name].label(),
        Number::Negative(inner) => format!("-{}", operand(inner)),
        Number::Chain { first, rest } => {
            let rest = rest.iter().map(|(operator, inner)| format!(" {} {}", operator.sign(), operand(inner)));
            operand(first) + &rest.collect::<String>()
        }
        Number::Call { function, arguments, .. } => match arguments {
            Arguments::Numbers(_, numbers) => {
                // `delta(m, x)` names the other artifact alone.
                let argument = |inner: &Number| match inner {
                    Number::Name(name) if leaves.names[*name].like.is_some() => who(&leaves.names[*name]).to_owned(),
                    _ => number(inner, leaves),
                };
                let numbers: Vec<String> = numbers.iter().map(argument).collect();
                format!("{}({})", function.name, numbers.join(", "))
            }
            Arguments::Answers(other) => {
                let other = &leaves.others[*other];
                let over = if other.of.is_over_changed { " over changed" } else { "" };
                format!("{}{}({}{over})", other.by(), function.name, other.label())
            }
            Arguments::Field(_, name, argument) => {
                format!("{}({}{argument})", function.name, leaves.names[*name].label())
            }
            Arguments::Checkpoints(_, name) => format!("{}({})", function.name, leaves.names[*name].label()),
            Arguments::Members(_, family, condition) => {
                let condition =
                    condition.as_ref().map(|(sign, bound)| format!(" {} {}", sign.sign(), number(bound, leaves)));
                let family = leaves.families[*family].typed.label();
                format!("{}({family}{})", function.name, condition.unwrap_or_default())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lowered_number_has_few_digits_and_lies_just_below() {
        let shown: Vec<String> = [0.55, -0.0123456, 0.0, 1234.0, 1.0, -3.0, 0.30000000000000004]
            .map(|value| {
                let lower = lowered(value);
                assert!(lower < value && value - lower <= 0.011 * value.abs().max(0.1), "{value} {lower}");
                show::number(lower, 4)
            })
            .to_vec();
        assert_eq!(shown.join(" "), "0.549 -0.0124 -0.001 1230 0.99 -3.01 0.299");
    }
}
