//! Tests with damaged or malicious stores, inputs and disks. Each gives a clear error or a miss: never a crash, never
//! bytes outside of the store, never wrong bytes.

#[path = "../../tests/support/skip.rs"]
mod skip;

use crate::{ClaimResult, Commit, Content, Digest, Record, Store, record::seal, sample};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn key() -> Digest {
    Digest::of(b"action")
}

fn record(contents: Vec<Content>) -> Record {
    Record { result: json!(1), telemetry: json!(null), contents, extras: vec![] }
}

fn put(store: &Store, home: &Path) -> Record {
    let record = record(vec![store.capture(&sample::model(home)).unwrap()]);
    store.commit(&key(), &record).unwrap();
    record
}

fn error_of<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.unwrap_err())
}

#[cfg(unix)]
#[test]
fn what_is_not_a_plain_file_in_the_store_is_a_miss_and_makes_way() {
    type Make = fn(at: &Path, outside: &Path);
    let link: Make = |at, outside| std::os::unix::fs::symlink(outside, at).unwrap();
    let nowhere: Make = |at, _| std::os::unix::fs::symlink("nowhere", at).unwrap();
    let socket: Make = |at, _| drop(std::os::unix::net::UnixListener::bind(at).unwrap());
    let pipe: Make = |at, _| assert!(Command::new("mkfifo").arg(at).status().unwrap().success());
    for make in [link, nowhere, socket, pipe] {
        for part in ["blobs", "trees", "actions"] {
            let (home, store) = sample::store();
            let record = put(&store, home.path());
            let Content::Tree(tree) = &record.contents[0] else { unreachable!() };
            let victim = match part {
                "blobs" => store.blob_path(&Digest::of("ねこ\n".as_bytes())),
                "trees" => store.path("trees", tree, ".json"),
                _ => store.path("actions", &key(), ".json"),
            };
            // The content outside is right: only its place is wrong.
            let outside = home.path().join("outside");
            fs::copy(&victim, &outside).unwrap();
            let before = fs::read(&outside).unwrap();
            fs::remove_file(&victim).unwrap();
            // The name of a socket must be short.
            let short = home.path().join("s");
            make(&short, &outside);
            fs::rename(short, &victim).unwrap();
            assert_eq!(store.lookup(&key()).unwrap(), None, "{part}");
            assert!(store.place(&record.contents[0], &home.path().join("placed")).is_err() || part == "actions");
            store.capture(&home.path().join("model")).unwrap();
            assert!(matches!(store.commit(&key(), &record).unwrap(), Commit::Written | Commit::Same));
            assert_eq!(store.lookup(&key()).unwrap().as_ref(), Some(&record), "{part}");
            assert!(victim.symlink_metadata().unwrap().is_file());
            assert_eq!(fs::read(&outside).unwrap(), before);
        }
    }
}

#[cfg(unix)]
#[test]
fn nothing_is_written_or_removed_through_a_link_in_place_of_a_directory_of_the_store() {
    let (home, store) = sample::store();
    let outside = home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let blob = store.blob_path(&Digest::of(b"four"));
    std::os::unix::fs::symlink(&outside, blob.parent().unwrap()).unwrap();
    let file = sample::write(home.path(), "a.txt", "four");
    for error in [error_of(store.capture(&file)), error_of(store.adopt(&file))] {
        assert!(error.ends_with("is not a directory; take it away"), "{error}");
    }
    assert_eq!(sample::files(outside.clone()), Vec::<PathBuf>::new());
    // A file that looks like a damaged blob belongs to somebody else.
    let victim = outside.join(blob.file_name().unwrap());
    fs::write(&victim, "five").unwrap();
    let content = Content::File { format: String::new(), blob: Digest::of(b"four") };
    assert!(store.read(&content, "").is_err());
    assert!(store.place(&content, &home.path().join("placed")).is_err());
    assert_eq!(fs::read(victim).unwrap(), b"five");
}

