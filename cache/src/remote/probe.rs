//! A trial of a remote, for `doctor`: what it lets this user do, and whether it keeps what the protocol stands on.

use super::{Remote, RemoteFailure, health::Side, layout::TOP};
use object_store::{ObjectStoreExt, path::Path as ObjectPath};
use std::time::SystemTime;

/// The bytes that are written under the name of a trial, at first and over it.
const FIRST: &[u8] = b"first";
const SECOND: &[u8] = b"second";

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
        let written = self.create(&path, FIRST.to_vec());
        let is_written = written.is_ok();
        probe.writes = Some(written.map(drop));
        if !is_written {
            return probe;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let again = self.create(&path, SECOND.to_vec());
        let read = self.bytes(&path, FIRST.max(SECOND).len() as u64).map(|read| read.map(|(bytes, _)| bytes));
        let read = read.map_err(|error| match error.downcast() {
            Ok(failure) => failure,
            Err(error) => RemoteFailure::Failed(format!("{error:#}")),
        });
        probe.keeps_first = match (again, &read) {
            (Ok(is_new), Ok(Some(bytes))) => Some(!is_new && bytes == FIRST),
            _ => None,
        };
        probe.reads = Some(match read {
            Ok(Some(bytes)) if bytes == FIRST || bytes == SECOND => Ok(()),
            // A portal that asks for a password answers everything, and keeps nothing.
            Ok(_) => Err(RemoteFailure::Failed("what is read is not what was written: it keeps nothing".to_owned())),
            Err(failure) => Err(failure),
        });
        if let Ok(false) = self.lists(&path) {
            probe.lists = Err(RemoteFailure::Failed("its list does not name what was just written".to_owned()));
        }
        if let Ok(Some(listed)) = self.listed(&path) {
            probe.skew = i64::try_from(now).ok().map(|now| listed.modified - now);
        }
        let deleted = self.asked(Side::Write, |objects| {
            let path = &path;
            async move { objects.delete(path).await }
        });
        probe.deletes = Some(match deleted.map(|()| self.listed(&path)) {
            Ok(Ok(Some(_))) => Err(RemoteFailure::Failed("it is still there".to_owned())),
            Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        });
        probe
    }

    /// Whether an object is in the list of what lies beside it.
    fn lists(&self, path: &ObjectPath) -> Result<bool, RemoteFailure> {
        let beside = ObjectPath::from(format!("{TOP}/probe"));
        let list = self.asked(Side::Read, |objects| async move { objects.list_with_delimiter(Some(&beside)).await })?;
        Ok(list.objects.iter().any(|object| object.location == *path))
    }
}
