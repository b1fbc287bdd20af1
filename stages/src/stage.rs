//! The contract of a stage kind. A kind is one file under `kinds/` plus one row in `kinds::KINDS`. It sees typed parameters,
//! input directories and an [`Io`], and nothing of YAML, the DAG, the cache, gates or the report.

mod actions;
mod foretelling;
mod lookalikes;
mod parameters;
mod sharing;
mod synonyms;

pub use actions::{AskingActions, DrawActions, Measure, ModelComparison, Part, PartInput, StudyColumn, StudyColumns};
pub use foretelling::{AskedTotals, Foretelling, ForetoldServer};
pub use lookalikes::lookalike;
pub use parameters::{
    ParameterMistake, Parameters, Parse, above_zero, at_least_one, did_you_mean, is_share, is_variable, nearest,
    not_negative, put_back, take_out,
};

use crate::draw::Draw;
use crate::io::Io;
use crate::model::Demand;
use crate::people::form::Form;
use formats::data::{DataRows, METRICS};
use parameters::{defaults, docs, is_known, parse, schema};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// The direction in which a metric gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Higher,
    Lower,
    Neutral,
}

/// One metric a kind promises to report for every candidate.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub direction: Direction,
    pub doc: &'static str,
    /// The field of the candidate's per-item table that the metric is the mean of. Only then can a gate say how sure it
    /// is. A table has `id`, mostly `prompt`, sometimes `text` and `prompt_group` (rows that are no independent
    /// evidence), and numbers. Every metric of `exec` may be a mean, of the field of its own name.
    pub mean_of: Option<&'static str>,
    /// The bounds that the number of every item keeps, where it has any: rules may then assume them.
    pub bounds: Option<Bounds>,
    /// Whether only the rows of the table that have its field as their `subset` are meant: other rows lack it.
    pub has_own_rows: bool,
    /// The port whose input it is measured by, beside the rows: with another one there it is another number.
    pub measured_by: Option<&'static str>,
    /// The optional port without which it has no value.
    pub needs: Option<&'static str>,
    /// Whether a judge that gives each answer a number has none: it sees no order, and says the same each time.
    pub needs_orders: bool,
}

/// The least and the largest value that a number can have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    pub low: f64,
    pub high: f64,
}

impl Metric {
    pub const fn higher(name: &'static str, doc: &'static str) -> Metric {
        Metric { direction: Direction::Higher, ..Metric::neutral(name, doc) }
    }
    pub const fn lower(name: &'static str, doc: &'static str) -> Metric {
        Metric { direction: Direction::Lower, ..Metric::neutral(name, doc) }
    }
    pub const fn neutral(name: &'static str, doc: &'static str) -> Metric {
        Metric {
            name,
            direction: Direction::Neutral,
            doc,
            mean_of: None,
            bounds: None,
            has_own_rows: false,
            measured_by: None,
            needs: None,
            needs_orders: false,
        }
    }
    pub const fn mean_of(self, field: &'static str) -> Metric {
        Metric { mean_of: Some(field), ..self }
    }
    pub const fn measured_by(self, port: &'static str) -> Metric {
        Metric { measured_by: Some(port), ..self }
    }
    pub const fn needs(self, port: &'static str) -> Metric {
        Metric { needs: Some(port), ..self }
    }
    pub const fn of_orders(self) -> Metric {
        Metric { needs_orders: true, ..self }
    }
    pub const fn of_own_rows(self) -> Metric {
        Metric { has_own_rows: true, ..self }
    }
    /// Declares that every item lies between 0 and 1.
    pub const fn of_unit(self) -> Metric {
        Metric { bounds: Some(Bounds { low: 0.0, high: 1.0 }), ..self }
    }
}

/// Metrics of the rows of the data files, by the names of `RowFilter::metrics`.
pub const ROW_METRICS: [Metric; 3] = [
    Metric::neutral(METRICS[0], "rows of the data files"),
    Metric::lower(
        METRICS[1],
        "rows not used: bad ones that `--skip-bad-rows` let pass, rows that are too long, and preferences between equals",
    ),
    Metric::lower(METRICS[2], "rows cut to the longest length; of preferences, prompts with a cut answer"),
];

