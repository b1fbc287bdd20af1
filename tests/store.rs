//! Maintenance of the store: what `gc` keeps and removes, what `cache verify` finds, what an export carries elsewhere.

#[path = "support/program.rs"]
mod program;

use expect_test::{Expect, expect};
use program::{Place, files, place};
use std::fs;
use std::path::PathBuf;

/// Writes a pipeline in which `text` goes through two stages, with a third beside them.
fn write(place: &Place, text: &str) {
    place.write(
        "toy.yaml",
        &format!(
            "name: toy\nstages:\n  one: {{kind: exec, with: {{command: 'echo {text}; echo {text} > text', outputs: [text]}}}}\n  \
             two: {{kind: exec, from: {{text: one}}, with: {{command: 'cat in/text/text > copy', outputs: [copy]}}}}\n  \
             beside: {{kind: exec, with: {{command: 'echo beside > text', outputs: [text]}}}}\n"
        ),
    );
}

/// The stages that were executed in a run of `text`, in the order of the file.
fn executed(place: &Place, text: &str) -> String {
    write(place, text);
    let events = place.run(&["run", "toy.yaml", "--json"]).expect_exit(0).events();
    let executed = events.busy();
    ["one", "two", "beside"].into_iter().filter(|stage| executed.contains(stage)).collect::<Vec<_>>().join(" ")
}

fn records(place: &Place) -> usize {
    files(&place.at(".pipeline/store/v1/actions")).iter().filter(|path| path.is_file()).count()
}

fn gc(place: &Place, arguments: &[&str], expected: Expect) {
    let ran = place.run(&[&["gc", "toy.yaml"], arguments].concat()).expect_exit(0);
    // Sizes depend on the length of paths and times.
    let lines = ran.stdout.lines().filter(|line| !line.contains("together") && !line.contains('─'));
    let words =
        lines.map(|line| line.split("  ").filter(|cell| !cell.is_empty()).take(2).collect::<Vec<_>>().join(" | "));
    let told: String = words.map(|line| line.trim().to_owned() + "\n").collect();
    expected.assert_eq(&told);
}

