//! Why a stage would run now: every kind of cause on a pipeline of shell commands, followed to where it began.

#[path = "support/program.rs"]
mod program;

use expect_test::expect;
use program::{Place, files, place};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const TOY: &str = r#"
name: toy
vars: {word: warm}
stages:
  base:
    kind: exec
    from: {text: words.txt}
    with: {command: [sh, -c, "cat in/text.txt > made; echo ${word} >> made"], outputs: [made]}
  mid:
    kind: exec
    from: {data: base}
    with: {command: [sh, -c, "cp in/data/made made"], outputs: [made]}
  last:
    kind: exec
    from: {data: mid}
    with: {command: [sh, -c, "cat in/data/made > made"], outputs: [made]}
"#;

/// A place where the toy was run once.
fn was_run() -> Place {
    let place = place();
    place.write("words.txt", "one\n");
    place.write("toy.yaml", TOY);
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    place
}

/// The section `now` of `explain`. Digests are cut: they say nothing to a reader of this file.
fn now(place: &Place, stage: &str) -> String {
    let text = place.run(&["explain", stage, "toy.yaml"]).expect_exit(0).stdout;
    let section = text.split("\n\n").find(|section| section.starts_with("now ")).unwrap_or_else(|| panic!("{text}"));
    let mut words = Vec::new();
    for word in section.split(' ') {
        let cut = ["tree:", "file.txt:"].into_iter().find(|sort| word.trim_start_matches('(').starts_with(sort));
        words.push(cut.map_or_else(|| word.to_owned(), |sort| format!("{sort}…")));
    }
    words.join(" ")
}

fn edit(place: &Place, from: &str, to: &str) {
    let text = place.read("toy.yaml");
    assert!(text.contains(from), "{text}");
    place.write("toy.yaml", &text.replace(from, to));
}

/// The journals, oldest first.
fn journals(place: &Place) -> Vec<PathBuf> {
    files(&place.at(".pipeline/runs")).into_iter().filter(|path| path.ends_with("journal.jsonl")).collect()
}

/// Makes the last journal name another action of the stage, as if it had been written when that was so.
fn was_another(place: &Place, stage: &str, change: impl Fn(&mut Value)) {
    let journal = journals(place).pop().unwrap();
    let (mut lines, mut is_found) = (String::new(), false);
    for line in fs::read_to_string(&journal).unwrap().lines() {
        let mut event: Value = serde_json::from_str(line).unwrap();
        if event["stage"] == stage && event["action"].is_object() {
            change(&mut event["action"]);
            event["key"] = json!("0".repeat(64));
            is_found = true;
        }
        lines += &format!("{event}\n");
    }
    assert!(is_found, "{lines}");
    fs::write(journal, lines).unwrap();
    // The result belongs to that other action.
    fs::remove_dir_all(place.at(".pipeline/store/v1/actions")).unwrap();
}

#[test]
fn what_is_done_is_up_to_date() {
    expect!["now  up to date"].assert_eq(&now(&was_run(), "last"));
}

