//! The facts that the page is a function of: the state of the run, and what the store keeps of its stages.

mod comparison;
mod contest;
mod series;

pub use comparison::{MetricGain, RunComparison, SharedAnswers, metric_gain};
pub use contest::{AnswerContest, contest, unscored_contest};
pub use series::{Trace, trace};

use crate::plan::{ArtifactName, Pin};
use crate::report::card::StageWork;
use crate::report::explain::Checkpoint;
use crate::report::fold::{RunState, StageRun};
use stages::curve::CandidateSamples;
use std::collections::BTreeMap;

pub struct Facts {
    pub run: RunState,
    /// Whether the process of the run exists, which matters only until the run has ended.
    pub is_alive: bool,
    /// The results that the store keeps, by the name of the stage.
    pub stages: BTreeMap<String, StoredStage>,
    /// The work behind the keys of all actions, as far as their records are there.
    pub works: BTreeMap<String, StageWork>,
    /// Answers of two models to the same prompts.
    pub contests: Vec<AnswerContest>,
    pub tastes: Vec<Taste>,
    pub left_out: LeftOut,
    /// The things that a damaged journal or store no longer has.
    pub losses: Vec<Absence>,
}

/// The results that the store keeps of a stage beside its events.
#[derive(Default)]
pub struct StoredStage {
    /// The candidates in the record of its own action, in step order.
    pub checkpoints: Vec<Checkpoint>,
    pub curve: StoredCurve,
    /// The scores, of a reward model, of held-out pairs under the checkpoint that goes on.
    pub pairs: Option<ScorePairs>,
}

/// The points that a stage wrote while it learned.
#[derive(Default)]
pub enum StoredCurve {
    /// It measures and trains nothing, or was not reached.
    #[default]
    NotAsked,
    /// It wrote none.
    NotWritten,
    /// Its record is of a version that kept none.
    NotKept,
    /// The store has lost it.
    Lost,
    Traces {
        points: usize,
        unreadable: usize,
        traces: Vec<Trace>,
        /// Greedy answers of some candidates to the same prompts.
        samples: Vec<CandidateSamples>,
    },
}

/// Scores of the chosen and of the rejected answers of held-out pairs.
pub struct ScorePairs {
    pub chosen: Vec<f64>,
    pub rejected: Vec<f64>,
}

/// The scores of a reward by the length of the answer.
pub struct Taste {
    pub reward: String,
    /// Each model's answers: `[characters, score]`.
    pub models: Vec<(ArtifactName, Vec<[f64; 2]>)>,
}

/// The comparisons that a page would be too large with: they are in the tables alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LeftOut {
    /// Pairs of models whose answers are not shown.
    pub contests: usize,
    /// Rewards whose scores by length are not drawn.
    pub rewards: usize,
}

/// Something that the page lacks.
#[derive(Clone, Debug, PartialEq)]
pub enum Absence {
    /// The store cannot be read, for this reason.
    Store(String),
    /// The journal of a newer run: its name.
    Journal(String),
    /// The last line of the journal, which a kill cut short.
    TornLine,
    /// Lines of the journal that are damaged.
    DamagedLines(usize),
    /// Lines that a newer version of the program wrote.
    NewerLines(usize),
    /// The record of a stage's action.
    Record(String),
    Curve(String),
    /// The items of a measurement: of a stage, for a reason.
    Items(String, String),
}

impl Facts {
    /// The facts of a journal alone.
    pub fn of(run: RunState, is_alive: bool) -> Facts {
        let is_alive = is_alive && run.finish.is_none();
        let (stages, works, left_out) = (BTreeMap::new(), BTreeMap::new(), LeftOut::default());
        Facts { run, is_alive, stages, works, contests: Vec::new(), tastes: Vec::new(), left_out, losses: Vec::new() }
    }

    pub fn stored(&self, stage: &StageRun) -> Option<&StoredStage> {
        self.stages.get(&stage.head.name)
    }

    /// The command that writes everything that the page leaves out.
    pub fn all_tables(&self) -> String {
        self.command("report") + " --csv DIR"
    }

    /// The options and the file as a command takes them.
    pub fn command(&self, verb: &str) -> String {
        let RunState { file, options, .. } = &self.run;
        format!("pipeline {verb} {}{options}", super::text::place(file))
    }
}

/// The stage that an artifact comes from, and its step: the one in its name, or the one that was judged.
pub fn step_of(run: &RunState, name: &ArtifactName) -> Option<u64> {
    let stage = run.stage(&name.name)?;
    match name.pin {
        Pin::Step(step) => Some(step),
        Pin::Open | Pin::Last => stage.judged_step(),
    }
}
