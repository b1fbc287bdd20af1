//! Replies of servers, each kept under what was asked: a file for each request, written before anybody uses it. What was
//! paid for once is there for every stage, run and person with this folder, whatever is killed when.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A folder of replies.
pub struct ReplyFolder {
    folder: PathBuf,
}

/// A reply as it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerReply {
    /// The address, the body, and whatever else tells one request from another.
    pub request: Value,
    /// The body, word for word.
    pub body: String,
    /// RFC 3339.
    pub at: String,
    pub seconds: f64,
}

/// The name of a request: the hash of the address, the body, and whatever else tells one from another.
pub fn name(request: &Value) -> String {
    // Keys of an object come sorted: it is the same text for the same request.
    blake3::hash(sorted(request).to_string().as_bytes()).to_hex().to_string()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> =
                fields.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            fields.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The longest reply that is kept, with the request that it is kept with.
const MOST: u64 = 64 << 20;

impl ReplyFolder {
    /// Opens a folder, and makes it unless it is there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(folder: &Path) -> Result<ReplyFolder> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(ReplyFolder { folder: folder.to_owned() })
    }

    /// The same to look at: nothing is made.
    pub fn at(folder: &Path) -> ReplyFolder {
        ReplyFolder { folder: folder.to_owned() }
    }

    /// Whether there is a reply, readable or not.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn has(&self, name: &str) -> Result<bool> {
        let path = self.path(name);
        files::is_there(&path).with_context(|| format!("look for {}", path.display()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(&name[..2]).join(format!("{}.json", &name[2..]))
    }

    /// # Errors
    /// It is there and cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<ServerReply>> {
        let path = self.path(name);
        let read = || format!("read {}", path.display());
        let Some(text) = files::found(files::read(&path, MOST)).with_context(read)? else { return Ok(None) };
        let reply = serde_json::from_slice(&text).with_context(read);
        reply.context("the reply is damaged: remove it, and it is asked for again").map(Some)
    }

    /// Keeps a reply. It is on the disk when this returns, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, name: &str, reply: &ServerReply) -> Result<()> {
        let path = self.path(name);
        let write = || format!("write {}", path.display());
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).with_context(write)?;
        let draft = folder.join(format!(".{}.{}", &name[2..], std::process::id()));
        let text = serde_json::to_vec(reply)?;
        let written = File::create(&draft).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&draft, &path)).with_context(write)?;
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(write)
    }

    /// Claims a request: whoever else would send the same one waits until this claim is dropped, or its process is gone. Look
    /// for the reply again behind it. `None`: the wait was given up, as `is_to_stop` wants it.
    ///
    /// # Errors
    /// The file of the claim cannot be made or locked.
    pub fn claim(&self, name: &str, is_to_stop: &dyn Fn() -> bool) -> Result<Option<RequestClaim>> {
        let folder = self.folder.join("asked");
        let path = folder.join(name);
        let claim = || format!("claim {}", path.display());
        fs::create_dir_all(&folder).with_context(claim)?;
        loop {
            let file = files::lock(&path).with_context(claim)?;
            if !wait_for(&file, is_to_stop).with_context(claim)? {
                return Ok(None);
            }
            // Whoever had it took the file away: it says nothing to those who come now.
            let is_there = files::found(fs::metadata(&path)).with_context(claim)?;
            let own = file.metadata().with_context(claim)?;
            if is_there.is_some_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
                return Ok(Some(RequestClaim { path, _lock: file }));
            }
        }
    }

    /// The book of this name, of what was spent.
    pub fn book(&self, name: &str) -> PathBuf {
        self.folder.join("spent").join(format!("{name}.jsonl"))
    }
}

/// A claim of a request that is on its way. A kill releases it, and leaves an empty file that nobody heeds.
pub struct RequestClaim {
    path: PathBuf,
    _lock: File,
}

impl Drop for RequestClaim {
    fn drop(&mut self) {
        // While it is locked: whoever waits for this file finds that it is gone.
        let _ = fs::remove_file(&self.path);
    }
}

/// The interval at which a lock is tried that another process has.
const TICK: Duration = Duration::from_millis(50);

/// Waits for the lock of a file. False: the wait was given up, as `is_to_stop` wants it.
///
/// # Errors
/// It cannot be locked.
pub fn wait_for(file: &File, is_to_stop: &dyn Fn() -> bool) -> io::Result<bool> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if is_to_stop() => return Ok(false),
            Err(TryLockError::WouldBlock) => std::thread::sleep(TICK),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// The time now, RFC 3339 to the second.
pub fn now() -> String {
    time_of(jiff::Timestamp::now().as_second())
}

fn time_of(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.strftime("%FT%TZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_reply_is_found_under_what_was_asked_and_under_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let folder = ReplyFolder::open(place.path()).unwrap();
        let request = json!({"url": "https://host/v1", "body": {"model": "m", "temperature": 0.0}, "nth": 0});
        let body = json!({"model": "m-1", "choices": [{"message": {"content": "yes"}}], "usage": {"prompt_tokens": 7}});
        let reply = ServerReply { request: request.clone(), body: body.to_string(), at: now(), seconds: 0.5 };
        folder.keep(&name(&request), &reply).unwrap();
        assert_eq!(folder.find(&name(&request)).unwrap(), Some(reply.clone()));
        let again: Value =
            serde_json::from_str(r#"{"nth": 0, "body": {"temperature": 0.0, "model": "m"}, "url": "https://host/v1"}"#)
                .unwrap();
        assert_eq!(name(&again), name(&request));
        for (field, value) in [("nth", json!(1)), ("url", json!("https://other/v1")), ("body", json!({"model": "n"}))] {
            let mut other = request.clone();
            other[field] = value;
            assert_eq!(folder.find(&name(&other)).unwrap(), None, "{field}");
        }
    }

    #[test]
    fn a_request_is_claimed_by_one_at_a_time_and_the_claims_leave_nothing() {
        const THREADS: usize = 8;
        let place = tempfile::tempdir().unwrap();
        let folder = ReplyFolder::open(place.path()).unwrap();
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            for _ in 0..200 {
                let claim = folder.claim("aa", &|| false).unwrap();
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(claim);
            }
        };
        std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
        assert_eq!(most.into_inner(), 1);
        assert_eq!(fs::read_dir(place.path().join("asked")).unwrap().count(), 0);
    }

    #[test]
    fn times_are_written_as_calendars_have_them() {
        assert_eq!(time_of(0), "1970-01-01T00:00:00Z");
        assert_eq!(time_of(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(time_of(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(time_of(1_796_000_000), "2026-11-30T00:53:20Z");
    }
}