#[test]
fn gc_keeps_what_the_last_runs_use_and_says_beforehand_what_would_go() {
    let place = place();
    assert_eq!(["a", "b", "c"].map(|text| executed(&place, text)), ["one two beside", "one two", "one two"]);
    assert_eq!(records(&place), 7);
    let before = place.snapshot();
    gc(
        &place,
        &["--keep-runs", "1", "--dry-run"],
        expect![[r#"
        kept: what 1 run uses (1 last)

        would be removed | number
        records | 4
        lists of files |  4
        files | 2
        work directories |  4
    "#]],
    );
    let is_log = |line: &String| line.contains("store/v1/lock") || line.contains("store/v1/stats");
    let kept =
        |lines: std::collections::BTreeSet<String>| lines.into_iter().filter(|line| !is_log(line)).collect::<Vec<_>>();
    assert_eq!(kept(place.snapshot()), kept(before), "a dry run touches nothing");
    gc(
        &place,
        &["--keep-runs", "1"],
        expect![[r#"
        kept: what 1 run uses (1 last)

        removed |  number
        records | 4
        lists of files |  4
        files | 2
        work directories |  4
    "#]],
    );
    assert_eq!(records(&place), 3);
    assert_eq!([executed(&place, "c"), executed(&place, "b")], ["", "one two"]);
}

#[test]
fn runs_of_a_part_and_runs_that_failed_take_nobodys_place() {
    let place = place();
    executed(&place, "a");
    for _ in 0..3 {
        place.run(&["run", "toy.yaml", "--only", "one"]).expect_exit(0);
        place.run(&["run", "toy.yaml", "--set", "two.with.command=exit 3"]).expect_exit(1);
    }
    place.run(&["gc", "toy.yaml", "--keep-runs", "1"]).expect_exit(0);
    assert_eq!(executed(&place, "a"), "");
}

#[test]
fn a_pinned_run_is_kept_until_it_is_unpinned() {
    let place = place();
    executed(&place, "a");
    let pinned = place.run(&["cache", "pin", "last", "toy.yaml"]).expect_exit(0);
    assert!(pinned.stdout.contains("is pinned: `pipeline gc` keeps what it uses"), "{}", pinned.stdout);
    executed(&place, "b");
    place.run(&["gc", "toy.yaml", "--keep-runs", "1"]).expect_exit(0);
    assert_eq!(records(&place), 5);
    assert_eq!(executed(&place, "a"), "");
    place.run(&["cache", "unpin", "last~2", "toy.yaml"]).expect_exit(0);
    executed(&place, "b");
    place.run(&["gc", "toy.yaml", "--keep-runs", "1"]).expect_exit(0);
    assert_eq!(records(&place), 3);
    assert_eq!(executed(&place, "a"), "one two");
}

/// A line from a newer program or a damaged disk: the content it names is kept, and a pin counts as before.
#[test]
fn a_line_of_a_journal_that_nobody_understands_costs_no_result() {
    let place = place();
    executed(&place, "a");
    place.run(&["cache", "pin", "last", "toy.yaml"]).expect_exit(0);
    let journals = || files(&place.at(".pipeline/runs")).into_iter().filter(|path| path.ends_with("journal.jsonl"));
    let pinned = journals().next().unwrap();
    executed(&place, "b");
    let keep = || {
        let told = place.run(&["gc", "toy.yaml", "--keep-runs", "1"]).expect_exit(0);
        assert!(told.stderr.contains("not understood; what they name is kept"), "{}", told.stderr);
        assert_eq!(records(&place), 5);
    };
    let lines: Vec<String> = fs::read_to_string(&pinned).unwrap().lines().map(str::to_owned).collect();
    let with = |at: usize, line: &str| {
        let mut lines = lines.clone();
        lines[at] = line.to_owned();
        fs::write(&pinned, lines.join("\n") + "\n").unwrap();
    };
    with(2, r#"{"event":"something_new","stage":"one"}"#);
    keep();
    // The head, and a line that names a key.
    with(0, "{");
    keep();
    let hit = lines.iter().position(|line| line.contains("\"event\":\"started\"")).unwrap();
    with(hit, &lines[hit].replace("{\"event\"", "{\"evenu\""));
    keep();
}

#[test]
fn what_is_young_and_what_fits_into_the_size_is_kept() {
    let place = place();
    executed(&place, "a");
    executed(&place, "b");
    place.run(&["gc", "toy.yaml", "--keep-runs", "0", "--keep-days", "1"]).expect_exit(0);
    assert_eq!(records(&place), 5);
    place.run(&["gc", "toy.yaml", "--keep-runs", "0", "--max-size", "1G"]).expect_exit(0);
    assert_eq!(records(&place), 5);
    place.run(&["gc", "toy.yaml", "--keep-runs", "0", "--max-size", "0"]).expect_exit(0);
    assert_eq!(records(&place), 0);
    let refused = place.run(&["gc", "toy.yaml", "--max-size", "much"]).expect_exit(2);
    expect![[r#"
        error: --max-size much: expected 20G, 512M, or a number of bytes
    "#]]
    .assert_eq(&refused.stderr);
}

fn blob(place: &Place, text: &str) -> PathBuf {
    let blobs = files(&place.at(".pipeline/store/v1/blobs")).into_iter();
    blobs.filter(|path| path.is_file()).find(|path| fs::read(path).unwrap() == text.as_bytes()).unwrap()
}

#[test]
fn verify_names_the_stages_whose_results_are_damaged_and_repair_puts_them_out_of_the_way() {
    let place = place();
    executed(&place, "a");
    let sound = place.run(&["cache", "verify", "toy.yaml"]).expect_exit(0);
    assert!(sound.stdout.ends_with("all match their names\n"), "{}", sound.stdout);
    let damaged = blob(&place, "a\n");
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, "b\n").unwrap();
    let found = place.run(&["cache", "verify", "toy.yaml"]).expect_exit(1);
    for lost in ["one: its result is lost", "two: its result is lost"] {
        assert!(found.stdout.contains(lost), "{}", found.stdout);
    }
    assert!(!found.stdout.contains("beside: "), "{}", found.stdout);
    place.run(&["cache", "verify", "toy.yaml", "--repair"]).expect_exit(0);
    place.run(&["cache", "verify", "toy.yaml"]).expect_exit(0);
    assert_eq!(executed(&place, "a"), "one two");
}

#[test]
fn an_exported_stage_is_done_in_another_store() {
    let (here, there) = (place(), place());
    executed(&here, "a");
    here.run(&["cache", "export", "one", "toy.yaml", "--out", "one.tar"]).expect_exit(0);
    let again = here.run(&["cache", "export", "one", "toy.yaml", "--out", "one.tar"]).expect_exit(2);
    assert!(again.stderr.contains("one.tar exists already; name another file"), "{}", again.stderr);
    here.run(&["cache", "export", "one", "toy.yaml", "--out", "twin.tar"]).expect_exit(0);
    assert_eq!(fs::read(here.at("one.tar")).unwrap(), fs::read(here.at("twin.tar")).unwrap());
    write(&there, "a");
    fs::copy(here.at("one.tar"), there.at("one.tar")).unwrap();
    there.run(&["cache", "import", "one.tar", "toy.yaml"]).expect_exit(0);
    there.run(&["gc", "toy.yaml"]).expect_exit(0);
    assert_eq!(executed(&there, "a"), "two beside", "no run has used it yet, and it is kept all the same");
    let log = there.run(&["log", "one", "toy.yaml"]).expect_exit(0);
    assert_eq!(log.stdout, "a\n", "the log came along");
}

#[test]
fn an_archive_that_was_tampered_with_is_refused_and_changes_nothing() {
    let (here, there) = (place(), place());
    executed(&here, "a");
    here.run(&["cache", "export", "one", "toy.yaml", "--out", "one.tar"]).expect_exit(0);
    let sound = fs::read(here.at("one.tar")).unwrap();
    write(&there, "a");
    for (what, bytes) in [("cut", sound[..sound.len() / 2].to_vec()), ("text", b"not an archive".to_vec())] {
        fs::write(there.at("one.tar"), bytes).unwrap();
        let refused = there.run(&["cache", "import", "one.tar", "toy.yaml"]).expect_exit(1);
        assert!(refused.stderr.starts_with("error: import one.tar: "), "{what}: {}", refused.stderr);
        assert_eq!(records(&there), 0, "{what}");
    }
    let missing = there.run(&["cache", "import", "none.tar", "toy.yaml"]).expect_exit(2);
    assert!(missing.stderr.contains("read none.tar"), "{}", missing.stderr);
}
