//! A full disk, and one that cannot be written to: the run fails, says what is wrong and where, and goes on when there
//! is room. A file system of a test's own is given by Linux to anybody in a user namespace (`unshare`). Where that is
//! forbidden, those tests are skipped by name, and what is left is the one with a limit on the size of files.

#[path = "support/program.rs"]
mod program;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/store.rs"]
mod store;

use program::{Events, Place, Ran, place, ran};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

const NAMES: [&str; 3] = ["first", "large", "last"];

/// A pipeline that writes some 700 kB, most of it at once.
fn job() -> Place {
    let place = place();
    let text = r#"name: disk
stages:
  first: {kind: exec, from: {rows: ./rows.txt}, with: {command: [/bin/sh, -euc, "wc -c < in/rows.txt > n"], outputs: [n]}}
  large: {kind: exec, from: {a: first}, metrics: {score: higher}, with: {command: [/bin/sh, -euc, "seq 60000 > n; echo '{\"score\": 1}' > metrics.json"], outputs: [n]}, gate: score > 0}
  last: {kind: exec, from: {a: large}, with: {command: [/bin/sh, -euc, "tail -n 1 in/a/n > n"], outputs: [n]}}
"#;
    place.write("disk.yaml", text);
    place.write("rows.txt", &"a row\n".repeat(30_000));
    fs::create_dir(place.at(".pipeline")).unwrap();
    place
}

/// Runs a script where `.pipeline` can be a file system of its own. `None`: it is not permitted here.
fn with_own_disk(place: &Place, script: &str) -> Option<()> {
    if !is_permitted() {
        return None;
    }
    shell(place, &["unshare", "--map-root-user", "--mount"], script);
    Some(())
}

/// Runs a script by this program. `run NAME OPTION` in it runs the pipeline, and keeps the results as `NAME.exit`,
/// `NAME.out` and `NAME.err`.
fn shell(place: &Place, by: &[&str], script: &str) {
    let before = format!(
        "set -eu\nrun() {{ code=0; '{}' run disk.yaml $2 > $1.out 2> $1.err || code=$?; echo $code > $1.exit; }}\n",
        env!("CARGO_BIN_EXE_pipeline")
    );
    let mut command = Command::new(by[0]);
    command.args(&by[1..]).args(["/bin/sh", "-c", &format!("{before}{script}")]);
    command.current_dir(place.path()).env_remove("PIPELINE_STORE").env_remove("RUST_LOG").env("NO_COLOR", "1");
    ran(command).expect_exit(0);
}

fn is_permitted() -> bool {
    let try_it = "mount -t tmpfs -o size=64k none /mnt && mount -o remount,ro /mnt";
    let output = Command::new("unshare").args(["--map-root-user", "--mount", "/bin/sh", "-c", try_it]).output();
    let is_permitted = output.as_ref().is_ok_and(|output| output.status.success());
    if !is_permitted {
        let why =
            output.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stderr).into());
        skip::forbidden(&format!("no file system of one's own here: {}", why.trim()));
    }
    is_permitted
}

fn came(place: &Place, name: &str) -> Ran {
    Ran {
        exit: place.read(&format!("{name}.exit")).trim().parse().ok(),
        stdout: place.read(&format!("{name}.out")),
        stderr: place.read(&format!("{name}.err")),
        took: Default::default(),
    }
}

fn contents(events: &Events) -> BTreeMap<&'static str, String> {
    NAMES.map(|name| (name, events.content(name).to_owned())).into()
}

fn undisturbed() -> BTreeMap<&'static str, String> {
    contents(&job().run(&["run", "disk.yaml", "--json"]).expect_exit(0).events())
}

/// Whether the output names the fault, and something below `.pipeline`, so that the user knows which disk is meant.
/// Tables break lines.
fn says(ran: &Ran, fault: &str) -> bool {
    let all = format!("{}\n{}", ran.stderr, ran.stdout);
    let words = all.split_whitespace().collect::<Vec<_>>().join(" ");
    words.contains(fault) && words.contains(".pipeline")
}

fn says_full(ran: &Ran) -> bool {
    says(ran, "No space left on device") || says(ran, "lies on is full")
}

/// Runs on a disk with each of these mount options; each makes the disk full at another moment.
fn full_disk(rooms: &[String]) {
    goes_on_with_room(rooms, says_full, |job, room| {
        let script = format!(
            "mount -t tmpfs -o {room} none .pipeline\nrun full ''\nmount -o remount,size=64m,nr_inodes=10000 .pipeline\n\
             run roomy --json\nrun again --json\ncp -a .pipeline kept\n"
        );
        with_own_disk(job, &script)
    });
}

