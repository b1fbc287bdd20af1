//! A trial of a remote, for `doctor`: what it lets this user do, and whether it keeps what the protocol stands on.

use super::{Remote, RemoteFailure, layout::TOP};
use object_store::{ObjectStoreExt, path::Path as ObjectPath};
use std::time::SystemTime;

/// The findings of a trial.
#[derive(Debug)]
pub struct Probe {
    pub lists: Result<(), RemoteFailure>,
    /// `None` of what was not tried, since something before failed or the remote is read-only.
    pub writes: Option<Result<(), RemoteFailure>>,
    pub reads: Option<Result<(), RemoteFailure>>,
    pub deletes: Option<Result<(), RemoteFailure>>,
    /// Whether an object that is there is not overwritten where that is asked for.
    pub keeps_first: Option<bool>,
    /// Seconds by which its clock is ahead of this one.
    pub skew: Option<i64>,
}

impl Remote {
    /// Tries everything that a run does, with an object of its own name, which goes again.
    pub fn probe(&self) -> Probe {
        let mut probe =
            Probe { lists: self.reach(), writes: None, reads: None, deletes: None, keeps_first: None, skew: None };
        if self.settings.is_read_only
            || matches!(probe.lists, Err(RemoteFailure::NoPlace | RemoteFailure::Away | RemoteFailure::TimedOut))
        {
            return probe;
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = format!("{TOP}/probe/{}-{}", std::process::id(), since.as_nanos());
        let path = ObjectPath::from(name);
        let written = self.create(&path, b"first".to_vec());
        let is_written = written.is_ok();
        probe.writes = Some(written.map(drop));
        if !is_written {
            return probe;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let again = self.create(&path, b"second".to_vec());
        let read = self.asked(async { self.objects.get(&path).await?.bytes().await });
        let is_first = read.as_ref().map(|bytes| &bytes[..] == b"first");
        probe.keeps_first = match (again, is_first) {
            (Ok(is_new), Ok(is_first)) => Some(!is_new && is_first),
            _ => None,
        };
        probe.reads = Some(read.map(drop));
        if let Ok(meta) = self.asked(async { self.objects.head(&path).await }) {
            probe.skew = i64::try_from(now).ok().map(|now| meta.last_modified.timestamp() - now);
        }
        probe.deletes = Some(self.asked(async { self.objects.delete(&path).await }));
        probe
    }
}