#[cfg(unix)]
#[test]
fn pipes_devices_and_odd_names_as_input_are_refused_and_nothing_hangs() {
    use std::os::unix::ffi::OsStringExt;
    let (home, store) = sample::store();
    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [&pipe, Path::new("/dev/zero")] {
        assert!(error_of(store.capture(path)).ends_with("neither a file nor a directory"));
        assert!(error_of(store.identify(path)).ends_with("neither a file nor a directory"));
    }
    let directory = sample::model(home.path());
    fs::rename(pipe, directory.join("pipe")).unwrap();
    assert!(error_of(store.capture(&directory)).ends_with("model/pipe: neither a file nor a directory"));
    fs::remove_file(directory.join("pipe")).unwrap();
    let odd = directory.join(std::ffi::OsString::from_vec(b"caf\xe9".to_vec()));
    if fs::write(&odd, "x").is_ok() {
        let error = error_of(store.capture(&directory));
        assert!(error.ends_with("its name is not UTF-8"), "{error}");
        fs::remove_file(odd).unwrap();
    }
    assert!(store.capture(&directory).is_ok());
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_differ_only_in_case_are_refused_with_both() {
    let (home, store) = sample::store();
    for (one, other, named) in
        [("a", "A", ["`A`", "`a`"]), ("x/b", "X/c", ["`X`", "`x`"]), ("s/é", "s/É", ["`s/É`", "`s/é`"])]
    {
        let directory = home.path().join(one.replace('/', "-"));
        sample::write(&directory, one, "1");
        sample::write(&directory, other, "2");
        let error = error_of(store.capture(&directory));
        assert!(named.iter().all(|name| error.contains(name)) && error.contains("differ only in case"), "{error}");
        assert!(store.adopt(&directory).is_err() && store.identify(&directory).is_err());
    }
}

#[test]
fn names_too_long_for_a_file_system_are_refused() {
    let (_home, store) = sample::store();
    let entry = format!(r#"{{"blob":"{}","size":0}}"#, Digest::of(b""));
    let tree = |path: &str| {
        let text = format!("{{\"{path}\":{entry}}}");
        let digest = Digest::of(text.as_bytes());
        store.keep_tree(&digest, text.as_bytes()).unwrap();
        error_of(store.tree(&digest))
    };
    assert!(tree(&"n".repeat(256)).contains("longer than 255 bytes"));
    let path = vec!["n".repeat(200); 25].join("/");
    assert!(tree(&path).contains("longer than 4096 bytes"));
}

#[test]
fn json_without_end_is_a_miss() {
    let (_home, store) = sample::store();
    put(&store, _home.path());
    let path = store.path("actions", &key(), ".json");
    for deep in [100, 1_000, 1_000_000] {
        let value = format!("{}1{}", "[".repeat(deep), "]".repeat(deep));
        let good = String::from_utf8(seal(&key(), &record(vec![]))).unwrap();
        let rest = good[75..].replace("\"result\":1", &format!("\"result\":{value}"));
        assert!(rest.starts_with("\",\"key\"") && rest.len() > deep);
        // Sealed as if it were ours.
        let forged = format!("{{\"blake3\":\"{}{rest}", Digest::of(rest.as_bytes()));
        sample::overwrite(&path, forged.as_bytes());
        assert_eq!(store.lookup(&key()).unwrap().is_some(), deep == 100, "{deep} deep");
    }
}

/// Tells a test that was started again where its disk is. Nobody's environment has it by chance.
#[cfg(target_os = "linux")]
const DISK: &str = "PIPELINE_TEST_DISK";

/// The disk that a test was started again for, in the process of that second start.
#[cfg(target_os = "linux")]
fn prepared() -> Option<PathBuf> {
    std::env::var_os(DISK).map(PathBuf::from)
}

/// Starts a test of this file again, after this program has run a script that prepares what only that process sees.
#[cfg(target_os = "linux")]
fn again(home: &Path, program: &[&str], prepare: &str, test: &str) {
    let script = format!("{prepare}; exec \"$TEST\" --exact hostile::{test} --nocapture");
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(["sh", "-euc", &script]);
    command.env(DISK, home.join("disk")).env("TEST", std::env::current_exe().unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

/// Starts a test again below a mount of its own, which Linux gives anybody in a user namespace.
#[cfg(target_os = "linux")]
fn below_a_mount(home: &Path, mount: &str, test: &str) {
    const UNSHARE: [&str; 3] = ["unshare", "--map-root-user", "--mount"];
    let trial = Command::new(UNSHARE[0]).args(&UNSHARE[1..]).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    match trial.map(|output| (output.status.success(), String::from_utf8_lossy(&output.stderr).trim().to_owned())) {
        Ok((true, _)) => again(home, &UNSHARE, mount, test),
        Ok((false, why)) => skip::forbidden(&why),
        Err(error) => skip::forbidden(&format!("start `unshare`: {error}")),
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_leaves_the_store_whole() {
    match prepared() {
        None => {
            let home = tempfile::tempdir().unwrap();
            put_big(home.path());
            let mount = "mount -t tmpfs -o size=400k none \"$PIPELINE_TEST_DISK\"";
            below_a_mount(home.path(), mount, "a_full_disk_is_said_and_leaves_the_store_whole");
        }
        Some(disk) => {
            let fill = |disk: &Path| assert!(fs::write(disk.join("full"), vec![1; 1 << 20]).is_err());
            let free = |disk: &Path| fs::remove_file(disk.join("full")).unwrap();
            on_a_full_disk(&disk, "No space left on device", fill, free);
        }
    }
}

/// A limit on the size of files, which every machine knows, breaks writes off in their midst as a full disk does.
#[cfg(target_os = "linux")]
#[test]
fn a_write_that_breaks_off_is_said_and_leaves_the_store_whole() {
    match prepared() {
        None => {
            let home = tempfile::tempdir().unwrap();
            put_big(home.path());
            // Units of 512 bytes. The signal that comes with the error would end the process.
            let limit = "trap '' XFSZ; ulimit -S -f 800";
            again(home.path(), &["env"], limit, "a_write_that_breaks_off_is_said_and_leaves_the_store_whole");
        }
        Some(disk) => {
            use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
            let before = getrlimit(Resource::Fsize);
            let limit = |current| setrlimit(Resource::Fsize, Rlimit { current, maximum: before.maximum }).unwrap();
            on_a_full_disk(&disk, "File too large", |_| limit(Some(0)), |_| limit(before.current));
        }
    }
}

/// Makes the directory of the disk, and beside it a file that is too large for it.
#[cfg(target_os = "linux")]
fn put_big(home: &Path) {
    fs::create_dir(home.join("disk")).unwrap();
    sample::write(home, "big.bin", &"big ".repeat(500_000));
}

/// The behaviour on a disk with room for 400 kB, and none after `fill` until `free`.
#[cfg(target_os = "linux")]
fn on_a_full_disk(disk: &Path, fault: &str, fill: impl Fn(&Path), free: impl Fn(&Path)) {
    use std::os::unix::fs::MetadataExt;
    let elsewhere = tempfile::tempdir().unwrap();
    let small = sample::write(elsewhere.path(), "small.txt", "small");
    let big = disk.with_file_name("big.bin");
    let store = Store::open(&disk.join(".pipeline")).unwrap();
    let small = store.capture(&small).unwrap();
    store.commit(&key(), &record(vec![small.clone()])).unwrap();
    let mut archive = Vec::new();
    store.export(&[(key(), b"action".to_vec())], None, &mut archive).unwrap();
    let mut errors = vec![error_of(store.capture(&big))];
    // A file on the disk of the store is adopted without a copy.
    if fs::metadata(&big).unwrap().dev() != fs::metadata(disk).unwrap().dev() {
        errors.push(error_of(store.adopt(&big)));
    }
    for error in errors {
        assert!(error.contains(fault) && error.contains("big.bin"), "{error}");
        assert!(error.contains("/store/v1/tmp"), "{error}");
    }
    assert_eq!(store.usage().unwrap().drafts.count, 0);
    assert_eq!(store.lookup(&key()).unwrap(), Some(record(vec![small.clone()])));
    // The disk is filled to the last block: the store can still be read then.
    fill(disk);
    let error = error_of(store.commit(&Digest::of(b"other"), &record(vec![small.clone()])));
    assert!(error.contains(fault), "{error}");
    let error = error_of(store.claim(&key()));
    assert!(error.contains(fault), "{error}");
    store.save_stats();
    assert_eq!(store.read(&small, "").unwrap(), b"small");
    assert_eq!(store.lookup(&Digest::of(b"other")).unwrap(), None);
    free(disk);
    assert!(store.verify(false).unwrap().faults.is_empty());
    assert_eq!(store.import(&mut &archive[..]).unwrap().records[0].commit, Commit::Same);
    assert_eq!(store.commit(&Digest::of(b"other"), &record(vec![small])).unwrap(), Commit::Written);
}

#[cfg(target_os = "linux")]
#[test]
fn a_store_on_a_read_only_disk_is_good_for_reading() {
    let test = "a_store_on_a_read_only_disk_is_good_for_reading";
    match prepared() {
        None => {
            let home = tempfile::tempdir().unwrap();
            let store = put_on_disk(home.path());
            below_a_mount(home.path(), READ_ONLY, test);
            // A store from before there were claims and locks.
            fs::remove_dir_all(store.part("claims")).unwrap();
            let _ = fs::remove_file(store.part("lock"));
            below_a_mount(home.path(), READ_ONLY, test);
        }
        Some(disk) => on_a_read_only_disk(&disk),
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_damaged_blob_on_a_read_only_disk_counts_as_damaged() {
    match prepared() {
        None => {
            let home = tempfile::tempdir().unwrap();
            let store = put_on_disk(home.path());
            sample::overwrite(&store.blob_path(&Digest::of("ねこ\n".as_bytes())), "ねじ\n".as_bytes());
            below_a_mount(home.path(), READ_ONLY, "a_damaged_blob_on_a_read_only_disk_counts_as_damaged");
        }
        Some(disk) => {
            let store = Store::open(&disk.join(".pipeline")).unwrap();
            let found = store.lookup(&key()).unwrap().unwrap();
            let elsewhere = tempfile::tempdir().unwrap();
            for error in [
                store.read(&found.contents[0], "tokenizer/vocab.txt").map(drop).unwrap_err(),
                store.place(&found.contents[0], &elsewhere.path().join("placed")).unwrap_err(),
            ] {
                assert!(error.is::<crate::Damage>(), "{error:#}");
            }
        }
    }
}

#[cfg(target_os = "linux")]
const READ_ONLY: &str =
    "mount --bind \"$PIPELINE_TEST_DISK\" \"$PIPELINE_TEST_DISK\"; mount -o remount,ro,bind \"$PIPELINE_TEST_DISK\"";

#[cfg(target_os = "linux")]
fn put_on_disk(home: &Path) -> Store {
    let disk = home.join("disk");
    fs::create_dir(&disk).unwrap();
    let store = Store::open(&disk.join(".pipeline")).unwrap();
    put(&store, &disk);
    store
}

#[cfg(target_os = "linux")]
fn on_a_read_only_disk(disk: &Path) {
    let elsewhere = tempfile::tempdir().unwrap();
    let store = Store::open(&disk.join(".pipeline")).unwrap();
    let found = store.lookup(&key()).unwrap().unwrap();
    let _held = store.hold().unwrap();
    assert_eq!(store.read(&found.contents[0], "model/config.json").unwrap(), b"{}");
    let target = elsewhere.path().join("placed");
    store.place(&found.contents[0], &target).unwrap();
    assert_eq!(store.identify(&target).unwrap(), found.contents[0]);
    assert_eq!(store.identify(&disk.join("model")).unwrap(), found.contents[0]);
    assert!(store.verify(false).unwrap().faults.is_empty());
    store.export(&[(key(), b"action".to_vec())], None, &mut Vec::new()).unwrap();
    assert_eq!(store.owner(&key()).unwrap(), None);
    // Content that is there already needs no writing.
    assert_eq!(store.capture(&disk.join("model")).unwrap(), found.contents[0]);
    let new = sample::write(elsewhere.path(), "new.txt", "new");
    let errors = [
        error_of(store.capture(&new)),
        error_of(store.commit(&Digest::of(b"other"), &found)),
        error_of(store.claim(&key()).map(|claiming| matches!(claiming, ClaimResult::Mine(_)))),
        error_of(store.hold_alone(std::time::Duration::ZERO)),
        error_of(Store::open(&disk.join("another"))),
    ];
    for error in errors {
        assert!(error.contains("Read-only file system"), "{error}");
    }
    store.save_stats();
}

/// `cargo test --release -p cache -- --ignored --nocapture a_checkpoint_of_gigabytes`
#[cfg(unix)]
#[test]
#[ignore = "hashes 2 GB"]
fn a_checkpoint_of_gigabytes_is_adopted_without_a_second_copy_and_placed_in_no_time() {
    use std::{os::unix::fs::MetadataExt, time::Instant};
    let (home, store) = sample::store();
    let weights = sample::write(home.path(), "model/model.safetensors", "");
    fs::File::options().write(true).open(&weights).unwrap().set_len(2 << 30).unwrap();
    sample::wait_for_tick(&weights);
    let before = fs::metadata(&weights).unwrap();
    let time = |what: &str, act: &mut dyn FnMut()| {
        let begin = Instant::now();
        act();
        println!("{what}: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
        begin.elapsed().as_millis()
    };
    let mut found = record(vec![]);
    time("adopt", &mut || found.contents = vec![store.adopt(&home.path().join("model")).unwrap()]);
    store.commit(&key(), &found).unwrap();
    store.save_stats();
    let after = fs::metadata(&weights).unwrap();
    assert_eq!((after.ino(), after.blocks(), after.nlink()), (before.ino(), before.blocks(), 2));
    let next = Store::open(&home.path().join(".pipeline")).unwrap();
    assert!(time("lookup", &mut || assert_eq!(next.lookup(&key()).unwrap().as_ref(), Some(&found))) < 50);
    let target = home.path().join("placed");
    assert!(time("place", &mut || next.place(&found.contents[0], &target).unwrap()) < 50);
    assert!(time("unchanged", &mut || assert!(next.unchanged(&target, &found.contents[0]).unwrap())) < 50);
}
