//! Whole runs with real processes: the worker is a shell that runs the command of an `exec` action, and writes its
//! outcome as a worker does.

mod choosing;
mod ending;

use super::*;
use crate::cause::on_one_line;
use crate::diagnostic::{SourceText, render};
use crate::executor::EXECUTORS;
use crate::plan::Resources;
use crate::plan::selection::{Filter, select};
use crate::wait::wait_for;
use crate::{journal, plan, spec};
use expect_test::expect;
use stages::io::DeviceChoice;
use stages::kinds::KINDS;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

/// Runs the last argument of the action's command; `metrics` holds the text inside the braces of its metrics.
const WORKER: &str = r#"
trap : TERM
read -r once nonce told
[ "$1" != - ] || { exec >> "$told/log.txt" 2>&1; echo begun >&0; set -- "$told"; }
cd "$1" && mkdir -p out/0 && ln -s command/in in || exit 1
command=$(sed 's/.*"command":\["sh","-c","\([^"]*\)".*/\1/' action.json)
sh -c "$command" || exit $?
printf '{"nonce":"%s","candidates":[{"step":0,"metrics":{%s}}],"telemetry":{"device":"cpu"}}' "$nonce" "$(cat metrics 2>/dev/null)" > outcome.json
"#;

/// A flag that nobody has set.
fn never() -> &'static AtomicBool {
    Box::leak(Box::default())
}

struct Place {
    directory: tempfile::TempDir,
    execution: ExecutionOptions,
    asked: Filter,
}

fn place() -> Place {
    let capacity = Resources { gpu: Some(1), memory: 8, ..Resources::default() };
    let (executor, device) = (EXECUTORS[0], DeviceChoice::Cpu);
    let execution = ExecutionOptions {
        executor,
        device,
        jobs: 2,
        capacity,
        is_durable: true,
        keeps_going: false,
        secrets: BTreeMap::new(),
        disowns: None,
        clusters: BTreeMap::new(),
    };
    Place { directory: tempfile::tempdir().unwrap(), execution, asked: Filter::default() }
}

impl Place {
    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn plan(&self, text: &str) -> Plan {
        // Commands may write marks beside the pipeline.
        let text = text.replace("HERE", &self.path().display().to_string());
        let source = SourceText { path: "toy.yaml".into(), text, overrides: Vec::new(), rule: None };
        let show = |mistakes: &[crate::diagnostic::Diagnostic]| render(&source, mistakes, false);
        let spec = spec::read(&source, &|_| None).map_err(|mistakes| show(&mistakes)).unwrap();
        plan::resolve(spec, self.path(), KINDS).map_err(|mistakes| show(&mistakes)).unwrap()
    }

    fn options(&self) -> Options {
        let store = self.path().join(".pipeline");
        let (file, overrides, decisions) = ("toy.yaml".into(), Vec::new(), BTreeMap::new());
        Options {
            file,
            overrides,
            store,
            decisions,
            looks: None,
            labels: self.path().join("toy.labels"),
            foretells: false,
            remote: None,
        }
    }

    fn run_until(&self, text: &str, interrupt: &'static AtomicBool, watch: &dyn Fn(&Event)) -> (u8, String) {
        let (plan, options) = (self.plan(text), self.options());
        let store = Store::open(&options.store).unwrap();
        let worker = ["sh", "-c", WORKER, "worker"].map(OsString::from);
        let mut lines = Vec::new();
        let selection = select(&plan, &self.asked).unwrap();
        let contents = inputs::identify(&plan, &selection, &store).unwrap();
        let session = Session::open(&options.store, &plan, &worker, &self.execution).unwrap();
        let mut sink = |event: &Event| {
            watch(event);
            lines.extend(line(event));
        };
        let run = Run { interrupt, ..Run::new(&plan, &selection, &options, &store, &contents, &mut sink) };
        let exit = run.with(session).finish();
        // The workers of two jobs end in any order.
        lines.sort();
        (exit.unwrap(), lines.join("\n") + "\n")
    }

