//! The command line: verbs, their arguments, and what each says of itself in its help. Knows nothing of what a verb
//! does.

mod below;

pub use below::{CacheVerb, DataVerb, GateVerb, ModelVerb};

use super::options::{Changes, FileArguments, FilterArguments, RunArgument, StoreArgument, device, dtype};
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use stages::io::DeviceChoice;
use stages::model::Dtype;
use std::path::PathBuf;

/// One file describes the training; one command runs it; nothing runs twice.
#[derive(Parser)]
#[command(name = "pipeline", version, about, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct CommandLine {
    #[command(subcommand)]
    pub verb: Verb,
}

const AFTER_HELP: &str = "\
Exit codes: 0 all done, 1 a stage failed or a gate erred, 2 the file or the command is wrong,
            3 stopped or held by a gate, 130 interrupted.
Environment: PIPELINE_STORE (as --store), PIPELINE_PROGRESS_INTERVAL (seconds between lines of progress; 2),
             RUST_LOG (what is logged to stderr), NO_COLOR.";

#[derive(Subcommand)]
pub enum Verb {
    /// Run what is not done yet; running again goes on where a run ended
    Run {
        #[command(flatten)]
        asked: FileArguments,
        /// Where to compute; `auto` takes a real GPU, else the CPU
        #[arg(long, default_value = "auto", value_parser = device())]
        device: DeviceChoice,
        #[command(flatten)]
        selected: FilterArguments,
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
        asked: FileArguments,
        #[command(flatten)]
        selected: FilterArguments,
    },
    /// Show the last run: of FILE, or the last there is in this directory or one below it
    Status {
        file: Option<PathBuf>,
        #[command(flatten)]
        which: RunArgument,
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
        which: RunArgument,
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
        which: RunArgument,
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
        which: RunArgument,
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
        which: RunArgument,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn refusal(line: &str) -> (ErrorKind, i32) {
        let error = CommandLine::try_parse_from(line.split(' ')).err().unwrap();
        (error.kind(), error.exit_code())
    }

    #[test]
    fn the_command_line_holds_together() {
        CommandLine::command().debug_assert();
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
        let Verb::Run { asked, .. } = CommandLine::try_parse_from(line).ok().unwrap().verb else { panic!("no run") };
        assert_eq!(asked.changes.set, ["a.with.lr=-1e-5", "vars.text=a b"]);
    }
}
