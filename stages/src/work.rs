//! The names of the files in a work directory, which its runner, its worker and its stage share. The layout is a
//! promise: a command may read it, and a later version of this program goes on in it.
//!
//! ```text
//! <work>/action.json   in: the hashed bytes: kind, version, parameters, seed, inputs
//! <work>/host.json     in: the device asked for; never part of a result
//! <work>/in/<port>     in: a directory, or a file `in/<port>.<format>`; a port of many: `in/<port>/<n>[.<format>]`
//! <work>/resume/       in/out: the last complete checkpoint of an earlier attempt, if any
//! <work>/out/<step>/   out: one candidate
//! <work>/tables/<step>/<name>.jsonl   out: per-item tables of a candidate
//! <work>/metrics.jsonl out: training curves, one JSON object a line
//! <work>/events.jsonl  out: progress lines for the parent
//! <work>/memory.txt    out: the memory it expects to take, in words
//! <work>/log.txt       out: everything that worker and command print
//! <work>/error.txt     out: the cause of a failure, in words
//! <work>/outcome.json  out: written last, by rename; none means that the attempt failed
//! ```

use std::path::{Path, PathBuf};

pub const ACTION: &str = "action.json";
pub const HOST: &str = "host.json";
pub const INPUTS: &str = "in";
pub const CANDIDATES: &str = "out";
pub const TABLES: &str = "tables";
pub const CURVE: &str = "metrics.jsonl";
pub const PROGRESS: &str = "events.jsonl";
pub const EXPECTED_MEMORY: &str = "memory.txt";
pub const LOG: &str = "log.txt";
pub const ERROR: &str = "error.txt";
pub const OUTCOME: &str = "outcome.json";
pub const PARTIAL_OUTCOME: &str = "outcome.json.partial";

pub const CHECKPOINT: &str = "resume";
/// The checkpoint before, while a new one takes its place.
pub const OLD_CHECKPOINT: &str = "resume.old";
pub const PARTIAL_CHECKPOINT: &str = "resume.partial";
/// In a checkpoint: the candidates handed over so far, and the length of the curve.
pub const CHECKPOINT_STATE: &str = "progress.json";

/// The home directory of an `exec` command.
pub const HOME: &str = ".home";
/// The temporary files of an `exec` command.
pub const TEMPORARY: &str = ".tmp";
/// The numbers that an `exec` command writes.
pub const METRICS: &str = "metrics.json";
/// The rows that an `exec` command's numbers are means of.
pub const ITEMS: &str = "items.jsonl";

/// Names that a command cannot declare as its outputs.
pub const RESERVED: [&str; 15] = [
    ACTION,
    HOST,
    INPUTS,
    CANDIDATES,
    TABLES,
    CHECKPOINT,
    OLD_CHECKPOINT,
    PARTIAL_CHECKPOINT,
    CURVE,
    PROGRESS,
    LOG,
    OUTCOME,
    ERROR,
    HOME,
    TEMPORARY,
];

/// Directories that take space and are not needed once a result is recorded. Logs, curves and the action stay.
pub const LARGE: [&str; 8] =
    [INPUTS, CANDIDATES, TABLES, CHECKPOINT, OLD_CHECKPOINT, PARTIAL_CHECKPOINT, HOME, TEMPORARY];

/// The last complete checkpoint in a work directory. A worker killed between two renames leaves the one before.
pub fn checkpoint(work: &Path) -> Option<PathBuf> {
    [CHECKPOINT, OLD_CHECKPOINT].map(|name| work.join(name)).into_iter().find(|path| path.is_dir())
}

/// The directory of one candidate.
pub fn candidate(work: &Path, step: u64) -> PathBuf {
    work.join(CANDIDATES).join(step.to_string())
}

/// The directory of the per-item tables of one candidate.
pub fn tables(work: &Path, step: u64) -> PathBuf {
    work.join(TABLES).join(step.to_string())
}
