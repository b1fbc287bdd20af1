//! `kill -9` of the program at any time: the store is as before or as after, running again goes on, and the final
//! results are those of an undisturbed run. The formats on disk are read here once more, by other code than that which
//! wrote them.

#[path = "support/draws.rs"]
mod draws;
#[path = "support/program.rs"]
mod program;
#[path = "support/store.rs"]
mod store;

use draws::Draws;
use program::{Place, at_work_in, copy_into, place, wait_for};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A chain, a diamond and another chain: outputs of one file, of many, of a directory; metrics, items, and gates, of
/// which one lets the incumbent go on. All of them are fast and deterministic.
const STAGES: &str = r#"name: kills
stages:
  data: {kind: exec, from: {rows: ./rows.txt}, with: {command: [/bin/sh, -euc, "cat in/rows.txt in/rows.txt > all"], outputs: [all]}}
  clean: {kind: exec, from: {a: data}, with: {command: [/bin/sh, -euc, "sort -u in/a/all > rows"], outputs: [rows]}}
  base:
    kind: exec
    from: {a: clean}
    metrics: {score: higher}
    with: {command: [/bin/sh, -euc, "mkdir -p model/deep; cp in/a/rows model/deep/weights; echo base > model/name; echo '{\"score\": 0.5}' > metrics.json"], outputs: [model]}
    gate: score >= 0.5
  left: {kind: exec, from: {a: base}, with: {command: [/bin/sh, -euc, "seq 40000 | sort -r > /dev/null; cat in/a/model/name > n; echo left >> n"], outputs: [n]}}
  right: {kind: exec, from: {a: base}, with: {command: [/bin/sh, -euc, "seq 10000 | sort -r > /dev/null; cat in/a/model/name > n; echo right >> n"], outputs: [n]}}
  middle: {kind: exec, from: {a: base}, with: {command: [/bin/sh, -euc, "printf '#!/bin/sh\n' > tool; chmod +x tool; : > empty"], outputs: [tool, empty]}}
  joined: {kind: exec, from: {all: [left, right, middle]}, with: {command: [/bin/sh, -euc, "cat in/all/0/n in/all/1/n in/all/2/tool > n"], outputs: [n]}}
  tuned:
    kind: exec
    from: {policy: base, a: joined}
    incumbent: policy
    metrics: {score: higher}
    with: {command: [/bin/sh, -euc, "mkdir model; cat in/a/n > model/name; for i in 1 2 3 4 5 6; do echo '{\"id\": '$i', \"score\": 0.'$i'}' >> items.jsonl; done; echo '{\"score\": 0.35}' > metrics.json"], outputs: [model]}
    gate: {require: score > incumbent.score, on_fail: keep}
  after: {kind: exec, from: {a: tuned}, with: {command: [/bin/sh, -euc, "cat in/a/model/name > n; seq 2000 > many"], outputs: [n, many]}}
  one: {kind: exec, from: {a: after}, with: {command: [/bin/sh, -euc, "seq 20000 | sort -r > /dev/null; cat in/a/n > n; echo one >> n"], outputs: [n]}}
  two: {kind: exec, from: {a: one}, with: {command: [/bin/sh, -euc, "cat in/a/n > n; echo two >> n"], outputs: [n]}}
  three: {kind: exec, from: {a: two, b: data}, metrics: {lines: higher}, with: {command: [/bin/sh, -euc, "cat in/a/n in/b/all > n; echo '{\"lines\": 3}' > metrics.json"], outputs: [n]}, gate: lines > 2}
"#;

const NAMES: [&str; 12] =
    ["data", "clean", "base", "left", "right", "middle", "joined", "tuned", "after", "one", "two", "three"];
const RUN: [&str; 5] = ["run", "kills.yaml", "--jobs", "2", "--json"];

fn job() -> Place {
    let place = place();
    place.write("kills.yaml", STAGES);
    place.write("rows.txt", &(0..500).map(|row| format!("row {}\n", row * 7919 % 1000)).collect::<String>());
    place
}

/// The content that carries each stage's name, and the decision of its gate.
type Ends = BTreeMap<&'static str, (String, Option<String>)>;

fn finish(job: &Place) -> Ends {
    let events = job.run(&RUN).expect_exit(0).events();
    let decision = |stage| events.of("judged").any(|event| event["stage"] == stage).then(|| events.decision(stage));
    let end = |stage| (stage, (events.content(stage).to_owned(), decision(stage).map(str::to_owned)));
    NAMES.map(end).into()
}

/// The processes that are killed.
#[derive(Debug)]
enum Blow {
    /// The program alone; its workers have to notice.
    Program,
    /// Its process group, as when a terminal is killed.
    Group,
    /// Workers and their commands as well, as when a machine runs out of memory.
    Everything,
}

