//! The verbs below `gate`, `data`, `model` and `cache`.

use super::super::options::{RunArgument, StoreArgument, device, dtype};
use clap::Subcommand;
use stages::io::DeviceChoice;
use stages::model::Dtype;
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum GateVerb {
    /// Show what the gate of a stage decided, with every number it saw
    Show {
        stage: String,
        file: Option<PathBuf>,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Judge what is stored by another rule, in the place of all that the gate requires
    WhatIf {
        stage: String,
        /// As in the file: `mean_score > incumbent.mean_score with 95% confidence`
        rule: String,
        file: Option<PathBuf>,
        /// Also what it would have said in every earlier run
        #[arg(long)]
        all_runs: bool,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Test the rules of gates: FILE says what was measured, and what the gates have to say of it
    Test {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

#[derive(Subcommand)]
pub enum DataVerb {
    /// Show what a data file holds: format, lengths, repetitions, bad rows (exit code 1), what it shares with another
    Inspect {
        file: PathBuf,
        /// Count lengths in tokens of this model (a directory or hf://owner/name@revision), dialogues by its chat
        /// template; without it in letters
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        /// Held-out data: which of its prompts are in FILE, too (exit code 1)
        #[arg(long, value_name = "FILE")]
        heldout: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub enum ModelVerb {
    /// Show what a model is, and the memory that stages need of it; one of a hub is fetched first
    Inspect {
        /// A directory in Hugging Face layout, or hf://owner/name@revision
        model: String,
        #[arg(long, default_value = "auto", value_parser = device())]
        device: DeviceChoice,
        /// What the matrices of the base would be kept in
        #[arg(long, default_value = "f32", value_parser = dtype())]
        dtype: Dtype,
    },
}

#[derive(Subcommand)]
pub enum CacheVerb {
    /// Hash everything anew; says what is damaged and which stages must run again (exit code 1)
    Verify {
        file: Option<PathBuf>,
        /// Move what is damaged to `quarantine/`
        #[arg(long)]
        repair: bool,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Say what takes how much room
    Du {
        file: Option<PathBuf>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Write the result of a stage, with all it consists of, into one file
    Export {
        stage: String,
        file: Option<PathBuf>,
        /// The file, which must not be there yet
        #[arg(long, short, value_name = "ARCHIVE")]
        out: PathBuf,
        #[command(flatten)]
        which: RunArgument,
    },
    /// Take in what was exported; whatever has the same action finds its result done
    Import {
        archive: PathBuf,
        /// The pipeline file beside which the store lies
        file: Option<PathBuf>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Let `gc` keep what a run uses
    Pin {
        run: String,
        file: Option<PathBuf>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Pin it no more
    Unpin {
        run: String,
        file: Option<PathBuf>,
        #[command(flatten)]
        store: StoreArgument,
    },
}
