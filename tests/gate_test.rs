//! `gate test` as a user meets it: the printed text, exit codes, and the same verdict as a run.

#[path = "support/program.rs"]
mod program;

use expect_test::expect;
use program::{ROOT, place, word};
use std::fs;

const TESTS: &str = "tests:
  - {name: a good one, kind: rm, gate: accuracy > 0.6, candidate: {accuracy: 0.7}, expect: pass}
  - {name: a bad one, kind: rm, gate: accuracy > 0.6, candidate: {accuracy: 0.5}, expect: {gate: fail, carries: nothing}}
";

#[test]
fn all_passed_is_exit_code_0_and_nothing_is_written() {
    let place = place();
    place.write("a.gates.yaml", TESTS);
    let before = place.snapshot();
    let passed = place.run(&["gate", "test", "a.gates.yaml"]).expect_exit(0);
    expect![[r#"
        ok      a good one
        ok      a bad one
        2 passed, 0 failed
    "#]]
    .assert_eq(&passed.stdout);
    assert_eq!((passed.stderr.as_str(), place.snapshot()), ("", before));
}

#[test]
fn a_failed_test_is_exit_code_1_and_tells_what_was_said() {
    let place = place();
    place.write("a.gates.yaml", TESTS);
    place.write("b.gates.yaml", &TESTS.replace("accuracy: 0.5", "accuracy: 0.61"));
    let rm = "
  - name: the checkpoint
    kind: rm
    gate: {select: {best: accuracy}, require: [accuracy > 0.6, ece < 0.1], warn: brier < 0.2}
    candidates: {50: {accuracy: 0.7, ece: 0.2, brier: 0.3}, 100: {accuracy: 0.65, ece: 0.05}}
    expect: {gate: pass, step: 100, rules: [pass, pass], explains: [highest accuracy, within noise]}
";
    place.write("c.gates.yaml", &format!("tests:{rm}"));
    let failed = place.run(&["gate", "test", "a.gates.yaml", "b.gates.yaml", "c.gates.yaml"]).expect_exit(1);
    expect![[r#"
        a.gates.yaml:
        ok      a good one
        ok      a bad one
        b.gates.yaml:
        ok      a good one
        FAILED  a bad one
                gate: expected fail, said pass
                carries: expected nothing, said candidate
                require pass: accuracy 0.61 > 0.6 (by 0.01)
        c.gates.yaml:
        FAILED  the checkpoint
                gate: expected pass, said fail
                step: expected 100, said 50
                rules: expected pass, pass, said pass, fail
                explains: expected "within noise", said in no explanation
                select: highest accuracy: step 50 0.7 (step 100 0.65)
                require pass: accuracy 0.7 > 0.6 (by 0.1)
                require fail: ece 0.2 is not < 0.1 (over by 0.1)
                warn fail: brier 0.3 is not < 0.2 (over by 0.1)
        3 passed, 2 failed
    "#]]
    .assert_eq(&failed.stdout);
}

#[test]
fn a_file_that_is_wrong_is_exit_code_2_and_no_test_of_any_file_is_judged() {
    let place = place();
    place.write("a.gates.yaml", TESTS);
    place.write("b.gates.yaml", &TESTS.replace("{accuracy: 0.5}", "{acuracy: 0.5}"));
    place.write("empty.gates.yaml", "tests: []\n");
    let refused = place.run(&["gate", "test", "a.gates.yaml", "b.gates.yaml", "empty.gates.yaml"]).expect_exit(2);
    assert_eq!(refused.stdout, "");
    expect![[r#"
        error: unknown key `acuracy` of the candidate
         --> b.gates.yaml:3:67
          |
        3 |   - {name: a bad one, kind: rm, gate: accuracy > 0.6, candidate: {acuracy: 0.5}, expect: {gate: fail, carries: nothing}}
          |                                                                   ^^^^^^^
          |
          = help: did you mean `accuracy`?

        error: there are no tests
         --> empty.gates.yaml:1:1
          |
        1 | tests: []
          | ^^^^^
          |
          = help: tests: [{name: …, stage: ppo_1, candidate: {…}, expect: pass}]

    "#]].assert_eq(&refused.stderr);
    assert!(place.run(&["gate", "test", "gone.yaml"]).expect_exit(2).stderr.starts_with("error: read gone.yaml: "));
    place.run(&["gate", "test"]).expect_exit(2);
}

#[test]
fn the_tests_of_the_ready_made_gates_pass() {
    let file = format!("{ROOT}/pipelines/rlhf.gates.yaml");
    let passed = place().run(&["gate", "test", &file]).expect_exit(0);
    assert!(passed.stdout.ends_with(" passed, 0 failed\n"), "{}", passed.stdout);
    assert_eq!(passed.stderr, "");
    // Every gate of the pipeline is under test.
    let (pipeline, tests) =
        (fs::read_to_string(format!("{ROOT}/pipelines/rlhf.yaml")).unwrap(), fs::read_to_string(file).unwrap());
    let stages = pipeline
        .split("\nstages:")
        .nth(1)
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   ") && !line.trim_start().starts_with('#'));
    for stage in stages.map(|line| line.trim_start().split(':').next().unwrap()) {
        assert!(tests.contains(&format!("    stage: {stage}\n")), "{stage} has no test");
    }
}

/// The numbers of the published study, once through a run and once through a test.
#[test]
fn a_test_says_word_for_word_what_a_run_says_of_the_same_numbers() {
    let place = place();
    fs::copy(format!("{ROOT}/pipelines/published-table.yaml"), place.at("table.yaml")).unwrap();
    let events = place.run(&["run", "table.yaml", "--json"]).expect_exit(0).events();
    let mut tests = "pipeline: table.yaml\ntests:\n".to_owned();
    for stage in ["ppo_1", "ppo_2", "ppo_3", "ppo_4"] {
        let verdict = events.verdict(stage);
        let evidence = &verdict["evidence"];
        let carries = if word(&verdict["decision"]) == "pass" { "candidate" } else { "incumbent" };
        let explains: Vec<&str> =
            verdict["rules"].as_array().unwrap().iter().map(|rule| word(&rule["explanation"])).collect();
        let incumbent = &evidence["incumbent"]["metrics"];
        tests += &format!(
            "  - name: {stage}\n    stage: {stage}\n    candidate: {}\n    incumbent: {incumbent}\n    expect: {}\n",
            evidence["candidates"][0]["metrics"],
            serde_json::json!({"gate": verdict["decision"], "carries": carries, "explains": explains}),
        );
    }
    place.write("table.gates.yaml", &tests);
    let passed = place.run(&["gate", "test", "table.gates.yaml"]).expect_exit(0);
    assert!(passed.stdout.ends_with("4 passed, 0 failed\n"), "{}", passed.stdout);
}
