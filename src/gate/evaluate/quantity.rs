//! One number of a rule: its value, or why it has none, and the text it came from with the numbers put in.

use super::super::functions::{Body, Fold, Function};
use super::super::items::{self, Counts, Items};
use super::super::tree::{Arguments, Expression, Leaves, Name, Number, Operator, Other, Picked, Who, Yardstick};
use super::super::{check, show};
use super::{Facts, Measured, Subject, resampled};

pub struct Quantity {
    pub parts: Vec<Part>,
    pub value: Result<f64, Gap>,
    /// Computed by an operator, so that the result is not yet among the parts.
    is_open: bool,
}

/// Why there is no number.
#[derive(Clone, Debug, PartialEq)]
pub enum Gap {
    /// Something is missing or broken: an error of the rule.
    Error(String),
    /// Everything is there and says nothing either way, as a win rate does where no text changed: the rule is unsure.
    /// An error would end the run for a stage that only had no effect, and a pass or fail would claim evidence.
    Open(String),
}

impl Gap {
    pub fn reason(&self) -> &str {
        let (Gap::Error(reason) | Gap::Open(reason)) = self;
        reason
    }

    fn map(self, change: impl Fn(String) -> String) -> Gap {
        match self {
            Gap::Error(reason) => Gap::Error(change(reason)),
            Gap::Open(reason) => Gap::Open(change(reason)),
        }
    }
}

impl From<String> for Gap {
    fn from(reason: String) -> Gap {
        Gap::Error(reason)
    }
}

/// Of several gaps an error is the one that counts.
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

/// Text is split from numbers because how many digits are shown is known only when all numbers of a sentence are.
pub enum Part {
    Text(String),
    Value(f64),
    /// As typed.
    Literal(f64, String),
}

impl Quantity {
    fn text(text: String, value: Result<f64, Gap>) -> Quantity {
        Quantity { parts: vec![Part::Text(text)], value, is_open: false }
    }

    /// Adds ` = result` to a computed quantity.
    pub fn close(&mut self) {
        if let (true, Ok(value)) = (self.is_open, &self.value) {
            self.parts.push(Part::Text(" = ".to_owned()));
            self.parts.push(Part::Value(*value));
        }
        self.is_open = false;
    }

    pub fn numbers(&self) -> Vec<f64> {
        let shown = self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Value(value) | Part::Literal(value, _) => Some(*value),
        });
        shown.collect()
    }

    pub fn show(&self, digits: usize) -> String {
        let texts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Value(value) => show::number(*value, digits),
            Part::Literal(_, text) => text.clone(),
        });
        texts.collect()
    }
}

/// A side of a comparison, with its result.
pub fn quantity(number: &Number, leaves: &Leaves, facts: &Facts) -> Quantity {
    let mut quantity = open(number, leaves, facts);
    quantity.close();
    quantity
}

pub fn value(expression: &Expression, facts: &Facts) -> Result<f64, Gap> {
    open(&expression.number, &expression.leaves, facts).value
}

fn open(number: &Number, leaves: &Leaves, facts: &Facts) -> Quantity {
    match number {
        Number::Literal { value, text } => {
            Quantity { parts: vec![Part::Literal(*value, text.clone())], value: Ok(*value), is_open: false }
        }
        Number::Name(name) => named(&leaves.names[*name], facts),
        Number::Negative(inner) => {
            let inner = open(inner, leaves, facts);
            let value = inner.value.clone().map(|value| -value);
            let mut parts = vec![Part::Text("-".to_owned())];
            parts.extend(if inner.is_open { bracketed(inner) } else { inner.parts });
            Quantity { parts, value, is_open: true }
        }
        Number::Chain { first, rest } => chain(first, rest, leaves, facts),
        Number::Call { function, arguments, .. } => call(function, arguments, leaves, facts),
    }
}

fn bracketed(quantity: Quantity) -> Vec<Part> {
    let mut parts = vec![Part::Text("(".to_owned())];
    parts.extend(quantity.parts);
    parts.push(Part::Text(")".to_owned()));
    parts
}

fn named(name: &Name, facts: &Facts) -> Quantity {
    let label = name.label();
    match lookup(name, facts) {
        Ok(value) if value.is_finite() => {
            let parts = vec![Part::Text(format!("{label} ")), Part::Value(value)];
            Quantity { parts, value: Ok(value), is_open: false }
        }
        Ok(value) => {
            let odd = show::odd(value);
            Quantity::text(format!("{label} {odd}"), Err(Gap::Error(format!("`{label}` is {odd}"))))
        }
        Err(reason) => Quantity::text(format!("{label} ?"), Err(Gap::Error(reason))),
    }
}

pub fn lookup(name: &Name, facts: &Facts) -> Result<f64, String> {
    let label = name.label();
    let Some(meaning) = &name.meaning else {
        return Err(format!("`{label}` was not checked"));
    };
    let subject = subject(&name.who, facts).ok_or_else(|| format!("`{label}` was not measured"))?;
    match measured(subject, meaning.yardstick).metrics.get(&name.metric) {
        None => Err(format!("`{label}` was not measured")),
        Some(None) => Err(format!("`{label}` is null: it came out as no finite number")),
        Some(Some(value)) => Ok(*value),
    }
}

