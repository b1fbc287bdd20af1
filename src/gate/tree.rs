//! A rule after parsing. Its names stand in one flat list beside the tree, so that looking them up needs no walk.

mod confidence;
mod names;

pub use confidence::{Confidence, DeclaredGrowth, DeclaredLooks, Margin};
pub use names::{FamilyName, Leaves, Meaning, Name, Other, Qualifier, RecordOrigin, Who};

use super::column::FieldArgument;
use super::functions::{Function, OfCheckpoints, OfField, OfMembers, OfNumbers};
use super::lexer::{self, Comparison, Token};
use std::collections::BTreeSet;
use std::ops::Range;

/// A test, which passes or does not. After [`super::check`] it also knows what its names mean.
#[derive(Clone, Debug)]
pub struct Rule {
    pub text: String,
    pub(super) leaves: Leaves,
    pub(super) test: Test,
}

/// A number, by which `select: {best: …}` compares checkpoints.
#[derive(Clone, Debug)]
pub struct Expression {
    pub text: String,
    pub(super) leaves: Leaves,
    pub(super) number: Number,
}

impl Rule {
    /// The stages it names, in the order of the text, without `self`, `judge` and `incumbent`.
    pub fn stages(&self) -> Vec<(&str, Range<usize>)> {
        self.leaves.stages()
    }
    /// The artifacts that a judge must measure before the rule can be evaluated, each with that judge. Known after
    /// `check`.
    pub fn judged(&self) -> Vec<(Who, usize)> {
        self.leaves.judged()
    }
    /// The artifacts whose tables of items the rule reads, where they have any. Known after `check`.
    pub fn itemised(&self) -> Vec<(Who, RecordOrigin)> {
        self.leaves.tables(true)
    }

