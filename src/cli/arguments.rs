//! The command line: verbs, their arguments and their help texts.

mod below;

pub use below::{CacheVerb, DataVerb, GateVerb, GcArguments, ModelVerb, SharedArguments};

use super::answers::AnswerFormat;
use super::label::LabelArguments;
use super::options::{
    Changes, DeviceArgument, ExecutionArguments, FileArguments, FilterArguments, RunArgument, StoreArgument, device,
    dtype, language, log_place,
};
use super::report::ReportFormat;
use super::review::ReviewArguments;
use super::table::TableFormat;
use super::ui::{RunPageArguments, UiArguments};
use crate::chapter::words::Language;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use formats::dtype::Dtype;
use stages::io::DeviceChoice;
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
            3 stopped or held by a gate, or waiting for labels, 130 interrupted.
Environment: PIPELINE_STORE (as --store), PIPELINE_DEVICE (as --device), PIPELINE_PROGRESS_INTERVAL (seconds
             between lines of progress; 2), RUST_LOG (what is logged to stderr), NO_COLOR.";

#[derive(Subcommand)]
pub enum Verb {
    /// Run what is not done yet; running again resumes where the last run ended
    Run {
        #[command(flatten)]
        asked: FileArguments,
        #[command(flatten)]
        device: DeviceArgument,
        #[command(flatten)]
        selected: FilterArguments,
        /// With `--force`: the result is wrong for this reason; it is kept aside (`cache disowned`) and used no more
        #[arg(long, value_name = "REASON", requires = "force")]
        disown: Option<String>,
        #[command(flatten)]
        how: ExecutionArguments,
        /// Only print what would run, and why: the same as `plan`
        #[arg(long)]
        dry_run: bool,
        /// Print the events of the run to stdout, one JSON object per line, and nothing else
        #[arg(long)]
        json: bool,
        /// Write the curves of running stages elsewhere as they grow: `tensorboard=DIR`
        #[arg(long, value_name = "WHERE", value_parser = log_place())]
        log: Option<PathBuf>,
        #[command(flatten)]
        page: RunPageArguments,
    },
    /// Report every mistake in a pipeline file
    Check {
        /// The pipeline file
        file: PathBuf,
        #[command(flatten)]
        changes: Changes,
    },
    /// Print what would run, and why
    Plan {
        #[command(flatten)]
        asked: FileArguments,
        #[command(flatten)]
        selected: FilterArguments,
    },
    /// Show the last run: of FILE, or the most recent one in this directory or a directory below it
    Status {
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        #[command(flatten)]
        which: RunArgument,
        /// Print one JSON document instead: `"format": 1` with the run, its stages, verdicts, actions and studies; within
        /// format 1 fields may be added, but none changes its meaning
        #[arg(long)]
        json: bool,
    },
    /// Show the answers of a measured model, beside those of another; also of a candidate that is held or was rejected
    Answers {
        /// The name of a stage, or a candidate of one: `ppo_1@20`; an eval stands for the model it measures
        #[arg(value_name = "STAGE")]
        model: String,
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        /// The model to compare with; default: the incumbent of its gate, a model its rules name, or the baseline of the eval
        #[arg(long, value_name = "NAME")]
        against: Option<String>,
        /// The eval that measured both, if several did
        #[arg(long, value_name = "EVAL")]
        by: Option<String>,
        /// Only answers that differ from the other model's
        #[arg(long)]
        changed: bool,
        /// Only N answers: those with the greatest loss, or without another model with the lowest score
        #[arg(long, value_name = "N", conflicts_with = "best")]
        worst: Option<usize>,
        /// Only N answers: those with the greatest gain, or without another model with the highest score
        #[arg(long, value_name = "N")]
        best: Option<usize>,
        /// The form to print
        #[arg(long, value_enum, default_value_t = AnswerFormat::Text)]
        format: AnswerFormat,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Print the table of a study for a paper, with intervals, footnotes and a paragraph on how it was made
    Table {
        /// The eval whose study is meant; default: the last one
        eval: Option<String>,
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        /// The form to print
        #[arg(long, value_enum, default_value_t = TableFormat::Md)]
        format: TableFormat,
        /// The language of titles, notes and paragraph; default: that of the environment
        #[arg(long, value_parser = language())]
        lang: Option<Language>,
        #[command(flatten)]
        which: RunArgument,
    },
    /// List the runs of FILE, or of this directory and those below it: when, how long, what was asked, how each ended
    Runs {
        /// The pipeline file; default: all runs in this directory or below it
        file: Option<PathBuf>,
        /// List all of them; default: the last 20
        #[arg(long)]
        all: bool,
        /// Print one JSON object per run instead
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Explain why a stage would run now, and show its last run: key, inputs, why it ran, candidates, verdict
    Explain {
        /// The name of the stage
        stage: String,
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Inspect gates; nothing is run
    Gate {
        #[command(subcommand)]
        verb: GateVerb,
    },
    /// Decide at a gate that holds (`on_fail: hold`): accept the candidate, or reject it with `--reject`
    Approve {
        /// The name of the stage
        stage: String,
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        /// Reject the candidate: the incumbent is kept if there is one, else the stage stops
        #[arg(long)]
        reject: bool,
        /// The reason for the decision, and the evidence that was examined
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The person who decides; default: GIT_AUTHOR_NAME, else USER
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Show how far the labels of a stage of kind `label` are, check their files, or take later ones in
    Label(LabelArguments),
    /// Review an evaluation: a page on which people compare the answers that its model changed with those before, for the stage of
    /// kind `label` that has it on its port `review`
    Review(ReviewArguments),
    /// Print a criteria sheet to begin with, in Japanese and English: `pipeline criteria helpful > data/criteria.yaml`
    Criteria {
        /// The name of the sheet; default: the list of all
        name: Option<String>,
    },
    /// List the kinds of stages; with KIND, show its ports, parameters and metrics
    Kinds {
        /// The kind to show; default: the list of all
        kind: Option<String>,
        /// Show the rule language of gates instead: its grammar and functions
        #[arg(long, conflicts_with = "kind")]
        gates: bool,
    },
    /// Print the log of a stage, also of a cached one; stderr names the attempt it is from
    Log {
        /// The name of the stage
        stage: String,
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        /// The number of an earlier attempt; default: the last one
        #[arg(long, value_name = "N")]
        attempt: Option<u32>,
        /// One measurement of an eval, as `explain` names it: `answers of sft`; default: all
        #[arg(long)]
        part: Option<String>,
        /// Keep printing until the stage ends
        #[arg(long, short)]
        follow: bool,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Show the curves of a training stage, also of a cached one: loss, rate and what else was measured at each step
    Curves {
        /// The name of the stage
        stage: String,
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        /// Print every number as CSV, a row a point
        #[arg(long)]
        csv: bool,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Write the report of a run as one HTML file: the verdict first, then every number behind it
    Report {
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        /// Compare two runs on one page instead, the old one first, named as `diff` names them
        #[arg(long, value_names = ["RUN", "RUN"], num_args = 2, conflicts_with = "run")]
        compare: Option<Vec<String>>,
        /// The form: the page; the table of the last study as `table` prints it (md, csv, latex); the facts of the page as one
        /// document (json: `"schema": "pipeline.report"`, in which fields may be added, but none changes its meaning within a
        /// version); every figure as a file of its own (svg)
        #[arg(long, value_enum, default_value_t = ReportFormat::Html)]
        format: ReportFormat,
        /// The file to write, or for `svg` the directory; default: report.html, report.md, report.csv, report.tex, report.json,
        /// report-figures
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Write every table of the page to this directory instead, whole: all points, all answers, all metrics
        #[arg(long, value_name = "DIR", conflicts_with_all = ["compare", "out", "format"])]
        csv: Option<PathBuf>,
        /// The language of the page: `ja` or `en`; default: that of LC_ALL, LC_MESSAGES or LANG
        #[arg(long, value_name = "LANGUAGE", value_parser = language())]
        lang: Option<Language>,
        /// Exit with 1 if the page lacks something that the store or the journal has lost
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Compare two runs: their settings, and what these changed in actions, metrics and verdicts
    Diff {
        /// A run: its name in `runs/`, the beginning of the name, or `last`, `last~1`, … counted back from the newest
        #[arg(value_name = "RUN")]
        old: String,
        /// The run to compare with it, named likewise
        #[arg(value_name = "RUN")]
        new: String,
        /// The pipeline file of the runs; default: any in this directory or below it
        file: Option<PathBuf>,
        /// Print one JSON document (`"format": 1`) instead
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Show which results and published models stand on a file, a row of it, or a stage, what they stand on, and what would
    /// run again without it
    Lineage {
        /// A data file or directory, a folder that `export` wrote, or the name of a stage
        what: String,
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        /// The id of a row of the file
        #[arg(long, value_name = "ID")]
        row: Option<String>,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Show the dependency graph; nothing is run
    Graph {
        /// The pipeline file
        file: PathBuf,
        /// The form to print
        #[arg(long, value_enum, default_value_t = super::graph::Format::Text)]
        format: super::graph::Format,
        #[command(flatten)]
        changes: Changes,
    },
    /// Follow a run in another process: its progress, then its report; exits with its exit code
    Watch {
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Serve the newest run as a page: progress, curves and verdicts as they come, and gates that wait for a person
    Ui(UiArguments),
    /// Remove results that no kept run uses; kept are the last runs of each pipeline, pinned and running ones
    Gc(GcArguments),
    /// Maintain the store and what it shares: verify, du, export, import, pin, push, pull, status
    Cache {
        #[command(subcommand)]
        verb: CacheVerb,
    },
    /// Inspect data files
    Data {
        #[command(subcommand)]
        verb: DataVerb,
    },
    /// Inspect models
    Model {
        #[command(subcommand)]
        verb: ModelVerb,
    },
    /// Write the model of a stage to a folder for publication, with a model card made from the run
    Export {
        /// The name of the stage
        stage: String,
        /// The folder to create; it must not exist yet
        directory: PathBuf,
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        /// Merge the adapter into the weights: one plain model, which does not need `peft`
        #[arg(long)]
        merge: bool,
        /// The precision of the weights; default: that of the base
        #[arg(long, value_parser = dtype())]
        dtype: Option<Dtype>,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Write the curves of a run to a folder that TensorBoard reads, a folder a stage
    ExportTensorboard {
        /// The folder; created if it does not exist
        directory: PathBuf,
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Combine a base model and a LoRA adapter written by `peft` into a model that `from: {model: DIRECTORY}` takes
    ImportAdapter {
        /// A directory with adapter_config.json and adapter_model.safetensors
        adapter: PathBuf,
        /// The model the adapter was trained on: a directory, or hf://owner/name@revision
        base: String,
        /// The folder to create; it must not exist yet
        directory: PathBuf,
    },
    /// Check this machine: devices, memory, the disk under the store; report what is wrong and what to do
    Doctor {
        #[command(flatten)]
        store: StoreArgument,
        /// Print the findings as one JSON list
        #[arg(long)]
        json: bool,
    },
    /// List the adapters wgpu sees and open one, in JSON lines; `run` and `doctor` do this in a process that a driver may
    /// crash
    #[command(hide = true)]
    Devices {
        /// The device to open
        #[arg(default_value = "auto", value_parser = device())]
        device: DeviceChoice,
        /// Also list the adapters that need not be asked to find this one
        #[arg(long)]
        all: bool,
    },
    /// Execute the action in a work directory
    #[command(hide = true)]
    Worker {
        /// The work directory; `-`: the first line of stdin names it
        directory: PathBuf,
    },
    /// Print the JSON Schema of the pipeline file, with which editors complete and check it
    Schema {
        /// That of the user's configuration instead: `~/.config/pipeline/config.yaml`, or the file that PIPELINE_CONFIG names
        #[arg(long)]
        config: bool,
    },
    /// Write a pipeline for your own data, with comments and example rows; it runs unchanged
    Init {
        /// The directory; created if it does not exist
        #[arg(default_value = ".")]
        directory: PathBuf,
        /// The model to start from: a directory that `transformers` loads; without it a toy model is trained
        #[arg(long, value_name = "DIR")]
        model: Option<PathBuf>,
    },
    /// Print a shell script that completes this command line
    Completions {
        /// The shell to write for
        shell: Shell,
    },
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
        assert_eq!(refusal("pipeline run a.yaml --device tpu"), (ErrorKind::ValueValidation, 2));
        assert_eq!(refusal("pipeline run a.yaml --jobs 0"), (ErrorKind::ValueValidation, 2));
    }

    #[test]
    fn set_may_be_repeated_and_its_values_may_look_like_options() {
        let line = ["pipeline", "run", "a.yaml", "--set", "a.with.lr=-1e-5", "--set", "vars.text=a b"];
        let Verb::Run { asked, .. } = CommandLine::try_parse_from(line).ok().unwrap().verb else { panic!("no run") };
        assert_eq!(asked.changes.set, ["a.with.lr=-1e-5", "vars.text=a b"]);
    }
}
