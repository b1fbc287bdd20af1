//! Measurements of one run share a worker process, which keeps its device and the bases that it has loaded. It may die,
//! alone or with the run, at any time: nothing is lost, and nothing is left behind.

#[path = "support/program.rs"]
mod program;

use program::{Events, Live, Place, ROOT, at_work_in, place, ran, wait_for, word};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A model, another with an adapter on the same base, and two rewards. Prompts are answered one by one, so that the
/// answers of a model take a while.
const STAGES: &str = "name: sharing
seed: 3
stages:
  base:
    kind: pretrain
    from: {text: data/corpus.jsonl}
    with: {layers: 2, width: 48, inner: 96, heads: 2, kv_heads: 2, vocabulary: 400, context: 96, steps: 10, batch: 8}
  tuned:
    kind: sft
    from: {model: base, data: data/sft.jsonl}
    with: {epochs: 4, batch: 8, max_tokens: 64, lr: 0.01}
  rm:
    kind: rm
    from: {model: base, data: data/rankings.jsonl}
    with: {epochs: 1, batch: 16, max_tokens: 64}
  eval:
    kind: eval
    from: {policy: tuned, reward: [rm, words.tsv], prompts: data/heldout.jsonl, baseline: base}
    with: {max_new_tokens: 32, batch: 1}
";

const TRAINED: [&str; 3] = ["base", "tuned", "rm"];

/// A place where the models are trained and nothing is measured yet.
fn trained() -> Place {
    let place = place();
    fs::create_dir(place.at("data")).unwrap();
    for (name, rows) in [("corpus", 200), ("sft", 40), ("rankings", 40), ("heldout", 60)] {
        let name = format!("data/{name}.jsonl");
        let text = fs::read_to_string(format!("{ROOT}/pipelines/{name}")).unwrap();
        place.write(&name, &text.lines().take(rows).map(|row| format!("{row}\n")).collect::<String>());
    }
    place.write("words.tsv", "e\t1\n");
    place.write("sharing.yaml", STAGES.split_once("  eval:").unwrap().0);
    place.run(&["run", "sharing.yaml", "--device", "cpu", "--json"]).expect_exit(0);
    place.write("sharing.yaml", STAGES);
    place
}

/// The command that measures, with logs of the things that are counted here.
fn measure(place: &Place, more: &[&str]) -> Command {
    let mut command = place.command(&[&["run", "sharing.yaml", "--device", "cpu", "--json"], more].concat());
    command.env("RUST_LOG", "pipeline=debug,stages=debug");
    command
}

fn parts(events: &Events, kind: &str) -> Vec<String> {
    events.of(kind).filter_map(|event| event["part"].as_str()).map(str::to_owned).collect()
}