    fn run(&self, text: &str) -> (u8, String) {
        self.run_until(text, never(), &|_| {})
    }

    /// Interrupts a run as soon as commands have written all of these marks.
    fn interrupted_with(&self, text: &str, marks: &[&str], watch: &dyn Fn(&Event)) -> (u8, String) {
        let interrupt = never();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let are_there = || marks.iter().all(|name| self.path().join(name).exists());
                wait_for("the commands to write their marks", || are_there().then_some(()));
                interrupt.store(true, Ordering::Relaxed);
            });
            self.run_until(text, interrupt, watch)
        })
    }

    /// The exit code of a run whose commands wait until this many of them have been at work, and the most that were at
    /// work at a time. `stages` are the names and what stands before their commands.
    fn at_a_time(&self, name: &str, stages: &[String], awaited: usize) -> (u8, usize) {
        let marks = self.path().join(name);
        fs::create_dir(&marks).unwrap();
        let command = format!(
            "until [ $(ls {at} | wc -l) -ge {awaited} ]; do sleep 0.01; done; echo > out/0/text",
            at = marks.display()
        );
        // A salt of its own, so that each of the stages is executed.
        let mut text = format!("name: toy\nsalt: '{name}'\nstages:\n");
        for (n, takes) in stages.iter().enumerate() {
            let with = format!("{{command: [sh, -c, \"echo > {}/{n}; {command}\"]}}", marks.display());
            text += &format!("  s{n}: {{kind: exec, timeout: 1m, {takes}with: {with}}}\n");
        }
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (exit, _) = self.run_until(&text, never(), &|event| match event {
            Event::Started { .. } => drop(most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed)),
            Event::Finished { .. } => drop(now.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        });
        (exit, most.into_inner())
    }

    fn look(&self, text: &str) -> (u8, String) {
        let mut lines = Vec::new();
        let plan = self.plan(text);
        let selection = select(&plan, &self.asked).unwrap();
        let exit = look(&plan, &selection, &self.options(), &mut |event| lines.extend(line(event)));
        (exit.unwrap(), lines.join("\n") + "\n")
    }

    /// The number of times a command that appends to this file ran.
    fn marks(&self, name: &str) -> usize {
        fs::read_to_string(self.path().join(name)).unwrap_or_default().lines().count()
    }
}

fn line(event: &Event) -> Option<String> {
    match event {
        Event::Started { stage, attempt, why, .. } => Some(format!("{stage}: attempt {attempt}: {}", on_one_line(why))),
        Event::Noted { stage, message, .. } => Some(format!("{stage}: {message}")),
        Event::Failed { stage, cause, .. } => {
            Some(format!("{stage}: failed: {}", cause.to_string().replace('\n', " |")))
        }
        Event::Ended { stage, outcome, .. } => Some(match outcome {
            Outcome::Done { executed, .. } => format!("{stage}: done, {}", if *executed { "run" } else { "cached" }),
            Outcome::Skipped { because } => format!("{stage}: skipped: {because}"),
            Outcome::WouldRun { because } => format!("{stage}: would run: {}", on_one_line(because)),
            Outcome::Failed { .. } => format!("{stage}: failed"),
            other => format!("{stage}: {other:?}"),
        }),
        _ => None,
    }
}

const TWO: &str = r#"
name: toy
stages:
  one: {kind: exec, with: {command: [sh, -c, "echo x >> HERE/one; echo one > out/0/text"]}}
  two: {kind: exec, from: {text: one}, with: {command: [sh, -c, "echo x >> HERE/two; cat in/text/text > out/0/copy"]}}
"#;

