//! A command that scores answers. It reads a JSON object a line, `{"id", "prompt", "completion"}`, and writes a score a line, in
//! the same order: a number, or an object with a `score`. A call has a time limit and a bound on what it writes.

use super::answer::AskedAnswerLine;
use super::parameters::AskedRewardParameters;
use crate::command::{CommandLog, CommandPlace, ReadyCommand};
use crate::io::{Interruption, Io};
use crate::orphans;
use crate::secret::Secrets;
use crate::work;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

pub struct RewardProgram {
    /// The directory in which the command runs.
    directory: PathBuf,
    /// Where the root directory of a command in a sandbox is put together.
    root: PathBuf,
    secrets: Secrets,
}

/// The most bytes that a call may write.
const MOST: u64 = 4 << 20;
/// The most bytes of what a call says beside its scores that go to the log.
const MOST_SAID: u64 = 1 << 20;
/// The pause between two looks whether a command has ended that has closed its output.
const PAUSE: Duration = Duration::from_millis(5);
/// The interval at which a signal is noticed.
const TICK: Duration = Duration::from_millis(100);
/// The time that a command has to end after a signal to stop.
const GRACE: Duration = Duration::from_secs(2);
/// The longest part of a wrong line that is shown.
const SHOWN: usize = 80;

impl RewardProgram {
    /// Opens what a stage of kind `reward` gave, as the `nth` reward of this stage.
    ///
    /// # Errors
    /// Its files cannot be copied.
    pub fn open(io: &Io, given: &Path, nth: usize, secrets: Secrets) -> Result<RewardProgram> {
        let books = std::path::absolute(io.work()).context("find the stage's directory")?;
        let directory = books.join(work::COMMAND).join(format!("reward-{}", nth + 1));
        ::files::found(fs::remove_dir_all(&directory)).with_context(|| format!("remove {}", directory.display()))?;
        copy(&given.join(work::INPUTS), &directory.join(work::INPUTS))?;
        orphans::adopt();
        Ok(RewardProgram { directory, root: books.join(work::VIEW), secrets })
    }

    /// The scores of answers by one call.
    ///
    /// # Errors
    /// It fails, takes too long, or writes something else than a score for each.
    pub fn call(&self, io: &Io, parameters: &AskedRewardParameters, asked: &[&AskedAnswerLine]) -> Result<Vec<f64>> {
        let AskedRewardParameters { command, timeout, .. } = parameters;
        let by = || format!("score answers by {}", command.command);
        let place = CommandPlace { work: &self.directory, root: &self.root };
        let ReadyCommand { command: mut process, scratch, .. } =
            command.ready(&place, io.gpus(), &self.secrets).with_context(by)?;
        process.stderr(CommandLog::bounded(&self.secrets, MOST_SAID)?.writer);
        let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().with_context(by)?;
        // This closes its ends of the pipe: the log ends when the last one is closed.
        drop(process);
        let (mut input, output) =
            (child.stdin.take().context("it has one")?, child.stdout.take().context("it has one")?);
        let lines: String = asked.iter().map(|asked| asked.row.to_string() + "\n").collect();
        // A command that ends without reading everything breaks the pipe, and says by its status whether that is right.
        let feeding = move || drop(input.write_all(lines.as_bytes()));
        thread::Builder::new().spawn(feeding).context("start a thread")?;
        let (ended, end) = mpsc::channel();
        let reading = move || {
            let mut text = Vec::new();
            let read = output.take(MOST + 1).read_to_end(&mut text);
            let _ = ended.send(read.map(|_| text));
        };
        thread::Builder::new().spawn(reading).context("start a thread")?;
        let deadline = Instant::now() + Duration::from_secs(*timeout);
        let (mut written, mut stopped) = (Err(RecvTimeoutError::Timeout), None);
        while matches!(written, Err(RecvTimeoutError::Timeout)) {
            // A command that is asked to stop, too, may take its time, but not for ever.
            if io.is_to_stop() && stopped.get_or_insert_with(Instant::now).elapsed() > GRACE {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            written = end.recv_timeout(left.min(TICK));
        }
        let is_late = || stopped.is_some_and(|since: Instant| since.elapsed() > GRACE);
        let is_too_long = matches!(&written, Ok(Ok(text)) if text.len() as u64 > MOST);
        let status = loop {
            match child.try_wait().with_context(by)? {
                Some(status) => break Some(status),
                None if is_too_long || is_late() || Instant::now() >= deadline => break None,
                None => thread::sleep(PAUSE),
            }
        };
        if status.is_none() {
            let _ = child.kill();
            child.wait().with_context(by)?;
        }
        // Whatever it left running would change what it is asked next.
        orphans::end(|_| true);
        drop(scratch);
        if io.is_to_stop() && status.is_none_or(|status| !status.success()) {
            return Err(Interruption { step: None }.into());
        }
        if is_too_long {
            bail!("{}: it has written more than {} MiB", by(), MOST >> 20);
        }
        let Some(status) = status else {
            bail!("{}: {} answers took more than `timeout: {timeout}` seconds", by(), asked.len());
        };
        if !status.success() {
            bail!("{}: {status}; the log of the stage has what it said", by());
        }
        let text = match written {
            Ok(read) => read.with_context(by)?,
            Err(_) => bail!("{}: its output does not end", by()),
        };
        let text = String::from_utf8(text).with_context(|| format!("{}: its output is no text", by()))?;
        parsed(&text, asked.len()).with_context(by)
    }
}

/// The scores in lines.
fn parsed(text: &str, wanted: usize) -> Result<Vec<f64>> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let score = |(number, line): (usize, &&str)| -> Result<f64> {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        let score = value.as_f64().or_else(|| value.get("score")?.as_f64());
        score.filter(|score| score.is_finite()).with_context(|| {
            let shown: String = line.chars().take(SHOWN).collect();
            format!("line {} of its output is neither a number nor an object with a `score`: {shown:?}", number + 1)
        })
    };
    let scores: Vec<f64> = lines.iter().enumerate().map(score).collect::<Result<_>>()?;
    if scores.len() != wanted {
        bail!(
            "it was given {wanted} answers and gave {} scores; it must give one for each, in their order",
            scores.len()
        );
    }
    Ok(scores)
}

/// Copies a directory, if there is one: a command may do with its own what it likes.
///
/// # Errors
/// A file cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let copying = || format!("copy {}", from.display());
    fs::create_dir_all(to).with_context(copying)?;
    for entry in ::files::found(fs::read_dir(from)).with_context(copying)?.into_iter().flatten() {
        let entry = entry.with_context(copying)?;
        let target = to.join(entry.file_name());
        match entry.file_type().with_context(copying)?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => fs::copy(entry.path(), &target).map(drop).with_context(copying)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_numbers_or_objects_one_for_each_answer() {
        assert_eq!(parsed("1\n\n{\"score\": -0.5, \"why\": \"x\"}\n", 2).unwrap(), [1.0, -0.5]);
        assert!(parsed("", 0).unwrap().is_empty());
        let told = |text: &str, wanted: usize| parsed(text, wanted).unwrap_err().to_string();
        assert_eq!(
            told("1\n", 2),
            "it was given 2 answers and gave 1 scores; it must give one for each, in their order"
        );
        for wrong in ["yes", "\"1\"", "{\"points\": 1}", "[1]", "NaN", "{\"score\": null}"] {
            assert!(told(&format!("1\n{wrong}\n"), 2).starts_with("line 2 of its output is neither"), "{wrong}");
        }
    }
}
