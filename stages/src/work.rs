//! The names of the files in a work directory, which its runner, its worker and its stage share. The layout is a
//! promise: a later version of this program goes on in it. A command has a directory of its own in it, the only one
//! that it is told: the others are the books of runner and worker, of which it needs to know nothing.
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
//! <work>/outcome.json  out: written last, by rename; none means that the attempt failed. It holds the nonce that the
//!                      runner gave the worker, and no command: another one is nobody's word
//!
//! <work>/given/, <work>/starts/   of an attempt that nodes of a cluster work at: what each of them begins with, and a work
//!                      directory for each that did (`src/executor/slurm/book.rs` of the program)
//! <work>/view/         in an attempt with a sandbox: empty; where the root directory of the command is put together
//! <work>/command/              the directory in which the command of an `exec` stage runs
//! <work>/command/action.json   in: a copy
//! <work>/command/in/<port>     in: the inputs, which lie here instead
//! <work>/command/resume/       in/out: what it wants its next attempt to find
//! <work>/command/metrics.json  out: its numbers
//! <work>/command/items.jsonl   out: the rows that they are means of
//! <work>/command/metrics.jsonl out: its curve
//! <work>/command/events.jsonl  out: its progress
//! ```
//!
//! The files of a command are taken over while it runs (progress, curve) and after its end (the rest), without following
//! a link, without waiting, and up to a bound.

use std::fs;
use std::io;
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

/// The files with which every start on a node of a cluster begins.
pub const GIVEN: &str = "given";
/// The work directories of the starts on nodes.
pub const STARTS: &str = "starts";

/// The directory of an `exec` command.
pub const COMMAND: &str = "command";
/// Where the root directory of a command in a sandbox is put together.
pub const VIEW: &str = "view";
/// The home directory of an `exec` command.
pub const HOME: &str = ".home";
/// The temporary files of an `exec` command.
pub const TEMPORARY: &str = ".tmp";
/// The numbers that an `exec` command writes.
pub const METRICS: &str = "metrics.json";
/// The rows that an `exec` command's numbers are means of.
pub const ITEMS: &str = "items.jsonl";

/// Names that a command cannot declare as its outputs.
pub const RESERVED: [&str; 7] = [ACTION, INPUTS, CHECKPOINT, CURVE, PROGRESS, HOME, TEMPORARY];

/// Directories that take space and are not needed once a result is recorded. Logs, curves and the action stay.
pub const LARGE: [&str; 9] =
    [INPUTS, CANDIDATES, TABLES, CHECKPOINT, OLD_CHECKPOINT, PARTIAL_CHECKPOINT, COMMAND, GIVEN, STARTS];

/// The last complete checkpoint in a work directory. A worker killed between two renames leaves the one before.
pub fn checkpoint(work: &Path) -> io::Result<Option<PathBuf>> {
    first_directory([CHECKPOINT, OLD_CHECKPOINT].map(|name| work.join(name)))
}

/// The directory in which a command keeps something for its next attempt.
pub fn command_checkpoint(work: &Path) -> io::Result<Option<PathBuf>> {
    first_directory([work.join(COMMAND).join(CHECKPOINT)])
}

/// The first that is a directory; a link to one is none.
fn first_directory(paths: impl IntoIterator<Item = PathBuf>) -> io::Result<Option<PathBuf>> {
    for path in paths {
        if files::found(fs::symlink_metadata(&path))?.is_some_and(|metadata| metadata.is_dir()) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The directory below which the inputs lie: that of the command, if there is one.
pub fn of_inputs(work: &Path, has_command: bool) -> PathBuf {
    if has_command { work.join(COMMAND) } else { work.to_owned() }
}

/// The directory of one candidate.
pub fn candidate(work: &Path, step: u64) -> PathBuf {
    work.join(CANDIDATES).join(step.to_string())
}

/// The directory of the per-item tables of one candidate.
pub fn tables(work: &Path, step: u64) -> PathBuf {
    work.join(TABLES).join(step.to_string())
}
