//! Arguments that several verbs share.

use super::find::{self, RunQuery, StoredRun};
use super::refusal::refused;
use crate::chapter::words::Language;
use crate::ledger;
use crate::plan::selection::Filter;
use anyhow::Result;
use clap::Args;
use clap::builder::{PossibleValuesParser, StringValueParser, TypedValueParser};
use formats::dtype::Dtype;
use stages::io::DeviceChoice;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct FileArguments {
    /// The pipeline file
    pub file: PathBuf,
    #[command(flatten)]
    pub changes: Changes,
    #[command(flatten)]
    pub store: StoreArgument,
    /// Count the looks of this run alone, without the ledger in the folder beside the file (`NAME.looks`)
    #[arg(long)]
    no_ledger: bool,
}

impl FileArguments {
    /// The folder of the ledger of looks, if one is kept.
    pub fn looks(&self) -> Option<PathBuf> {
        (!self.no_ledger).then(|| ledger::file::folder(&self.file))
    }
}

/// The stages that may run.
#[derive(Args)]
pub struct FilterArguments {
    /// Run only this stage; what it needs must be done already; may be repeated
    #[arg(long, value_name = "STAGE")]
    pub only: Vec<String>,
    /// Run this stage and all that depend on it; what it needs must be done already; may be repeated
    #[arg(long, value_name = "STAGE")]
    pub from: Vec<String>,
    /// Run this stage again although it is done, and report whether the result is the same; may be repeated
    #[arg(long, value_name = "STAGE")]
    pub force: Vec<String>,
}

impl FilterArguments {
    pub fn filter(self) -> Filter {
        Filter { only: self.only, from: self.from, force: self.force }
    }
}

/// The way in which stages are executed.
#[derive(Args)]
pub struct ExecutionArguments {
    /// Stages that may run at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: u16,
    /// Resources they may use together: `gpu=2,memory=64G`; default: `gpu=auto`,
    /// the cards that wgpu sees, and the memory of this machine
    #[arg(long, value_name = "LIST")]
    pub resources: Option<String>,
    /// After a failure, go on with the stages that do not depend on it; by default running stages finish and no new one
    /// starts
    #[arg(long)]
    pub keep_going: bool,
    /// Do not wait for the disk: faster, but a power cut may lose results
    #[arg(long)]
    pub no_fsync: bool,
    /// Run nothing, and end the jobs that runs of this file left on clusters
    #[arg(long)]
    pub cancel: bool,
}

#[derive(Args)]
pub struct Changes {
    /// Change a value of the file: `ppo_1.with.lr=1e-5`, `vars.steps=20`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Keep and multiply the matrices of frozen models in this precision: `--set dtype=f16`
    #[arg(long, value_name = "DTYPE", value_parser = dtype())]
    pub dtype: Option<Dtype>,
    /// Skip up to N bad rows of each data file, and count them: `--set skip_bad_rows=N`
    #[arg(long, value_name = "N")]
    pub skip_bad_rows: Option<u64>,
}

impl Changes {
    /// All changes as `--set` arguments, which is how a run records them.
    pub fn all(&self) -> Vec<String> {
        let dtype = self.dtype.iter().map(|dtype| format!("dtype={}", dtype.name()));
        let skip = self.skip_bad_rows.iter().map(|rows| format!("skip_bad_rows={rows}"));
        self.set.iter().cloned().chain(dtype).chain(skip).collect()
    }
}

#[derive(Args)]
pub struct RunArgument {
    /// An earlier run: its name in `runs/`, the beginning of it (`20261122T09`), or `last~1`: the one before the last
    #[arg(long = "run", value_name = "RUN")]
    pub run: Option<String>,
    #[command(flatten)]
    pub store: StoreArgument,
}

impl RunArgument {
    pub fn find(&self, file: Option<&Path>) -> Result<StoredRun> {
        find::run(Path::new("."), self.wanted(file))
    }

    /// The run for a verb about one stage.
    pub fn find_with(&self, stage: &str, file: Option<&Path>) -> Result<StoredRun> {
        find::run(Path::new("."), RunQuery { stage: Some(stage), ..self.wanted(file) })
    }

    pub fn wanted<'a>(&'a self, file: Option<&'a Path>) -> RunQuery<'a> {
        RunQuery { file, store: self.store.chosen(), run: self.run.as_deref(), ..RunQuery::default() }
    }
}

#[derive(Args)]
pub struct StoreArgument {
    /// The directory of the store; default: PIPELINE_STORE, else `.pipeline` next to the pipeline file
    #[arg(long = "store", value_name = "DIR")]
    pub store: Option<PathBuf>,
}

impl StoreArgument {
    pub fn chosen(&self) -> Option<PathBuf> {
        let of_environment = || std::env::var_os("PIPELINE_STORE").filter(|store| !store.is_empty()).map(PathBuf::from);
        self.store.clone().or_else(of_environment)
    }

    /// The option as typed, to be appended to a command.
    pub fn typed(&self) -> String {
        self.store.as_ref().map_or_else(String::new, |store| format!(" --store {}", store.display()))
    }

    pub fn beside(&self, file: &Path) -> PathBuf {
        self.chosen().unwrap_or_else(|| file.with_file_name(".pipeline"))
    }
}

#[derive(Args)]
pub struct DeviceArgument {
    /// Where to compute: `auto`, a real GPU if there is one, else the CPU; `cpu`; `wgpu`, the best adapter, be it a software
    /// driver; `wgpu:1`, the one that `doctor` lists as number 1; `wgpu:NAME-PART`, the first whose name contains this;
    /// default: PIPELINE_DEVICE, else `auto`
    #[arg(long = "device", value_name = "DEVICE", value_parser = device())]
    device: Option<DeviceChoice>,
}

impl DeviceArgument {
    pub fn chosen(self) -> Result<DeviceChoice> {
        let of_environment = || std::env::var("PIPELINE_DEVICE").ok().filter(|device| !device.is_empty());
        match (self.device, of_environment()) {
            (Some(device), _) => Ok(device),
            (None, None) => Ok(DeviceChoice::default()),
            (None, Some(text)) => {
                text.parse().map_err(|error| refused(format!("invalid value '{text}' for PIPELINE_DEVICE: {error}")))
            }
        }
    }
}

pub fn device() -> impl TypedValueParser<Value = DeviceChoice> {
    StringValueParser::new().try_map(|text| text.parse::<DeviceChoice>())
}

pub fn dtype() -> impl TypedValueParser<Value = Dtype> {
    PossibleValuesParser::new(Dtype::ALL.map(Dtype::name)).try_map(|name| {
        Dtype::ALL.into_iter().find(|dtype| dtype.name() == name).ok_or("it is none of those that are possible")
    })
}

/// The folder of `tensorboard=DIR`.
pub fn log_place() -> impl TypedValueParser<Value = PathBuf> {
    StringValueParser::new().try_map(|text| match text.split_once('=') {
        Some(("tensorboard", directory)) if !directory.is_empty() => Ok(PathBuf::from(directory)),
        _ => Err("write `tensorboard=DIR`"),
    })
}

pub fn language() -> impl TypedValueParser<Value = Language> {
    PossibleValuesParser::new(Language::ALL.map(Language::code)).try_map(|code| {
        Language::ALL
            .into_iter()
            .find(|language| language.code() == code)
            .ok_or("it is none of those that are possible")
    })
}

/// The language of the environment, in the order in which programs ask for it.
pub fn language_of_environment() -> Language {
    let names = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok());
    names.into_iter().find(|locale| !locale.is_empty()).map_or(Language::English, |locale| Language::of_locale(&locale))
}