fn subject<'a>(who: &Who, facts: &Facts<'a>) -> Option<&'a Subject> {
    match who {
        Who::Candidate => Some(facts.candidate),
        Who::Incumbent => facts.incumbent,
        Who::Stage(stage) => facts.stages.get(stage),
    }
}

fn measured(subject: &Subject, yardstick: Yardstick) -> &Measured {
    static NOTHING: Measured = Measured { metrics: std::collections::BTreeMap::new(), items: None };
    match yardstick {
        Yardstick::Own => &subject.own,
        Yardstick::Judge(judge) => subject.judged.get(judge).unwrap_or(&NOTHING),
    }
}

/// The table of an artifact by that yardstick.
pub fn items_of<'a>(who: &Who, yardstick: Yardstick, facts: &Facts<'a>) -> Result<&'a Items, Gap> {
    let name = match who {
        Who::Candidate => "the candidate",
        Who::Incumbent => "`incumbent`",
        Who::Stage(stage) => &format!("`{stage}`"),
    };
    let items = subject(who, facts).and_then(|subject| measured(subject, yardstick).items.as_deref());
    let items = items.ok_or_else(|| Gap::Error(format!("{name} has no table of items")))?;
    match &items.fault {
        Some(fault) => Err(Gap::Error(format!("the items of {name}: {fault}"))),
        None => Ok(items),
    }
}

/// The candidate's answers, and those they are compared with.
pub fn both_items<'a>(other: &Other, facts: &Facts<'a>) -> Result<(&'a Items, &'a Items), Gap> {
    let Some(judge) = other.judge else { return Err(Gap::Error(format!("`{}` was not checked", other.label()))) };
    let yardstick = Yardstick::Judge(judge);
    Ok((items_of(&Who::Candidate, yardstick, facts)?, items_of(&other.who, yardstick, facts)?))
}

pub fn none_changed(texts: usize) -> Gap {
    Gap::Open(format!("none of {texts} texts changed, so none won or lost"))
}

/// Operators of one precedence, from left to right.
fn chain(first: &Number, rest: &[(Operator, Number)], leaves: &Leaves, facts: &Facts) -> Quantity {
    let is_sum = rest.iter().any(|(operator, _)| operator.is_sum());
    let operand = |number: &Number| {
        let quantity = open(number, leaves, facts);
        let value = quantity.value.clone();
        let is_product = matches!(number, Number::Chain { rest, .. } if !rest[0].0.is_sum());
        let needs_brackets = matches!(number, Number::Chain { .. }) && !(is_sum && is_product);
        (if needs_brackets { bracketed(quantity) } else { quantity.parts }, value)
    };
    let (mut parts, mut result) = operand(first);
    for (operator, number) in rest {
        let (more, value) = operand(number);
        parts.push(Part::Text(format!(" {} ", operator.sign())));
        parts.extend(more);
        result =
            all_numbers([result, value]).and_then(|sides| apply(*operator, sides[0], sides[1]).map_err(Gap::Error));
    }
    Quantity { parts, value: result, is_open: true }
}

fn apply(operator: Operator, left: f64, right: f64) -> Result<f64, String> {
    let result = match operator {
        Operator::Plus => left + right,
        Operator::Minus => left - right,
        Operator::Times => left * right,
        Operator::Over if right == 0.0 => return Err("division by zero".to_owned()),
        Operator::Over => left / right,
    };
    if result.is_finite() { Ok(result) } else { Err(format!("the result of `{}` is too large", operator.sign())) }
}

fn call(function: &Function, arguments: &Arguments, leaves: &Leaves, facts: &Facts) -> Quantity {
    match (&function.body, arguments) {
        (Body::WinRate, Arguments::Other(other)) => {
            let other = &leaves.others[*other];
            detailed(format!("{}{}({} over changed)", other.by(), function.name, other.label()), win_rate(other, facts))
        }
        (Body::Changed, Arguments::Other(other)) => {
            let other = &leaves.others[*other];
            detailed(format!("{}{}({})", other.by(), function.name, other.label()), changed(other, facts))
        }
        (Body::OverItems { fold, .. }, Arguments::Field(name, picked)) => {
            let name = &leaves.names[*name];
            let picked_text = match picked {
                Picked::All => String::new(),
                Picked::Quantile(_, share) => format!(", {share}"),
                Picked::Where(sign, _, bound) => format!(" {} {bound}", sign.sign()),
            };
            let text = format!("{}({}{picked_text})", function.name, name.label());
            detailed(text, over_items(name, *fold, picked, facts))
        }
        (Body::Slope, Arguments::Metric(name)) => {
            let name = &leaves.names[*name];
            detailed(format!("{}({})", function.name, name.label()), slope(name, facts))
        }
        (Body::Against(sum), Arguments::Against(mine, theirs)) => {
            let two = [mine, theirs].map(|name| named(&leaves.names[*name], facts));
            with_arguments(function, two.into(), |numbers| sum(numbers[0], numbers[1]))
        }
        (body, Arguments::Numbers(numbers)) => {
            let quantities: Vec<Quantity> = numbers.iter().map(|number| open(number, leaves, facts)).collect();
            match body {
                Body::Single(sum) => with_arguments(function, quantities, |numbers| sum(numbers[0])),
                Body::Several(sum) => with_arguments(function, quantities, sum),
                Body::Directed(sum) => match check::direction(numbers, leaves) {
                    Ok(direction) => with_arguments(function, quantities, |numbers| sum(direction, numbers)),
                    Err(reason) => Quantity::text(format!("{} ?", function.name), Err(Gap::Error(reason))),
                },
                _ => misread(function),
            }
        }
        _ => misread(function),
    }
}

