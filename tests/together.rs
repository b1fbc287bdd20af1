//! Several runs of one pipeline on one store, at the same time: each action is executed by one of them, and the others
//! wait for it or take its result. Another run takes over from one that dies in the middle.
//!
//! A command reports by a line in a file outside that it is executed, and some go on only when a file appears there, so
//! that the order of events does not depend on speed.

#[path = "support/program.rs"]
mod program;
#[path = "support/store.rs"]
mod store;

use program::{Events, Live, Place, place, wait_for};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;

const NAMES: [&str; 7] = ["first", "gated", "left", "right", "joined", "held", "last"];
const RUN: [&str; 3] = ["run", "together.yaml", "--json"];

/// A short line and `>>` are one write that no other is mixed with. `gated` and `held` wait until the file of that name
/// is there.
fn job() -> Place {
    let place = place();
    let outside = place.path().display().to_string();
    let stage = |name: &str, from: &str| {
        let wait = match name {
            "gated" | "held" => format!("while [ ! -e '{outside}/go-{name}' ]; do sleep 0.002; done; "),
            _ => String::new(),
        };
        let command = format!("echo {name} >> '{outside}/executed'; {wait}echo {name} > n");
        format!("  {name}: {{kind: exec{from}, with: {{command: [/bin/sh, -euc, \"{command}\"], outputs: [n]}}}}\n")
    };
    let stages = [
        stage("first", ""),
        stage("gated", ", from: {a: first}"),
        stage("left", ", from: {a: gated}"),
        stage("right", ", from: {a: gated}"),
        stage("joined", ", from: {a: [left, right]}"),
        stage("held", ", from: {a: joined}"),
        stage("last", ", from: {a: held}"),
    ];
    place.write("together.yaml", &format!("name: together\nstages:\n{}", stages.concat()));
    place.write("executed", "");
    place
}

/// The number of times each command was executed.
fn executed(job: &Place) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    job.read("executed").lines().for_each(|name| *counts.entry(name.to_owned()).or_default() += 1);
    counts
}

fn once_each(names: &[&str]) -> BTreeMap<String, usize> {
    names.iter().map(|name| ((*name).to_owned(), 1)).collect()
}

fn wait_until_executed(job: &Place, name: &str, times: usize) {
    let count = || executed(job).get(name).copied().unwrap_or_default();
    wait_for(&format!("`{name}` to be executed {times} times"), || (count() >= times).then_some(()));
}

fn open(job: &Place, name: &str) {
    job.write(&format!("go-{name}"), "");
}

/// The contents that one run on a store of its own gives.
fn alone() -> BTreeMap<&'static str, String> {
    let job = job();
    ["gated", "held"].iter().for_each(|name| open(&job, name));
    let events = job.run(&RUN).expect_exit(0).events();
    assert_eq!(executed(&job), once_each(&NAMES));
    // The place of a pipeline is in these commands, and so in their keys, but not in their output.
    contents(&events)
}

fn contents(events: &Events) -> BTreeMap<&'static str, String> {
    NAMES.map(|name| (name, events.content(name).to_owned())).into()
}

fn good_end(live: Live) -> Events {
    let (exit, events) = live.end();
    let failed: Vec<String> = events.of("failed").map(|event| event["cause"].to_string()).collect();
    assert_eq!((exit, failed), (Some(0), Vec::new()));
    events
}

/// Waits until the run is past `first`: it asks for `gated` next.
fn is_before_gated(live: &Live) {
    live.until(|event| event["event"] == "ended" && event["stage"] == "first");
}

fn together(processes: usize) {
    let job = job();
    // All meet at the same place: the result of `first` is found, those after it are not there yet.
    let first = job.start(&RUN);
    wait_until_executed(&job, "gated", 1);
    let others: Vec<Live> = (1..processes).map(|_| job.start(&RUN)).collect();
    others.iter().for_each(is_before_gated);
    open(&job, "gated");
    wait_until_executed(&job, "held", 1);
    open(&job, "held");

    let mut started = BTreeMap::<String, usize>::new();
    for live in std::iter::once(first).chain(others) {
        let events = good_end(live);
        events.executed().iter().for_each(|name| *started.entry((*name).to_owned()).or_default() += 1);
    }
    assert_eq!(executed(&job), once_each(&NAMES));
    assert_eq!(started, once_each(&NAMES), "by what the runs told");
    assert_eq!(store::check(&job.at(".pipeline")).len(), NAMES.len());
    // All of them, and one on its own, gave the same results.
    let again = job.run(&RUN).expect_exit(0).events();
    assert_eq!(again.executed(), Vec::<&str>::new());
    assert_eq!(contents(&again), alone());
}

#[test]
fn two_runs_at_once_execute_every_action_once() {
    together(2);
}

#[test]
fn ten_runs_at_once_execute_every_action_once() {
    together(10);
}

/// No run is held back: chance decides who asks first, many times over.
#[test]
fn runs_that_race_from_the_start_execute_every_action_once() {
    for _ in 0..5 {
        let job = job();
        ["gated", "held"].iter().for_each(|name| open(&job, name));
        let runs: Vec<Live> = (0..4).map(|_| job.start(&RUN)).collect();
        let ends: Vec<_> = runs.into_iter().map(good_end).collect();
        assert_eq!(executed(&job), once_each(&NAMES));
        assert!(ends.iter().all(|events| contents(events) == contents(&ends[0])));
        assert_eq!(store::check(&job.at(".pipeline")).len(), NAMES.len());
    }
}

#[test]
fn what_a_killed_run_had_begun_is_begun_again_by_one_that_waited() {
    let job = job();
    open(&job, "gated");
    let owner = job.start(&RUN);
    wait_until_executed(&job, "held", 1);
    let others: Vec<Live> = (0..3).map(|_| job.start(&RUN)).collect();
    for live in &others {
        live.until(|event| event["event"] == "ended" && event["stage"] == "joined");
    }
    // The owner lives, so the others wait.
    assert_eq!(executed(&job)["held"], 1);
    owner.signal(Signal::KILL);
    wait_until_executed(&job, "held", 2);
    open(&job, "held");
    let mut ends = Vec::new();
    for live in others {
        let events = good_end(live);
        ends.push(["held", "last"].map(|name| events.content(name).to_owned()));
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    let mut expected = once_each(&NAMES);
    expected.insert("held".to_owned(), 2);
    assert_eq!(executed(&job), expected);
    assert_eq!(store::check(&job.at(".pipeline")).len(), NAMES.len());
    let (exit, _) = owner.end();
    assert_eq!(exit, None, "the owner was killed");
    // A claim that was left behind does not delay a later run either.
    fs::remove_dir_all(job.at(".pipeline/store/v1/actions")).unwrap();
    job.run(&RUN).expect_exit(0);
}
