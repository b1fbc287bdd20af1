//! One number of a rule: its value, or why it has none, and the text it came from with the numbers put in.

use super::super::column::{Column, FieldArgument, restriction};
use super::super::functions::{Function, OfCheckpoints, OfField, OfNumbers};
use super::super::items::Counts;
use super::super::tree::{Arguments, Expression, Name, Number, Operator, Other};
use super::super::{check, show};
use super::members;
use super::view::{Gap, Subjects, View};

pub struct Quantity {
    pub fragments: Vec<Fragment>,
    pub value: Result<f64, Gap>,
    /// Computed by an operator, so that the result is not yet among the fragments.
    is_open: bool,
}

/// A fragment of a sentence. Numbers stand apart from text because the number of digits is known only when all numbers
/// of the sentence are.
pub enum Fragment {
    Text(String),
    Value(f64),
    /// A number and its text as typed.
    Literal(f64, String),
}

impl Quantity {
    fn text(text: String, value: Result<f64, Gap>) -> Quantity {
        Quantity { fragments: vec![Fragment::Text(text)], value, is_open: false }
    }

    /// Adds ` = result` to a computed quantity.
    pub fn close(&mut self) {
        if let (true, Ok(value)) = (self.is_open, &self.value) {
            self.fragments.push(Fragment::Text(" = ".to_owned()));
            self.fragments.push(Fragment::Value(*value));
        }
        self.is_open = false;
    }

    pub fn numbers(&self) -> Vec<f64> {
        let shown = self.fragments.iter().filter_map(|fragment| match fragment {
            Fragment::Text(_) => None,
            Fragment::Value(value) | Fragment::Literal(value, _) => Some(*value),
        });
        shown.collect()
    }

    pub fn show(&self, digits: usize) -> String {
        let texts = self.fragments.iter().map(|fragment| match fragment {
            Fragment::Text(text) => text.clone(),
            Fragment::Value(value) => show::number(*value, digits),
            Fragment::Literal(_, text) => text.clone(),
        });
        texts.collect()
    }
}

/// A side of a comparison, with its result.
pub fn quantity(number: &Number, view: View) -> Quantity {
    let mut quantity = open(number, view);
    quantity.close();
    quantity
}

pub fn value(expression: &Expression, subjects: &Subjects) -> Result<f64, Gap> {
    open(&expression.number, View { leaves: &expression.leaves, subjects }).value
}

fn open(number: &Number, view: View) -> Quantity {
    match number {
        Number::Literal { value, text } => {
            Quantity { fragments: vec![Fragment::Literal(*value, text.clone())], value: Ok(*value), is_open: false }
        }
        Number::Name(name) => named(view.name(*name), view),
        Number::Negative(inner) => {
            let inner = open(inner, view);
            let value = inner.value.clone().map(|value| -value);
            let mut fragments = vec![Fragment::Text("-".to_owned())];
            fragments.extend(if inner.is_open { bracketed(inner) } else { inner.fragments });
            Quantity { fragments, value, is_open: true }
        }
        Number::Chain { first, rest } => chain(first, rest, view),
        Number::Call { function, arguments, .. } => call(function, arguments, view),
    }
}

fn bracketed(quantity: Quantity) -> Vec<Fragment> {
    let mut fragments = vec![Fragment::Text("(".to_owned())];
    fragments.extend(quantity.fragments);
    fragments.push(Fragment::Text(")".to_owned()));
    fragments
}

fn named(name: &Name, view: View) -> Quantity {
    let label = name.label();
    match view.metric(name) {
        Ok(value) if value.is_finite() => {
            let fragments = vec![Fragment::Text(format!("{label} ")), Fragment::Value(value)];
            Quantity { fragments, value: Ok(value), is_open: false }
        }
        Ok(value) => {
            let odd = show::odd(value);
            Quantity::text(format!("{label} {odd}"), Err(Gap::Error(format!("`{label}` is {odd}"))))
        }
        Err(reason) => Quantity::text(format!("{label} ?"), Err(Gap::Error(reason))),
    }
}

/// Computes operators of one precedence, from left to right.
fn chain(first: &Number, rest: &[(Operator, Number)], view: View) -> Quantity {
    let is_sum = rest.iter().any(|(operator, _)| operator.is_sum());
    let operand = |number: &Number| {
        let quantity = open(number, view);
        let value = quantity.value.clone();
        let is_product = matches!(number, Number::Chain { rest, .. } if !rest[0].0.is_sum());
        let needs_brackets = matches!(number, Number::Chain { .. }) && !(is_sum && is_product);
        (if needs_brackets { bracketed(quantity) } else { quantity.fragments }, value)
    };
    let (mut fragments, mut result) = operand(first);
    for (operator, number) in rest {
        let (more, value) = operand(number);
        fragments.push(Fragment::Text(format!(" {} ", operator.sign())));
        fragments.extend(more);
        result =
            all_numbers([result, value]).and_then(|sides| apply(*operator, sides[0], sides[1]).map_err(Gap::Error));
    }
    Quantity { fragments, value: result, is_open: true }
}

fn apply(operator: Operator, left: f64, right: f64) -> Result<f64, String> {
    if operator == Operator::Over && right == 0.0 {
        return Err("division by zero".to_owned());
    }
    let result = operator.apply(left, right);
    if result.is_finite() { Ok(result) } else { Err(format!("the result of `{}` is too large", operator.sign())) }
}

