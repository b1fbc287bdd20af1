//! Gates, failures and the machinery of a run, on pipelines of shell commands: seen from outside, through exit codes,
//! events and files.

#[path = "support/program.rs"]
mod program;

use expect_test::expect;
use program::{Events, Place, place, word};
use std::fs;

/// Stages of one shell command each. `HERE` in a command is the place's own directory.
fn write(place: &Place, stages: &str) {
    let here = place.path().display().to_string();
    place.write("toy.yaml", &format!("name: toy\nstages:\n{}", stages.replace("HERE", &here)));
}

fn run(place: &Place, stages: &str, exit: i32) -> Events {
    write(place, stages);
    place.run(&["run", "toy.yaml", "--json"]).expect_exit(exit).events()
}

/// The number of runs of a command that adds a line to this file each time.
fn marks(place: &Place, name: &str) -> usize {
    fs::read_to_string(place.at(name)).unwrap_or_default().lines().count()
}

fn cause<'a>(events: &'a Events, stage: &str) -> &'a str {
    word(&events.outcome(stage)["cause"])
}

/// A model, and a stage that makes another from it with these `metrics`.
fn promotion(metrics: &str, gate: &str) -> String {
    format!(
        r#"
  base: {{kind: exec, with: {{command: [sh, -c, "echo base > model"], outputs: [model]}}}}
  tuned:
    kind: exec
    from: {{policy: base}}
    incumbent: policy
    metrics: {{score: higher, cost: lower}}
    with:
      command: [sh, -c, "echo tuned > model; echo '{metrics}' > metrics.json"]
      outputs: [model]
    gate: {gate}
  after:
    kind: exec
    from: {{policy: tuned}}
    with: {{command: [sh, -c, "cat in/policy/model > seen; echo x >> HERE/after"], outputs: [seen]}}
  beside: {{kind: exec, with: {{command: [sh, -c, "echo x >> HERE/beside"]}}}}
"#
    )
}

