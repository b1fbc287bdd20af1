//! Writes files so that a name always means a complete file: a draft is written, synced, then renamed or linked, and
//! then its directory is synced.

use crate::open;
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Write},
    path::Path,
};
use tempfile::NamedTempFile;

/// Makes a draft, a file that has no name in the store yet; `fill` writes its bytes.
pub fn draft(temporary: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<NamedTempFile> {
    step()?;
    let mut draft =
        NamedTempFile::new_in(temporary).with_context(|| format!("create file in {}", temporary.display()))?;
    step()?;
    fill(draft.as_file_mut()).with_context(|| format!("write {}", draft.path().display()))?;
    Ok(draft)
}

/// Gives the draft its name. False if the name is taken; then the file with that name is untouched.
pub fn create(draft: NamedTempFile, path: &Path, is_durable: bool) -> Result<bool> {
    make_parent(path, is_durable)?;
    settle(&draft, is_durable)?;
    match draft.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error.error).with_context(|| format!("create {}", path.display())),
    }
    sync_parent(path, is_durable)?;
    Ok(true)
}

/// Gives the draft its name, replacing the file that has it.
pub fn replace(draft: NamedTempFile, path: &Path, is_durable: bool) -> Result<()> {
    settle(&draft, is_durable)?;
    draft.persist(path).map_err(|error| error.error).with_context(|| format!("replace {}", path.display()))?;
    sync_parent(path, is_durable)
}

/// Gives a finished file a second name, `path`, and makes it read-only under both. False where the file system cannot
/// do that. A taken name stays as it is.
pub fn link(file: &Path, path: &Path, is_durable: bool) -> Result<bool> {
    make_parent(path, is_durable)?;
    let sealed = open::inside(file).and_then(|(open, metadata)| {
        open.set_permissions(read_only(false, &metadata.permissions()))?;
        if is_durable { open.sync_all() } else { Ok(()) }
    });
    sealed.with_context(|| format!("seal {}", file.display()))?;
    step()?;
    match fs::hard_link(file, path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(true),
        Err(_) => return Ok(false),
    }
    sync_parent(path, is_durable)?;
    Ok(true)
}

/// Fills a draft with bytes that are few enough for one write.
pub fn all(bytes: &[u8]) -> impl FnOnce(&mut File) -> io::Result<()> {
    move |file| file.write_all(bytes)
}

fn settle(draft: &NamedTempFile, is_durable: bool) -> Result<()> {
    let sealed = |file: &File| {
        file.set_permissions(read_only(false, &file.metadata()?.permissions()))?;
        if is_durable { file.sync_all() } else { Ok(()) }
    };
    step()?;
    sealed(draft.as_file()).with_context(|| format!("sync {}", draft.path().display()))?;
    step()
}

