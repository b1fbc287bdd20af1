//! Finds out why a worker died without an outcome, from its exit, its `error.txt` and its log.

use super::attempt::Attempt;
use super::foreign;
use crate::failure::{Death, DeathCause, Exit};
use stages::work;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The number of log lines that are quoted.
const QUOTED: usize = 5;

/// The most characters of each.
const LONGEST: usize = 500;

/// The bytes at the end of a log that are looked through for them.
const TAIL: u64 = 8192;

/// The most bytes of a cause.
const MOST: u64 = 1 << 20;

/// The death of the worker of an attempt that has no outcome.
pub fn death(attempt: &Attempt, exit: Exit) -> Death {
    let directory = &attempt.worked_in;
    // What cannot be read says nothing: the end of the worker is told without it.
    let error = files::text(&directory.join(work::ERROR), MOST).ok().filter(|error| !error.trim().is_empty());
    let cause = match (exit, error) {
        (Exit::TimedOut(after), _) => DeathCause::TimedOut(after),
        (_, Some(error)) => DeathCause::Error(error.trim().to_owned()),
        (_, None) => {
            let may_be_memory = matches!(exit, Exit::Signal(6 | 9) | Exit::Code(134 | 137));
            let expected_memory = may_be_memory.then(|| expected_memory(directory)).flatten();
            let full_disk = is_full(directory).then(|| directory.clone());
            DeathCause::Silent { exit, full_disk, expected_memory }
        }
    };
    let repeated = format!("error: {cause}");
    let is_new = |line: &str| !repeated.contains(line) && !foreign::is_of_no_use(line);
    let log = last_lines(&attempt.log(), is_new);
    Death { cause, log }
}

/// The cause as the worker knows it, from the error that ended its stage, and what it had last asked its device for.
pub fn of_error(directory: &Path, error: String, asked: Option<String>) -> DeathCause {
    let expected = expected_memory(directory);
    // A stage that asked nothing of a device says something else by these words.
    if (asked.is_some() || expected.is_some()) && foreign::is_of_memory(&error) {
        return DeathCause::OutOfMemory { asked, expected, error };
    }
    if foreign::is_of_lost_device(&error) { DeathCause::DeviceLost(error) } else { DeathCause::Error(error) }
}

fn expected_memory(directory: &Path) -> Option<String> {
    let expected = files::text(&directory.join(work::EXPECTED_MEMORY), MOST).ok()?;
    Some(expected.trim().to_owned())
}

fn is_full(directory: &Path) -> bool {
    const NEXT_TO_NOTHING: u64 = 64 << 10;
    let Ok(disk) = rustix::fs::statvfs(directory) else { return false };
    // A file system that does not count its files reports 0.
    let has_names = disk.f_files == 0 || disk.f_favail > 0;
    let has_room = disk.f_bavail.saturating_mul(disk.f_frsize) >= NEXT_TO_NOTHING;
    !has_names || !has_room
}

/// The last lines that are new. Only the end of a log is read, which may be long.
fn last_lines(log: &Path, is_new: impl Fn(&str) -> bool) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let (mut file, metadata) = files::inside(log)?;
        file.seek(SeekFrom::Start(metadata.len().saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty() && is_new(line.trim())).collect();
    let start = |line: &&str| line.chars().take(LONGEST).collect();
    lines[lines.len().saturating_sub(QUOTED)..].iter().map(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    fn attempt() -> (tempfile::TempDir, Attempt) {
        let root = tempfile::tempdir().unwrap();
        let attempt = Attempt::at(root.path().to_owned(), 1);
        (root, attempt)
    }

    #[test]
    fn a_cause_is_what_the_worker_said_or_else_what_its_end_looks_like() {
        let (_root, attempt) = attempt();
        let mut told = vec![death(&attempt, Exit::Signal(9))];
        fs::write(attempt.log(), "1\n2\n3\n4\n5\nmemory allocation of 9 bytes failed\n").unwrap();
        told.push(death(&attempt, Exit::Code(134)));
        let noise = "error: XDG_RUNTIME_DIR is invalid or not set in the environment.\n".repeat(4);
        fs::write(attempt.log(), format!("loading\n{noise}error: read row 7: no field `prompt`\n{noise}")).unwrap();
        fs::write(attempt.directory.join(work::ERROR), "read row 7: no field `prompt`").unwrap();
        told.push(death(&attempt, Exit::Code(1)));
        told.push(death(&attempt, Exit::TimedOut(Duration::from_secs(90))));
        expect![[r#"
            the worker was killed (SIGKILL): probably out of memory
            the worker aborted (SIGABRT): out of memory, or an abort in native code
              2
              3
              4
              5
              memory allocation of 9 bytes failed
            read row 7: no field `prompt`
              loading
            the worker was ended after 90s, the stage's `timeout`
              loading
              error: read row 7: no field `prompt`"#]]
        .assert_eq(&told.iter().map(Death::to_string).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn where_memory_or_a_disk_may_be_the_cause_that_is_said() {
        let (_root, attempt) = attempt();
        fs::write(attempt.directory.join(work::EXPECTED_MEMORY), "it expected to take 3 GiB\n").unwrap();
        let full = Some(PathBuf::from("work/1"));
        let of = |error: &str, asked: Option<&str>| {
            of_error(&attempt.directory, error.to_owned(), asked.map(str::to_owned)).to_string()
        };
        let silent = DeathCause::Silent { exit: Exit::Signal(7), full_disk: full, expected_memory: None };
        let told = [
            death(&attempt, Exit::Signal(9)).to_string(),
            death(&attempt, Exit::Signal(11)).to_string(),
            of("wgpu: Out of Memory", Some("a pass back through the model, of 512 tokens in 4 rows, in step 3")),
            of("wgpu: Out of Memory", None),
            of("read a tensor: the device is poisoned\nCaused by: Device is lost", None),
            of("no field `prompt`", None),
            silent.to_string(),
        ];
        expect![[r#"
            the worker was killed (SIGKILL): probably out of memory; it expected to take 3 GiB
            the worker crashed (SIGSEGV): probably the graphics driver
            out of memory on the device, which was asked for a pass back through the model, of 512 tokens in 4 rows, in step 3; it expected to take 3 GiB
              (wgpu: Out of Memory)
            out of memory on the device; it expected to take 3 GiB
              (wgpu: Out of Memory)
            the device was lost: its driver gave it up, after a fault, a reset or a time-out, or for want of memory; the next run goes on from the last checkpoint
              (read a tensor: the device is poisoned)
            no field `prompt`
            the worker died of a bus error (SIGBUS): a full disk, or a crash of the driver; the disk that work/1 lies on is full"#]]
        .assert_eq(&told.join("\n"));
    }
}
