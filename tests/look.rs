//! The verbs that show runs: `log`, `diff`, `graph`, `status --json`, `watch`, and their messages when there is nothing
//! to show.

#[path = "support/program.rs"]
mod program;

use expect_test::expect;
use program::{Place, files, place, ran, wait_for};
use serde_json::{Value, json};
use std::fs;

/// Stages of one shell command each. `HERE` in a command is the place's own directory.
fn write(place: &Place, stages: &str) {
    let here = place.path().display().to_string();
    place.write("toy.yaml", &format!("name: toy\nstages:\n{}", stages.replace("HERE", &here)));
}

/// The names of the runs, oldest first.
fn runs(place: &Place) -> Vec<String> {
    let runs = files(&place.at(".pipeline/runs")).into_iter().filter(|path| path.is_dir());
    runs.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The text with placeholders for names of runs, times and digests.
fn told(place: &Place, text: &str) -> String {
    let mut text = text.to_owned();
    for (n, run) in runs(place).iter().enumerate() {
        text = text.replace(run, &format!("RUN{}", n + 1));
    }
    let words = text.split_inclusive([' ', '\n']).map(|word| match word.trim_end() {
        day if day.starts_with("20") && day.contains('-') && !day.contains("RUN") => word.replace(day, "DAY"),
        time if time.len() == 8 && time.matches(':').count() == 2 => word.replace(time, "TIME"),
        content if content.starts_with("tree:") => word.replace(content, "tree:…"),
        _ => word.to_owned(),
    });
    words.collect()
}

const SAYS: &str = "  a: {kind: exec, with: {command: [sh, -c, \"printf 'one\\\\n\\\\377two'; echo three >&2\"]}}\n";

#[test]
fn a_log_is_printed_as_it_is_also_when_the_stage_was_a_hit() {
    let place = place();
    write(&place, SAYS);
    let log = |arguments: &[&str]| {
        let output = place.command(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout, b"one\n\xfftwothree\n");
        told(&place, &String::from_utf8(output.stderr).unwrap())
    };
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    expect![[r#"
        a: attempt 1 of RUN1
    "#]]
    .assert_eq(&log(&["log", "a", "toy.yaml"]));
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    expect![[r#"
        a: attempt 1 of RUN1, cached in RUN2
    "#]]
    .assert_eq(&log(&["log", "a"]));
    expect![[r#"
        a: attempt 1 of RUN1
    "#]]
    .assert_eq(&log(&["log", "a", "--run", "last~1"]));
}

#[test]
fn a_log_outlives_its_work_directory_in_the_record() {
    let place = place();
    write(&place, SAYS);
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    let works = files(&place.at(".pipeline/work"));
    let log = works.iter().find(|path| path.ends_with("log.txt")).unwrap().clone();
    let key: cache::Digest = works[0].file_name().unwrap().to_str().unwrap().parse().unwrap();
    let store = cache::Store::open(&place.at(".pipeline")).unwrap();
    // As in a run that keeps the log with the record.
    let mut record = store.lookup(&key).unwrap().unwrap();
    record.telemetry["log"] = json!(store.capture(&log).unwrap().to_string());
    let actions = files(&place.at(".pipeline/store/v1/actions"));
    actions.iter().filter(|path| path.is_file()).for_each(|path| fs::remove_file(path).unwrap());
    store.commit(&key, &record).unwrap();
    fs::remove_dir_all(place.at(".pipeline/work")).unwrap();
    // The journal of the run that made it is gone, too.
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    fs::remove_dir_all(place.at(".pipeline/runs").join(&runs(&place)[0])).unwrap();
    let output = place.run(&["log", "a", "--part", "x"]).expect_exit(2).stderr;
    assert_eq!(output, "error: `a` has no part `x` in this run: there are none here\n");
    for arguments in [&["log", "a"][..], &["log", "a", "--attempt", "1"]] {
        let output = place.command(arguments).output().unwrap();
        let stderr = told(&place, &String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout, b"one\n\xfftwothree\n", "{stderr}");
        assert_eq!(stderr, "a: attempt 1, made DAY TIME UTC, cached in RUN1\n");
    }
    let gone = place.run(&["log", "a", "--attempt", "2"]).expect_exit(2).stderr;
    assert_eq!(gone, "error: a has no log of an attempt 2: there are 1\n");
    record.telemetry["log"] = Value::Null;
    actions.iter().filter(|path| path.is_file()).for_each(|path| fs::remove_file(path).unwrap());
    store.commit(&key, &record).unwrap();
    let gone = place.run(&["log", "a"]).expect_exit(2).stderr;
    assert_eq!(gone, "error: the log of a is gone: its attempts were removed, and its record keeps none\n");
}

#[test]
fn earlier_attempts_have_their_own_logs() {
    let place = place();
    write(
        &place,
        "  a: {kind: exec, with: {command: [sh, -c, \"echo said by $(ls HERE/ok 2>&1 | wc -c); test -e HERE/ok\"]}}\n  \
         b: {kind: exec, from: {data: a}, with: {command: [\"true\"]}}\n",
    );
    place.run(&["run", "toy.yaml"]).expect_exit(1);
    let skipped = place.run(&["log", "b"]).expect_exit(2).stderr;
    expect![[r#"
        error: `b` has no log in RUN1: it was skipped: `a` failed
    "#]]
    .assert_eq(&told(&place, &skipped));
    let first = place.run(&["log", "a"]).expect_exit(0).stdout;
    place.write("ok", "");
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    let second = place.run(&["log", "a"]).expect_exit(0).stdout;
    assert_ne!(first, second);
    let earlier = place.run(&["log", "a", "--attempt", "1"]).expect_exit(0);
    assert_eq!(earlier.stdout, first);
    expect![[r#"
        a: attempt 1 of RUN1
    "#]]
    .assert_eq(&told(&place, &earlier.stderr));
    let wrong = place.run(&["log", "a", "--attempt", "9"]).expect_exit(2).stderr;
    assert_eq!(wrong, "error: a has no log of an attempt 9: there are 1, 2\n");
    let empty = place.run(&["log", "b"]).expect_exit(0);
    assert_eq!(empty.stdout, "");
    assert!(empty.stderr.ends_with("the log is empty\n"), "{}", empty.stderr);
}

#[test]
fn the_parts_of_an_eval_stand_under_headings() {
    let place = place();
    place.write("toy.yaml", "name: toy\n");
    let run = "20261121T231500.000Z-toy";
    let hit = |part: &str, key: &str| json!({"event": "hit", "stage": "eval", "part": part, "key": key, "action": {}});
    let events = [
        json!({"event": "run_started", "run": run, "pipeline": "toy", "file": "toy.yaml", "at": "2026-11-21T23:15:00Z",
            "stages": [{"name": "eval", "kind": "eval", "has_gate": false, "metrics": []}], "overrides": []}),
        hit("answers of sft", "k1"),
        hit("scores of sft", "k2"),
        json!({"event": "run_finished", "exit": 0, "seconds": 1.0, "at": "2026-11-21T23:15:01Z"}),
    ];
    for (directory, name, text) in [
        (format!("runs/{run}"), "journal.jsonl", events.map(|event| format!("{event}\n")).concat()),
        ("work/k1/1".to_owned(), "log.txt", "old\n".to_owned()),
        ("work/k1/2".to_owned(), "log.txt", "decoding\n".to_owned()),
        ("work/k2/1".to_owned(), "log.txt", "scoring\n".to_owned()),
    ] {
        fs::create_dir_all(place.at(".pipeline").join(&directory)).unwrap();
        place.write(&format!(".pipeline/{directory}/{name}"), &text);
    }
    let all = place.run(&["log", "eval", "toy.yaml"]).expect_exit(0).stdout;
    expect![[r#"
        ==> answers of sft <==
        decoding

        ==> scores of sft <==
        scoring
    "#]]
    .assert_eq(&all);
    assert_eq!(place.run(&["log", "eval", "--part", "scores of sft"]).expect_exit(0).stdout, "scoring\n");
    let wrong = place.run(&["log", "eval", "--part", "score of sft"]).expect_exit(2).stderr;
    assert_eq!(wrong, "error: `eval` has no part `score of sft` in this run: did you mean `scores of sft`?\n");
}

/// A stage that goes on when the file `go` is there, and ends with `then` when `end` is there.
fn waiting(then: &str) -> String {
    let said = |done: u8| {
        format!(r#"echo '{{\"done\":{done},\"total\":4,\"unit\":\"step\",\"message\":\"\"}}' >> events.jsonl"#)
    };
    let (one, three) = (said(1), said(3));
    let wait = |file: &str| format!("while ! test -e HERE/{file}; do sleep 0.02; done");
    let (go, end) = (wait("go"), wait("end"));
    format!(
        "  a:\n    kind: exec\n    metrics: {{score: higher}}\n    gate: score > 0.5\n    with:\n      command: \
         [sh, -c, \"echo one; {one}; {go}; echo two; {three}; {end}; {then}\"]\n"
    )
}

#[test]
fn a_log_is_followed_until_its_stage_ends() {
    let place = place();
    write(&place, &waiting(r#"echo '{\"score\": 1}' > metrics.json"#));
    let run = place.start(&["run", "toy.yaml", "--json"]);
    run.started("a");
    let so_far = wait_for("the first line", || {
        let log = place.run(&["log", "a"]).expect_exit(0);
        (!log.stdout.is_empty()).then_some(log)
    });
    assert_eq!(so_far.stdout, "one\n");
    assert!(so_far.stderr.contains("attempt 1, running in "), "{}", so_far.stderr);
    let followed = place.watch(place.command(&["log", "a", "--follow"]));
    assert_eq!(followed.says(""), "one");
    place.write("go", "");
    assert_eq!(followed.says(""), "two");
    place.write("end", "");
    let (exit, stdout, _) = followed.end();
    assert_eq!((exit, stdout), (Some(0), Vec::new()));
    assert_eq!(run.end().0, Some(0));
}

#[test]
fn a_run_elsewhere_is_watched_to_its_end_and_its_exit_code_is_taken_over() {
    let place = place();
    write(&place, &waiting(r#"echo '{\"score\": 0.25}' > metrics.json"#));
    let run = place.start(&["run", "toy.yaml", "--json"]);
    run.started("a");
    let mut watch = place.command(&["watch"]);
    watch.env("PIPELINE_PROGRESS_INTERVAL", "0");
    let watching = place.watch(watch);
    assert_eq!(watching.remarks("a: "), "a: started: it never ran before");
    watching.remarks("a: step 1/4, 25 %");
    place.write("go", "");
    watching.remarks("a: step 3/4, 75 %");
    place.write("end", "");
    let (exit, stdout, stderr) = watching.end();
    let (stdout, lines) = (stdout.join("\n"), stderr.iter().map(|line| line.split(" in ").next().unwrap()));
    assert_eq!((exit, run.end().0), (Some(3), Some(3)), "{stderr:?}");
    assert_eq!(lines.collect::<Vec<_>>(), ["a: finished", "a: gate failed, nothing goes on"]);
    assert!(stdout.contains("fail: stops here") && stdout.contains("stopped by a gate after"), "{stdout}");
    let over = place.run(&["watch", "toy.yaml"]).expect_exit(2).stderr;
    assert_eq!(
        told(&place, &over),
        "error: no run is running: RUN1 has ended; `pipeline status --run RUN1` shows it\n"
    );
}

#[test]
fn a_run_that_dies_while_it_is_watched_is_said_to_be_broken_off() {
    let place = place();
    write(&place, &waiting("true"));
    let run = place.start(&["run", "toy.yaml", "--json"]);
    run.started("a");
    let watching = place.watch(place.command(&["watch", "toy.yaml"]));
    watching.remarks("a: started");
    run.signal(rustix::process::Signal::KILL);
    let (exit, stdout, _) = watching.end();
    let stdout = stdout.join("\n");
    assert_eq!(exit, Some(1), "{stdout}");
    assert!(stdout.contains("broken off: the process that ran it is gone"), "{stdout}");
    place.wait_for_silence();
}

const PAIR: &str = r#"
  base: {kind: exec, metrics: {score: higher}, with: {command: [sh, -c, "echo ${n} > made; echo '{\"score\": ${n}}' > metrics.json"], outputs: [made]}}
  next: {kind: exec, from: {data: base}, with: {command: [sh, -c, "cp in/data/made made"], outputs: [made]}}
  beside: {kind: exec, with: {command: ["true"]}}
"#;

#[test]
fn two_runs_are_compared_by_name_beginning_or_place() {
    let place = place();
    place.write("toy.yaml", &format!("name: toy\nvars: {{n: 1}}\nstages:{PAIR}"));
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    place.run(&["run", "toy.yaml", "--set", "vars.n=2"]).expect_exit(0);
    let names = runs(&place);
    let diff = place.run(&["diff", "last~1", "last", "toy.yaml"]).expect_exit(0).stdout;
    expect![[r#"
        old  RUN1, DAY TIME UTC (toy.yaml)
        new  RUN2, DAY TIME UTC (toy.yaml)

        only the new  --set vars.n=2

        base (exec)  parameters.command.2: "echo 1 > made; echo '{\"score\": 1}' > metrics.json" -> "echo 2 > made; echo
                     '{\"score\": 2}' > metrics.json"
        next (exec)  inputs.data: tree:… -> tree:… (`base` changed: parameters.command.2: "echo 1 >
                     made; echo '{\"score\": 1}' > metrics.json" -> "echo 2 > made; echo '{\"score\": 2}' > metrics.json")

        stage  metric  old  new  change
        ─────────────────────────────────────────
        base   score     1    2      +1  better

        2 stages differ, 1 unchanged
    "#]].assert_eq(&told(&place, &diff));
    assert!(diff.contains("(`base` changed: parameters.command.2: "), "{diff}");
    assert_eq!(place.run(&["diff", &names[0], &names[1]]).expect_exit(0).stdout, diff);
    let json: Value =
        serde_json::from_str(&place.run(&["diff", "last~1", "last", "--json"]).expect_exit(0).stdout).unwrap();
    assert_eq!((&json["unchanged"], &json["overrides"]["new"]), (&json!(1), &json!(["vars.n=2"])));
    assert_eq!(
        json["stages"][0]["metrics"][0],
        json!({"name": "score", "old": 1.0, "new": 2.0, "change": 1.0, "is": "better"})
    );
}

#[test]
fn status_is_one_document_for_programs() {
    let place = place();
    write(&place, SAYS);
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    let status: Value = serde_json::from_str(&place.run(&["status", "--json"]).expect_exit(0).stdout).unwrap();
    assert_eq!((&status["format"], &status["run"]), (&json!(1), &json!(runs(&place)[0])));
    let stage = &status["stages"][0];
    assert_eq!(
        (&stage["outcome"], &stage["executed"], &stage["actions"][0]["state"]),
        (&json!("done"), &json!(true), &json!("finished"))
    );
    assert!(fs::read(stage["actions"][0]["log"].as_str().unwrap()).unwrap().starts_with(b"one\n"));
}

#[test]
fn the_shipped_pipeline_has_a_graph_in_every_format() {
    let place = place();
    let file = format!("{}/pipelines/rlhf.yaml", program::ROOT);
    let graph = |format| place.run(&["graph", &file, "--format", format]).expect_exit(0).stdout;
    let dot = graph("dot");
    assert!(dot.contains("\"ppo_1\" -> \"eval\" [label=\"judged by\", style=dashed, constraint=false];"), "{dot}");
    assert!(dot.contains("\"sft\" -> \"ppo_1\" [label=\"rule\", style=dotted];"), "{dot}");
    assert!(graph("mermaid").starts_with("flowchart LR\n  f0[/"));
    let text = place.run(&["graph", &file]).expect_exit(0).stdout;
    let order: Vec<&str> =
        text.lines().skip(2).filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()).collect();
    let at = |name| order.iter().position(|known| *known == name).unwrap_or_else(|| panic!("{text}"));
    assert!(at("sft") < at("ppo_1") && at("ppo_1") < at("ppo_2") && at("ppo_2") < at("eval"), "{text}");
    assert!(!place.at(".pipeline").exists());
    place.run(&["graph", "none.yaml"]).expect_exit(2);
}

#[test]
fn what_cannot_be_found_is_said_with_what_there_is() {
    let place = place();
    let mut said = Vec::new();
    let mut ask = |arguments: &[&str]| said.push(ran(place.command(arguments)).expect_exit(2).stderr);
    ask(&["status"]);
    ask(&["log", "a"]);
    ask(&["watch"]);
    ask(&["diff", "last~1", "last"]);
    write(&place, SAYS);
    ask(&["status", "toy.yaml"]);
    ask(&["explain", "a", "toy.yaml", "--run", "last"]);
    for _ in 0..2 {
        place.run(&["run", "toy.yaml"]).expect_exit(0);
    }
    ask(&["status", "--run", "1999"]);
    ask(&["status", "--run", "20"]);
    ask(&["diff", "last~2", "last"]);
    ask(&["explain", "b"]);
    ask(&["log", "ab", "toy.yaml"]);
    expect![[r#"
        error: no run was found in this directory or one below it: name the pipeline file
        error: no run was found in this directory or one below it: name the pipeline file
        error: no run was found in this directory or one below it: name the pipeline file
        error: no run was found in this directory or one below it: name the pipeline file
        error: toy.yaml was not run yet: `pipeline run toy.yaml`
        error: toy.yaml was not run yet: `pipeline run toy.yaml`
        error: there is no run `1999`; the last ones are RUN2, RUN1
        error: `20` may mean RUN2, RUN1: write more of the name
        error: there is no run `last~2`; the last ones are RUN2, RUN1
        error: the last run (toy.yaml) has no stage `b`: did you mean `a`?
        error: the last run (toy.yaml) has no stage `ab`: did you mean `a`?
    "#]]
    .assert_eq(&told(&place, &said.concat()));
}
