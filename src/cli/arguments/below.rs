//! The verbs below `gate`, `data`, `model` and `cache`.

use super::super::options::{Changes, DeviceArgument, RunArgument, StoreArgument, dtype};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use formats::data::RowsToWrite;
use formats::dtype::Dtype;
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum GateVerb {
    /// Show the decision of a stage's gate, with every number it saw
    Show {
        /// The name of the stage
        stage: String,
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Judge the stored results by another rule, in place of all the rules the gate requires
    WhatIf {
        /// The name of the stage
        stage: String,
        /// The rule, as in the file: `mean_score > incumbent.mean_score with 95% confidence`
        rule: String,
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        /// Also show what the rule would have decided in every earlier run
        #[arg(long)]
        all_runs: bool,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Test the rules of gates: FILE holds measurements and the decisions expected from the gates
    Test {
        /// Files of measurements and expected decisions
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

#[derive(Subcommand)]
pub enum DataVerb {
    /// Show what data contains: format, lengths, repetitions, bad rows, fields that nobody reads, and rows as a model
    /// sees them (exit code 1 where rows are bad or prompts leak)
    Inspect {
        /// A file, a directory of data files, a pattern of names (quoted), or hf://datasets/owner/name@revision/path
        file: PathBuf,
        /// Count lengths in tokens of this model (a directory or hf://owner/name@revision), with its chat template for
        /// dialogues, and show rows as it sees them; default: count letters
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        /// Held-out data: report which of its prompts also occur in the inspected data (exit code 1)
        #[arg(long, value_name = "FILE")]
        heldout: Option<PathBuf>,
        /// Refuse what a stage of this kind refuses
        #[arg(long = "for", value_name = "KIND")]
        kind: Option<String>,
        /// The number of rows that are shown; default: 10 with a model, none without
        #[arg(long, value_name = "NUMBER")]
        rows: Option<usize>,
        /// Read a field from another one, or from a Jinja text, as `columns` in the file does
        #[arg(long = "column", value_name = "FIELD=FROM")]
        columns: Vec<String>,
        /// The same for the held-out data
        #[arg(long = "heldout-column", value_name = "FIELD=FROM", requires = "heldout")]
        heldout_columns: Vec<String>,
        /// The text between a text prompt and its answer, as `join` in the file
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        join: String,
    },
    /// Write data as JSONL of one format, read as a stage reads it
    Convert {
        /// A file, a directory of data files, a pattern of names (quoted), or hf://datasets/owner/name@revision/path
        from: PathBuf,
        /// The file to create, `….jsonl`; it must not exist yet
        to: PathBuf,
        /// The rows to write
        #[arg(long, value_parser = rows())]
        format: RowsToWrite,
        /// Read a field from another one, or from a Jinja text, as `columns` in the file does
        #[arg(long = "column", value_name = "FIELD=FROM")]
        columns: Vec<String>,
        /// The number of bad rows that may be left out
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        skip_bad_rows: u64,
    },
}

fn rows() -> impl TypedValueParser<Value = RowsToWrite> {
    PossibleValuesParser::new(RowsToWrite::ALL.map(|(name, _)| name))
        .try_map(|name| RowsToWrite::of(&name).ok_or("it is none of those that are possible"))
}

#[derive(Subcommand)]
pub enum ModelVerb {
    /// Describe a model and the memory that stages need for it; a model of a hub is fetched first
    Inspect {
        /// A directory in Hugging Face layout, or hf://owner/name@revision
        model: String,
        #[command(flatten)]
        device: DeviceArgument,
        /// The precision in which the matrices of the base would be kept
        #[arg(long, default_value = "f32", value_parser = dtype())]
        dtype: Dtype,
    },
}

#[derive(Subcommand)]
pub enum CacheVerb {
    /// Give results of a pipeline to the remote: those that this store has, of all stages or of some
    Push {
        #[command(flatten)]
        of: SharedArguments,
        /// Read every file that the remote has, and replace those that are damaged there
        #[arg(long)]
        verify: bool,
    },
    /// Fetch results of a pipeline from the remote, with all their files, so that nothing more is asked for them
    Pull {
        #[command(flatten)]
        of: SharedArguments,
    },
    /// Show the remote, and which results of a pipeline are here and there
    Status {
        /// The pipeline file; default: the remote of the user's configuration alone is shown
        file: Option<PathBuf>,
        /// Only these stages
        stages: Vec<String>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Hash every file again; report what is damaged and which stages must run again (exit code 1)
    Verify {
        /// The pipeline file next to which the store lies; default: the only store in this directory or below it
        file: Option<PathBuf>,
        /// Move damaged files to `quarantine/`
        #[arg(long)]
        repair: bool,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Show how much space each part takes
    Du {
        /// The pipeline file next to which the store lies; default: the only store in this directory or below it
        file: Option<PathBuf>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// List the results that were found wrong (`run --force STAGE --disown REASON`), with the reasons
    Disowned {
        /// The pipeline file next to which the store lies; default: the only store in this directory or below it
        file: Option<PathBuf>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Write the result of a stage, with all its files, to one archive
    Export {
        /// The name of the stage; default: all results of the run, with its journal
        stage: Option<String>,
        /// The pipeline file whose last run is meant; default: the most recent run in this directory or below it
        file: Option<PathBuf>,
        /// The archive, which must not exist yet
        #[arg(long, short, value_name = "ARCHIVE")]
        out: PathBuf,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Import an archive; a stage with the same action then finds its result in the store
    Import {
        /// The archive, as `cache export` wrote it
        archive: PathBuf,
        /// The pipeline file next to which the store lies
        file: Option<PathBuf>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Make `gc` keep what a run uses
    Pin {
        /// The run: its name in `runs/`, the beginning of the name, or `last`, `last~1`, …
        run: String,
        /// The pipeline file of the run; default: any in this directory or below it
        file: Option<PathBuf>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Remove the pin of a run
    Unpin {
        /// The run: its name in `runs/`, the beginning of the name, or `last`, `last~1`, …
        run: String,
        /// The pipeline file of the run; default: any in this directory or below it
        file: Option<PathBuf>,
        #[command(flatten)]
        store: StoreArgument,
    },
}

/// The results that are shared.
#[derive(Args)]
pub struct SharedArguments {
    /// The pipeline file
    pub file: PathBuf,
    /// Only these stages
    pub stages: Vec<String>,
    #[command(flatten)]
    pub changes: Changes,
    #[command(flatten)]
    pub store: StoreArgument,
}

/// The content that `gc` keeps.
#[derive(Args)]
pub struct GcArguments {
    /// The pipeline file next to which the store lies; default: the only store in this directory or below it
    pub file: Option<PathBuf>,
    /// The number of runs of each pipeline to keep
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub keep_runs: usize,
    /// Also keep runs, and anything written, in the last N days
    #[arg(long, value_name = "N")]
    pub keep_days: Option<u32>,
    /// Remove only as much as is needed to get down to this size: `20G`; the oldest goes first
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,
    /// Also remove the journals of runs that are not kept: `runs` no longer lists them
    #[arg(long)]
    pub runs: bool,
    /// Only print what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Give up uploads to the remote that died (older than --keep-days, else than a day), and nothing else: results in a remote
    /// are never removed
    #[arg(long, conflicts_with_all = ["keep_runs", "max_size", "runs"])]
    pub remote: bool,
    #[command(flatten)]
    pub store: StoreArgument,
}