/// Runs with too little room (`full`), then with enough (`roomy`), and once more (`again`), for each of these rooms.
fn goes_on_with_room(rooms: &[String], says_why: impl Fn(&Ran) -> bool, run: impl Fn(&Place, &str) -> Option<()>) {
    let expected = undisturbed();
    let mut failed = 0;
    for room in rooms {
        let job = job();
        if run(&job, room).is_none() {
            return;
        }
        let full = came(&job, "full");
        if full.exit != Some(0) {
            failed += 1;
            assert_eq!(full.exit, Some(1), "{room}: {}", full.stderr);
            assert!(says_why(&full), "{room}: it does not say why:\n{}\n{}", full.stderr, full.stdout);
        }
        let roomy = came(&job, "roomy").expect_exit(0).events();
        assert_eq!(contents(&roomy), expected, "{room}");
        assert_eq!(came(&job, "again").expect_exit(0).events().executed(), Vec::<&str>::new(), "{room}");
        assert_eq!(store::check(&job.at("kept")).len(), NAMES.len(), "{room}");
    }
    assert!(failed > rooms.len() / 2, "the disk was full in {failed} of {} cases only", rooms.len());
    assert!(failed < rooms.len(), "with the most room it should do");
}

#[test]
fn a_full_disk_is_named_and_with_room_the_run_goes_on() {
    let kib = [16, 32, 48, 64, 80, 96, 112, 128, 192, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 4096];
    full_disk(&kib.map(|kib| format!("size={kib}k")));
}

#[test]
fn a_disk_with_no_room_for_names_is_named_and_with_room_the_run_goes_on() {
    let names: Vec<String> =
        (4..100).step_by(4).chain([1000]).map(|names| format!("size=64m,nr_inodes={names}")).collect();
    full_disk(&names);
}

/// A limit on the size of files, which every machine knows, breaks a write off in its midst as a full disk does.
#[test]
fn a_write_that_breaks_off_is_named_and_without_the_limit_the_run_goes_on() {
    let program = env!("CARGO_BIN_EXE_pipeline");
    // Units of 512 bytes.
    let limits = [0, 1, 2, 4, 6, 8, 10, 12, 14, 16, 20, 64, 100, 200, 340, 500, 600, 8000].map(|size| size.to_string());
    let is_named = |ran: &Ran| says(ran, "File too large");
    goes_on_with_room(&limits, is_named, |job, limit| {
        // The output goes through a pipe, which has no size.
        let script = format!(
            "(trap '' XFSZ; ulimit -f {limit}; '{program}' run disk.yaml 2>&1 && echo 0 || echo $?) | cat > full.out\n\
             tail -n 1 full.out > full.exit; : > full.err\nrun roomy --json\nrun again --json\ncp -a .pipeline kept\n"
        );
        shell(job, &["env"], &script);
        Some(())
    });
}

#[test]
fn a_disk_that_cannot_be_written_to_is_named_and_what_is_on_it_can_be_looked_at() {
    let expected = undisturbed();
    let job = job();
    let program = env!("CARGO_BIN_EXE_pipeline");
    let script = format!(
        "mount -t tmpfs -o size=64m none .pipeline\n\
         mount -o remount,ro .pipeline\nrun empty ''\n\
         mount -o remount,rw .pipeline\nrun whole --json\n\
         mount -o remount,ro .pipeline\nrun full ''\n'{program}' plan disk.yaml > plan.out\n\
         '{program}' status disk.yaml > status.out\n\
         mount -o remount,rw .pipeline\nrun again --json\n"
    );
    if with_own_disk(&job, &script).is_none() {
        return;
    }
    for name in ["empty", "full"] {
        let refused = came(&job, name).expect_exit(1);
        let is_said = says(&refused, "Read-only file system");
        assert!(is_said, "{name}: {}\n{}", refused.stderr, refused.stdout);
    }
    assert_eq!(contents(&came(&job, "whole").expect_exit(0).events()), expected);
    assert!(job.read("plan.out").contains("nothing to do"), "{}", job.read("plan.out"));
    assert!(job.read("status.out").contains("large"), "{}", job.read("status.out"));
    let again = came(&job, "again").expect_exit(0).events();
    assert_eq!((again.executed(), contents(&again)), (Vec::new(), expected));
}
