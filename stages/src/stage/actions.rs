//! Actions of a stage that has several.

use super::Kind;
use serde_json::Value;

/// The actions of a stage that asks people. The worklist has the parameters and the inputs of the stage, as far as it has
/// such ports; `labels` reads what that gave, on the port `worklist`, and the labels that count, on `labels`.
pub struct AskingActions {
    /// The port of the stage with which `scores` comes first; the worklist finds what that gave on its port `scores`.
    pub scored_by: &'static str,
    pub scores: &'static Kind,
    pub worklist: &'static Kind,
    pub labels: &'static Kind,
}

/// The actions of a stage that draws from models. Each draw of each model from each block of rows is an action by itself, with the parameters that it
/// shares with the stage, and its number as `draw`; so is its score, where the stage has a reward.
pub struct DrawActions {
    /// The port of the models.
    pub port: &'static str,
    /// The port of the prompts.
    pub prompts: &'static str,
    /// The port of what scores the draws.
    pub reward: &'static str,
    /// The parameter that says how many draws of each model there are.
    pub count: &'static str,
    /// The parameter that says whether a draw reads those before it.
    pub chained: &'static str,
    /// The port of the rows.
    pub rows: &'static str,
    /// Divides what is on that port: each candidate is a block.
    pub block: &'static Kind,
    /// Reads `model`, `prompts` and, if chained, `before`.
    pub draw: &'static Kind,
    /// Reads `answers` and `reward`.
    pub score: &'static Kind,
    /// Reads `draws` and `scores`.
    pub join: &'static Kind,
}

/// A measurement of one model, in parts.
pub struct Measure {
    /// The port of the measured model. If the stage judges, that is a candidate of the judged stage.
    pub port: &'static str,
    /// The parts, each of which reads only parts before it.
    pub parts: &'static [Part],
    /// The part whose rows are the model's answers.
    pub answers: Option<usize>,
    /// The comparison of two measured models. Without it no wins and losses are counted.
    pub comparison: Option<ModelComparison>,
    /// The columns of the table of a study. Without them it has all metrics, by name.
    pub columns: Option<StudyColumns>,
}

/// The columns of the table of a study, in which every measured model is a row.
pub struct StudyColumns {
    /// The metric by which models are compared, in the first column; those of further inputs (`_2`, `_3`, …) follow. A
    /// stage that runs a command and declares this metric has a row in the same columns.
    pub headline: StudyColumn,
    /// Metrics after wins and losses.
    pub others: &'static [StudyColumn],
}

#[derive(Clone, Copy, Debug)]
pub struct StudyColumn {
    pub metric: &'static str,
    /// Decimal places.
    pub decimals: usize,
}

impl StudyColumns {
    /// The number of the input that a metric is the headline of, from 1: 2 for `mean_score_2`.
    pub fn input(&self, metric: &str) -> Option<usize> {
        match metric.strip_prefix(self.headline.metric)? {
            "" => Some(1),
            suffix => suffix.strip_prefix('_')?.parse().ok(),
        }
    }

    /// The name of the headline of this input, counted from 1.
    pub fn of_input(&self, input: usize) -> String {
        let name = self.headline.metric;
        if input == 1 { name.to_owned() } else { format!("{name}_{input}") }
    }
}

/// One action of a measurement, of a kind that no pipeline file can name. Its parameters are those it shares with the
/// stage.
pub struct Part {
    pub kind: &'static Kind,
    /// `(port of the part, its input)`. A part that needs an optional port of the stage is left out if the port is not
    /// connected. Each input of a port that takes many is measured by itself: the first one judges, and the metrics and
    /// fields of the others get `_2`, `_3`, … appended to their names.
    pub inputs: &'static [(&'static str, PartInput)],
    /// The file in the part's output that has a row for each item.
    pub table: &'static str,
    /// The parameter of the stage, a list, without which the part is left out.
    pub unless_empty: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub enum PartInput {
    /// The input of this port of the stage.
    Port(&'static str),
    /// The output of the part at this index.
    Part(usize),
}

/// Wins and losses of a model against another.
#[derive(Clone, Copy)]
pub struct ModelComparison {
    /// The index of the part whose rows have the fields `text` and `score`. Its output carries the stage's name.
    pub part: usize,
    /// The port of the model that all others are compared with.
    pub port: &'static str,
}

impl Part {
    pub fn reads(&self, port: &str) -> bool {
        self.inputs.iter().any(|(_, input)| matches!(input, PartInput::Port(own) if *own == port))
    }

    /// Canonical parameters, from those of the stage.
    pub fn parameters(&self, of_stage: &Value) -> Value {
        self.kind.shared_parameters(of_stage)
    }
}