    /// The metrics that it reads, of whatever artifact, in the order of its text; fields of items among them.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        self.leaves.metrics()
    }

    /// Whether it asks for confidence anywhere.
    pub fn is_confident(&self) -> bool {
        self.test.is_confident()
    }

    /// Whether it asks for confidence that items give. The stages of a `for` are evidence of another sort: no look at
    /// items is taken where they alone are asked.
    pub fn looks_at_items(&self) -> bool {
        !self.test.item_confidences().is_empty()
    }

    /// The looks that its comparisons declare, with the range of each confidence, in the order of the text.
    pub fn looks(&self) -> Vec<(Option<DeclaredLooks>, Range<usize>)> {
        let mut all: Vec<_> = self.test.item_confidences().iter().map(|one| (one.looks, one.range.clone())).collect();
        all.sort_by_key(|(_, range)| range.start);
        all
    }

    /// The growth of its table that its comparisons declare, with the range of each confidence, in the order of the text.
    pub fn growth(&self) -> Vec<(Option<DeclaredGrowth>, Range<usize>)> {
        let mut all: Vec<_> = self.test.item_confidences().iter().map(|one| (one.growth, one.range.clone())).collect();
        all.sort_by_key(|(_, range)| range.start);
        all
    }

    /// The chance of a false claim that each of its comparisons with confidence allows.
    pub fn levels(&self) -> Vec<f64> {
        self.test.item_confidences().into_iter().map(Confidence::level).collect()
    }

    /// The metric of the candidate that it surely wants above a number, and that number.
    pub fn floor(&self) -> Option<(&str, f64)> {
        let Test::Compare { first: Number::Name(name), links, margin: None, confidence: Some(_) } = &self.test else {
            return None;
        };
        let [(Comparison::Above | Comparison::AtLeast, Number::Literal { value, .. })] = links[..] else { return None };
        let name = &self.leaves.names[*name];
        (name.who == Who::Candidate).then_some((name.metric.as_str(), value))
    }

    /// The families that it reads, each with the metric.
    pub fn families(&self) -> impl Iterator<Item = (&str, &str)> {
        self.leaves.families.iter().filter_map(|family| match &family.typed.who {
            Who::Stage(name) => Some((name.as_str(), family.typed.metric.as_str())),
            Who::Candidate | Who::Incumbent => None,
        })
    }

    /// The stages that it names only as those of a `for`: one of them may fail, and the rule still says something.
    pub fn members(&self) -> BTreeSet<&str> {
        let stage = |name: &&Name| if let Who::Stage(stage) = &name.who { Some(stage.clone()) } else { None };
        let alone: BTreeSet<String> =
            self.leaves.names.iter().filter(|name| name.family.is_none()).filter_map(|name| stage(&name)).collect();
        let compared = |stage: &str| self.leaves.others.iter().any(|other| other.who == Who::Stage(stage.to_owned()));
        let families = self.leaves.names.iter().filter(|name| name.family.is_some());
        let members =
            families.filter_map(|name| if let Who::Stage(stage) = &name.who { Some(stage.as_str()) } else { None });
        members.filter(|stage| !alone.contains(*stage) && !compared(stage)).collect()
    }

    pub fn names_incumbent(&self) -> bool {
        self.leaves.artifacts().any(|(who, _)| *who == Who::Incumbent)
    }
    /// The fields whose numbers decide the rule item by item: the fields of functions over items and, where the rule
    /// asks for confidence, those of its metrics. Known after `check`.
    pub fn decided_by<'a>(&'a self) -> Vec<(RecordOrigin, &'a str)> {
        let asks_confidence = self.test.is_confident();
        let names = self.leaves.names.iter().filter(|name| name.is_field || asks_confidence);
        let field_of = |name: &'a Name| {
            let meaning = name.meaning.as_ref()?;
            Some((meaning.origin, meaning.field.as_deref()?))
        };
        names.filter_map(field_of).collect()
    }

    /// The rule in one spelling, with `called` in place of the name of each stage and judge. An approval is bound to
    /// this text, so that neither a renamed stage nor an added space makes it lapse.
    pub fn resolved(&self, called: &dyn Fn(&str) -> String) -> String {
        let mut names = self.stages();
        let by = |qualifier: &Option<Qualifier>, start: usize| match qualifier {
            Some(Qualifier::By(judge)) => Some(start..start + judge.len()),
            _ => None,
        };
        let of_names = self.leaves.names.iter().filter_map(|name| by(&name.qualifier, name.range.start));
        let qualifier = self.leaves.others.iter().filter_map(|other| other.qualifier.clone());
        let of_others = qualifier.filter_map(|(qualifier, range)| by(&Some(qualifier), range.start));
        names.extend(of_names.chain(of_others).map(|range| (&self.text[range.clone()], range)));
        // The stages of a `for` stand behind one word.
        let word = |token: &Token| {
            let meant: Vec<String> =
                names.iter().filter(|(_, range)| *range == token.range).map(|(name, _)| called(name)).collect();
            if meant.is_empty() { token.text.to_owned() } else { meant.join("+") }
        };
        let tokens = lexer::tokens(&self.text).unwrap_or_default();
        tokens.iter().map(word).collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }
}

#[derive(Clone, Debug)]
pub enum Test {
    /// `first op number op number …`; a margin only after a single comparison.
    Compare {
        first: Number,
        links: Vec<(Comparison, Number)>,
        margin: Option<Margin>,
        confidence: Option<Confidence>,
    },
    /// Both ends included.
    Between {
        value: Number,
        low: Number,
        high: Number,
        confidence: Option<Confidence>,
    },
    /// Indices into [`Leaves::names`].
    Improves {
        metric: usize,
        over: usize,
        margin: Option<Margin>,
        confidence: Option<Confidence>,
    },
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
}

impl Test {
    /// Whether it asks for confidence anywhere.
    pub fn is_confident(&self) -> bool {
        !self.confidences().is_empty()
    }

    /// The confidence of each comparison that items are asked for.
    pub fn item_confidences(&self) -> Vec<&Confidence> {
        let is_across = |number: &Number| number.is_across();
        match self {
            Test::Compare { first, links, .. }
                if is_across(first) || links.iter().any(|(_, number)| is_across(number)) =>
            {
                Vec::new()
            }
            Test::Between { value, low, high, .. } if [value, low, high].into_iter().any(is_across) => Vec::new(),
            Test::Compare { .. } | Test::Between { .. } | Test::Improves { .. } => self.confidences(),
            Test::And(tests) | Test::Or(tests) => tests.iter().flat_map(Test::item_confidences).collect(),
            Test::Not(test) => test.item_confidences(),
        }
    }