#[test]
fn a_second_run_executes_nothing_and_the_journal_says_so() {
    let place = place();
    let (exit, told) = place.run(TWO);
    expect![[r#"
        one: attempt 1: it never ran before
        one: done, run
        two: attempt 1: it never ran before
        two: done, run
    "#]]
    .assert_eq(&told);
    let (again, told) = place.run(TWO);
    expect![[r#"
        one: done, cached
        two: done, cached
    "#]]
    .assert_eq(&told);
    assert_eq!((exit, again, place.marks("one"), place.marks("two")), (0, 0, 1, 1));
    let journals = journal::all(&place.options().store).unwrap();
    let events = journal::read(&journals[1]).unwrap();
    assert!(matches!(events.last(), Some(Event::RunFinished { exit: 0, .. })));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Hit { .. })).count(), 2);
}

#[test]
fn looking_writes_nothing_and_names_what_is_new() {
    let place = place();
    let (exit, told) = place.look(TWO);
    assert_eq!((exit, fs::read_dir(place.path()).unwrap().count()), (0, 0));
    expect![[r#"
        one: would run: it never ran before
        two: would run: `one` would run
    "#]]
    .assert_eq(&told);
    place.run(TWO);
    let changed = TWO.replace("in/text/text > out/0/copy", "in/text/text > out/0/other");
    expect![[r#"
        one: done, cached
        two: would run: parameters.command.2: "echo x >> HERE/two; cat in/text/text > out/0/copy" -> "echo x >> HERE/two; cat in/text/text > out/0/other"
    "#]].assert_eq(&place.look(&changed).1.replace(&place.path().display().to_string(), "HERE"));
    assert_eq!(journal::all(&place.options().store).unwrap().len(), 1);
}

#[test]
fn the_death_of_a_worker_fails_its_stage_and_skips_its_dependants_only() {
    let place = place();
    let text = r#"
name: toy
stages:
  dies: {kind: exec, with: {command: [sh, -c, "echo allocating; kill -9 $PPID; sleep 60"]}}
  after: {kind: exec, from: {text: dies}, with: {command: [sh, -c, "true"]}}
  beside: {kind: exec, with: {command: [sh, -c, "echo y > out/0/text"]}}
"#;
    let (exit, told) = place.run(text);
    assert_eq!(exit, 1);
    expect![[r#"
        after: skipped: `dies` failed
        beside: attempt 1: it never ran before
        beside: done, run
        dies: attempt 1: it never ran before
        dies: failed
        dies: failed: the worker was killed (SIGKILL): probably out of memory |  allocating
    "#]]
    .assert_eq(&told);
}

#[test]
fn a_failed_attempt_is_tried_again_as_often_as_the_stage_allows() {
    let place = place();
    let text = r#"
name: toy
stages:
  shaky: {kind: exec, retry: {times: 2, wait: 0.01}, with: {command: [sh, -c, "echo x >> HERE/marks; test $(wc -l < HERE/marks) = 3"]}}
"#;
    let (exit, told) = place.run(text);
    assert_eq!((exit, place.marks("marks")), (0, 3));
    expect![[r#"
        shaky: attempt 1: it never ran before
        shaky: attempt 2: the attempt before failed
        shaky: attempt 3: the attempt before failed
        shaky: done, run
        shaky: failed: the worker ended with exit code 1
        shaky: failed: the worker ended with exit code 1
        shaky: tried again in 10ms (1 of 2)
        shaky: tried again in 20ms (2 of 2)
    "#]]
    .assert_eq(&told);
}

#[test]
fn an_interrupted_run_goes_on_from_its_checkpoint() {
    let place = place();
    let text = r#"
name: toy
stages:
  long: {kind: exec, with: {command: [sh, -c, "test -d resume || { mkdir resume; echo 7 > resume/step; echo x > HERE/saved; sleep 60; }; cp resume/step out/0/step"]}}
  after: {kind: exec, from: {text: long}, with: {command: [sh, -c, "cp in/text/step out/0/step"]}}
"#;
    let (exit, told) = place.interrupted_with(text, &["saved"], &|_| {});
    assert_eq!(exit, 130);
    expect![[r#"
        after: Interrupted
        long: Interrupted
        long: attempt 1: it never ran before
    "#]]
    .assert_eq(&told);
    let (exit, told) = place.run(text);
    assert_eq!(exit, 0);
    expect![[r#"
        after: attempt 1: it never ran before
        after: done, run
        long: attempt 2: it was not finished last time; it goes on from a checkpoint
        long: done, run
    "#]]
    .assert_eq(&told);
}

#[test]
fn content_that_was_damaged_is_made_again_in_the_same_run() {
    let place = place();
    place.run(TWO);
    let blobs = place.options().store.join("store/v1/blobs");
    let is_one = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes == b"one\n");
    let blob = fs::read_dir(blobs).unwrap().flat_map(|directory| fs::read_dir(directory.unwrap().path()).unwrap());
    let blob = blob.map(|entry| entry.unwrap().path()).find(|path| is_one(path)).unwrap();
    fs::remove_file(&blob).unwrap();
    // The right length but the wrong bytes: only placing it reveals that.
    fs::write(&blob, "two\n").unwrap();
    let changed = TWO.replace("in/text/text > out/0/copy", "in/text/text > out/0/other");
    let (exit, _) = place.run(&changed);
    assert_eq!((exit, place.marks("one"), place.marks("two")), (0, 2, 2));
    assert_eq!(place.run(&changed).1, "one: done, cached\ntwo: done, cached\n");
}

#[test]
fn as_many_workers_run_at_a_time_as_jobs_allow() {
    let stages = vec![String::new(); 6];
    assert_eq!(place().at_a_time("marks", &stages, 2), (0, 2));
}

#[test]
fn a_run_that_finds_everything_takes_milliseconds() {
    let place = place();
    let stage = |n: usize| {
        let from = if n == 0 { String::new() } else { format!("from: {{text: s{}}}, ", n - 1) };
        format!("  s{n}: {{kind: exec, {from}with: {{command: [sh, -c, \"echo {n} > out/0/n\"]}}}}\n")
    };
    let text = format!("name: toy\nstages:\n{}", (0..8).map(stage).collect::<String>());
    place.run(&text);
    let fastest = (0..5).map(|_| {
        let started = Instant::now();
        place.run(&text);
        started.elapsed()
    });
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

/// A stage that takes one file of another runs again when that file changes, and not when another one does.
#[test]
fn a_stage_depends_on_the_file_it_takes_and_not_on_the_directory() {
    let place = place();
    let text = |rows: &str, notes: &str, file: &str| {
        let make = format!("mkdir out/0/a; echo {rows} > out/0/a/rows.jsonl; echo {notes} > out/0/notes.txt");
        format!(
            r#"
stages:
  make:
    kind: exec
    with: {{command: [sh, -c, "{make}"], outputs: [a, notes.txt, rows.jsonl]}}
  use:
    kind: exec
    from: {{rows: "make:{file}"}}
    with: {{command: [sh, -c, "cat in/rows.jsonl >> HERE/seen"]}}
"#
        )
    };
    assert_eq!(place.run(&text("one", "monday", "a/rows.jsonl")).0, 0);
    let (exit, lines) = place.run(&text("one", "tuesday", "a/rows.jsonl"));
    assert_eq!((exit, place.marks("seen")), (0, 1), "{lines}");
    let (exit, lines) = place.run(&text("two", "tuesday", "a/rows.jsonl"));
    assert_eq!((exit, place.marks("seen")), (0, 2), "{lines}");
    assert_eq!(fs::read_to_string(place.path().join("seen")).unwrap(), "one\ntwo\n");
    let (_, lines) = place.look(&text("two", "tuesday", "a/rows.jsonl"));
    assert_eq!(lines, "make: done, cached\nuse: done, cached\n");

    let cause = std::sync::Mutex::new(String::new());
    let watch = |event: &Event| {
        if let Event::Ended { outcome: Outcome::Failed { cause: why }, .. } = event {
            *cause.lock().unwrap() = why.to_string();
        }
    };
    let (exit, _) = place.run_until(&text("two", "tuesday", "rows.jsonl"), never(), &watch);
    assert_eq!(exit, 1);
    expect!["take `make:rows.jsonl`: there is no file `rows.jsonl`; there are `a/rows.jsonl`, `notes.txt`"]
        .assert_eq(&cause.lock().unwrap());
}
