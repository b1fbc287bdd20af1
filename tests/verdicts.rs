//! Gates as a person sees them who must answer for a promotion: judged again by another rule, left to a person, and
//! shown with every number. The stages are one shell command each.

#[path = "support/program.rs"]
mod program;

use expect_test::expect;
use program::{Events, Place, place, word};
use std::fs;

/// `tuned` scores 40 items: each of the first `wins` is better than `base` by `gain`, and the others are worse.
fn write(place: &Place, gain: f64, wins: usize, gate: &str) {
    let lines = |score: &dyn Fn(usize) -> f64| {
        let row = |at: usize| format!("{{\"id\": {at}, \"score\": {}}}\n", score(at));
        (0..40).map(row).collect::<String>()
    };
    let base = |at: usize| (at % 7) as f64 / 10.0;
    let tuned = |at: usize| base(at) + if at < wins { gain } else { -gain } + (at % 3) as f64 / 100.0;
    place.write("base.jsonl", &lines(&base));
    place.write("tuned.jsonl", &lines(&tuned));
    let mean = |score: &dyn Fn(usize) -> f64| (0..40).map(score).sum::<f64>() / 40.0;
    let command = |name: &str, mean: f64| {
        format!("cp in/rows.jsonl items.jsonl; echo {name} > model; echo '{{\\\"score\\\": {mean}}}' > metrics.json")
    };
    let (base, tuned) = (command("base", mean(&base)), command("tuned", mean(&tuned)));
    let text = format!(
        r#"name: toy
stages:
  base:
    kind: exec
    from: {{rows: ./base.jsonl}}
    metrics: {{score: higher}}
    with: {{command: [sh, -c, "{base}"], outputs: [model]}}
  tuned:
    kind: exec
    from: {{policy: base, rows: ./tuned.jsonl}}
    incumbent: policy
    metrics: {{score: higher}}
    with: {{command: [sh, -c, "{tuned}"], outputs: [model]}}
    gate: {gate}
  after:
    kind: exec
    from: {{policy: tuned}}
    with: {{command: [sh, -c, "cat in/policy/model > seen"], outputs: [seen]}}
"#
    );
    place.write("toy.yaml", &text);
}

fn run(place: &Place, exit: i32) -> Events {
    place.run(&["run", "toy.yaml", "--json"]).expect_exit(exit).events()
}

const SURE: &str = "{require: score > base.score with 95% confidence, on_fail: hold}";

/// The first printed line, of stdout or stderr, that contains the word.
fn line<'a>(text: &'a str, word: &str) -> &'a str {
    text.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("no `{word}` in:\n{text}"))
}

#[test]
fn confidence_asks_for_more_than_a_lucky_mean() {
    let place = place();
    write(&place, 0.1, 22, SURE);
    let held = run(&place, 3);
    assert_eq!((held.decision("tuned"), held.ending("tuned"), held.ending("after")), ("unsure", "held", "skipped"));
    write(&place, 0.1, 30, SURE);
    assert_eq!(run(&place, 0).decision("tuned"), "pass");
    write(&place, 0.1, 10, SURE);
    assert_eq!(run(&place, 3).decision("tuned"), "fail");
    // The rule without confidence would have passed, and by luck.
    write(&place, 0.1, 22, "score > base.score");
    let plain = run(&place, 0);
    let said = plain.verdict("tuned").to_string();
    assert!(said.contains("within noise") && plain.decision("tuned") == "pass", "{said}");
}