/// All numbers, or the gap that counts: an error counts before an open one.
fn all_numbers(values: impl IntoIterator<Item = Result<f64, Gap>>) -> Result<Vec<f64>, Gap> {
    let (mut numbers, mut gap) = (Vec::new(), None);
    for value in values {
        match value {
            Ok(number) => numbers.push(number),
            Err(error @ Gap::Error(_)) => return Err(error),
            Err(open) => gap = gap.or(Some(open)),
        }
    }
    gap.map_or(Ok(numbers), Err)
}

fn call(function: &Function, arguments: &Arguments, view: View) -> Quantity {
    let name = function.name;
    match arguments {
        Arguments::Numbers(of, numbers) => of_numbers(name, of, numbers, view),
        Arguments::Answers(other) => {
            let other = view.other(*other);
            let over = if other.of.is_over_changed { " over changed" } else { "" };
            detailed(format!("{}{name}({}{over})", other.by(), other.label()), of_answers(other, view))
        }
        Arguments::Field(of, field, argument) => {
            let field = view.name(*field);
            let text = format!("{name}({}{argument}{})", field.label(), restriction(field.subset.as_deref()));
            detailed(text, of_field(of, field, argument, view))
        }
        Arguments::Checkpoints(of, metric) => {
            let metric = view.name(*metric);
            detailed(format!("{name}({})", metric.label()), of_checkpoints(name, of, metric, view))
        }
        Arguments::Members(of, family, condition) => {
            let family_label = view.leaves.families[*family].typed.label();
            let bound = condition.as_ref().map(|(sign, bound)| (*sign, quantity(bound, view)));
            let shown = bound.as_ref().map(|(sign, bound)| format!(" {} {}", sign.sign(), bound.show(4)));
            let text = format!("{name}({family_label}{})", shown.unwrap_or_default());
            let bound = bound.map(|(sign, bound)| bound.value.map(|bound| (sign, bound))).transpose();
            detailed(text, bound.and_then(|bound| members::of_members(of, *family, bound, view)))
        }
    }
}

fn of_numbers(name: &str, of: &OfNumbers, numbers: &[Number], view: View) -> Quantity {
    let direction = match check::direction(of, numbers, view.leaves) {
        Ok(direction) => direction,
        Err(reason) => return Quantity::text(format!("{name} ?"), Err(Gap::Error(reason))),
    };
    let arguments: Vec<Quantity> = numbers.iter().map(|number| open(number, view)).collect();
    let values = all_numbers(arguments.iter().map(|argument| argument.value.clone()));
    let mut fragments = vec![Fragment::Text(format!("{name}("))];
    for (at, argument) in arguments.into_iter().enumerate() {
        if at > 0 {
            fragments.push(Fragment::Text(", ".to_owned()));
        }
        fragments.extend(argument.fragments);
    }
    let value = values.map(|values| (of.value)(direction, &values));
    match value {
        Ok(value) => fragments.extend([Fragment::Text(") ".to_owned()), Fragment::Value(value)]),
        Err(_) => fragments.push(Fragment::Text(") ?".to_owned())),
    }
    let value = value.and_then(|value| match value.is_finite() {
        true => Ok(value),
        false => Err(Gap::Error(format!("`{name}` gives {}", show::odd(value)))),
    });
    Quantity { fragments, value, is_open: false }
}

/// A number that was computed from many, with its sources.
fn detailed(text: String, computed: Result<(f64, String), Gap>) -> Quantity {
    match computed {
        Ok((value, detail)) => {
            let fragments = vec![
                Fragment::Text(format!("{text} ")),
                Fragment::Value(value),
                Fragment::Text(format!(" [{detail}]")),
            ];
            Quantity { fragments, value: Ok(value), is_open: false }
        }
        Err(gap) => Quantity::text(format!("{text} ?"), Err(gap.map(|reason| format!("{text}: {reason}")))),
    }
}

fn of_answers(other: &Other, view: View) -> Result<(f64, String), Gap> {
    let results = view.pair_results(other)?;
    let value = other.of.value(&results, &vec![1; results.len()]).ok_or_else(|| none_changed(results.len()))?;
    Ok((value, (other.of.detail)(&Counts::of(&results))))
}

pub fn none_changed(texts: usize) -> Gap {
    Gap::Open(format!("none of {texts} texts changed, so none won or lost"))
}

fn of_field(of: &OfField, field: &Name, argument: &FieldArgument, view: View) -> Result<(f64, String), Gap> {
    let unchecked = || Gap::Error(format!("`{}` was not checked", field.label()));
    let key = view.field(field).ok_or_else(unchecked)?;
    let numbers = view.table(&key)?.numbers(&key.field)?;
    let (weights, detail) = (vec![1; numbers.len()], format!("{} items", numbers.len()));
    let value = (of.value)(&Column::new(numbers), argument, &weights);
    Ok((value.ok_or_else(|| Gap::Error("there are no items".to_owned()))?, detail))
}

fn of_checkpoints(name: &str, of: &OfCheckpoints, metric: &Name, view: View) -> Result<(f64, String), Gap> {
    let points: Vec<(f64, f64)> = view
        .subjects
        .checkpoints
        .iter()
        .map(|(step, subject)| match subject.own.metrics.get(&metric.metric).copied().flatten() {
            Some(value) if value.is_finite() => Ok((*step as f64, value)),
            _ => Err(Gap::Error(format!("step {step} has no finite `{}`", metric.metric))),
        })
        .collect::<Result<_, _>>()?;
    if points.len() < 2 {
        return Err(Gap::Open(format!("a single checkpoint has no {name}")));
    }
    Ok(((of.value)(&points), format!("{} checkpoints", points.len())))
}