    /// The confidence of each comparison that asks for one.
    pub fn confidences(&self) -> Vec<&Confidence> {
        match self {
            Test::Compare { confidence, .. } | Test::Between { confidence, .. } | Test::Improves { confidence, .. } => {
                confidence.iter().collect()
            }
            Test::And(tests) | Test::Or(tests) => tests.iter().flat_map(Test::confidences).collect(),
            Test::Not(test) => test.confidences(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Number {
    /// The text as typed, so that an explanation repeats it.
    Literal {
        value: f64,
        text: String,
    },
    /// Index into [`Leaves::names`].
    Name(usize),
    Negative(Box<Number>),
    /// Operators of one precedence, from left to right.
    Chain {
        first: Box<Number>,
        rest: Vec<(Operator, Number)>,
    },
    Call {
        function: &'static Function,
        arguments: Arguments,
        range: Range<usize>,
    },
}

/// The arguments of a function, beside the faces that its row gives it.
#[derive(Clone, Debug)]
pub enum Arguments {
    Numbers(&'static OfNumbers, Vec<Number>),
    /// Index into [`Leaves::others`].
    Answers(usize),
    /// Index into [`Leaves::names`].
    Field(&'static OfField, usize, FieldArgument),
    /// Index into [`Leaves::names`].
    Checkpoints(&'static OfCheckpoints, usize),
    /// Index into [`Leaves::families`].
    Members(&'static OfMembers, usize, Option<(Comparison, Box<Number>)>),
}

/// The measured value that a number reads itself, apart from its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Index into [`Leaves::names`].
    Name(usize),
    /// Index into [`Leaves::others`].
    Other(usize),
}

impl Number {
    /// The numbers that this one is computed from, from left to right.
    pub fn operands(&self) -> Vec<&Number> {
        match self {
            Number::Negative(inner) => vec![inner],
            Number::Chain { first, rest } => {
                [&**first].into_iter().chain(rest.iter().map(|(_, number)| number)).collect()
            }
            Number::Call { arguments: Arguments::Numbers(_, numbers), .. } => numbers.iter().collect(),
            Number::Call { arguments: Arguments::Members(_, _, Some((_, bound))), .. } => vec![bound],
            Number::Literal { .. } | Number::Name(_) | Number::Call { .. } => Vec::new(),
        }
    }

    /// Shows it to `look`, and every number within it.
    pub fn visit(&self, look: &mut dyn FnMut(&Number)) {
        look(self);
        self.operands().into_iter().for_each(|operand| operand.visit(look));
    }

    /// Whether it is, or is computed from, a number of the stages of a `for`.
    pub fn is_across(&self) -> bool {
        let is_itself = matches!(self, Number::Call { arguments: Arguments::Members(..), .. });
        is_itself || self.operands().into_iter().any(Number::is_across)
    }

    pub fn leaf(&self) -> Option<Leaf> {
        match self {
            Number::Name(name) => Some(Leaf::Name(*name)),
            Number::Call { arguments, .. } => match arguments {
                Arguments::Field(_, name, _) | Arguments::Checkpoints(_, name) => Some(Leaf::Name(*name)),
                Arguments::Answers(other) => Some(Leaf::Other(*other)),
                Arguments::Numbers(..) | Arguments::Members(..) => None,
            },
            Number::Literal { .. } | Number::Negative(_) | Number::Chain { .. } => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Plus,
    Minus,
    Times,
    Over,
}

impl Operator {
    pub fn sign(self) -> &'static str {
        match self {
            Operator::Plus => "+",
            Operator::Minus => "-",
            Operator::Times => "*",
            Operator::Over => "/",
        }
    }
    pub fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Operator::Plus => left + right,
            Operator::Minus => left - right,
            Operator::Times => left * right,
            Operator::Over => left / right,
        }
    }
    pub fn is_sum(self) -> bool {
        matches!(self, Operator::Plus | Operator::Minus)
    }
}