#[test]
fn a_changed_parameter_is_named_with_both_values_and_from_downstream_too() {
    let place = was_run();
    edit(&place, "word: warm", "word: cold");
    expect![[r#"
        now      would run
        because  parameters.command.2: "cat in/text.txt > made; echo warm >> made" -> "cat in/text.txt > made; echo cold >>
                 made""#]].assert_eq(&now(&place, "base"));
    expect![[r#"
        now      would run
        because  `mid` would run: `base` would run: parameters.command.2: "cat in/text.txt > made; echo warm >> made" -> "cat
                 in/text.txt > made; echo cold >> made""#]].assert_eq(&now(&place, "last"));
}

#[test]
fn a_changed_file_is_named() {
    let place = was_run();
    place.write("words.txt", "two\n");
    expect![[r#"
        now      would run
        because  inputs.text: file.txt:… -> file.txt:… (words.txt was changed)"#]]
    .assert_eq(&now(&place, "base"));
    expect![[r#"
        now      would run
        because  `base` would run: inputs.text: file.txt:… -> file.txt:… (words.txt was changed)"#]]
    .assert_eq(&now(&place, "mid"));
}

#[test]
fn an_input_that_was_made_anew_is_followed_to_the_root() {
    let place = was_run();
    edit(&place, "word: warm", "word: cold");
    // In this run `base` and `mid` are made anew, and `last` is not reached.
    edit(&place, "from: {data: mid}", "from: {data: mid, more: broken}");
    place.write(
        "toy.yaml",
        &(place.read("toy.yaml") + "  broken: {kind: exec, with: {command: [sh, -c, \"exit 3\"]}}\n"),
    );
    place.run(&["run", "toy.yaml", "--keep-going"]).expect_exit(1);
    edit(&place, "more: broken", "");
    expect!["now  up to date"].assert_eq(&now(&place, "mid"));
    expect![[r#"
        now      would run
        because  inputs.data: tree:… -> tree:… (`mid` changed: `base` changed: parameters.command.2:
                 "cat in/text.txt > made; echo warm >> made" -> "cat in/text.txt > made; echo cold >> made")"#]]
    .assert_eq(&now(&place, "last"));
}

#[test]
fn another_stage_on_the_port_is_said_to_be_one() {
    let place = was_run();
    edit(&place, "word: warm", "word: cold");
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    edit(&place, "from: {data: mid}", "from: {data: words.txt}");
    expect![[r#"
        now      would run
        because  inputs.data: tree:… -> file.txt:… (words.txt in the place of mid)"#]]
    .assert_eq(&now(&place, "last"));
}

#[test]
fn a_newer_version_of_the_kind_is_said_to_be_one() {
    let place = was_run();
    let version = stages::kinds::kind("exec").unwrap().version;
    was_another(&place, "base", |action| action["version"] = json!(version - 1));
    let told = now(&place, "base").replace(&format!("version {version}"), "version NEW");
    expect![[r#"
        now      would run
        because  `exec` is of version NEW now, it was of OLD"#]]
    .assert_eq(&told.replace(&format!("was of {}", version - 1), "was of OLD"));
}

#[test]
fn another_seed_is_named() {
    let place = was_run();
    was_another(&place, "base", |action| action["seed"] = json!(7));
    expect![[r#"
        now      would run
        because  seed: 7 -> absent"#]]
    .assert_eq(&now(&place, "base"));
}

#[test]
fn another_salt_is_named() {
    let place = was_run();
    edit(&place, "name: toy", "name: toy\nsalt: again");
    expect![[r#"
        now      would run
        because  salt: absent -> "again""#]]
    .assert_eq(&now(&place, "base"));
}

#[test]
fn a_lost_result_is_said_to_be_lost() {
    let place = was_run();
    fs::remove_dir_all(place.at(".pipeline/store/v1/actions")).unwrap();
    expect![[r#"
        now      would run
        because  its result is no longer in the store"#]]
    .assert_eq(&now(&place, "base"));
}

#[test]
fn a_stage_that_failed_or_is_new_says_so() {
    let place = was_run();
    edit(&place, "cp in/data/made made\"]", "exit 3\"]");
    place.run(&["run", "toy.yaml"]).expect_exit(1);
    expect![[r#"
        now      would run
        because  it failed last time"#]]
    .assert_eq(&now(&place, "mid"));
}

#[test]
fn a_gate_that_decides_otherwise_is_a_cause_downstream() {
    let place = place();
    let toy = r#"
name: toy
stages:
  base: {kind: exec, with: {command: [sh, -c, "echo base > made"], outputs: [made]}}
  tuned:
    kind: exec
    from: {policy: base}
    incumbent: policy
    metrics: {score: higher}
    with: {command: [sh, -c, "echo tuned > made; echo '{\"score\": 0.5}' > metrics.json"], outputs: [made]}
    gate: {require: score > 0.4, on_fail: keep}
  after:
    kind: exec
    from: {policy: tuned}
    with: {command: [sh, -c, "cp in/policy/made made"], outputs: [made]}
"#;
    place.write("toy.yaml", toy);
    place.run(&["run", "toy.yaml"]).expect_exit(0);
    edit(&place, "score > 0.4", "score > 0.6");
    expect!["now  up to date; its gate keeps the incumbent"].assert_eq(&now(&place, "tuned"));
    expect![[r#"
        now      would run
        because  inputs.policy: tree:… -> tree:… (`tuned` changed: its gate lets the incumbent (base) go
                 on, it was step 0)"#]]
    .assert_eq(&now(&place, "after"));
}

#[test]
fn where_now_cannot_be_known_one_line_says_why_and_the_rest_is_explained() {
    let place = was_run();
    edit(&place, "kind: exec\n    from: {data: mid}", "kind: exce\n    from: {data: mid}");
    expect![[r#"
        now      not known
        because  toy.yaml has mistakes now: `pipeline check toy.yaml` lists them"#]]
    .assert_eq(&now(&place, "last"));
    place.write("toy.yaml", &TOY.replace("last:", "end:"));
    expect![[r#"
        now      not known
        because  toy.yaml has no stage `last` any more"#]]
    .assert_eq(&now(&place, "last"));
    fs::remove_file(place.at("toy.yaml")).unwrap();
    let explained = place.run(&["explain", "last"]).expect_exit(0).stdout;
    assert!(explained.contains("toy.yaml is gone") && explained.contains("run in"), "{explained}");
}

#[test]
fn a_result_that_came_out_in_two_ways_is_not_deterministic() {
    let place = was_run();
    let records = files(&place.at(".pipeline/store/v1/actions"));
    let explained = |place: &Place| place.run(&["explain", "base", "toy.yaml"]).expect_exit(0).stdout;
    assert!(!explained(&place).contains("deterministic"));
    for record in records.iter().filter(|path| path.is_file()) {
        fs::copy(record, record.with_extension("variant-1.json")).unwrap();
    }
    assert!(explained(&place).contains("not deterministic  2 variants; the first is kept"), "{}", explained(&place));
}

#[test]
fn plan_keeps_to_the_first_cause() {
    let place = was_run();
    edit(&place, "word: warm", "word: cold");
    let plan = place.run(&["plan", "toy.yaml"]).expect_exit(0).stdout;
    let line = plan.lines().find(|line| line.starts_with("last")).unwrap();
    assert!(line.trim_end().ends_with("`mid` would run"), "{plan}");
}
