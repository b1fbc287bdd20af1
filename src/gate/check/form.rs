//! Checks the words that ask for another form of confidence: `up to items`, `assuming bounds`.

use super::super::Mistake;
use super::super::functions::{FieldForm, NumberForm};
use super::super::resolve::RuleScope;
use super::super::tree::{Arguments, Confidence, DeclaredGrowth, Leaf, Leaves, Name, Number, Operator};

pub fn check(confidence: &Confidence, sides: &[&Number], leaves: &Leaves, scope: &RuleScope) -> Vec<Mistake> {
    let is_open = confidence.growth == Some(DeclaredGrowth::Open);
    if is_open && confidence.assumes_bounds {
        let message = "bounds are assumed of a table that is complete, or that grows up to a declared maximum";
        return vec![Mistake::new(&confidence.range, message).help(MAXIMUM)];
    }
    if is_open && !(is_win_rate(sides, leaves) && sides.iter().all(|side| is_sum_of_means(side))) {
        let message = "only a win rate is weighed without a maximum of items";
        return vec![Mistake::new(&confidence.range, message).help(MAXIMUM)];
    }
    if confidence.assumes_bounds { check_bounds(confidence, sides, leaves, scope) } else { Vec::new() }
}

const MAXIMUM: &str = "declare how many there will be at most: `up to 2000 items`";

/// Whether win rates are all that is measured here.
fn is_win_rate(sides: &[&Number], leaves: &Leaves) -> bool {
    let mut measured = Vec::new();
    sides.iter().for_each(|side| side.visit(&mut |number| measured.extend(number.leaf())));
    measured.into_iter().all(|leaf| match leaf {
        Leaf::Other(other) => leaves.others[other].of.is_over_changed,
        Leaf::Name(_) => false,
    })
}

fn check_bounds(confidence: &Confidence, sides: &[&Number], leaves: &Leaves, scope: &RuleScope) -> Vec<Mistake> {
    if !sides.iter().all(|side| is_sum_of_means(side) || is_quotient(side)) {
        let message = "bounds are assumed of means over items, and of sums and multiples of them";
        return vec![Mistake::new(&confidence.range, message).help("leave out `assuming bounds`")];
    }
    let mut names: Vec<usize> = Vec::new();
    for side in sides {
        side.visit(&mut |number| match number {
            Number::Name(name) => names.push(*name),
            // Whether a condition holds is 0 or 1.
            Number::Call { arguments: Arguments::Field(_, name, argument), .. } if argument.condition().is_none() => {
                names.push(*name);
            }
            _ => {}
        });
    }
    let unbounded = names.into_iter().map(|name| &leaves.names[name]).filter(|name| !has_bounds(name));
    unbounded.map(|name| without_bounds(name, scope)).collect()
}

fn has_bounds(name: &Name) -> bool {
    name.meaning.as_ref().is_some_and(|meaning| meaning.bounds.is_some())
}

fn without_bounds(name: &Name, scope: &RuleScope) -> Mistake {
    let metric = &name.metric;
    let mistake = Mistake::new(&name.range, format!("no bounds are declared of `{}`", name.label()));
    let known = name.meaning.iter().flat_map(|meaning| scope.measured(&name.who, meaning.origin));
    let known: Vec<String> =
        known.filter(|known| known.bounds.is_some()).map(|known| format!("`{}`", known.name)).collect();
    let others = if known.is_empty() { String::new() } else { format!("; declared of {}", known.join(", ")) };
    mistake.help(format!(
        "a stage of kind `exec` declares them: `metrics: {{{metric}: {{better: higher, bounds: [1, 5]}}}}`{others}"
    ))
}

/// Whether a number is a mean over items, or a sum or multiple of such.
fn is_sum_of_means(number: &Number) -> bool {
    match number {
        Number::Literal { .. } | Number::Name(_) => true,
        Number::Negative(inner) => is_sum_of_means(inner),
        Number::Chain { first, rest } => {
            let mut is_constant = self::is_constant(first);
            is_sum_of_means(first)
                && rest.iter().all(|(operator, next)| {
                    let allowed = match operator {
                        Operator::Plus | Operator::Minus => true,
                        Operator::Times => is_constant || self::is_constant(next),
                        Operator::Over => self::is_constant(next),
                    };
                    is_constant = is_constant && self::is_constant(next);
                    allowed && is_sum_of_means(next)
                })
        }
        Number::Call { arguments, .. } => match arguments {
            Arguments::Numbers(of, numbers) => {
                matches!(of.form, Some(NumberForm::Difference | NumberForm::Pick(_)))
                    && numbers.iter().all(is_sum_of_means)
            }
            Arguments::Answers(_) => true,
            Arguments::Field(of, ..) => matches!(of.form, Some(FieldForm::Mean | FieldForm::Total)),
            Arguments::Checkpoints(..) | Arguments::Members(..) => false,
        },
    }
}

fn is_constant(number: &Number) -> bool {
    number.leaf().is_none() && number.operands().into_iter().all(is_constant)
}

/// Whether it is one sum of means divided by another, which is multiplied out.
fn is_quotient(number: &Number) -> bool {
    match number {
        Number::Chain { first, rest } => match &rest[..] {
            [(Operator::Over, below)] => is_sum_of_means(first) && is_sum_of_means(below),
            _ => false,
        },
        Number::Call { arguments: Arguments::Numbers(of, numbers), .. } => {
            matches!(of.form, Some(NumberForm::Quotient)) && numbers.iter().all(is_sum_of_means)
        }
        _ => false,
    }
}
