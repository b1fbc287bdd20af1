//! The log, the curve and the progress of a job as those of a work on this machine: what the last start writes, in the files
//! of the attempt. Only this process writes there.

use super::book;
use crate::tail::{Tail, tail};
use anyhow::{Context, Result};
use stages::io::Progress;
use stages::work;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

pub struct Mirror {
    attempt: PathBuf,
    output: Tail,
    start: Option<StartTails>,
}

/// The files of a start as they grow.
struct StartTails {
    directory: PathBuf,
    log: Tail,
    curve: Tail,
    progress: Tail,
}

impl Mirror {
    /// Begins anew: what an earlier process showed is shown again from its beginning.
    pub fn new(attempt: &Path) -> Result<Mirror> {
        [work::LOG, work::CURVE, work::PROGRESS].iter().try_for_each(|name| cut(&attempt.join(name)))?;
        Ok(Mirror { attempt: attempt.to_owned(), output: tail(&attempt.join(book::OUTPUT)), start: None })
    }

    /// Shows what is new, that of the last start, and returns the last progress.
    pub fn show(&mut self, last: Option<&Path>) -> Result<Option<Progress>> {
        if let Some(last) = last
            && self.start.as_ref().is_none_or(|start| start.directory != last)
        {
            // A curve is that of one start; what it went on from is in it.
            [work::CURVE, work::PROGRESS].iter().try_for_each(|name| cut(&self.attempt.join(name)))?;
            let of = |name| tail(&last.join(name));
            let (log, curve, progress) = (of(work::LOG), of(work::CURVE), of(work::PROGRESS));
            self.start = Some(StartTails { directory: last.to_owned(), log, curve, progress });
        }
        let to = |name| self.attempt.join(name);
        append(&mut self.output, &to(work::LOG))?;
        let Some(start) = &mut self.start else { return Ok(None) };
        append(&mut start.log, &to(work::LOG))?;
        append(&mut start.curve, &to(work::CURVE))?;
        let lines = start.progress.lines()?;
        if let Some(line) = lines.last() {
            write_to(&to(work::PROGRESS), line)?;
        }
        Ok(lines.iter().rev().find_map(|line| serde_json::from_slice(line).ok()))
    }
}

fn cut(path: &Path) -> Result<()> {
    let cut = File::options().create(true).write(true).truncate(true).open(path);
    cut.map(drop).with_context(|| format!("write {}", path.display()))
}

fn append(tail: &mut Tail, to: &Path) -> Result<()> {
    loop {
        let bytes = tail.bytes()?;
        if bytes.is_empty() {
            return Ok(());
        }
        write_to(to, &bytes)?;
    }
}

fn write_to(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = files::to_append(path).and_then(|mut file| file.write_all(bytes));
    written.with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_log_has_every_start_and_the_curve_the_last_one() {
        let directory = tempfile::tempdir().unwrap();
        let attempt = directory.path();
        let [one, two] = ["starts/0-1", "starts/1-2"].map(|name| attempt.join(name));
        let write = |start: &Path, text: &str| {
            fs::create_dir_all(start).unwrap();
            fs::write(start.join(work::LOG), format!("log {text}\n")).unwrap();
            fs::write(start.join(work::CURVE), format!("{{\"curve\":\"{text}\"}}\n")).unwrap();
        };
        let mut mirror = Mirror::new(attempt).unwrap();
        assert_eq!(mirror.show(None).unwrap(), None);
        fs::write(attempt.join(book::OUTPUT), "module loaded\n").unwrap();
        write(&one, "one");
        mirror.show(Some(&one)).unwrap();
        write(&two, "two");
        mirror.show(Some(&two)).unwrap();
        let shown = |name: &str| fs::read_to_string(attempt.join(name)).unwrap();
        assert_eq!(shown(work::LOG), "module loaded\nlog one\nlog two\n");
        assert_eq!(shown(work::CURVE), "{\"curve\":\"two\"}\n");
        // Another process begins with all there is.
        let mut mirror = Mirror::new(attempt).unwrap();
        mirror.show(Some(&two)).unwrap();
        assert_eq!(shown(work::LOG), "module loaded\nlog two\n");
    }
}