/// The logs of all attempts.
fn logs(place: &Place) -> Vec<String> {
    let files = program::files(&place.at(".pipeline/work"));
    let logs = files.iter().filter(|path| path.ends_with("log.txt"));
    logs.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// The processes that say in their logs that they were told an action and may share, each as often as they do.
fn processes(place: &Place) -> Vec<String> {
    let logs = logs(place);
    let lines = logs.iter().flat_map(|log| log.lines());
    let process = |line: &str| Some(line.split_once("worker: process ")?.1.split_once(',')?.0.to_owned());
    lines.filter_map(process).collect()
}

fn is_running(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z")
}

/// The numbers of both models.
fn measured(events: &Events) -> Vec<Value> {
    let rows: Vec<Value> = events.of("measured").map(|event| event["row"].clone()).collect();
    assert_eq!(rows.len(), 2);
    rows
}

#[test]
fn measurements_share_one_process_which_reads_their_common_base_once() {
    let place = trained();
    let events = ran(measure(&place, &[])).expect_exit(0).events();
    let finished = parts(&events, "finished");
    assert_eq!(finished.len(), 8, "answers, two scores and a divergence of two models: {finished:?}");
    let processes = processes(&place);
    assert_eq!((processes.len(), processes.iter().collect::<BTreeSet<_>>().len()), (8, 1), "{processes:?}");
    assert!(!is_running(&processes[0]));
    let read: usize = logs(&place).iter().map(|log| log.matches("reading the weights of").count()).sum();
    assert_eq!(read, 1, "base weights are read once");
    // Each said so in its own log, and nothing else went there.
    assert!(logs(&place).iter().all(|log| log.matches("worker: process ").count() <= 1));
}

#[test]
fn as_many_processes_measure_as_jobs_are_allowed() {
    let place = trained();
    let events = ran(measure(&place, &["--jobs", "2"])).expect_exit(0).events();
    assert_eq!(parts(&events, "finished").len(), 8);
    let processes = processes(&place);
    assert_eq!((processes.len(), processes.iter().collect::<BTreeSet<_>>().len()), (8, 2), "{processes:?}");
}

/// Waits until the answers of the second model are at work; the directory and the process.
fn at_work(run: &Live, attempt: u64) -> (PathBuf, Pid) {
    let is_it = |event: &Value| {
        event["event"] == "started" && event["part"] == "answers of base" && event["attempt"] == attempt
    };
    let event = run.until(is_it);
    let directory = Path::new(word(&event["log"])).parent().unwrap().to_owned();
    let process = wait_for("a worker", || at_work_in(&directory).first().copied());
    (directory, Pid::from_raw(process as i32).unwrap())
}

#[test]
fn a_shared_process_that_dies_is_replaced_and_the_measurement_tried_once_more() {
    let place = trained();
    let expected = measured(&ran(measure(&place.copy(), &[])).expect_exit(0).events());
    let run = place.start_command(measure(&place, &[]));
    let (first, process) = at_work(&run, 1);
    kill_process(process, Signal::KILL).unwrap();
    let noted = run.until(|event| event["event"] == "noted" && event["part"] == "answers of base");
    let note = word(&noted["message"]).replace(&first.display().to_string(), "DIR");
    let once_more = "tried once more by a worker of its own, since the one before had done other measurements (DIR/log.txt): \
                     the worker was killed (SIGKILL): probably out of memory";
    assert!(note.starts_with(once_more), "{note}");
    let (exit, events) = run.end();
    assert_eq!((exit, measured(&events)), (Some(0), expected));
    assert_eq!(events.of("failed").count(), 0);
    let why = events.of("started").find(|event| event["attempt"] == 2).unwrap()["why"].to_string();
    assert!(why.contains("the attempt before failed"), "{why}");
    place.wait_for_silence();
}

#[test]
fn a_measurement_that_kills_its_own_process_as_well_has_failed() {
    let place = trained();
    let run = place.start_command(measure(&place, &[]));
    for attempt in [1, 2] {
        let (_, process) = at_work(&run, attempt);
        kill_process(process, Signal::ABORT).unwrap();
    }
    let (exit, events) = run.end();
    let causes: Vec<&str> = events.of("failed").map(|event| word(&event["cause"])).collect();
    assert_eq!((exit, causes.len()), (Some(1), 1), "{causes:?}");
    assert!(causes[0].starts_with("the worker aborted (SIGABRT)"), "{causes:?}");
    // Running again takes what was measured, and does the rest.
    let events = ran(measure(&place, &[])).expect_exit(0).events();
    assert_eq!(measured(&events).len(), 2);
    assert!(!parts(&events, "started").contains(&"answers of tuned".to_owned()));
}

#[test]
fn a_shared_process_ends_with_its_run() {
    let trained = trained();
    for (signal, expected) in [(Signal::KILL, None), (Signal::TERM, Some(130)), (Signal::INT, Some(130))] {
        let place = trained.copy();
        let run = place.start_command(measure(&place, &[]));
        let (directory, process) = at_work(&run, 1);
        run.signal(signal);
        let (exit, events) = run.end();
        assert_eq!(exit, expected);
        assert!(expected.is_none() || events.ending("eval") == "interrupted");
        let process = process.as_raw_nonzero().to_string();
        wait_for("the worker to end", || (!is_running(&process)).then_some(()));
        assert!(!directory.join("outcome.json").exists() && !directory.join("error.txt").exists());
        let events = ran(measure(&place, &[])).expect_exit(0).events();
        assert_eq!(TRAINED.map(|stage| events.outcome(stage)["executed"].as_bool()), [Some(false); 3]);
        assert_eq!(measured(&events).len(), 2);
    }
}
