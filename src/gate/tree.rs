//! A rule after parsing. Its names stand in one flat list beside the tree, so that looking them up needs no walk.

mod confidence;

pub use confidence::{Confidence, DeclaredGrowth, DeclaredLooks, Margin};

use super::column::FieldArgument;
use super::functions::{Function, OfAnswers, OfCheckpoints, OfField, OfNumbers};
use super::lexer::{self, Comparison, Token};
use stages::stage::{Bounds, Direction};
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

    /// The looks that its comparisons declare, with the range of each confidence, in the order of the text.
    pub fn looks(&self) -> Vec<(Option<DeclaredLooks>, Range<usize>)> {
        let mut all: Vec<_> = self.test.confidences().iter().map(|one| (one.looks, one.range.clone())).collect();
        all.sort_by_key(|(_, range)| range.start);
        all
    }

    /// The growth of its table that its comparisons declare, with the range of each confidence, in the order of the text.
    pub fn growth(&self) -> Vec<(Option<DeclaredGrowth>, Range<usize>)> {
        let mut all: Vec<_> = self.test.confidences().iter().map(|one| (one.growth, one.range.clone())).collect();
        all.sort_by_key(|(_, range)| range.start);
        all
    }

    /// The chance of a false claim that each of its comparisons with confidence allows.
    pub fn levels(&self) -> Vec<f64> {
        self.test.confidences().into_iter().map(Confidence::level).collect()
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
        let word = |token: &Token| match names.iter().find(|(_, range)| *range == token.range) {
            Some((name, _)) => called(name),
            None => token.text.to_owned(),
        };
        let tokens = lexer::tokens(&self.text).unwrap_or_default();
        tokens.iter().map(word).collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }
}

/// The artifact that a name is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Candidate,
    Incumbent,
    Stage(String),
}

/// The record that a number is read from: the artifact's own, or that of a judge, by its index in the gate's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordOrigin {
    Own,
    Judge(usize),
}

/// The part of a name that says which record it is read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Qualifier {
    /// `self.m`
    Own,
    /// `judge.m`
    Judge,
    /// `eval.m`, `eval.sft.m`, `eval.win_rate(…)`: that judge.
    By(String),
}

/// The meaning of a name, as the check found it.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    pub origin: RecordOrigin,
    pub direction: Direction,
    /// The field of the per-item table that the metric is the mean of, where there is one.
    pub field: Option<String>,
    /// The declared bounds of that field.
    pub bounds: Option<Bounds>,
}

#[derive(Clone, Debug)]
pub struct Name {
    pub who: Who,
    /// The range of the word that says who; empty for the candidate.
    pub who_range: Range<usize>,
    pub qualifier: Option<Qualifier>,
    /// A metric, or a field of the per-item table.
    pub metric: String,
    pub is_field: bool,
    /// The subset of the items that alone counts.
    pub subset: Option<String>,
    /// The range of the whole name.
    pub range: Range<usize>,
    pub metric_range: Range<usize>,
    /// Set for the second name of `m improves over x` and `delta(m, x)`: it is read from the same origin as the first
    /// name, whose index this is.
    pub like: Option<usize>,
    /// `None` until it is checked.
    pub meaning: Option<Meaning>,
}

impl Name {
    /// The name as it is written in a rule.
    pub fn label(&self) -> String {
        let qualifier = match &self.qualifier {
            None => String::new(),
            Some(Qualifier::Own) => "self.".to_owned(),
            Some(Qualifier::Judge) => "judge.".to_owned(),
            Some(Qualifier::By(judge)) => format!("{judge}."),
        };
        match &self.who {
            Who::Candidate => format!("{qualifier}{}", self.metric),
            Who::Incumbent => format!("{qualifier}incumbent.{}", self.metric),
            Who::Stage(stage) => format!("{qualifier}{stage}.{}", self.metric),
        }
    }
}

/// An artifact whose items are paired with the candidate's.
#[derive(Clone, Debug)]
pub struct Other {
    pub who: Who,
    pub range: Range<usize>,
    /// The judge that is named before the function, and its range.
    pub qualifier: Option<(Qualifier, Range<usize>)>,
    pub function: &'static Function,
    pub of: &'static OfAnswers,
    /// The judge whose items are compared; `None` until it is checked.
    pub judge: Option<usize>,
}

