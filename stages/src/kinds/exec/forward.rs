//! Takes over what a command appends to its progress and its curve while it runs: whole lines of bounded length, without
//! the secrets in them. What cannot be read is not shown, and the work goes on.

use crate::io::Progress;
use crate::secret::Secrets;
use crate::work;
use files::Beneath;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const TICK: Duration = Duration::from_millis(100);
/// The most bytes that are read in one tick of one file.
const CHUNK: u64 = 4 << 20;
/// The longest line that counts.
const LONGEST: usize = 1 << 20;
/// The most characters of a message that are shown.
const MESSAGE: usize = 1000;

/// The thread that takes over, until it is told to end.
pub struct Forwarder {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Forwarder {
    /// Takes over what appears at the `desk` of the command into the books in `work`. `None` where no thread can be had:
    /// progress is for watching only.
    pub fn start(desk: &Beneath, books: &Path, secrets: Arc<Secrets>) -> Option<Forwarder> {
        let (end, told) = mpsc::channel();
        let desk = desk.below(Path::new("")).ok()?;
        let mut progress = Growing::new(work::PROGRESS, books);
        let mut curve = Growing::new(work::CURVE, books);
        let forward = move || {
            loop {
                let is_over = !matches!(told.recv_timeout(TICK), Err(RecvTimeoutError::Timeout));
                let show = |line: &[u8]| shown(line, &secrets);
                let _ = progress.take(&desk).and_then(|lines| {
                    // Earlier progress is out of date.
                    lines.iter().rev().find_map(|line| show(line)).map_or(Ok(()), |line| progress.append(&line))
                });
                let _ = curve.take(&desk).and_then(|lines| curve.append(&secrets.redacted_bytes(&lines.concat())));
                if is_over {
                    return;
                }
            }
        };
        Some(Forwarder { end, thread: thread::Builder::new().spawn(forward).ok()? })
    }

    pub fn end(self) {
        drop(self.end);
        let _ = self.thread.join();
    }
}

/// A line of progress as it may be shown; `None` if it is none.
pub fn shown(line: &[u8], secrets: &Secrets) -> Option<Vec<u8>> {
    let Progress { done, total, unit, message, metrics } = serde_json::from_slice(line).ok()?;
    let text = |text: String| secrets.redacted(&text).chars().take(MESSAGE).collect::<String>();
    let metrics = metrics.into_iter().map(|(name, value)| (text(name), value)).collect();
    let progress = Progress { done, total, unit: text(unit), message: text(message), metrics };
    let mut line = serde_json::to_vec(&progress).ok()?;
    line.push(b'\n');
    Some(line)
}

/// A file of the command that grows, and its copy in the books.
struct Growing {
    name: &'static str,
    copy: PathBuf,
    inode: u64,
    read: u64,
    written: u64,
    /// The beginning of a line.
    held: Vec<u8>,
    /// The line that is being read is too long.
    skips: bool,
}

impl Growing {
    fn new(name: &'static str, books: &Path) -> Growing {
        Growing { name, copy: books.join(name), inode: 0, read: 0, written: 0, held: Vec::new(), skips: false }
    }

    /// The lines that came, each with its end.
    fn take(&mut self, desk: &Beneath) -> io::Result<Vec<Vec<u8>>> {
        let (mut file, metadata) = desk.file(Path::new(self.name))?;
        if metadata.ino() != self.inode || metadata.len() < self.read {
            // It was written anew.
            (self.inode, self.read, self.skips) = (metadata.ino(), 0, false);
            self.held.clear();
            self.written = 0;
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.take(CHUNK).read_to_end(&mut bytes)?;
        self.read += bytes.len() as u64;
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.skips {
                self.held.extend_from_slice(piece);
            }
            if self.held.len() > LONGEST {
                self.held.clear();
                self.skips = true;
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.held);
                if !std::mem::take(&mut self.skips) {
                    lines.push(line);
                }
            }
        }
        Ok(lines)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() || self.written + bytes.len() as u64 > super::results::MOST_CURVE {
            return Ok(());
        }
        let is_new = self.written == 0;
        let mut copy = files::to_append(&self.copy)?;
        // Readers of progress go on where they were; a curve that was written anew replaces the one before.
        if is_new && self.name == work::CURVE {
            copy.set_len(0)?;
        }
        self.written += bytes.len() as u64;
        copy.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn whole_lines_come_once_and_a_line_without_an_end_takes_no_memory() {
        let home = tempfile::tempdir().unwrap();
        let desk = Beneath::open(home.path()).unwrap();
        let path = home.path().join(work::PROGRESS);
        let mut growing = Growing::new(work::PROGRESS, home.path());
        assert!(growing.take(&desk).is_err(), "there is none yet");
        fs::write(&path, "one\ntw").unwrap();
        assert_eq!(growing.take(&desk).unwrap(), [b"one\n".to_vec()]);
        File::options().append(true).open(&path).unwrap().write_all(b"o\n").unwrap();
        assert_eq!(growing.take(&desk).unwrap(), [b"two\n".to_vec()]);
        let long = File::options().append(true).open(&path).unwrap();
        long.set_len(8 + 5 * CHUNK).unwrap();
        for _ in 0..6 {
            assert!(growing.take(&desk).unwrap().is_empty() && growing.held.len() <= LONGEST);
        }
        (&long).write_all(b"\nthree\n").unwrap();
        assert_eq!(growing.take(&desk).unwrap(), [b"three\n".to_vec()]);
        fs::write(&path, "anew\n").unwrap();
        assert_eq!(growing.take(&desk).unwrap(), [b"anew\n".to_vec()]);
    }

    #[test]
    fn progress_is_shown_without_secrets_and_cut() {
        let read = |_: &str| Some("hidden".into());
        let secrets = Secrets::read(&["TOKEN".to_owned()], read).unwrap();
        let line = format!(r#"{{"done":1,"total":2,"unit":"hidden","message":"a hidden {}"}}"#, "x".repeat(5000));
        let line = String::from_utf8(shown(line.as_bytes(), &secrets).unwrap()).unwrap();
        assert!(line.starts_with(r#"{"done":1,"total":2,"unit":"***","message":"a *** xx"#) && line.len() < 1100);
        assert_eq!(shown(b"{}", &secrets), None);
    }
}
