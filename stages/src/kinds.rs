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

use crate::stage::Kind;

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