#[test]
fn a_gate_that_stops_skips_what_stands_on_it_and_nothing_else() {
    let place = place();
    let stopped = run(&place, &promotion(r#"{\"score\": 0.4}"#, "score > 0.5"), 3);
    assert_eq!((stopped.decision("tuned"), stopped.ending("tuned")), ("fail", "stopped"));
    assert_eq!(word(&stopped.outcome("after")["because"]), "the gate of `tuned` is closed");
    assert_eq!((stopped.ending("beside"), marks(&place, "beside"), marks(&place, "after")), ("done", 1, 0));
    // Lowering the threshold runs the stages that waited for this gate, and only those.
    let opened = run(&place, &promotion(r#"{\"score\": 0.4}"#, "score > 0.3"), 0);
    assert_eq!((opened.executed(), marks(&place, "beside")), (vec!["after"], 1));
}

#[test]
fn a_gate_that_keeps_lets_the_incumbent_go_on() {
    let place = place();
    let gate = "{require: score > 0.5, on_fail: keep}";
    let kept = run(&place, &promotion(r#"{\"score\": 0.4}"#, gate), 0);
    assert_eq!((kept.decision("tuned"), kept.outcome("tuned")["kept"].as_bool()), ("fail", Some(true)));
    assert_eq!(word(&kept.verdict("tuned")["carries"]), "the incumbent (base)");
    assert_eq!(kept.content("tuned"), kept.content("base"));
    assert_eq!(word(&kept.started("after")["action"]["inputs"]["policy"]), kept.content("base"));
    let passed = run(&place, &promotion(r#"{\"score\": 0.6}"#, gate), 0);
    assert_eq!(word(&passed.started("after")["action"]["inputs"]["policy"]), passed.content("tuned"));
    assert_ne!(passed.content("tuned"), passed.content("base"));
}

#[test]
fn a_number_that_is_none_opens_no_gate_and_keeps_no_incumbent() {
    for (metrics, says) in [
        (r#"{\"score\": NaN}"#, "score"),
        (r#"{\"score\": null}"#, "score"),
        (r#"{\"score\": Infinity}"#, "score"),
        (r#"{\"cost\": 1}"#, "score"),
    ] {
        for gate in [
            "{require: score > 0.5, on_fail: keep}",
            "{require: not score > 0.5, on_fail: keep}",
            "{require: score > 0.5 or cost < 0, on_fail: keep}",
            "{select: {best: score}, on_fail: keep}",
            "{select: {where: score > 0.5}, on_fail: keep}",
        ] {
            let place = place();
            let erred = run(&place, &promotion(metrics, gate), 1);
            let told = format!("{metrics} under {gate}: {}", erred.verdict("tuned"));
            assert_eq!((erred.decision("tuned"), erred.ending("tuned")), ("error", "failed"), "{told}");
            assert!(cause(&erred, "tuned").contains(says), "{told}");
            assert_eq!((erred.ending("after"), marks(&place, "after"), marks(&place, "beside")), ("skipped", 0, 1));
        }
    }
}

#[test]
fn what_is_only_observed_blocks_nothing_even_when_it_errs() {
    let place = place();
    let gate = "{require: score > 0.5, warn: score > 0.9, observe: cost < 1}";
    let passed = run(&place, &promotion(r#"{\"score\": 0.6}"#, gate), 0);
    let said: Vec<String> = passed.verdict("tuned")["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| format!("{} {}", word(&rule["role"]), word(&rule["decision"])))
        .collect();
    assert_eq!(said, ["require pass", "warn fail", "observe error"]);
    assert_eq!(passed.decision("tuned"), "pass");
}

#[test]
fn a_promotion_against_a_warning_says_so_wherever_its_verdict_is_told() {
    let place = place();
    let told = |gate: &str| {
        write(&place, &promotion(r#"{\"score\": 0.6, \"cost\": 2}"#, gate));
        let ran = place.run(&["run", "toy.yaml"]).expect_exit(0);
        let looks = [&["status", "toy.yaml"][..], &["gate", "show", "tuned", "toy.yaml"]];
        let shown = looks.map(|verb| place.run(verb).expect_exit(0).stdout);
        let all = [ran.stderr, ran.stdout].into_iter().chain(shown);
        // The columns of a table fold long texts.
        all.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    let broken = told("{require: score > 0.5, warn: [score > 0.9, cost < 1, score < 1], observe: cost < 0}");
    for text in &broken[..1] {
        assert!(
            text.contains(
                "tuned: gate passed, step 0 goes on, although it breaks 2 warnings: `score > 0.9`, `cost < 1`"
            ),
            "{text}"
        );
    }
    assert!(
        broken[3].contains("gate pass: step 0 goes on, although it breaks 2 warnings: `score > 0.9`, `cost < 1`"),
        "{}",
        broken[3]
    );
    for text in &broken[1..3] {
        assert!(text.contains("although it breaks"), "{text}");
    }
    // A candidate that was not promoted breaks nothing that went on, and one that keeps to all has nothing to tell.
    for gate in ["{require: score > 0.9, warn: cost < 1, on_fail: keep}", "{require: score > 0.5, warn: cost < 3}"] {
        for text in told(gate) {
            assert!(!text.contains("breaks"), "{text}");
        }
    }
}

#[test]
fn a_selection_that_leaves_nothing_is_a_fail() {
    let place = place();
    let gate =
        |where_: &str| format!("{{select: {{best: score, where: {where_}}}, require: score > 0, on_fail: keep}}");
    let none = run(&place, &promotion(r#"{\"score\": 0.6, \"cost\": 2}"#, &gate("cost < 1")), 0);
    assert_eq!((none.decision("tuned"), none.outcome("tuned")["kept"].as_bool()), ("fail", Some(true)));
    assert!(word(&none.verdict("tuned")["select"]).contains("cost 2 is not < 1"), "{}", none.verdict("tuned"));
    let one = run(&place, &promotion(r#"{\"score\": 0.6, \"cost\": 2}"#, &gate("cost < 3")), 0);
    assert_eq!((one.decision("tuned"), one.outcome("tuned")["kept"].as_bool()), ("pass", Some(false)));
}

#[test]
fn a_rule_may_ask_for_the_numbers_of_another_stage() {
    let place = place();
    let stages = r#"
  one: {kind: exec, metrics: {score: higher}, with: {command: [sh, -c, "echo '{\"score\": 0.25}' > metrics.json"]}}
  two:
    kind: exec
    metrics: {score: higher}
    with: {command: [sh, -c, "echo '{\"score\": 0.75}' > metrics.json"]}
    gate: score >= 3 * one.score and not score > 1
"#;
    let passed = run(&place, stages, 0);
    assert_eq!(passed.decision("two"), "pass");
    let failed = run(&place, &stages.replace(">= 3 *", "> 3 *"), 3);
    assert_eq!((failed.decision("two"), failed.of("started").count()), ("fail", 0));
}

/// The causes when `doomed` fails by this command; the stage beside it is finished, and the report has the cause.
fn causes_of(command: &str) -> String {
    let place = place();
    let stages = format!(
        "  doomed: {{kind: exec, with: {{command: [sh, -c, \"{command}\"], outputs: [model]}}}}
  after: {{kind: exec, from: {{model: doomed}}, with: {{command: [sh, -c, \"echo x >> HERE/after\"]}}}}
  beside: {{kind: exec, with: {{command: [sh, -c, \"echo x >> HERE/beside\"]}}}}\n"
    );
    write(&place, &stages);
    let failed = place.run(&["run", "toy.yaml", "--json", "--keep-going"]).expect_exit(1).events();
    assert_eq!(
        (failed.ending("doomed"), failed.ending("after"), failed.ending("beside")),
        ("failed", "skipped", "done")
    );
    assert_eq!((marks(&place, "after"), marks(&place, "beside")), (0, 1));
    let told = cause(&failed, "doomed").to_owned();
    // A person is told the same.
    let shown = place.run(&["run", "toy.yaml"]).expect_exit(1).stdout;
    let line = told.lines().next().unwrap();
    assert!(shown.contains(line), "no `{line}` in\n{shown}");
    place.wait_for_silence();
    told
}

#[test]
fn a_command_that_fails_is_reported_with_what_it_said() {
    expect![[r#"
        run `sh`: exit status: 7
          loading
          no such card"#]]
    .assert_eq(&causes_of("echo loading; echo no such card >&2; exit 7"));
}

#[test]
fn a_worker_that_is_killed_is_reported_with_how_it_died() {
    expect![[r#"
        the worker was killed (SIGKILL): probably out of memory
          loading"#]]
    .assert_eq(&causes_of("echo loading; kill -KILL $PPID; sleep 60"));
    expect![[r#"
        the worker aborted (SIGABRT): out of memory, or an abort in native code
          tcache"#]]
    .assert_eq(&causes_of("echo tcache >&2; kill -ABRT $PPID; sleep 60"));
}

#[test]
fn a_command_that_does_not_write_what_it_declared_has_failed() {
    expect!["collect the outputs: the command ended well but did not write `model`"]
        .assert_eq(&causes_of("echo base > modle"));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let place = place();
    let failed = run(&place, "  one: {kind: exec, with: {command: [no-such-program, now]}}\n", 1);
    let told = cause(&failed, "one");
    assert!(told.starts_with("run `no-such-program`: no such program in /usr/local/sbin:"), "{told}");
}

#[test]
fn a_stage_that_outstays_its_time_is_ended() {
    let place = place();
    let failed = run(&place, "  one: {kind: exec, timeout: 1s, with: {command: [sh, -c, \"sleep 600\"]}}\n", 1);
    expect!["the worker was ended after 1s, the stage's `timeout`"].assert_eq(cause(&failed, "one"));
    place.wait_for_silence();
}

#[test]
fn stages_that_differ_in_nothing_but_their_name_run_once() {
    let place = place();
    let stage = |name: &str| {
        format!(
            "  {name}: {{kind: exec, with: {{command: [sh, -c, \"echo x >> HERE/marks; echo 1 > n\"], outputs: [n]}}}}\n"
        )
    };
    write(&place, &[stage("one"), stage("two")].concat());
    let events = place.run(&["run", "toy.yaml", "--json", "--jobs", "2"]).expect_exit(0).events();
    assert_eq!((marks(&place, "marks"), events.of("started").count()), (1, 1));
    assert_eq!(events.content("one"), events.content("two"));
}

#[test]
fn early_work_that_comes_out_the_same_stops_the_rerun_there() {
    let place = place();
    let stages = |comment: &str| {
        format!(
            "  one: {{kind: exec, with: {{command: [sh, -c, \"echo 1 > n {comment}\"], outputs: [n]}}}}
  two: {{kind: exec, from: {{n: one}}, with: {{command: [sh, -c, \"cat in/n/n > m\"], outputs: [m]}}}}\n"
        )
    };
    assert_eq!(run(&place, &stages(""), 0).executed(), ["one", "two"]);
    assert_eq!(run(&place, &stages("# differently"), 0).executed(), ["one"]);
}

#[test]
fn two_jobs_run_side_by_side() {
    // Each ends well only if it sees the other at work.
    let stage = |own: &str, other: &str| {
        let wait = format!("for i in $(seq 300); do test -e HERE/{other} && exit 0; sleep 0.1; done; exit 1");
        format!("  {own}: {{kind: exec, with: {{command: [sh, -c, \"touch HERE/{own}; {wait}\"]}}}}\n")
    };
    let place = place();
    write(&place, &[stage("left", "right"), stage("right", "left")].concat());
    place.run(&["run", "toy.yaml", "--jobs", "2"]).expect_exit(0);
}

#[test]
fn json_is_all_there_is_on_stdout() {
    let place = place();
    write(&place, &promotion(r#"{\"score\": 0.6}"#, "score > 0.5"));
    let ran = place.run(&["run", "toy.yaml", "--json"]).expect_exit(0);
    // `events` takes nothing but JSON objects with an `event`.
    let events = ran.events();
    let kinds: Vec<&str> = events.0.iter().map(|event| word(&event["event"])).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"run_started"), Some(&"run_finished")));
    let journals = program::files(&place.at(".pipeline/runs"));
    let journal = journals.iter().find(|path| path.ends_with("journal.jsonl")).unwrap();
    let told = ran.stdout.lines().filter(|line| !line.contains("\"progressed\"")).collect::<Vec<_>>();
    assert_eq!(fs::read_to_string(journal).unwrap().lines().collect::<Vec<_>>(), told);
}

#[test]
fn the_store_lies_where_it_is_told_to() {
    let place = place();
    write(&place, "  one: {kind: exec, with: {command: [sh, -c, \"echo x >> HERE/marks\"]}}\n");
    let run = |environment: Option<&str>, arguments: &[&str]| {
        let mut command = place.command(&["run", "toy.yaml"]);
        command.args(arguments);
        if let Some(store) = environment {
            command.env("PIPELINE_STORE", store);
        }
        program::ran(command).expect_exit(0);
        ["of_environment", "of_option", ".pipeline"].map(|name| place.at(name).join("store").is_dir())
    };
    assert_eq!(run(Some("of_environment"), &[]), [true, false, false]);
    assert_eq!(run(Some("of_environment"), &["--store", "of_option"]), [true, true, false]);
    assert_eq!(run(Some(""), &[]), [true, true, true]);
    // Each store knows only its own content.
    assert_eq!(marks(&place, "marks"), 3);
    run(None, &["--store", "of_environment"]);
    assert_eq!(marks(&place, "marks"), 3);
}

#[test]
fn damage_in_the_store_is_mended_and_never_handed_on() {
    let place = place();
    let stages = |more: &str| {
        format!(
            "  one: {{kind: exec, with: {{command: [sh, -c, \"echo first > n; echo x >> HERE/marks\"], outputs: [n]}}}}
  two: {{kind: exec, from: {{n: one}}, with: {{command: [sh, -c, \"cat in/n/n > m {more}\"], outputs: [m]}}}}\n"
        )
    };
    let first = run(&place, &stages(""), 0).content("two").to_owned();
    let blobs = program::files(&place.at(".pipeline/store/v1/blobs"));
    for blob in blobs.iter().filter(|path| path.is_file() && fs::read(path).unwrap() == b"first\n") {
        fs::remove_file(blob).unwrap();
        fs::write(blob, "wrong\n").unwrap();
    }
    let mended = run(&place, &stages("# again"), 0);
    assert_eq!((mended.content("two"), marks(&place, "marks")), (first.as_str(), 2));
}

#[test]
fn the_answers_of_a_command_that_measures_itself_are_printed_beside_those_of_its_incumbent() {
    let place = place();
    place.write(
        "make.sh",
        r#"
            echo "$1" > model
            echo '{"score": 0.5}' > metrics.json
            echo '{"id": 1, "prompt": "p1", "text": "WORD words", "score": 0.75}' | sed "s/WORD/$1/" > items.jsonl
            echo '{"id": 2, "prompt": "p2", "text": "the same", "score": 0.25}' >> items.jsonl
        "#,
    );
    let stages = r#"
  base:
    kind: exec
    from: {make: ./make.sh}
    with: {command: sh in/make.sh kind, outputs: [model]}
    metrics: {score: higher}
  tuned:
    kind: exec
    from: {make: ./make.sh, policy: base}
    incumbent: policy
    with: {command: sh in/make.sh warm, outputs: [model]}
    metrics: {score: higher}
    gate: {require: score > incumbent.score with 95% confidence, on_fail: hold}
"#;
    run(&place, stages, 3);
    let answers = place.run(&["answers", "tuned", "toy.yaml", "--changed", "--format", "csv"]).expect_exit(0);
    expect![[r#"
        id,prompt,answer,score,against,against_score,gain,is_changed,result
        1,p1,warm words,0.75,kind words,0.75,0.0,true,tie_changed
    "#]]
    .assert_eq(&answers.stdout);
}
