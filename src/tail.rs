//! Reads files that grow meanwhile.

use anyhow::{Context, Result};
use stages::io::Progress;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The most bytes held at a time: a log may be long.
const CHUNK: u64 = 1 << 20;

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
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(bytes),
            Err(error) => return Err(error).with_context(|| format!("read {}", self.path.display())),
        };
        let read = file.seek(SeekFrom::Start(self.read)).and_then(|_| file.take(CHUNK).read_to_end(&mut bytes));
        read.with_context(|| format!("read {}", self.path.display()))?;
        self.read += bytes.len() as u64;
        Ok(bytes)
    }

    /// The complete lines that came.
    pub fn lines(&mut self) -> Result<Vec<Vec<u8>>> {
        let before = self.read;
        let mut bytes = Vec::new();
        loop {
            let more = self.bytes()?;
            if more.is_empty() {
                break;
            }
            bytes.extend(more);
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read = before + whole as u64;
        let lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n');
        Ok(lines.map(<[u8]>::to_vec).collect())
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