impl Other {
    /// The text before the function: nothing, `judge.` or `eval.`.
    pub fn by(&self) -> String {
        match &self.qualifier {
            None | Some((Qualifier::Own, _)) => String::new(),
            Some((Qualifier::Judge, _)) => "judge.".to_owned(),
            Some((Qualifier::By(judge), _)) => format!("{judge}."),
        }
    }
    pub fn label(&self) -> &str {
        match &self.who {
            Who::Candidate => "self",
            Who::Incumbent => "incumbent",
            Who::Stage(stage) => stage,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Leaves {
    pub names: Vec<Name>,
    pub others: Vec<Other>,
}

impl Leaves {
    fn artifacts(&self) -> impl Iterator<Item = (&Who, &Range<usize>)> {
        let names = self.names.iter().map(|name| (&name.who, &name.who_range));
        names.chain(self.others.iter().map(|other| (&other.who, &other.range)))
    }
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| name.metric.as_str())
    }
    pub fn stages(&self) -> Vec<(&str, Range<usize>)> {
        let mut stages: Vec<(&str, Range<usize>)> = self
            .artifacts()
            .filter_map(|(who, range)| match who {
                Who::Stage(stage) => Some((stage.as_str(), range.clone())),
                Who::Candidate | Who::Incumbent => None,
            })
            .collect();
        stages.sort_by_key(|(_, range)| range.start);
        stages
    }
    pub fn judged(&self) -> Vec<(Who, usize)> {
        let judge_of = |name: &Name| match name.meaning.as_ref()?.origin {
            RecordOrigin::Judge(judge) => Some((name.who.clone(), judge)),
            RecordOrigin::Own => None,
        };
        sorted(self.names.iter().filter_map(judge_of).chain(self.compared()).collect())
    }
    /// The artifacts whose tables of items are read: always for functions over items, and for metrics only with
    /// `of_metrics`, that is where the rule asks for confidence.
    pub fn tables(&self, of_metrics: bool) -> Vec<(Who, RecordOrigin)> {
        let table_of = |name: &Name| {
            let meaning = name.meaning.as_ref()?;
            let is_asked = name.is_field || (of_metrics && meaning.field.is_some());
            is_asked.then(|| (name.who.clone(), meaning.origin))
        };
        let compared = self.compared().map(|(who, judge)| (who, RecordOrigin::Judge(judge)));
        sorted(self.names.iter().filter_map(table_of).chain(compared).collect())
    }
    /// Both sides of every comparison of answers, with its judge.
    fn compared(&self) -> impl Iterator<Item = (Who, usize)> {
        let sides = |other: &Other| {
            let judge = other.judge?;
            Some([(Who::Candidate, judge), (other.who.clone(), judge)])
        };
        self.others.iter().filter_map(sides).flatten()
    }
    /// The records that numbers are read from.
    pub fn origins(&self) -> Vec<RecordOrigin> {
        let names = self.names.iter().filter_map(|name| Some(name.meaning.as_ref()?.origin));
        sorted(names.chain(self.compared().map(|(_, judge)| RecordOrigin::Judge(judge))).collect())
    }
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all.dedup();
    all
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
            Number::Literal { .. } | Number::Name(_) | Number::Call { .. } => Vec::new(),
        }
    }

    /// Shows it to `look`, and every number within it.
    pub fn visit(&self, look: &mut dyn FnMut(&Number)) {
        look(self);
        self.operands().into_iter().for_each(|operand| operand.visit(look));
    }

    pub fn leaf(&self) -> Option<Leaf> {
        match self {
            Number::Name(name) => Some(Leaf::Name(*name)),
            Number::Call { arguments, .. } => match arguments {
                Arguments::Field(_, name, _) | Arguments::Checkpoints(_, name) => Some(Leaf::Name(*name)),
                Arguments::Answers(other) => Some(Leaf::Other(*other)),
                Arguments::Numbers(..) => None,
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
