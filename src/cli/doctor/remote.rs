//! The remote of the user's configuration or of the environment, tried with a small object that goes again.

use super::finding::{Finding, note, ok, problem};
use crate::cli::configuration;
use crate::settings::Settings;
use cache::{Probe, Remote, RemoteFailure};

/// Seconds by which a clock may be wrong before the ages of uploads and of results are.
const SKEW: i64 = 30;

/// Nothing where no remote is configured.
pub fn look() -> Vec<Finding> {
    match configuration::open(&Settings::default()) {
        Ok(None) => Vec::new(),
        Ok(Some(remote)) => tried(&remote),
        Err(error) => {
            let text = error.to_string();
            let text = text.trim().trim_start_matches("error:").trim_start();
            vec![problem("remote", text, "see `cache.remote` in the configuration, and the keys in the environment")]
        }
    }
}

fn tried(remote: &Remote) -> Vec<Finding> {
    let address = remote.settings().address.to_string();
    let Probe { lists, writes, reads, deletes, keeps_first, skew } = remote.probe();
    let mut findings = Vec::new();
    match lists {
        Ok(()) => findings.push(ok("remote", format!("{address} can be reached and listed"))),
        Err(RemoteFailure::NoPlace) => {
            let help = "make the bucket or the directory, or name another";
            return vec![problem("remote", format!("{address} is not there"), help)];
        }
        Err(failure) => findings.push(note("remote", format!("{address}: {failure}"), help(&failure))),
    }
    if remote.settings().is_read_only {
        findings.push(ok("remote", "read-only: nothing is written to it"));
    }
    for (what, done) in [("written", writes), ("read back", reads), ("removed", deletes)] {
        match done {
            Some(Ok(())) => findings.push(ok("remote", format!("an object can be {what}"))),
            Some(Err(failure)) => {
                findings.push(note("remote", format!("an object cannot be {what}: {failure}"), help(&failure)));
            }
            None => {}
        }
    }
    match keeps_first {
        Some(true) => findings.push(ok("remote", "the first of two records stays (put-if-absent)")),
        Some(false) => findings.push(note(
            "remote",
            "it overwrites a record that is there, although it is asked not to (put-if-absent)",
            "of two machines that compute the same at once the last one wins; take another server where that matters",
        )),
        None => {}
    }
    match skew {
        Some(skew) if skew.abs() > SKEW => findings.push(note(
            "remote",
            format!("its clock is {} s {} this machine's", skew.abs(), if skew > 0 { "ahead of" } else { "behind" }),
            "set both by a time server: S3 refuses requests that are a quarter of an hour off",
        )),
        Some(_) => findings.push(ok("remote", "its clock is that of this machine")),
        None => {}
    }
    findings
}

fn help(failure: &RemoteFailure) -> String {
    let text = match failure {
        RemoteFailure::WrongClock => "set the clock of this machine",
        RemoteFailure::Refused(_) => {
            "see to the rights of these keys: s3:GetObject and s3:ListBucket, and to write s3:PutObject; `mode: read-only` needs the \
             first two"
        }
        RemoteFailure::Away | RemoteFailure::TimedOut => {
            "see to the network and to `endpoint`, or mount the disk of the directory; runs go on without it"
        }
        RemoteFailure::WrongRegion(_) => "set AWS_REGION to the region of the bucket; runs go on without it",
        RemoteFailure::Full(_) => "make room there; runs read from it, and go on",
        _ => "runs go on without it",
    };
    text.to_owned()
}