/// The parser reads arguments as the row of the function says, so this cannot be; still it is an error, not a panic.
fn misread(function: &Function) -> Quantity {
    let reason = format!("`{}` was read with other arguments", function.name);
    Quantity::text(format!("{} ?", function.name), Err(Gap::Error(reason)))
}

fn with_arguments(function: &Function, arguments: Vec<Quantity>, sum: impl Fn(&[f64]) -> f64) -> Quantity {
    let values = all_numbers(arguments.iter().map(|argument| argument.value.clone()));
    let mut parts = vec![Part::Text(format!("{}(", function.name))];
    for (at, argument) in arguments.into_iter().enumerate() {
        if at > 0 {
            parts.push(Part::Text(", ".to_owned()));
        }
        parts.extend(argument.parts);
    }
    let value = values.map(|values| sum(&values));
    match value {
        Ok(value) => parts.extend([Part::Text(") ".to_owned()), Part::Value(value)]),
        Err(_) => parts.push(Part::Text(") ?".to_owned())),
    }
    let value = value.and_then(|value| match value.is_finite() {
        true => Ok(value),
        false => Err(Gap::Error(format!("`{}` gives {}", function.name, show::odd(value)))),
    });
    Quantity { parts, value, is_open: false }
}

/// A number made of many, with what it was made of.
fn detailed(text: String, made: Result<(f64, String), Gap>) -> Quantity {
    match made {
        Ok((value, detail)) => {
            let parts = vec![Part::Text(format!("{text} ")), Part::Value(value), Part::Text(format!(" [{detail}]"))];
            Quantity { parts, value: Ok(value), is_open: false }
        }
        Err(gap) => Quantity::text(format!("{text} ?"), Err(gap.map(|reason| format!("{text}: {reason}")))),
    }
}

fn win_rate(other: &Other, facts: &Facts) -> Result<(f64, String), Gap> {
    let (mine, theirs) = both_items(other, facts)?;
    let counts = Counts::of(&items::versus(mine, theirs)?);
    let rate = counts.win_rate().ok_or_else(|| none_changed(counts.total() as usize))?;
    Ok((rate, counts.to_string()))
}

fn changed(other: &Other, facts: &Facts) -> Result<(f64, String), Gap> {
    let (mine, theirs) = both_items(other, facts)?;
    let changed = items::changed(mine, theirs)?;
    let count = changed.iter().filter(|is_changed| **is_changed).count();
    Ok((count as f64 / changed.len() as f64, format!("{count} of {}", changed.len())))
}

fn over_items(name: &Name, fold: Fold, picked: &Picked, facts: &Facts) -> Result<(f64, String), Gap> {
    let Some(meaning) = &name.meaning else { return Err(Gap::Error(format!("`{}` was not checked", name.label()))) };
    let items = items_of(&name.who, meaning.yardstick, facts)?;
    let numbers =
        (0..items.rows.len()).map(|row| items.number(&name.metric, row)).collect::<Result<Vec<_>, String>>()?;
    let detail = format!("{} items", numbers.len());
    let value = resampled::over_items(numbers, fold, picked);
    Ok((value.ok_or_else(|| Gap::Error("there are no items".to_owned()))?, detail))
}

/// Least squares of the metric over the steps of the checkpoints.
fn slope(name: &Name, facts: &Facts) -> Result<(f64, String), Gap> {
    let points: Vec<(f64, f64)> = facts
        .checkpoints
        .iter()
        .map(|(step, subject)| match subject.own.metrics.get(&name.metric).copied().flatten() {
            Some(value) if value.is_finite() => Ok((*step as f64, value)),
            _ => Err(Gap::Error(format!("step {step} has no finite `{}`", name.metric))),
        })
        .collect::<Result<_, _>>()?;
    let count = points.len() as f64;
    if points.len() < 2 {
        return Err(Gap::Open("a single checkpoint has no slope".to_owned()));
    }
    let mean = |number: fn(&(f64, f64)) -> f64| points.iter().map(number).sum::<f64>() / count;
    let (middle, level) = (mean(|point| point.0), mean(|point| point.1));
    let rise: f64 = points.iter().map(|(step, value)| (step - middle) * (value - level)).sum();
    let run: f64 = points.iter().map(|(step, _)| (step - middle).powi(2)).sum();
    Ok((rise / run, format!("{} checkpoints", points.len())))
}