/// Those of them that count rows which were left out or cut.
pub const LOST_ROWS: [&str; 2] = [METRICS[1], METRICS[2]];

/// The sources that a port accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Accepts {
    /// A language model: a directory in Hugging Face layout, or a stage that makes one.
    Model,
    /// A reward model: a stage of kind `rm`, or a directory.
    RewardModel,
    /// A reward model, a file that scores (`.txt`, `.tsv`, `.jsonl`), or a stage that makes a reward.
    Reward,
    /// The same, or a language model.
    Judge,
    /// A directory with a tokenizer, that of a model among others, or a stage that makes a model.
    Tokenizer,
    /// A data file with such rows.
    Data(DataRows),
    /// A criteria sheet (`.yaml`), which is read before anything runs: it takes the place of a parameter.
    Criteria,
    /// A stage that measured a model and what it is compared with.
    Evaluation,
    /// A stage that measured the answers of a model.
    ModelAnswers,
    /// Anything (`exec`).
    Any,
}

/// One input of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    pub name: &'static str,
    pub accepts: Accepts,
    pub is_optional: bool,
    /// The port that is connected in its place: exactly one of the two is.
    pub or: Option<&'static str>,
    pub takes_many: bool,
    /// Whether its rows are measured, not learned.
    pub is_measured: bool,
    /// Checks a file on a port that takes a directory as well: one that scores in the place of a reward model.
    pub check_file: Option<fn(&Path) -> anyhow::Result<()>>,
    /// The port whose model gives it the tokens that it reads: its own tokenizer must give the same.
    pub tokens_of: Option<&'static str>,
    /// The parameters with which that matters; `None`: with all.
    pub tokens_if: Option<fn(&Value) -> bool>,
    /// The parameter that it takes the place of.
    pub instead_of: Option<&'static str>,
    /// Whether it takes what somebody said of items: the output of a kind that asks, a file of it, or rows that judge answers.
    pub takes_judgements: bool,
    pub doc: &'static str,
}

impl Port {
    pub const REFERENCE: Port =
        Port::one("reference", Accepts::Model, "what the policy is compared with; default: itself as it came, frozen")
            .reads_tokens_of("policy")
            .optional();

    pub const fn heldout(rows: DataRows) -> Port {
        let doc = "the same, to measure on; default: a share of `data`, split by prompt";
        Port::one("heldout", Accepts::Data(rows), doc).optional().measured()
    }
    pub const fn one(name: &'static str, accepts: Accepts, doc: &'static str) -> Port {
        Port {
            name,
            accepts,
            is_optional: false,
            or: None,
            takes_many: false,
            is_measured: false,
            check_file: None,
            tokens_of: None,
            tokens_if: None,
            instead_of: None,
            takes_judgements: false,
            doc,
        }
    }
    pub const fn optional(self) -> Port {
        Port { is_optional: true, ..self }
    }
    pub const fn or(self, port: &'static str) -> Port {
        Port { is_optional: true, or: Some(port), ..self }
    }
    pub const fn measured(self) -> Port {
        Port { is_measured: true, ..self }
    }
    pub const fn many(self) -> Port {
        Port { takes_many: true, ..self }
    }
    pub const fn reads_tokens_of(self, port: &'static str) -> Port {
        Port { tokens_of: Some(port), ..self }
    }
    /// Lets another tokenizer pass, unless this is true of the parameters. Of several sources the first model counts.
    pub const fn only_if(self, is_needed: fn(&Value) -> bool) -> Port {
        Port { tokens_if: Some(is_needed), ..self }
    }
    pub const fn instead_of(self, parameter: &'static str) -> Port {
        Port { instead_of: Some(parameter), ..self }
    }
    pub const fn of_judgements(self) -> Port {
        Port { takes_judgements: true, ..self }
    }
    pub const fn files_by(self, check: fn(&Path) -> anyhow::Result<()>) -> Port {
        Port { check_file: Some(check), ..self }
    }
}