#[test]
fn a_person_decides_where_a_gate_holds_and_the_decision_is_a_line_under_version_control() {
    let place = place();
    write(&place, 0.1, 22, SURE);
    let held = place.run(&["run", "toy.yaml"]).expect_exit(3);
    assert!(held.stdout.contains("`pipeline approve tuned toy.yaml --reason TEXT`"), "{}", held.stdout);
    let before = place.run(&["approve", "tuned", "toy.yaml"]).expect_exit(2);
    assert!(before.stderr.contains("--reason"), "{}", before.stderr);
    // The person who decides must have a name; a decision on a rule that has changed is refused.
    let nobody = ["approve", "tuned", "toy.yaml", "--reason", "read them all"];
    let nobody =
        place.command(&nobody).env_remove("GIT_AUTHOR_NAME").env_remove("USER").env_remove("USERNAME").output();
    assert!(String::from_utf8_lossy(&nobody.unwrap().stderr).contains("`--by NAME`"));
    let by_aoi = ["approve", "tuned", "toy.yaml", "--reason", "read them all", "--by", "aoi"];
    write(&place, 0.1, 22, &SURE.replace("95", "97"));
    let changed = place.run(&by_aoi).expect_exit(2);
    assert!(changed.stderr.contains("is another one now"), "{}", changed.stderr);
    write(&place, 0.1, 22, SURE);
    place.run(&by_aoi).expect_exit(0);
    let lines = place.read("toy.approvals.jsonl");
    assert_eq!(lines.lines().count(), 1);
    assert!(lines.contains(r#""decision":"approve","reason":"read them all","by":"aoi""#), "{lines}");
    let approved = run(&place, 0);
    assert_eq!((approved.decision("tuned"), approved.executed()), ("unsure", vec!["after"]));
    assert_eq!(word(&approved.verdict("tuned")["decided"]["by"]), "aoi");
    // A decision may be taken again, and both lines stay; a stage without a gate takes none.
    place.run(&["approve", "tuned", "toy.yaml", "--reason", "read them twice", "--by", "aoi"]).expect_exit(0);
    let lines = place.read("toy.approvals.jsonl");
    assert!(lines.contains("read them all") && lines.contains("read them twice"), "{lines}");
    let none = place.run(&["approve", "base", "toy.yaml", "--reason", "x", "--by", "aoi"]).expect_exit(2);
    assert!(none.stderr.contains("`base` has no gate"), "{}", none.stderr);
    // Another rule is another question: the decision has lapsed, and the run says so.
    write(&place, 0.1, 22, &SURE.replace("95", "99"));
    let lapsed = place.run(&["run", "toy.yaml"]).expect_exit(3);
    assert!(lapsed.stderr.contains("the decision of aoi on `tuned`"), "{}", lapsed.stderr);
    place.run(&["approve", "tuned", "--reject", "--reason", "too close to call", "--by", "ken"]).expect_exit(0);
    let rejected = run(&place, 0);
    assert_eq!(rejected.outcome("tuned")["kept"].as_bool(), Some(true));
    assert_eq!(rejected.content("tuned"), rejected.content("base"));
    // With the old rule the old decision holds again.
    write(&place, 0.1, 22, SURE);
    assert_eq!(run(&place, 0).outcome("tuned")["kept"].as_bool(), Some(false));
}

/// The same mean, the same model, other rows behind them.
#[test]
fn a_decision_lapses_with_the_rows_behind_a_mean() {
    let place = place();
    write(&place, 0.1, 22, SURE);
    run(&place, 3);
    place.run(&["approve", "tuned", "--reason", "read them all", "--by", "aoi"]).expect_exit(0);
    assert_eq!(run(&place, 0).ending("tuned"), "done");
    // The scores of two items change places: the mean is the same.
    let swapped = place.read("tuned.jsonl").replace("\"id\": 0,", "\"id\": x,").replace("\"id\": 5,", "\"id\": 0,");
    place.write("tuned.jsonl", &swapped.replace("\"id\": x,", "\"id\": 5,"));
    assert_eq!(run(&place, 3).ending("tuned"), "held");
}

#[test]
fn a_broken_table_is_an_error_of_the_rules_that_look_at_it_and_of_nothing_else() {
    let place = place();
    for (gate, exit, said) in [
        ("{require: score > 0, warn: score > base.score with 95% confidence}", 0, ["pass", "error"]),
        ("{require: score > 0, observe: score > base.score with 95% confidence}", 0, ["pass", "error"]),
        ("{require: [score > 0, score > base.score with 95% confidence]}", 1, ["pass", "error"]),
    ] {
        write(&place, 0.1, 30, gate);
        let twice = place.read("tuned.jsonl").replace("\"id\": 5,", "\"id\": 4,");
        place.write("tuned.jsonl", &twice);
        let ran = run(&place, exit);
        let rules = ran.verdict("tuned")["rules"].as_array().unwrap().clone();
        let decisions: Vec<&str> = rules.iter().map(|rule| word(&rule["decision"])).collect();
        assert_eq!(decisions, said, "{gate}");
        assert!(word(&rules[1]["explanation"]).contains("two items have the id `4`"), "{}", rules[1]);
    }
}

#[test]
fn a_file_of_decisions_that_cannot_be_read_stops_the_run_before_it_begins() {
    let place = place();
    write(&place, 0.1, 22, SURE);
    place.write("toy.approvals.jsonl", "<<<<<<< HEAD\n");
    let refused = place.run(&["run", "toy.yaml"]).expect_exit(2);
    assert!(refused.stderr.contains("toy.approvals.jsonl: line 1"), "{}", refused.stderr);
}

#[test]
fn another_rule_is_tried_on_what_is_stored_without_running_anything() {
    let place = place();
    write(&place, 0.1, 22, "{require: score > base.score, on_fail: keep}");
    run(&place, 0);
    write(&place, 0.1, 30, "{require: score > base.score, on_fail: keep}");
    run(&place, 0);
    let files = place.snapshot();
    let rule = "score > base.score by 0.05 with 95% confidence";
    let tried = place.run(&["gate", "what-if", "tuned", rule, "--all-runs"]).expect_exit(0);
    assert_eq!(place.snapshot(), files, "it leaves nothing behind");
    let shown: Vec<&str> = tried.stdout.lines().filter(|line| line.contains("pass  ")).collect();
    assert_eq!(shown.len(), 3, "{}", tried.stdout);
    assert!(line(&tried.stdout, "as stored now").contains("unsure"), "{}", tried.stdout);
    assert!(line(&tried.stdout, "These would run again").contains("after ("), "{}", tried.stdout);
    assert!(
        tried.stdout.contains("pass (step 0 goes on) -> unsure (the incumbent (base) goes on)"),
        "{}",
        tried.stdout
    );
    let wrong = place.run(&["gate", "what-if", "tuned", "scor > base.score"]).expect_exit(2);
    expect![[r#"
        error: unknown metric `scor`
         --> RULE:1:1
          |
        1 | scor > base.score
          | ^^^^
          |
          = help: did you mean `score`?

    "#]]
    .assert_eq(&wrong.stderr);
    let unknown = place.run(&["gate", "what-if", "tund", rule]).expect_exit(2);
    assert!(unknown.stderr.contains("did you mean `tuned`?"), "{}", unknown.stderr);
    // Before anything runs `plan` says what a changed rule costs.
    write(&place, 0.1, 30, &format!("{{require: {rule}, on_fail: keep}}"));
    let plan = place.run(&["plan", "toy.yaml"]).expect_exit(0);
    assert!(line(&plan.stdout, "the gate of tuned").contains("pass (step 0 goes on) -> unsure"), "{}", plan.stdout);
    assert!(line(&plan.stdout, "after  exec").contains("would run  ~"), "{}", plan.stdout);
    assert!(line(&plan.stdout, "nothing was run").contains("last time that took"), "{}", plan.stdout);
}

#[test]
fn a_gate_is_shown_with_its_numbers_for_any_run() {
    let place = place();
    write(&place, 0.1, 22, "{require: score > base.score, on_fail: keep}");
    run(&place, 0);
    write(&place, 0.1, 10, "{require: score > base.score, on_fail: keep}");
    run(&place, 0);
    let last = place.run(&["gate", "show", "tuned", "toy.yaml"]).expect_exit(0).stdout;
    assert!(line(&last, "gate ").contains("fail: the incumbent (base) goes on"), "{last}");
    assert!(line(&last, "candidate ").contains("tuned@0"), "{last}");
    let mut runs: Vec<String> = fs::read_dir(place.at(".pipeline/runs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    runs.sort();
    let first = place.run(&["gate", "show", "tuned", "--run", &runs[0]]).expect_exit(0).stdout;
    assert!(line(&first, "gate ").contains("pass: step 0 goes on"), "{first}");
    place.run(&["explain", "tuned", "toy.yaml", "--run", &runs[0]]).expect_exit(0);
    let none = place.run(&["gate", "show", "tuned", "--run", "1999"]).expect_exit(2);
    assert!(none.stderr.contains("there is no run `1999`") && none.stderr.contains(&runs[1]), "{}", none.stderr);
    let gateless = place.run(&["gate", "show", "after"]).expect_exit(2);
    assert!(gateless.stderr.contains("`after` has no gate"), "{}", gateless.stderr);
}

#[test]
fn what_rules_said_is_kept_and_a_damaged_table_is_made_again() {
    let place = place();
    write(&place, 0.1, 30, "{require: score > base.score with 95% confidence, on_fail: keep}");
    let first = run(&place, 0);
    let files = |under: &str| {
        let files = program::files(&place.at(".pipeline/store/v1").join(under)).into_iter();
        files.filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    let verdicts = || files("verdicts");
    // What the rules said, and where the look stands in the ledger.
    assert_eq!(verdicts().len(), 2);
    // Without its memory the gate reads the tables again, and finds the damage.
    verdicts().iter().for_each(|path| fs::remove_file(path).unwrap());
    let table = fs::read(place.at("tuned.jsonl")).unwrap();
    let blobs = files("blobs");
    // `exec` writes rows in its own spelling: the table is recognised by its content.
    let lines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    let tables: Vec<_> = blobs.iter().filter(|path| lines(&fs::read(path).unwrap()) == lines(&table)).collect();
    for path in &tables {
        let mut bytes = fs::read(path).unwrap();
        bytes[8] ^= 1;
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let again = run(&place, 0);
    assert_eq!(again.verdict("tuned")["rules"], first.verdict("tuned")["rules"]);
    assert!(again.executed().contains(&"tuned"), "{:?}", again.executed());
    assert_eq!(run(&place, 0).executed(), Vec::<&str>::new());
}

#[test]
fn the_rule_language_is_printed_from_its_own_table() {
    let shown = place().run(&["kinds", "--gates"]).expect_exit(0).stdout;
    for word in ["with NUMBER% confidence", "win_rate(STAGE over changed)", "quantile(FIELD, SHARE)", "slope(METRIC)"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}
