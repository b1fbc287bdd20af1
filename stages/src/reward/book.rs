//! Scores that cannot be computed again: of a command or a server. Each is kept by the content of the answer, in a file for
//! each reward, before anybody uses it. So a stage that was killed, and another one with the same answers, asks for none of
//! them twice.

use crate::server;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The scores of one reward.
pub struct ScoreBook {
    path: PathBuf,
    pages: Mutex<BookPages>,
}

struct BookPages {
    scores: HashMap<String, f64>,
    file: File,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct KeptScore {
    /// The hash of what was asked.
    of: String,
    score: f64,
}

impl ScoreBook {
    /// Opens the book of a reward in the folder of what was replied.
    ///
    /// # Errors
    /// It cannot be read or made.
    pub fn open(folder: &Path, identity: &str) -> Result<ScoreBook> {
        ensure!(
            !identity.is_empty() && identity.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "open the book of scores: `{identity}` names no reward"
        );
        let path = folder.join("scores").join(format!("{identity}.jsonl"));
        let read = || format!("read {}", path.display());
        path.parent().map_or(Ok(()), fs::create_dir_all).with_context(read)?;
        let mut file = ::files::to_append(&path).with_context(read)?;
        let (scores, is_cut) = kept(&path)?;
        if is_cut {
            file.write_all(b"\n").with_context(read)?;
        }
        Ok(ScoreBook { pages: Mutex::new(BookPages { scores, file }), path })
    }

    /// Waits until nobody else asks this reward, and reads what they have kept. The claim ends when it is dropped, or the
    /// process is killed. `None`: the wait was given up, as `is_to_stop` wants it.
    ///
    /// # Errors
    /// A file cannot be locked or read.
    pub fn claim(&self, is_to_stop: &dyn Fn() -> bool) -> Result<Option<File>> {
        let path = self.path.with_extension("lock");
        let claiming = || format!("lock {}", path.display());
        let claim = ::files::lock(&path).with_context(claiming)?;
        if !server::replies::wait_for(&claim, is_to_stop).with_context(claiming)? {
            return Ok(None);
        }
        let (scores, _) = kept(&self.path)?;
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).scores = scores;
        Ok(Some(claim))
    }

    /// The score of what has this hash.
    pub fn find(&self, of: &str) -> Option<f64> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).scores.get(of).copied()
    }

    /// Keeps scores. They are on the disk when this returns.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn keep(&self, scores: impl IntoIterator<Item = (String, f64)>) -> Result<()> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = String::new();
        for (of, score) in scores {
            lines += &serde_json::to_string(&KeptScore { of: of.clone(), score })?;
            lines.push('\n');
            pages.scores.insert(of, score);
        }
        // One write, so that the lines of two processes do not mix.
        let written = pages.file.write_all(lines.as_bytes()).and_then(|()| pages.file.sync_data());
        written.with_context(|| format!("write {}", self.path.display()))
    }
}

/// The scores in a file, and whether its last line is cut.
fn kept(path: &Path) -> Result<(HashMap<String, f64>, bool)> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    // A kill may have cut the last line: nobody has used that score.
    let kept = text.lines().filter_map(|line| serde_json::from_str::<KeptScore>(line).ok());
    Ok((kept.map(|kept| (kept.of, kept.score)).collect(), !text.is_empty() && !text.ends_with('\n')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_score_is_found_again_to_the_last_bit_and_a_cut_line_is_none() {
        let place = tempfile::tempdir().unwrap();
        let book = ScoreBook::open(place.path(), "ab").unwrap();
        book.keep([("x".to_owned(), 0.1 + 0.2), ("y".to_owned(), -1.0)]).unwrap();
        let path = place.path().join("scores/ab.jsonl");
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 4]).unwrap();
        let book = ScoreBook::open(place.path(), "ab").unwrap();
        assert_eq!((book.find("x"), book.find("y")), (Some(0.1 + 0.2), None));
        book.keep([("y".to_owned(), 2.0)]).unwrap();
        let book = ScoreBook::open(place.path(), "ab").unwrap();
        assert_eq!((book.find("x"), book.find("y")), (Some(0.1 + 0.2), Some(2.0)));
        assert_eq!(ScoreBook::open(place.path(), "cd").unwrap().find("x"), None);
        assert!(ScoreBook::open(place.path(), "../ab").is_err());
    }
}
