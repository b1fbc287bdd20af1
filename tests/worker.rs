//! A worker by itself, started as an executor starts it: a directory with an action in it, and signals.

#[path = "support/program.rs"]
mod program;

use program::{Place, files, place, wait_for};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Stdio};

/// A training that takes a second or two and writes no candidate on the way.
fn training(directory: &str, place: &Place) {
    let version = stages::kinds::kind("pretrain").unwrap().version;
    let parameters = r#"{"layers": 1, "width": 32, "inner": 64, "vocabulary": 300, "batch": 8, "steps": 60}"#;
    let text = format!("file.jsonl:{}", "0".repeat(64));
    let action = format!(
        r#"{{"kind": "pretrain", "version": {version}, "parameters": {parameters}, "seed": 7, "inputs": {{"text": "{text}"}}}}"#
    );
    fs::create_dir_all(place.at(directory).join("in")).unwrap();
    place.write(&format!("{directory}/action.json"), &action);
    place.write(&format!("{directory}/host.json"), r#"{"device": "cpu"}"#);
    let corpus = format!("{}/pipelines/data/corpus.jsonl", program::ROOT);
    let text: String = fs::read_to_string(corpus).unwrap().lines().take(150).map(|line| format!("{line}\n")).collect();
    place.write(&format!("{directory}/in/text.jsonl"), &text);
}

fn start(place: &Place, directory: &str) -> Child {
    let log = fs::File::options().create(true).append(true).open(place.at(directory).join("log.txt")).unwrap();
    let mut command = place.command(&["worker", directory]);
    command.env("RUST_LOG", "info").process_group(0).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Sends SIGTERM to the worker and everything it started, as the runner does.
fn terminate(child: &Child) {
    kill_process_group(Pid::from_child(child), Signal::TERM).unwrap();
}

/// The results of a stage: its candidates, its curve and its outcome.
fn results(place: &Place, directory: &str) -> BTreeMap<String, Vec<u8>> {
    let root = place.at(directory);
    let name = |path: &std::path::PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
    let is_result = |name: &str| name.starts_with("out/") || ["outcome.json", "metrics.jsonl"].contains(&name);
    let paths = files(&root).into_iter().filter(|path| path.is_file() && is_result(&name(path)));
    paths.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_training_that_is_asked_to_stop_writes_a_checkpoint_and_goes_on_from_there_to_the_same_bytes() {
    let place = place();
    training("undisturbed", &place);
    assert!(start(&place, "undisturbed").wait().unwrap().success());

    training("stopped", &place);
    let mut child = start(&place, "stopped");
    let curve = place.at("stopped").join("metrics.jsonl");
    wait_for("some steps", || (fs::read_to_string(&curve).unwrap_or_default().lines().count() >= 3).then_some(()));
    terminate(&child);
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(143), None));
    let log = place.read("stopped/log.txt");
    let step = log.lines().last().and_then(|line| line.strip_prefix("stopped after writing a checkpoint of step "));
    let step: usize = step.unwrap_or_else(|| panic!("{log}")).parse().unwrap();
    // It stopped in its current step, long before a checkpoint was due.
    assert!((3..60).contains(&step), "{step}");
    assert_eq!(place.read("stopped/metrics.jsonl").lines().count(), step);
    assert!(!place.at("stopped/error.txt").exists() && !place.at("stopped/outcome.json").exists());

    assert!(start(&place, "stopped").wait().unwrap().success());
    let log = place.read("stopped/log.txt");
    assert!(log.contains(&format!("resuming after step {step}")), "{log}");
    let (one, other) = (results(&place, "undisturbed"), results(&place, "stopped"));
    assert!(one.keys().any(|name| name.ends_with("model.safetensors")), "{:?}", one.keys());
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (name, bytes) in one {
        assert!(other[&name] == bytes, "{name} differs");
    }
}

#[test]
fn a_command_that_does_not_listen_ends_at_once_when_its_worker_is_asked_to() {
    let place = place();
    let version = stages::kinds::kind("exec").unwrap().version;
    fs::create_dir(place.at("sleeping")).unwrap();
    let action = format!(
        r#"{{"kind": "exec", "version": {version}, "parameters": {{"command": "echo > asleep; sleep 600"}}, "inputs": {{}}}}"#
    );
    place.write("sleeping/action.json", &action);
    place.write("sleeping/host.json", r#"{"device": "auto"}"#);
    let mut child = start(&place, "sleeping");
    wait_for("the command", || place.at("sleeping/command/asleep").exists().then_some(()));
    terminate(&child);
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(143), None));
    assert!(!place.at("sleeping/outcome.json").exists() && !place.at("sleeping/error.txt").exists());
}
