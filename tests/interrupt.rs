//! Ctrl-C, as a terminal sends it: once, and once more; and a command that is told how stages and the run ended.

#[path = "support/program.rs"]
mod program;

use program::{Place, place, wait_for, word};
use rustix::process::Signal;
use serde_json::Value;

/// Starts two commands at once: one has much to put in order when it is asked to stop, the other ignores it.
fn started(place: &Place, stages: &str) -> program::Live {
    place.write("toy.yaml", &format!("name: toy\nstages:\n{stages}"));
    place.start(&["run", "toy.yaml", "--json", "--jobs", "2"])
}

#[test]
fn the_first_interrupt_waits_for_what_runs_and_the_same_command_goes_on_from_there() {
    let place = place();
    let slow = "trap \"until test -e HERE/go; do sleep 0.01; done; mkdir resume; exit 1\" TERM; touch HERE/began; test -d resume && exit 0; while :; do sleep 0.01; done";
    let here = place.path().display().to_string();
    let stages = format!(
        "  slow: {{kind: exec, with: {{command: '{slow}'}}}}\n  after: {{kind: exec, from: {{it: slow}}, with: {{command: 'true'}}}}\n"
    );
    let run = started(&place, &stages.replace("HERE", &here));
    wait_for("the command to begin", || place.at("began").exists().then_some(()));
    run.signal(Signal::INT);
    // The program has seen it, and waits.
    run.remarks("interrupted: ");
    place.write("go", "");
    let (exit, events) = run.end();
    assert_eq!((exit, events.ending("slow"), events.ending("after")), (Some(130), "interrupted", "interrupted"));
    place.wait_for_silence();
    let again = place.run(&["run", "toy.yaml", "--json"]).expect_exit(0).events();
    let why = again.started("slow")["why"].to_string();
    assert!(why.contains("it goes on from a checkpoint"), "{why}");
    assert_eq!((again.ending("slow"), again.ending("after")), ("done", "done"));
}

#[test]
fn the_second_interrupt_waits_for_nothing() {
    let place = place();
    let deaf = "trap \"\" TERM; touch HERE/began; while :; do sleep 0.01; done"
        .replace("HERE", &place.path().display().to_string());
    let run = started(&place, &format!("  deaf: {{kind: exec, with: {{command: '{deaf}'}}}}\n"));
    wait_for("the command to begin", || place.at("began").exists().then_some(()));
    run.signal(Signal::INT);
    run.remarks("interrupted: ");
    run.signal(Signal::INT);
    let (exit, _) = run.end();
    assert_eq!(exit, Some(130));
    place.wait_for_silence();
}

#[test]
fn a_command_hears_of_a_failure_and_of_the_end_and_changes_nothing() {
    let place = place();
    let file = |notify: &str| {
        format!(
            "notify: {notify}\nstages:\n  bad: {{kind: exec, with: {{command: [sh, -c, exit 7], outputs: [model.txt]}}}}\n"
        )
    };
    place.write("toy.yaml", &file("[sh, -c, cat >> notices.jsonl]"));
    place.run(&["run", "toy.yaml"]).expect_exit(1);
    let notices = place.read("notices.jsonl");
    let notices: Vec<Value> = notices.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<(&str, Option<&str>)> =
        notices.iter().map(|notice| (word(&notice["notice"]), notice["stage"].as_str())).collect();
    assert_eq!(said, [("failed", Some("bad")), ("finished", None)]);
    assert_eq!((notices[0]["exit"].as_u64(), notices[1]["exit"].as_u64()), (None, Some(1)));
    assert!(word(&notices[0]["message"]).contains("`bad` failed"), "{notices:?}");
    // A plan tells nobody; a command that is not there is a warning.
    place.run(&["plan", "toy.yaml"]).expect_exit(0);
    assert_eq!(place.read("notices.jsonl").lines().count(), 2);
    place.write("toy.yaml", &file("[no-such-program-anywhere]"));
    let ran = place.run(&["run", "toy.yaml"]).expect_exit(1);
    assert!(ran.stderr.contains("notify: `no-such-program-anywhere`: start it"), "{}", ran.stderr);
    place.write("toy.yaml", &file("a text"));
    let refused = place.run(&["check", "toy.yaml"]).expect_exit(2);
    assert!(
        format!("{}{}", refused.stdout, refused.stderr).contains("expected a command such as"),
        "{}",
        refused.stderr
    );
}
