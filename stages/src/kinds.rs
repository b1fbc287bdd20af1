//! The table of kinds. A new kind is one file in `kinds/` and one row here.

pub mod answers;
pub mod divergence;
pub mod eval;
pub mod exec;
pub mod ppo;
pub mod pretrain;
pub mod rm;
pub mod scores;
pub mod sft;

use crate::data;
use crate::model::weights;
use crate::model::{Config, artifact};
use crate::stage::{Accepts, Kind, Port};
use std::path::Path;

/// The kinds a pipeline file may name, in the order `pipeline kinds` prints them.
pub const KINDS: &[&Kind] = &[&pretrain::KIND, &sft::KIND, &rm::KIND, &ppo::KIND, &eval::KIND, &exec::KIND];

/// The actions an `eval` is measured in. No file names them; the runner calls them.
pub const PARTS: &[&Kind] = &[&answers::KIND, &scores::KIND, &divergence::KIND];

pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

/// Also finds the internal kinds: what the worker looks up.
pub fn kind_or_part(name: &str) -> Option<&'static Kind> {
    kind(name).or_else(|| PARTS.iter().copied().find(|kind| kind.name == name))
}

/// What a stage would find wrong with this path, asked before anything runs.
pub fn check_input(kind: &Kind, port: &Port, path: &Path) -> Result<(), String> {
    match port.accepts {
        Accepts::Data => data::check(kind.name, port.name, path),
        Accepts::Reward if path.is_file() => scores::valences(path).map(drop).map_err(|error| format!("{error:#}")),
        Accepts::Model | Accepts::RewardModel | Accepts::Reward => check_model(path),
        Accepts::Any => Ok(()),
    }
}

/// A model that can be read has these files, and a configuration that is understood.
fn check_model(directory: &Path) -> Result<(), String> {
    let directory = artifact::model_directory(directory);
    Config::load(&directory).map_err(|error| format!("{error:#}"))?;
    let files = weights::files_of(&directory).map_err(|error| format!("{error:#}"))?;
    let mut needed = files.iter().map(String::as_str).chain(["tokenizer.json"]);
    let missing = needed.find(|name| !directory.join(name).is_file());
    missing.map_or(Ok(()), |name| Err(format!("{}: there is no {name}", directory.display())))
}