pub fn make_parent(path: &Path, is_durable: bool) -> Result<()> {
    let parent = path.parent().expect("every file of the store lies in a directory");
    match fs::create_dir(parent) {
        Ok(()) => {
            step()?;
            sync_parent(parent, is_durable)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_parent(path),
        Err(error) => Err(error).with_context(|| format!("create directory {}", parent.display())),
    }
}

/// Refuses a link in place of a directory of the store: writes and removals would leave the store through it.
pub fn check_parent(path: &Path) -> Result<()> {
    let parent = path.parent().expect("every file of the store lies in a directory");
    match fs::symlink_metadata(parent) {
        Ok(metadata) => ensure!(metadata.is_dir(), "{} is not a directory; take it away", parent.display()),
        Err(error) => return Err(error).with_context(|| format!("read {}", parent.display())),
    }
    Ok(())
}

/// Syncs the directory of a file: a name is on the disk only when its directory is.
pub fn sync_parent(path: &Path, is_durable: bool) -> Result<()> {
    step()?;
    if cfg!(unix) && is_durable {
        let parent = path.parent().expect("every file of the store lies in a directory");
        File::open(parent).and_then(|open| open.sync_all()).with_context(|| format!("sync {}", parent.display()))?;
    }
    step()
}

/// The bytes that this user may still write to the disk of a directory; `None` where it does not tell.
#[cfg(unix)]
pub fn free_space(directory: &Path) -> Option<u64> {
    let told = rustix::fs::statvfs(directory).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

#[cfg(not(unix))]
pub fn free_space(_: &Path) -> Option<u64> {
    None
}

#[cfg(unix)]
pub fn read_only(executable: bool, _: &Permissions) -> Permissions {
    use std::os::unix::fs::PermissionsExt;
    Permissions::from_mode(if executable { 0o555 } else { 0o444 })
}

#[cfg(not(unix))]
pub fn read_only(_: bool, present: &Permissions) -> Permissions {
    let mut permissions = present.clone();
    permissions.set_readonly(true);
    permissions
}

/// Called between any two changes of the disk, so that tests can stop there.
pub fn step() -> Result<()> {
    #[cfg(test)]
    tests::stop_here()?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::{ClaimResult, Commit, Digest, Record, Store, sample};
    use serde_json::json;
    use std::{cell::Cell, fs, path::Path, process::Command};

    thread_local! {
        static TAKEN: Cell<u64> = const { Cell::new(0) };
        static FAIL_AT: Cell<u64> = const { Cell::new(u64::MAX) };
        static DIE_AT: Cell<u64> = const { Cell::new(u64::MAX) };
    }

    pub fn stop_here() -> anyhow::Result<()> {
        let step = TAKEN.get();
        TAKEN.set(step + 1);
        if step == DIE_AT.get() {
            // Nothing on the stack is cleaned up, as after kill -9.
            std::process::exit(137);
        }
        anyhow::ensure!(step != FAIL_AT.get(), "no space left on device, says the test");
        Ok(())
    }

    pub fn steps_taken() -> u64 {
        TAKEN.get()
    }

    /// An error at one step of what `act` does.
    pub fn failing_at<T>(step: u64, act: impl FnOnce() -> T) -> T {
        FAIL_AT.set(TAKEN.get() + step);
        let outcome = act();
        FAIL_AT.set(u64::MAX);
        outcome
    }

    const EARLIER: &[u8] = b"the action before";
    const KEY: &[u8] = b"the action that is killed";

    /// The work of a runner after an attempt: it stores the inputs, the outputs and the record.
    fn finish_attempt(home: &Path) -> anyhow::Result<(Record, Commit)> {
        let store = Store::open(&home.join(".pipeline"))?;
        let key = Digest::of(KEY);
        let ClaimResult::Mine(claim) = store.claim(&key)? else { anyhow::bail!("whoever died has it") };
        let _held = store.hold()?;
        let input = store.capture(&home.join("data.jsonl"))?;
        let output = store.adopt(&home.join("model"))?;
        let result = json!({"output": output, "accuracy": 0.1 + 0.2});
        let record = Record { result, telemetry: json!(null), contents: vec![input, output], extras: vec![] };
        // Nothing is known of files that were just written, so a record is made up for the file to be written.
        store.stats.learn_for_test();
        store.stats.save()?;
        let commit = store.commit(&key, &record)?;
        // While the test stops at a step, giving back is not tried again.
        drop(claim);
        Ok((record, commit))
    }

    /// A store with one record in it, and the files that the attempt left behind.
    fn before(home: &Path) -> Record {
        let store = Store::open(&home.join(".pipeline")).unwrap();
        let contents = vec![store.capture(&sample::write(home, "earlier.txt", "earlier")).unwrap()];
        let earlier = Record { result: json!(1), telemetry: json!(null), contents, extras: vec![] };
        store.commit(&Digest::of(EARLIER), &earlier).unwrap();
        sample::write(home, "data.jsonl", "{\"prompt\": 1}\n");
        sample::model(home);
        earlier
    }

    /// Every name keeps its promise, and a record that is found can be restored.
    fn check_old_or_new(home: &Path, earlier: &Record, expected: &Record, at: &str) -> bool {
        let store = Store::open(&home.join(".pipeline")).unwrap();
        for part in ["blobs", "trees"] {
            let directory = home.join(".pipeline/store/v1").join(part);
            for file in sample::files(directory.clone()) {
                let name = file.strip_prefix(&directory).unwrap().to_string_lossy().replace(['/', '\\'], "");
                let digest = Digest::of(&fs::read(&file).unwrap()).to_string();
                assert_eq!(name.trim_end_matches(".json"), digest, "{at}: {}", file.display());
                if part == "trees" {
                    assert!(store.has(&format!("tree:{digest}").parse().unwrap()), "{at}: the tree came before a blob");
                }
                assert!(fs::metadata(&file).unwrap().permissions().readonly(), "{at}: {}", file.display());
            }
        }
        assert_eq!(store.lookup(&Digest::of(EARLIER)).unwrap().as_ref(), Some(earlier), "{at}");
        let Some(found) = store.lookup(&Digest::of(KEY)).unwrap() else { return false };
        assert_eq!(&found, expected, "{at}");
        let scratch = tempfile::tempdir().unwrap();
        for (number, content) in found.contents.iter().enumerate() {
            let target = scratch.path().join(number.to_string()).with_extension("jsonl");
            store.place(content, &target).unwrap();
            assert_eq!(&store.identify(&target).unwrap(), content, "{at}");
        }
        true
    }

    /// Stops at every step in turn by `stop` (which says whether the work got to its end), and checks what a new
    /// process finds then, and after it did the work again.
    fn check_every_step(stop: impl Fn(&Path, u64) -> bool) {
        let expected = {
            let home = tempfile::tempdir().unwrap();
            before(home.path());
            finish_attempt(home.path()).unwrap().0
        };
        let (mut old, mut new) = (0, 0);
        for step in 0.. {
            let home = tempfile::tempdir().unwrap();
            let earlier = before(home.path());
            let is_finished = stop(home.path(), step);
            let at = format!("stopped at step {step}");
            let is_new = check_old_or_new(home.path(), &earlier, &expected, &at);
            *(if is_new { &mut new } else { &mut old }) += 1;
            let (record, commit) = finish_attempt(home.path()).unwrap();
            assert_eq!((&record, commit), (&expected, if is_new { Commit::Same } else { Commit::Written }), "{at}");
            assert!(check_old_or_new(home.path(), &earlier, &expected, &at));
            if is_finished {
                break;
            }
        }
        // Data, four files of which two are alike but one executable, tree and record: several steps each, and
        // only the last ones, after the record has its name, are new.
        assert!(old > 30, "{old} steps");
        assert!((2..=4).contains(&new), "{new} steps");
    }

    #[test]
    fn killed_at_any_step_leaves_the_old_state_or_the_new_one() {
        check_every_step(|home, step| {
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "write::tests::the_child_that_dies", "--ignored"])
                .env("CACHE_TEST_HOME", home)
                .env("CACHE_TEST_DIE_AT", step.to_string())
                .output()
                .unwrap();
            assert!(matches!(child.status.code(), Some(0 | 137)), "{child:?}");
            child.status.success()
        });
    }

    #[test]
    #[ignore = "the child of the test above"]
    fn the_child_that_dies() {
        let Some(home) = std::env::var_os("CACHE_TEST_HOME") else { return };
        DIE_AT.set(TAKEN.get() + std::env::var("CACHE_TEST_DIE_AT").unwrap().parse::<u64>().unwrap());
        finish_attempt(Path::new(&home)).unwrap();
    }

    #[test]
    fn an_error_at_any_step_leaves_the_old_state_or_the_new_one_and_no_draft() {
        check_every_step(|home, step| {
            let outcome = failing_at(step, || finish_attempt(home));
            assert_eq!(sample::files(home.join(".pipeline/store/v1/tmp")), Vec::<std::path::PathBuf>::new());
            outcome.is_ok()
        });
    }

    #[test]
    fn an_error_while_a_second_result_is_noted_leaves_the_first() {
        let record =
            |score: f64| Record { result: json!(score), telemetry: json!(null), contents: vec![], extras: vec![] };
        let key = Digest::of(KEY);
        for step in 0.. {
            let (_home, store) = sample::store();
            store.commit(&key, &record(1.0)).unwrap();
            let outcome = failing_at(step, || store.commit(&key, &record(2.0)));
            assert_eq!(store.lookup(&key).unwrap(), Some(record(1.0)), "stopped at step {step}");
            assert_eq!(store.commit(&key, &record(2.0)).unwrap(), Commit::Different);
            if outcome.is_ok() {
                assert!(step >= 10, "{step} steps");
                break;
            }
        }
    }
}