/// Starts a run and kills it after a while. False if it ended before.
fn strike(job: &Place, after: Duration, blow: &Blow) -> bool {
    let mut command: Command = job.command(&RUN);
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().unwrap();
    let begin = Instant::now();
    let ended = wait_for("the moment of the blow", || match child.try_wait().unwrap() {
        None => (begin.elapsed() >= after).then_some(false),
        Some(_) => Some(true),
    });
    if ended {
        return false;
    }
    let id = Pid::from_child(&child);
    // A process that ended meanwhile is no error.
    let _ = match blow {
        Blow::Program => kill_process(id, Signal::KILL),
        Blow::Group => kill_process_group(id, Signal::KILL),
        Blow::Everything => {
            let group = kill_process_group(id, Signal::KILL);
            for worker in at_work_in(job.path()) {
                let _ = kill_process(Pid::from_raw(worker as i32).unwrap(), Signal::KILL);
            }
            group
        }
    };
    child.wait().unwrap().code().is_none()
}

/// Repeats rounds of three killed runs and one run to the end, until `times` runs were killed.
fn kill(times: usize) {
    let mut draws = Draws::new();

    let undisturbed = job();
    let started = Instant::now();
    let expected = finish(&undisturbed);
    let whole = started.elapsed();
    let records = store::check(&undisturbed.at(".pipeline"));
    assert_eq!(records.len(), NAMES.len());
    assert_eq!(expected["tuned"], (expected["base"].0.clone(), Some("fail".to_owned())));

    let mut struck = 0;
    for round in 0.. {
        assert!(round < times * 3, "hardly any of {round} rounds were struck while they ran: {struck}");
        if struck >= times {
            break;
        }
        let job = job();
        // A run skips what the one before did, so that three runs of half the time nearly reach the end.
        for _ in 0..3 {
            let after = Duration::from_micros(draws.below(whole.as_micros() as u64 / 2));
            let blow = [Blow::Program, Blow::Group, Blow::Everything].into_iter().nth(draws.below(3) as usize).unwrap();
            println!("round {round}: {blow:?} after {after:?}");
            struck += usize::from(strike(&job, after, &blow));
            // The store may not exist yet.
            if job.at(".pipeline/store").exists() {
                let found = store::check(&job.at(".pipeline"));
                assert!(found.iter().all(|(key, record)| records.get(key) == Some(record)), "{found:#?}\n{records:#?}");
            }
        }
        assert_eq!(finish(&job), expected);
        assert_eq!(store::check(&job.at(".pipeline")), records);
        // Everything is found again.
        let again = job.run(&RUN).expect_exit(0).events();
        assert_eq!(again.of("started").count(), 0);
    }
}

#[test]
fn twenty_kills_lose_nothing_and_repeat_nothing_that_was_recorded() {
    kill(20);
}

#[test]
#[ignore = "in .ci/long"]
fn long_two_hundred_kills_lose_nothing_and_repeat_nothing_that_was_recorded() {
    kill(200);
}

/// The check that these tests rely on notices damage.
#[test]
fn a_store_that_is_neither_old_nor_new_is_noticed() {
    let job = job();
    finish(&job);
    let root = job.at(".pipeline");
    store::check(&root);
    let some = |part: &str| {
        let files = program::files(&root.join("store/v1").join(part));
        files.into_iter().find(|path| path.is_file()).unwrap()
    };
    let noticed = |damage: &dyn Fn(&Path)| {
        let copy = place();
        copy_into(&root, &copy.at("root"));
        damage(&copy.at("root/store/v1"));
        std::panic::catch_unwind(|| store::check(&copy.at("root"))).is_err()
    };
    assert!(!noticed(&|_| {}));
    let cut = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    for part in ["blobs", "trees", "actions"] {
        let file = some(part).strip_prefix(root.join("store/v1")).unwrap().to_owned();
        // A missing record is one that was not written yet.
        let is_missed = noticed(&|store| std::fs::remove_file(store.join(&file)).unwrap());
        assert_eq!(is_missed, part != "actions", "{part}: gone");
        assert!(noticed(&|store| cut(&store.join(&file))), "{part}: cut");
        let odd = |store: &Path| std::fs::write(store.join(&file).with_extension("half"), "").unwrap();
        assert!(noticed(&odd), "{part}: odd name");
    }
    let record = some("actions").strip_prefix(root.join("store/v1")).unwrap().to_owned();
    let variant = |store: &Path| {
        std::fs::copy(store.join(&record), store.join(&record).with_extension("variant-1.json")).map(drop).unwrap()
    };
    assert!(noticed(&variant), "a second record of an action");
}