/// The output of a stage of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    Model,
    Reward,
    /// Something that scores answers and is no model.
    Scorer,
    /// Measurements only; no stage may take it as an input.
    Nothing,
    /// Whatever the command wrote (`exec`).
    Any,
}

/// The tokenizer with which a stage works, and which the model that it gives has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerSource {
    /// That of the model on this port.
    Port(&'static str),
    /// That on the port `unless`, if something is connected there; else a new one, made of the data on a port, with as many
    /// tokens as a parameter says.
    New { unless: &'static str, data: &'static str, size: &'static str },
    /// It is not known before the stage has run, or there is none.
    Unknown,
}

/// The work of a kind.
#[derive(Clone, Copy)]
pub enum Work {
    /// One action: the worker process calls this function.
    Run(fn(&Call, &mut Io) -> anyhow::Result<()>),
    /// No action of its own: the runner measures models in parts, each a cached action. A stage of such a
    /// kind can judge.
    Measure(&'static Measure),
    /// Actions, between the last two of which the stage waits until people have labelled what the first one gave.
    Ask(&'static AskingActions),
    /// An action for each of several draws from each input of a port, and one that puts them together.
    Draw(&'static DrawActions),
    /// No action: the inputs of this port are the candidates, and the gate chooses one of them.
    Choose { port: &'static str },
}

/// Mistakes by the parameters, and by the ports to which something is connected.
pub type ConnectionCheck = fn(&Value, &[&str]) -> Vec<ParameterMistake>;

/// Judgements on a port, as far as they are known before anything runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpectedJudgements {
    pub port: &'static str,
    pub form: Form,
    /// The most answers that one of them compares.
    pub answers: Option<u64>,
}

/// A mistake by what is on a port.
#[derive(Clone, Debug, PartialEq)]
pub struct PortMistake {
    pub port: &'static str,
    pub message: String,
    pub help: String,
}

/// Mistakes by the parameters, the judgements that are known, and what is connected to the ports.
pub type JudgementCheck = fn(&Value, &[ExpectedJudgements], &dyn Fn(&str) -> bool) -> Vec<PortMistake>;

/// One row of the table of kinds.
pub struct Kind {
    pub name: &'static str,
    /// Raised by hand when the same call would now give another result: part of the key.
    pub version: u32,
    pub doc: &'static str,
    pub ports: &'static [Port],
    /// `exec` takes any port name, all optional, all of `Accepts::Any`.
    pub takes_any_port: bool,
    pub gives: Gives,
    pub tokenizer: TokenizerSource,
    /// Reported for every candidate, before [`ROW_METRICS`]. `exec` declares its own in the file (`metrics:`).
    pub metrics: &'static [Metric],
    /// Whether [`ROW_METRICS`] are reported as well.
    pub reads_rows: bool,
    /// The port whose content is the incumbent of a gate, when the kind has one.
    pub incumbent: Option<&'static str>,
    /// Whether the seed enters the key.
    pub draws: bool,
    /// Whether it computes on the device of the run; a command decides that itself.
    pub computes: bool,
    /// Types the `with:` block: canonical JSON with every default filled in, or all mistakes found.
    pub parse: Parse,
    /// All defaults, as `pipeline kinds KIND` prints them; a required parameter is `null`.
    pub defaults: fn() -> Value,
    /// JSON Schema of the `with:` block, derived from the type it is read into.
    pub schema: fn() -> Value,
    /// `(parameter path, what it does)`, in the order they are printed; nested ones dotted (`lora.rank`).
    pub docs: fn() -> Vec<(String, String)>,
    /// The paths of parameters that say how it is worked and change nothing that comes of it: they are in no key, and its worker
    /// is told them beside the action.
    pub beside_key: &'static [&'static str],
    /// Whether it may ask an endpoint, which the one secret of the stage is told.
    pub asks_endpoint: bool,
    /// The way to know what it will ask a server for, before it runs.
    pub foretells: Option<&'static Foretelling>,
    /// Whether with these parameters a server does all the work: it then takes no device.
    pub is_all_asked: fn(&Value) -> bool,
    /// Mistakes of parameters that need something on a port, or nothing there.
    pub unconnected: ConnectionCheck,
    /// Mistakes by what is known of the judgements on its ports.
    pub misjudged: JudgementCheck,
    /// The files that it writes with these parameters, where they are known.
    pub files: Option<fn(&Value) -> Vec<&'static str>>,
    /// The table beside a candidate whose rows are the bins of its reliability, where there is one.
    pub reliability: Option<&'static str>,
    /// Whether actions of this kind may be worked one after the other by one process, which keeps its device, compiled
    /// kernels and the bases that it has loaded (`model/resident.rs`). Such a kind ends with
    /// everything that it began.
    pub shares_worker: bool,
    /// The memory that a stage takes by the defaults of its kind, for a model of this many tokens of context.
    pub memory: Option<fn(context: usize) -> Demand>,
    pub work: Work,
}

impl Kind {
    /// A kind with the parameters `P`, for a row to complete.
    pub const fn of<P: Parameters>(work: Work) -> Kind {
        Kind {
            name: "",
            version: 1,
            doc: "",
            ports: &[],
            takes_any_port: false,
            gives: Gives::Any,
            tokenizer: TokenizerSource::Unknown,
            metrics: &[],
            reads_rows: false,
            incumbent: None,
            draws: false,
            computes: true,
            parse: parse::<P>,
            defaults: defaults::<P>,
            schema: schema::<P>,
            docs: docs::<P>,
            beside_key: &[],
            asks_endpoint: false,
            foretells: None,
            is_all_asked: |_| false,
            unconnected: |_, _| Vec::new(),
            misjudged: |_, _, _| Vec::new(),
            files: None,
            reliability: None,
            shares_worker: false,
            memory: None,
            work,
        }
    }

    /// All metrics reported for every candidate.
    pub fn metrics(&self) -> impl Iterator<Item = &'static Metric> {
        self.metrics.iter().chain(ROW_METRICS.iter().filter(|_| self.reads_rows))
    }

    /// Canonical parameters of an action of another stage, as far as it shares them.
    pub fn shared_parameters(&self, of_stage: &Value) -> Value {
        let mut parameters = (self.defaults)();
        for (name, value) in parameters.as_object_mut().into_iter().flatten() {
            if let Some(given) = of_stage.get(name) {
                value.clone_from(given);
            }
        }
        parameters
    }

    /// Whether it runs a command that does what nobody here knows: it declares its own metrics and incumbent.
    pub fn is_command(&self) -> bool {
        self.takes_any_port && self.gives == Gives::Any
    }

    /// Whether it is given the folder of what was replied: it asks somebody, or may have a reward that does.
    pub fn keeps_replies(&self) -> bool {
        let may_ask = |port: &Port| matches!(port.accepts, Accepts::Reward | Accepts::Judge);
        self.asks_endpoint || self.gives == Gives::Scorer || self.ports.iter().any(may_ask)
    }

    pub fn port(&self, name: &str) -> Option<&'static Port> {
        self.ports.iter().find(|port| port.name == name)
    }
}

/// The call of a kind. `parameters` are canonical: they came out of [`Kind::parse`].
#[derive(Clone, Debug)]
pub struct Call {
    pub parameters: Value,
    pub seed: u64,
}

impl Call {
    /// The draws of a stage of this kind for one purpose.
    pub fn draw(&self, kind: &'static str, purpose: &'static str) -> Draw {
        Draw { seed: self.seed, kind, purpose }
    }

    pub fn parameters<P: Parameters>(&self) -> anyhow::Result<P> {
        let typed = serde_json::from_value(self.parameters.clone()).map_err(|error| error.to_string());
        let known = self.parameters.as_object().map_or(Ok(()), |given| is_known(given, &defaults::<P>()));
        known.and(typed).map_err(|error| anyhow::anyhow!("read parameters of the action: {error}"))
    }
}
