//! The command line: verbs, their arguments, and what each says of itself in its help. Knows nothing of what a verb
//! does.

mod below;

pub use below::{CacheVerb, DataVerb, GateVerb, ModelVerb};

use super::find::{self, Found, Wanted};
use crate::plan::selection;
use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use stages::io::DeviceChoice;
use stages::model::Dtype;
use std::path::{Path, PathBuf};

/// One file describes the training; one command runs it; nothing runs twice.
#[derive(Parser)]
#[command(name = "pipeline", version, about, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
}

const AFTER_HELP: &str = "\
Exit codes: 0 all done, 1 a stage failed or a gate erred, 2 the file or the command is wrong,
            3 stopped or held by a gate, 130 interrupted.
Environment: PIPELINE_STORE (as --store), RUST_LOG (what is logged to stderr), NO_COLOR.";

#[derive(Subcommand)]
pub enum Verb {
    /// Run what is not done yet; running again goes on where a run ended
    Run {
        #[command(flatten)]
        asked: Asked,
        /// Where to compute; `auto` takes a real GPU, else the CPU
        #[arg(long, default_value = "auto", value_parser = device())]
        device: DeviceChoice,
        #[command(flatten)]
        selected: Selected,
        /// Stages that may run at the same time
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        jobs: u16,
        /// What they may take together: `gpu=2,memory=64G`; default: one GPU, and the memory of this machine
        #[arg(long, value_name = "LIST")]
        resources: Option<String>,
        /// After a failure go on with what does not stand on it; else what runs is finished and nothing is begun
        #[arg(long)]
        keep_going: bool,
        /// Do not wait for the disk: faster, and a power cut may cost results
        #[arg(long)]
        no_fsync: bool,
        /// Only say what would run, and why: the same as `plan`
        #[arg(long)]
        dry_run: bool,
        /// Print the events of the run on stdout, one JSON object a line, and nothing else there
        #[arg(long)]
        json: bool,
    },
    /// Find every mistake in a pipeline file
    Check {
        file: PathBuf,
        #[command(flatten)]
        changes: Changes,
    },
    /// Say what would run, and why
    Plan {
        #[command(flatten)]
        asked: Asked,
        #[command(flatten)]
        selected: Selected,
    },
    /// Show the last run: of FILE, or the last there is in this directory or one below it
    Status {
        file: Option<PathBuf>,
        #[command(flatten)]
        which: Which,
        /// Print one JSON document instead: `"format": 1` with the run, its stages, verdicts, actions and studies;
        /// fields may be added, and none changes its meaning, as long as the format is 1
        #[arg(long)]
        json: bool,
    },
    /// Say why a stage would run now, and all that its last run knows: key, inputs, why it ran, candidates, verdict
    Explain {
        stage: String,
        file: Option<PathBuf>,
        #[command(flatten)]
        which: Which,
    },
    /// Look at gates by themselves; nothing is run
    Gate {
        #[command(subcommand)]
        verb: GateVerb,
    },
    /// Decide where a gate holds (`on_fail: hold`): the candidate goes on, or with `--reject` it does not
    Approve {
        stage: String,
        file: Option<PathBuf>,
        /// Reject the candidate: the incumbent goes on if there is one, else the stage stops
        #[arg(long)]
        reject: bool,
        /// What was looked at, and why it was decided so
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Who decides; default: GIT_AUTHOR_NAME, else USER
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// List the kinds of stages; with KIND, its ports, parameters and metrics
    Kinds {
        kind: Option<String>,
        /// The rule language of gates instead: its grammar and functions
        #[arg(long, conflicts_with = "kind")]
        gates: bool,
    },
    /// Print what a stage printed, also when it was a hit; which attempt it was is said on stderr
    Log {
        stage: String,
        file: Option<PathBuf>,
        /// An earlier attempt; default: the last one
        #[arg(long, value_name = "N")]
        attempt: Option<u32>,
        /// One measurement of an eval, as `explain` names it: `answers of sft`; default: all of them
        #[arg(long)]
        part: Option<String>,
        /// Go on until the stage ends
        #[arg(long, short)]
        follow: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Compare two runs: what was asked otherwise, what it changed, and by which metrics and verdicts
    Diff {
        /// Its name in `runs/`, how that begins, or `last`, `last~1`, … counted from the newest
        #[arg(value_name = "RUN")]
        old: String,
        #[arg(value_name = "RUN")]
        new: String,
        file: Option<PathBuf>,
        /// Print one JSON document (`"format": 1`) instead
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Show which stage stands on which; nothing is run
    Graph {
        file: PathBuf,
        #[arg(long, value_enum, default_value_t = super::graph::Format::Text)]
        format: super::graph::Format,
        #[command(flatten)]
        changes: Changes,
    },
    /// Follow a run that goes on elsewhere: its progress, then its report; ends with its exit code
    Watch {
        file: Option<PathBuf>,
        #[command(flatten)]
        which: Which,
    },
    /// Remove what no run that counts uses: the last runs of each pipeline, pinned ones and those that go on
    Gc {
        file: Option<PathBuf>,
        /// Runs of each pipeline that count
        #[arg(long, value_name = "N", default_value_t = 5)]
        keep_runs: usize,
        /// Runs, and whatever was written, in the last N days count too
        #[arg(long, value_name = "N")]
        keep_days: Option<u32>,
        /// Remove no more than it takes to be this small: `20G`; the oldest goes first
        #[arg(long, value_name = "SIZE")]
        max_size: Option<String>,
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Look after the store: verify, du, export, import, pin
    Cache {
        #[command(subcommand)]
        verb: CacheVerb,
    },
    /// Look at data files
    Data {
        #[command(subcommand)]
        verb: DataVerb,
    },
    /// Look at models
    Model {
        #[command(subcommand)]
        verb: ModelVerb,
    },
    /// Write the model of a stage as one folder to publish, with a model card made from the run
    Export {
        stage: String,
        /// Made by this; must not be there yet
        directory: PathBuf,
        file: Option<PathBuf>,
        /// Add the adapter to the weights: one plain model, which needs no `peft`
        #[arg(long)]
        merge: bool,
        /// Of the weights; default: as those of the base
        #[arg(long, value_parser = dtype())]
        dtype: Option<Dtype>,
        #[command(flatten)]
        which: Which,
    },
    /// Make a model of a base and a LoRA adapter that `peft` wrote: `from: {model: DIRECTORY}` takes it
    ImportAdapter {
        /// With adapter_config.json and adapter_model.safetensors
        adapter: PathBuf,
        /// The model it was trained over: a directory, or hf://owner/name@revision
        base: String,
        /// Made by this; must not be there yet
        directory: PathBuf,
    },
    /// Look at this machine: devices, memory, the disk under the store; says what is wrong and what to do
    Doctor {
        #[command(flatten)]
        store: StoreArgument,
        /// Print what was found as one JSON list
        #[arg(long)]
        json: bool,
    },
    /// Say what wgpu sees, one JSON value a line; `doctor` asks, in a process that a driver may end
    #[command(hide = true)]
    Devices,
    /// Do the action that lies in a work directory
    #[command(hide = true)]
    Worker { directory: PathBuf },
    /// Print the JSON Schema of the pipeline file, by which editors complete and check it
    Schema,
    /// Write a pipeline for your own data, with comments and example rows, that runs as it is
    Init {
        /// Made if it is not there
        #[arg(default_value = ".")]
        directory: PathBuf,
        /// The model to begin with: a directory that `transformers` loads; without it a toy model is trained
        #[arg(long, value_name = "DIR")]
        model: Option<PathBuf>,
    },
    /// Print a script that completes this command line in a shell
    Completions { shell: Shell },
}

#[derive(Args)]
pub struct Asked {
    /// The pipeline file
    pub file: PathBuf,
    #[command(flatten)]
    pub changes: Changes,
    #[command(flatten)]
    pub store: StoreArgument,
}

/// Which stages may run.
#[derive(Args)]
pub struct Selected {
    /// Run this stage alone; what it needs has to be done; may be repeated
    #[arg(long, value_name = "STAGE")]
    pub only: Vec<String>,
    /// Run this stage and what stands on it; what it needs has to be done; may be repeated
    #[arg(long, value_name = "STAGE")]
    pub from: Vec<String>,
    /// Run this stage again though it is done, and say whether the result is the same; may be repeated
    #[arg(long, value_name = "STAGE")]
    pub force: Vec<String>,
}

impl Selected {
    pub fn names(self) -> selection::Asked {
        selection::Asked { only: self.only, from: self.from, force: self.force }
    }
}

#[derive(Args)]
pub struct Changes {
    /// Change a value of the file: `ppo_1.with.lr=1e-5`, `vars.steps=20`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Keep and multiply the matrices of frozen models in this precision: `--set dtype=f16`
    #[arg(long, value_name = "DTYPE", value_parser = dtype())]
    pub dtype: Option<Dtype>,
    /// Leave out up to N bad rows of a data file, and count them: `--set skip_bad_rows=N`
    #[arg(long, value_name = "N")]
    pub skip_bad_rows: Option<u64>,
}

impl Changes {
    /// As if all had been typed as `--set`: that is what a run remembers.
    pub fn all(&self) -> Vec<String> {
        let dtype = self.dtype.iter().map(|dtype| format!("dtype={}", dtype.name()));
        let skip = self.skip_bad_rows.iter().map(|rows| format!("skip_bad_rows={rows}"));
        self.set.iter().cloned().chain(dtype).chain(skip).collect()
    }
}

#[derive(Args)]
pub struct Which {
    /// An earlier run: its name in `runs/`, how that begins (`20261122T09`), or `last~1`: the one before the last
    #[arg(long = "run", value_name = "RUN")]
    pub run: Option<String>,
    #[command(flatten)]
    pub store: StoreArgument,
}

impl Which {
    pub fn find(&self, file: Option<&Path>) -> Result<Found> {
        find::run(Path::new("."), self.wanted(file))
    }

    /// For a verb about one stage.
    pub fn find_with(&self, stage: &str, file: Option<&Path>) -> Result<Found> {
        find::run(Path::new("."), Wanted { stage: Some(stage), ..self.wanted(file) })
    }

    pub fn wanted<'a>(&'a self, file: Option<&'a Path>) -> Wanted<'a> {
        Wanted { file, store: self.store.chosen(), run: self.run.as_deref(), stage: None }
    }
}

#[derive(Args)]
pub struct StoreArgument {
    /// Where results are kept; default: PIPELINE_STORE, else `.pipeline` beside the pipeline file
    #[arg(long = "store", value_name = "DIR")]
    pub store: Option<PathBuf>,
}

impl StoreArgument {
    pub fn chosen(&self) -> Option<PathBuf> {
        let of_environment = || std::env::var_os("PIPELINE_STORE").filter(|store| !store.is_empty()).map(PathBuf::from);
        self.store.clone().or_else(of_environment)
    }

    /// As it was typed.
    pub fn typed(&self) -> String {
        self.store.as_ref().map_or_else(String::new, |store| format!(" --store {}", store.display()))
    }

    pub fn beside(&self, file: &Path) -> PathBuf {
        self.chosen().unwrap_or_else(|| file.with_file_name(".pipeline"))
    }
}

fn device() -> impl TypedValueParser<Value = DeviceChoice> {
    PossibleValuesParser::new(["auto", "wgpu", "cpu"]).map(|name| match name.as_str() {
        "wgpu" => DeviceChoice::Wgpu,
        "cpu" => DeviceChoice::Cpu,
        _ => DeviceChoice::Auto,
    })
}

fn dtype() -> impl TypedValueParser<Value = Dtype> {
    PossibleValuesParser::new(Dtype::ALL.map(Dtype::name)).try_map(|name| {
        Dtype::ALL.into_iter().find(|dtype| dtype.name() == name).ok_or("it is none of those that are possible")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn refusal(line: &str) -> (ErrorKind, i32) {
        let error = Arguments::try_parse_from(line.split(' ')).err().unwrap();
        (error.kind(), error.exit_code())
    }

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_wrong_command_is_refused_with_exit_code_2() {
        assert_eq!(refusal("pipeline rnu a.yaml"), (ErrorKind::InvalidSubcommand, 2));
        assert_eq!(refusal("pipeline run"), (ErrorKind::MissingRequiredArgument, 2));
        assert_eq!(refusal("pipeline run a.yaml --device gpu"), (ErrorKind::InvalidValue, 2));
        assert_eq!(refusal("pipeline run a.yaml --jobs 0"), (ErrorKind::ValueValidation, 2));
    }

    #[test]
    fn set_may_be_repeated_and_its_values_may_look_like_options() {
        let line = ["pipeline", "run", "a.yaml", "--set", "a.with.lr=-1e-5", "--set", "vars.text=a b"];
        let Verb::Run { asked, .. } = Arguments::try_parse_from(line).ok().unwrap().verb else { panic!("no run") };
        assert_eq!(asked.changes.set, ["a.with.lr=-1e-5", "vars.text=a b"]);
    }
}
