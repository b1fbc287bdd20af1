//! A rule as read. Names stand in one flat list beside the tree, so that looking them up needs no walk.

use super::functions::Function;
use super::lexer::{self, Comparison, Token};
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
    /// Whose artifacts must be measured by which judge before the rule can be evaluated. Known after `check`.
    pub fn judged(&self) -> Vec<(Who, usize)> {
        self.leaves.judged()
    }
    /// Whose per-item tables it looks at, if there are any. Known after `check`.
    pub fn itemised(&self) -> Vec<(Who, Yardstick)> {
        self.leaves.tables(true)
    }

    pub fn names_incumbent(&self) -> bool {
        self.leaves.artifacts().any(|(who, _)| *who == Who::Incumbent)
    }
    /// The fields whose numbers, item by item, decide what it says: those of functions over items, and where it asks
    /// for confidence those of its metrics. Known after `check`.
    pub fn decided_by<'a>(&'a self) -> Vec<(Yardstick, &'a str)> {
        let asks_confidence = self.test.is_confident();
        let names = self.leaves.names.iter().filter(|name| name.is_field || asks_confidence);
        let field_of = |name: &'a Name| {
            let meaning = name.meaning.as_ref()?;
            Some((meaning.yardstick, meaning.field.as_deref()?))
        };
        names.filter_map(field_of).collect()
    }

    /// The rule in one spelling, with `called` in the place of each stage's and judge's name: what an approval is bound
    /// to, so that neither a renamed stage nor a space more makes it lapse.
    pub fn resolved(&self, called: &dyn Fn(&str) -> String) -> String {
        let mut names = self.stages();
        let by = |said: &Option<Said>, start: usize| match said {
            Some(Said::By(judge)) => Some(start..start + judge.len()),
            _ => None,
        };
        let of_names = self.leaves.names.iter().filter_map(|name| by(&name.said, name.range.start));
        let said = self.leaves.others.iter().filter_map(|other| other.said.clone());
        let of_others = said.filter_map(|(said, range)| by(&Some(said), range.start));
        names.extend(of_names.chain(of_others).map(|range| (&self.text[range.clone()], range)));
        let word = |token: &Token| match names.iter().find(|(_, range)| *range == token.range) {
            Some((name, _)) => called(name),
            None => token.text.to_owned(),
        };
        let tokens = lexer::tokens(&self.text).unwrap_or_default();
        tokens.iter().map(word).collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }
}

/// Whose artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Candidate,
    Incumbent,
    Stage(String),
}

/// Which record a number is read from: the artifact's own, or that of a judge, by its place in the gate's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Yardstick {
    Own,
    Judge(usize),
}

/// How a name says which record it is read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// `self.m`
    Own,
    /// `judge.m`
    Judge,
    /// `eval.m`, `eval.sft.m`, `eval.win_rate(…)`: that judge.
    By(String),
}

/// What a name was found to mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    pub yardstick: Yardstick,
    pub direction: Direction,
    /// The field of the per-item table that the metric is the mean of, where there is one.
    pub field: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Name {
    pub who: Who,
    /// Of the word that says who; empty for the candidate.
    pub who_range: Range<usize>,
    pub said: Option<Said>,
    /// A metric, or a field of the per-item table.
    pub metric: String,
    pub is_field: bool,
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
        let said = match &self.said {
            None => String::new(),
            Some(Said::Own) => "self.".to_owned(),
            Some(Said::Judge) => "judge.".to_owned(),
            Some(Said::By(judge)) => format!("{judge}."),
        };
        match &self.who {
            Who::Candidate => format!("{said}{}", self.metric),
            Who::Incumbent => format!("{said}incumbent.{}", self.metric),
            Who::Stage(stage) => format!("{said}{stage}.{}", self.metric),
        }
    }
}

/// An artifact whose items are paired with the candidate's.
#[derive(Clone, Debug)]
pub struct Other {
    pub who: Who,
    pub range: Range<usize>,
    /// The judge before the function, and where it stands.
    pub said: Option<(Said, Range<usize>)>,
    pub function: &'static Function,
    /// The judge whose items are compared; `None` until it is checked.
    pub judge: Option<usize>,
}

impl Other {
    /// As it is written before the function: nothing, `judge.` or `eval.`.
    pub fn by(&self) -> String {
        match &self.said {
            None | Some((Said::Own, _)) => String::new(),
            Some((Said::Judge, _)) => "judge.".to_owned(),
            Some((Said::By(judge), _)) => format!("{judge}."),
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
        let judge_of = |name: &Name| match name.meaning.as_ref()?.yardstick {
            Yardstick::Judge(judge) => Some((name.who.clone(), judge)),
            Yardstick::Own => None,
        };
        sorted(self.names.iter().filter_map(judge_of).chain(self.compared()).collect())
    }
    /// Whose tables of items are looked at: for functions over items always, for metrics only where it is asked how sure
    /// they are.
    pub fn tables(&self, of_metrics: bool) -> Vec<(Who, Yardstick)> {
        let table_of = |name: &Name| {
            let meaning = name.meaning.as_ref()?;
            let is_asked = name.is_field || (of_metrics && meaning.field.is_some());
            is_asked.then(|| (name.who.clone(), meaning.yardstick))
        };
        let compared = self.compared().map(|(who, judge)| (who, Yardstick::Judge(judge)));
        sorted(self.names.iter().filter_map(table_of).chain(compared).collect())
    }
    /// Both sides of every comparison of answers.
    fn compared(&self) -> impl Iterator<Item = (Who, usize)> {
        let sides = |other: &Other| {
            let judge = other.judge?;
            Some([(Who::Candidate, judge), (other.who.clone(), judge)])
        };
        self.others.iter().filter_map(sides).flatten()
    }
    /// The records it reads numbers from.
    pub fn yardsticks(&self) -> Vec<Yardstick> {
        let names = self.names.iter().filter_map(|name| Some(name.meaning.as_ref()?.yardstick));
        sorted(names.chain(self.compared().map(|(_, judge)| Yardstick::Judge(judge))).collect())
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
        match self {
            Test::Compare { confidence, .. } | Test::Between { confidence, .. } | Test::Improves { confidence, .. } => {
                confidence.is_some()
            }
            Test::And(tests) | Test::Or(tests) => tests.iter().any(Test::is_confident),
            Test::Not(test) => test.is_confident(),
        }
    }
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

/// `with 95% confidence`; one-sided.
#[derive(Clone, Debug)]
pub struct Confidence {
    pub percent: f64,
    /// As typed, without the sign.
    pub text: String,
    /// From `with` on.
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
    /// Index into [`Leaves::names`].
    Field(usize, Picked),
    /// Index into [`Leaves::names`].
    Metric(usize),
}

/// What is asked of the numbers of a field.
#[derive(Clone, Debug)]
pub enum Picked {
    All,
    /// A share from 0 to 1, as typed.
    Quantile(f64, String),
    /// Those for which this holds; the number as typed.
    Where(Comparison, f64, String),
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
