//! Reads files that grow meanwhile.

use anyhow::{Context, Result, ensure};
use stages::io::Progress;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The most bytes held at a time: a log may be long.
const CHUNK: u64 = 1 << 20;

/// The longest line: an event with the parameters of an action.
const LONGEST: usize = 256 << 20;

pub struct Tail {
    path: PathBuf,
    read: u64,
}

pub fn tail(path: &Path) -> Tail {
    Tail { path: path.to_owned(), read: 0 }
}

impl Tail {
    /// The next bytes, at most [`CHUNK`] of them; empty when there is nothing new, or no file yet.
    pub fn bytes(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = match files::inside(&self.path) {
            Ok((file, _)) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(bytes),
            Err(error) => return Err(error).with_context(|| format!("read {}", self.path.display())),
        };
        let read = file.seek(SeekFrom::Start(self.read)).and_then(|_| file.take(CHUNK).read_to_end(&mut bytes));
        read.with_context(|| format!("read {}", self.path.display()))?;
        self.read += bytes.len() as u64;
        Ok(bytes)
    }

    /// The complete lines that came.
    ///
    /// # Errors
    /// The file cannot be read, or holds a line that is longer than any that we write.
    pub fn lines(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut lines = Vec::new();
        let mut held = Vec::new();
        loop {
            let more = self.bytes()?;
            if more.is_empty() {
                break;
            }
            for piece in more.split_inclusive(|byte| *byte == b'\n') {
                held.extend_from_slice(piece);
                if held.ends_with(b"\n") {
                    lines.push(std::mem::take(&mut held));
                }
            }
            ensure!(held.len() <= LONGEST, "read {}: a line has more than {LONGEST} bytes", self.path.display());
        }
        // The beginning of a line is read again with the rest.
        self.read -= held.len() as u64;
        Ok(lines)
    }

    /// The last progress that a worker reported, if it reported any since the last call: earlier progress is out of
    /// date.
    pub fn progress(&mut self) -> Result<Option<Progress>> {
        Ok(self.lines()?.iter().rev().find_map(|line| serde_json::from_slice(line).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_whole_lines_come_and_each_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut tail = tail(&path);
        assert!(tail.lines().unwrap().is_empty(), "there is no file yet");
        fs::write(&path, "one\ntwo\nthr").unwrap();
        assert_eq!(tail.lines().unwrap(), [b"one\n".to_vec(), b"two\n".to_vec()]);
        assert!(tail.lines().unwrap().is_empty());
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail.lines().unwrap(), [b"three\n".to_vec()]);
    }

    #[test]
    fn a_long_file_comes_in_parts_that_are_the_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let text: Vec<u8> = (0..CHUNK * 5 / 2).map(|n| (n % 251) as u8).collect();
        fs::write(&path, &text).unwrap();
        let mut tail = tail(&path);
        let parts = [(); 4].map(|()| tail.bytes().unwrap());
        assert_eq!(parts.concat(), text);
        assert!(parts[3].is_empty());
    }
}
