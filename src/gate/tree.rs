//! A rule as read. Names stand in one flat list beside the tree, so that looking them up needs no walk.

use super::functions::Function;
use super::lexer::Comparison;
use stages::stage::Direction;
use std::ops::Range;

/// A test: it passes or it does not. After [`super::check`] it also knows what its names mean.
#[derive(Clone, Debug)]
pub struct Rule {
    pub text: String,
    pub(super) leaves: Leaves,
    pub(super) test: Test,
}

/// A number: what `select: {best: …}` compares checkpoints by.
#[derive(Clone, Debug)]
pub struct Expression {
    pub text: String,
    pub(super) leaves: Leaves,
    pub(super) number: Number,
}

impl Rule {
    /// The stages named in it, in the order of the text; not `self`, `judge`, `incumbent`.
    pub fn stages(&self) -> Vec<(&str, Range<usize>)> {
        self.leaves.stages()
    }
    /// Whose artifacts must be measured by the judge before the rule can be evaluated. Known after `check`.
    pub fn judged(&self) -> Vec<Who> {
        self.leaves.judged()
    }
}

/// Whose artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Candidate,
    Incumbent,
    Stage(String),
}

/// Which record a metric is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    Own,
    Judge,
}

/// What a name was found to mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meaning {
    pub yardstick: Yardstick,
    pub direction: Direction,
}

#[derive(Clone, Debug)]
pub struct Name {
    pub who: Who,
    /// Written as `self.m` or `judge.m`.
    pub said: Option<Yardstick>,
    pub metric: String,
    /// Of the whole name.
    pub range: Range<usize>,
    pub metric_range: Range<usize>,
    /// The second name of `m improves over x` and `delta(m, x)`: read by the yardstick of that first name.
    pub like: Option<usize>,
    /// `None` until it is checked.
    pub meaning: Option<Meaning>,
}

impl Name {
    /// As it is written in a rule.
    pub fn label(&self) -> String {
        match (&self.who, self.said) {
            (Who::Candidate, None) => self.metric.clone(),
            (Who::Candidate, Some(Yardstick::Own)) => format!("self.{}", self.metric),
            (Who::Candidate, Some(Yardstick::Judge)) => format!("judge.{}", self.metric),
            (Who::Incumbent, _) => format!("incumbent.{}", self.metric),
            (Who::Stage(stage), _) => format!("{stage}.{}", self.metric),
        }
    }
}

/// An artifact whose items are paired with the candidate's.
#[derive(Clone, Debug)]
pub struct Other {
    pub who: Who,
    pub range: Range<usize>,
    pub function: &'static Function,
}

impl Other {
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
        let names = self.names.iter().map(|name| (&name.who, &name.range));
        names.chain(self.others.iter().map(|other| (&other.who, &other.range)))
    }
    pub fn stages(&self) -> Vec<(&str, Range<usize>)> {
        let mut stages: Vec<(&str, Range<usize>)> = self
            .artifacts()
            .filter_map(|(who, range)| match who {
                Who::Stage(stage) => Some((stage.as_str(), range.start..range.start + stage.len())),
                Who::Candidate | Who::Incumbent => None,
            })
            .collect();
        stages.sort_by_key(|(_, range)| range.start);
        stages
    }
    pub fn judged(&self) -> Vec<Who> {
        let is_judged = |name: &&Name| name.meaning.is_some_and(|meaning| meaning.yardstick == Yardstick::Judge);
        let mut judged: Vec<Who> = self.names.iter().filter(is_judged).map(|name| name.who.clone()).collect();
        if !self.others.is_empty() {
            judged.push(Who::Candidate);
            judged.extend(self.others.iter().map(|other| other.who.clone()));
        }
        judged.sort();
        judged.dedup();
        judged
    }
}

#[derive(Clone, Debug)]
pub enum Test {
    /// `first op number op number …`; a margin only after a single comparison.
    Compare {
        first: Number,
        links: Vec<(Comparison, Number)>,
        margin: Option<Margin>,
    },
    /// Both ends included.
    Between {
        value: Number,
        low: Number,
        high: Number,
    },
    /// Indices into [`Leaves::names`].
    Improves {
        metric: usize,
        over: usize,
        margin: Option<Margin>,
    },
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
}

/// `by 0.02` or `by 5%`; never negative.
#[derive(Clone, Debug)]
pub struct Margin {
    pub amount: f64,
    pub is_percent: bool,
    /// As typed: `0.02` or `5%`.
    pub text: String,
    pub range: Range<usize>,
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

#[derive(Clone, Debug)]
pub enum Arguments {
    Numbers(Vec<Number>),
    /// Index into [`Leaves::others`].
    Other(usize),
    /// Indices into [`Leaves::names`]: the metric of the candidate, the same of another artifact.
    Against(usize, usize),
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
    pub fn is_sum(self) -> bool {
        matches!(self, Operator::Plus | Operator::Minus)
    }
}
