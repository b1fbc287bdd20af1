use super::*;
use crate::diagnostic::{Diagnostic, SourceText, render};
use expect_test::{Expect, expect};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

const PIPELINE: &str = "\
stages:
  base: {kind: pretrain, from: {text: ./corpus.jsonl}}
  sft: {kind: sft, from: {model: base, data: ./sft.jsonl}, gate: heldout_loss < 2.5}
  rm: {kind: rm, from: {model: sft, data: ./pairs.jsonl}, gate: {select: {best: accuracy, where: ece < 0.2}, require: accuracy > 0.6}}
  ppo_1:
    kind: ppo
    from: {policy: sft, reward: rm, prompts: ./prompts.jsonl}
    gate: {judge: eval, require: [mean_score > incumbent.mean_score, win_rate(sft over changed) > 0.5], on_fail: keep}
  eval: {kind: eval, from: {policy: ppo_1, reward: rm, prompts: ./heldout.jsonl}, gate: mean_score > sft.mean_score}
";

/// The file of tests beside a pipeline, its data and some items.
fn read_in(folder: &tempfile::TempDir, text: &str) -> Result<TestFile, String> {
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("rlhf.yaml", PIPELINE);
    write("wrong.yaml", &PIPELINE.replace("heldout_loss < 2.5", "heldout_los < 2.5"));
    write("corpus.jsonl", "{\"text\": \"a\"}\n");
    write("sft.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
    write("pairs.jsonl", "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n");
    write("prompts.jsonl", "{\"prompt\": \"a\"}\n");
    write("heldout.jsonl", "{\"prompt\": \"b\"}\n");
    write("two.jsonl", "{\"id\": 1, \"text\": \"a\", \"score\": 0.5}\n{\"id\": 2, \"text\": \"b\", \"score\": 1}\n");
    write("broken.jsonl", "{\"id\": 1}\n{\"id\"\n");
    let path = folder.path().join("rlhf.gates.yaml");
    let source = SourceText { path, text: text.to_owned(), overrides: Vec::new(), rule: None };
    let shown = |(source, mistakes): (SourceText, Vec<Diagnostic>)| {
        let name = PathBuf::from(source.path.file_name().unwrap());
        render(&SourceText { path: name, ..source }, &mistakes, false)
    };
    read(source, &|_| None).map_err(|mistaken| {
        let text: String = mistaken.into_iter().map(shown).collect();
        text.replace(&format!("{}/", folder.path().display()), "")
    })
}

fn refused(text: &str, expected: Expect) {
    let folder = tempfile::tempdir().unwrap();
    expected.assert_eq(&read_in(&folder, text).err().unwrap_or_else(|| "no mistakes".to_owned()));
}

/// Compares the messages of each test, and its unmet expectations, with `expected`.
fn judged(text: &str, expected: Expect) {
    let folder = tempfile::tempdir().unwrap();
    let tests = read_in(&folder, text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let mut told = String::new();
    for case in &tests.cases {
        let said = judge(case);
        let step = said.step.map(|step| format!(", step {step}")).unwrap_or_default();
        writeln!(told, "{}: {}{step}, {} carries", case.name, said.decision.word(), said.successor.word()).unwrap();
        said.select.iter().for_each(|why| writeln!(told, "  select: {why}").unwrap());
        for rule in &said.rules {
            writeln!(told, "  {} {}: {}", rule.role, rule.decision.word(), rule.explanation).unwrap();
        }
        for Mismatch { what, expected, said } in mismatches(&case.expected, &said) {
            writeln!(told, "  ! {what}: expected {expected}, said {said}").unwrap();
        }
    }
    expected.assert_eq(&told);
}

/// Tables and verdicts from outside.
#[test]
fn paired_metrics_pass_where_the_exact_test_of_mcnemar_does() {
    let folder = tempfile::tempdir().unwrap();
    let text = include_str!("../../tests/golden/paired.gates.yaml");
    let tests = read_in(&folder, text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(tests.cases.len(), 2);
    for case in &tests.cases {
        let said = judge(case);
        assert_eq!(mismatches(&case.expected, &said), [], "{:?}", said.rules);
        assert!(said.rules[0].explanation.contains("exact McNemar test"), "{:?}", said.rules);
    }
}

#[test]
fn tables_that_grow_and_bounds_are_weighed_as_a_second_opinion_says() {
    let folder = tempfile::tempdir().unwrap();
    let text = include_str!("../../tests/golden/growing.gates.yaml");
    let tests = read_in(&folder, text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(tests.cases.len(), 18);
    for case in &tests.cases {
        let said = judge(case);
        assert_eq!(mismatches(&case.expected, &said), [], "{:?}", said.rules);
    }
}

#[test]
fn the_gate_of_a_stage_says_what_it_would_say_in_a_run() {
    judged(
        "pipeline: rlhf.yaml
tests:
  - {name: good, stage: sft, candidate: {heldout_loss: 2.1}, expect: pass}
  - {name: no number, stage: sft, candidate: {heldout_loss: .nan}, expect: error}
  - {name: not measured, stage: sft, candidate: {}, expect: error}
  - name: a checkpoint
    stage: rm
    candidates: {100: {accuracy: 0.8, ece: 0.3}, 50: {accuracy: 0.7, ece: 0.1}, 20: {accuracy: 0.7, ece: 0.1}}
    expect: {gate: pass, step: 20, rules: [pass], explains: keeps 2 of 3, carries: candidate}
  - {name: none left, stage: rm, candidate: {accuracy: 0.8, ece: 0.3}, expect: {gate: fail, rules: [pass]}}
",
        expect![[r#"
            good: pass, candidate carries
              require pass: heldout_loss 2.1 < 2.5 (by 0.4)
            no number: error, nothing carries
              require error: heldout_loss ? < 2.5 (`heldout_loss` is null: it came out as no finite number)
            not measured: error, nothing carries
              require error: heldout_loss ? < 2.5 (`heldout_loss` was not measured)
            a checkpoint: pass, step 20, candidate carries
              select: ece < 0.2 keeps 2 of 3; highest accuracy: step 20 0.7 (step 50 0.7)
              require pass: accuracy 0.7 > 0.6 (by 0.1)
            none left: fail, nothing carries
              select: ece < 0.2 keeps none of 1: the candidate: ece 0.3 is not < 0.2 (over by 0.1)
              ! rules: expected pass, said none was asked
        "#]],
    );
}

#[test]
fn counts_make_items_that_have_them_and_agree_with_the_means() {
    judged(
        "pipeline: rlhf.yaml
tests:
  - name: promoted
    stage: ppo_1
    candidate: {eval: {mean_score: 0.62, versus: {sft: {win: 60, loss: 40, tie_changed: 2, tie_unchanged: 98}}}}
    incumbent: {eval: {mean_score: 0.6}}
    expect: {gate: pass, carries: candidate}
  - name: against both
    stage: ppo_1
    candidate: {eval: {mean_score: 0.62, versus: {sft: {win: 3, loss: 1}, incumbent: {win: 1, tie_unchanged: 3}}}}
    incumbent: {eval: {mean_score: 0.6}}
    expect: pass
  - name: nothing changed
    stage: ppo_1
    candidate: {eval: {mean_score: 0.62, versus: {sft: {tie_unchanged: 9}}}}
    incumbent: {eval: {mean_score: 0.6}}
    expect: {gate: unsure, carries: incumbent}
  - name: means alone do not win
    stage: ppo_1
    candidate: {eval: {versus: {sft: {win: 9}}}}
    incumbent: {eval: {mean_score: 0.6}}
    expect: {gate: error, carries: nothing}
",
        expect![[r#"
            promoted: pass, candidate carries
              require pass: mean_score 0.62 > incumbent.mean_score 0.6 (by 0.02); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does
              require pass: win_rate(sft over changed) 0.598 [60 win, 40 loss, 2 tie changed, 98 tie unchanged] > 0.5 (by 0.09804; 95 % interval -0.0027 to 0.19: within noise; two-sided p 0.057)
            against both: pass, candidate carries
              require pass: mean_score 0.62 > incumbent.mean_score 0.6 (by 0.02; 95 % interval -0.044 to 0.084: within noise; two-sided p 0.39); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does
              require pass: win_rate(sft over changed) 0.75 [3 win, 1 loss, 0 tie changed, 0 tie unchanged] > 0.5 (by 0.25; 95 % interval -0.31 to 0.49: within noise; two-sided p 0.63)
            nothing changed: unsure, incumbent carries
              require pass: mean_score 0.62 > incumbent.mean_score 0.6 (by 0.02); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does
              require unsure: win_rate(sft over changed) ? > 0.5 (win_rate(sft over changed): none of 9 texts changed, so none won or lost)
            means alone do not win: error, nothing carries
              require error: mean_score ? > incumbent.mean_score 0.6 (`mean_score` was not measured)
              require pass: win_rate(sft over changed) 1 [9 win, 0 loss, 0 tie changed, 0 tie unchanged] > 0.5 (by 0.5; 95 % interval 0.16 to 0.5; two-sided p 0.0039)
        "#]],
    );
}

#[test]
fn items_are_columns_rows_or_a_file_and_give_the_means_that_are_left_out() {
    judged(
        "pipeline: rlhf.yaml
tests:
  - name: columns
    stage: eval
    candidate: {items: {text: [a, c], score: [0.5, 2]}}
    stages: {sft: {eval: {items: two.jsonl}}}
    expect: {gate: pass, explains: \"1.25\"}
  - name: rows, under the name of the eval
    stage: eval
    candidate: {eval: {items: [{text: a, score: 0.25}, {text: b, score: 0.5}]}}
    stages: {sft: {eval: {items: two.jsonl, mean_score: 0.7}}}
    expect: fail
  - name: an item without its score
    stage: eval
    candidate: {items: {score: [0.5, null]}}
    stages: {sft: {eval: {items: two.jsonl}}}
    expect: error
",
        expect![[r#"
            columns: pass, candidate carries
              require pass: mean_score 1.25 > sft.mean_score 0.75 (by 0.5; 95 % interval -5.9 to 6.9: within noise; two-sided p 0.5); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does
            rows, under the name of the eval: fail, nothing carries
              require fail: mean_score 0.375 is not > sft.mean_score 0.7 (short by 0.325); the reward that trained the candidate scores it here (`rm`): a better score may be its loophole; no level helps against that, another judge does
            an item without its score: error, nothing carries
              require error: mean_score ? > sft.mean_score 0.75 (`mean_score` is null: it came out as no finite number)
        "#]],
    );
}

#[test]
fn a_gate_may_be_written_in_the_test() {
    judged(
        "tests:
  - name: a kind
    kind: rm
    gate: {require: accuracy > 0.6 with 95% confidence, warn: ece < 0.1}
    candidate: {ece: 0.2, items: {correct: [1, 1, 0, 1], prompt_group: [a, a, b, c]}}
    expect: {gate: unsure, rules: [unsure], carries: nothing}
  - name: a person decides
    kind: ppo
    gate: {judge: eval, require: mean_score > incumbent.mean_score, on_fail: hold}
    candidate: {eval: {mean_score: 0.1}}
    incumbent: {eval: {mean_score: 0.2}}
    expect: {gate: fail, carries: held}
  - name: a command
    kind: exec
    metrics: {cost: lower}
    gate: {select: {best: cost}, require: cost improves over old by 10%}
    candidates: {1: {cost: 3}, 2: {cost: 2}}
    stages: {old: {cost: 2.1}}
    expect: {gate: pass, step: 1}
",
        expect![[r#"
            a kind: unsure, nothing carries
              require unsure: accuracy 0.75 is not surely > 0.6 with 95% confidence (by 0.15; nothing is known at 95 %; p 0.9; Korn-Graubard and sign flips, 4 items in 3 groups; the level is promised from 10 groups on)
              warn fail: ece 0.2 is not < 0.1 (over by 0.1)
            a person decides: fail, held carries
              require fail: mean_score 0.1 is not > incumbent.mean_score 0.2 (short by 0.1)
            a command: fail, step 2, nothing carries
              select: lowest cost: step 2 2 (step 1 3)
              require fail: cost 2 does not improve over old.cost 2.1 - 10% = 1.89 (short by 0.11)
              ! gate: expected pass, said fail
              ! step: expected 1, said 2
        "#]],
    );
}

#[test]
fn a_file_without_tests() {
    refused(
        "pipeline: rlhf.yaml\n",
        expect![[r#"
        error: there are no tests
         --> rlhf.gates.yaml:1:1
          |
        1 | pipeline: rlhf.yaml
          | ^
          |
          = help: tests: [{name: …, stage: ppo_1, candidate: {…}, expect: pass}]

    "#]],
    );
    refused(
        "tests: []\n",
        expect![[r#"
        error: there are no tests
         --> rlhf.gates.yaml:1:1
          |
        1 | tests: []
          | ^^^^^
          |
          = help: tests: [{name: …, stage: ppo_1, candidate: {…}, expect: pass}]

    "#]],
    );
    refused(
        "tests: {name: a}\n",
        expect![[r#"
        error: expected a list of tests, found a mapping
         --> rlhf.gates.yaml:1:8
          |
        1 | tests: {name: a}
          |        ^

    "#]],
    );
}

#[test]
fn a_pipeline_that_is_not_there_or_has_mistakes_of_its_own() {
    let tests = "tests:\n  - {name: a, stage: sft, candidate: {}, expect: pas}\n";
    refused(
        &format!("pipeline: rlfh.yaml\n{tests}"),
        expect![[r#"
            error: read rlfh.yaml: No such file or directory (os error 2)
             --> rlhf.gates.yaml:1:11
              |
            1 | pipeline: rlfh.yaml
              |           ^^^^^^^^^
              |
              = help: the path is relative to this file

            error: expected pass, fail, unsure or error, found `pas`
             --> rlhf.gates.yaml:3:50
              |
            3 |   - {name: a, stage: sft, candidate: {}, expect: pas}
              |                                                  ^^^
              |
              = help: did you mean `pass`?

        "#]],
    );
    refused(
        &format!("pipeline: wrong.yaml\n{tests}"),
        expect![[r#"
            error: unknown metric `heldout_los`
             --> wrong.yaml:3:66
              |
            3 |   sft: {kind: sft, from: {model: base, data: ./sft.jsonl}, gate: heldout_los < 2.5}
              |                                                                  ^^^^^^^^^^^
              |
              = help: did you mean `heldout_loss`?

            error: expected pass, fail, unsure or error, found `pas`
             --> rlhf.gates.yaml:3:50
              |
            3 |   - {name: a, stage: sft, candidate: {}, expect: pas}
              |                                                  ^^^
              |
              = help: did you mean `pass`?

        "#]],
    );
    refused(
        &tests.replace("pas}", "pass}"),
        expect![[r#"
        error: there is no pipeline to take the gate of `sft` from
         --> rlhf.gates.yaml:2:22
          |
        2 |   - {name: a, stage: sft, candidate: {}, expect: pass}
          |                      ^^^
          |
          = help: name one at the top, `pipeline: rlhf.yaml`, or write the `gate` here

    "#]],
    );
}

#[test]
fn keys_that_nobody_knows() {
    refused(
        "pipline: rlhf.yaml
pipeline: rlhf.yaml
tests:
  - name: a
    stage: rm
    candidate: {acuracy: 0.5, eval: {mean_score: 1}}
    incumbant: {}
    expect: {gat: pass}
",
        expect![[r#"
            error: unknown key `pipline` of a file of tests
             --> rlhf.gates.yaml:1:1
              |
            1 | pipline: rlhf.yaml
              | ^^^^^^^
              |
              = help: did you mean `pipeline`?

            error: unknown key `acuracy` of the candidate
             --> rlhf.gates.yaml:6:17
              |
            6 |     candidate: {acuracy: 0.5, eval: {mean_score: 1}}
              |                 ^^^^^^^
              |
              = help: did you mean `accuracy`?

            error: unknown key `eval` of the candidate
             --> rlhf.gates.yaml:6:31
              |
            6 |     candidate: {acuracy: 0.5, eval: {mean_score: 1}}
              |                               ^^^^
              |
              = help: there are: accuracy, accuracy_with_ties, score_chosen, score_chosen_sd, score_rejected, score_rejected_sd, temperature, loss, heldout_loss, margin, ece, brier, length_correlation, pairs, data_rows, data_dropped, data_truncated, items

            error: unknown key `incumbant` of a test
             --> rlhf.gates.yaml:7:5
              |
            7 |     incumbant: {}
              |     ^^^^^^^^^
              |
              = help: did you mean `incumbent`?

            error: unknown key `gat` of `expect`
             --> rlhf.gates.yaml:8:14
              |
            8 |     expect: {gat: pass}
              |              ^^^
              |
              = help: did you mean `gate`?

        "#]],
    );
}

#[test]
fn a_test_without_its_parts() {
    refused(
        "pipeline: rlhf.yaml\ntests:\n  - {stage: sft}\n  - {name: b, candidate: {}, expect: pass}\n",
        expect![[r#"
        error: this test has no `name`
         --> rlhf.gates.yaml:3:6
          |
        3 |   - {stage: sft}
          |      ^^^^^
          |
          = help: name: no change is not promoted

        error: this test has no `expect`
         --> rlhf.gates.yaml:3:6
          |
        3 |   - {stage: sft}
          |      ^^^^^
          |
          = help: expect: pass, or fail, unsure or error

        error: this test has no candidate
         --> rlhf.gates.yaml:3:13
          |
        3 |   - {stage: sft}
          |             ^^^
          |
          = help: candidate: {accuracy: 0.7}, or `candidates` by step: {50: {…}, 100: {…}}

        error: this test says no gate: it needs `stage` or `gate`
         --> rlhf.gates.yaml:4:6
          |
        4 |   - {name: b, candidate: {}, expect: pass}
          |      ^^^^
          |
          = help: stage: ppo_1

    "#]],
    );
}

#[test]
fn a_stage_that_is_unknown_or_has_no_gate() {
    refused(
        "pipeline: rlhf.yaml
tests:
  - {name: a, stage: ppo_2, candidate: {}, expect: pass}
  - {name: a, stage: base, candidate: {}, expect: pass}
",
        expect![[r#"
            error: unknown stage `ppo_2`
             --> rlhf.gates.yaml:3:22
              |
            3 |   - {name: a, stage: ppo_2, candidate: {}, expect: pass}
              |                      ^^^^^
              |
              = help: did you mean `ppo_1`?

            error: another test is called `a`
             --> rlhf.gates.yaml:4:12
              |
            4 |   - {name: a, stage: base, candidate: {}, expect: pass}
              |            ^

            error: stage `base` has no gate
             --> rlhf.gates.yaml:4:22
              |
            4 |   - {name: a, stage: base, candidate: {}, expect: pass}
              |                      ^^^^
              |
              = help: those with one: eval, ppo_1, rm, sft

        "#]],
    );
}

#[test]
fn a_gate_with_mistakes_or_without_a_kind() {
    refused(
        "tests:
  - {name: a, gate: accuracy > 0.5, candidate: {accuracy: 1}, expect: pass}
  - {name: b, kind: rm, gate: {require: acuracy > 0.5, on_fail: keep}, candidate: {}, expect: pass}
  - {name: c, kind: rm, gate: {judge: eval, require: mean_score > 0}, candidate: {}, expect: pass}
  - {name: d, kind: rmm, stage: sft, gate: accuracy > 0, candidate: {}, expect: pass}
",
        expect![[r#"
            error: a gate written here needs a `kind`
             --> rlhf.gates.yaml:2:15
              |
            2 |   - {name: a, gate: accuracy > 0.5, candidate: {accuracy: 1}, expect: pass}
              |               ^^^^
              |
              = help: add `kind: rm`, or another of `pipeline kinds`

            error: `on_fail: keep`: the stage has no incumbent to keep
             --> rlhf.gates.yaml:3:25
              |
            3 |   - {name: b, kind: rm, gate: {require: acuracy > 0.5, on_fail: keep}, candidate: {}, expect: pass}
              |                         ^^^^
              |
              = help: use `on_fail: stop`

            error: unknown metric `acuracy`
             --> rlhf.gates.yaml:3:41
              |
            3 |   - {name: b, kind: rm, gate: {require: acuracy > 0.5, on_fail: keep}, candidate: {}, expect: pass}
              |                                         ^^^^^^^
              |
              = help: did you mean `accuracy`?

            error: `eval` measures language models, and the kind `rm` gives none
             --> rlhf.gates.yaml:4:39
              |
            4 |   - {name: c, kind: rm, gate: {judge: eval, require: mean_score > 0}, candidate: {}, expect: pass}
              |                                       ^^^^
              |
              = help: leave `judge` out: the rules then see the stage's own metrics

            error: this test has a `stage` and a `gate`: which of the two gates is meant?
             --> rlhf.gates.yaml:5:38
              |
            5 |   - {name: d, kind: rmm, stage: sft, gate: accuracy > 0, candidate: {}, expect: pass}
              |                                      ^^^^
              |
              = help: leave one out; with `gate`, `kind` says whose metrics it sees

        "#]],
    );
}

#[test]
fn artifacts_the_rules_do_not_speak_of_and_those_that_lack() {
    refused(
        "pipeline: rlhf.yaml
tests:
  - {name: a, stage: eval, candidate: {mean_score: 1}, incumbent: {}, stages: {stf: {}}, expect: pass}
  - {name: b, stage: ppo_1, candidate: {eval: {mean_score: 1}}, expect: pass}
  - {name: c, stage: sft, candidate: {heldout_loss: 1}, candidates: {1: {heldout_loss: 1}}, expect: pass}
",
        expect![[r#"
            error: the rules name `sft`, and this test says nothing of it
             --> rlhf.gates.yaml:3:22
              |
            3 |   - {name: a, stage: eval, candidate: {mean_score: 1}, incumbent: {}, stages: {stf: {}}, expect: pass}
              |                      ^^^^
              |
              = help: add `stages: {sft: {…}}`; `{}` where nothing was measured

            error: this stage has no incumbent
             --> rlhf.gates.yaml:3:56
              |
            3 |   - {name: a, stage: eval, candidate: {mean_score: 1}, incumbent: {}, stages: {stf: {}}, expect: pass}
              |                                                        ^^^^^^^^^
              |
              = help: nothing goes into this stage that it could keep

            error: no rule of this gate names `stf`
             --> rlhf.gates.yaml:3:80
              |
            3 |   - {name: a, stage: eval, candidate: {mean_score: 1}, incumbent: {}, stages: {stf: {}}, expect: pass}
              |                                                                                ^^^
              |
              = help: did you mean `sft`?

            error: the rules name the incumbent, and this test says nothing of it
             --> rlhf.gates.yaml:4:22
              |
            4 |   - {name: b, stage: ppo_1, candidate: {eval: {mean_score: 1}}, expect: pass}
              |                      ^^^^^
              |
              = help: add `incumbent: {…}`; `incumbent: {}` where nothing was measured

            error: the rules name `sft`, and this test says nothing of it
             --> rlhf.gates.yaml:4:22
              |
            4 |   - {name: b, stage: ppo_1, candidate: {eval: {mean_score: 1}}, expect: pass}
              |                      ^^^^^
              |
              = help: add `stages: {sft: {…}}`; `{}` where nothing was measured

            error: this test has a `candidate` and `candidates`
             --> rlhf.gates.yaml:5:57
              |
            5 |   - {name: c, stage: sft, candidate: {heldout_loss: 1}, candidates: {1: {heldout_loss: 1}}, expect: pass}
              |                                                         ^^^^^^^^^^
              |
              = help: leave one of the two out

        "#]],
    );
}

#[test]
fn numbers_and_items_that_are_none() {
    refused(
        "pipeline: rlhf.yaml
tests:
  - name: a
    stage: eval
    candidate: {mean_score: high, kl: NaN, items: {score: [1, 2], text: [a], length: 3}}
    stages: {sft: {eval: {items: broken.jsonl}}}
    expect: pass
  - name: b
    stage: eval
    candidate: {items: [{id: 1}, {id: 1}]}
    stages: {sft: {eval: {items: [1]}}}
    expect: pass
  - {name: c, stage: eval, candidate: {items: none}, stages: {sft: {eval: {items: gone.jsonl}}}, expect: pass}
",
        expect![[r#"
            error: expected a number, found a text
             --> rlhf.gates.yaml:5:29
              |
            5 |     candidate: {mean_score: high, kl: NaN, items: {score: [1, 2], text: [a], length: 3}}
              |                             ^^^^

            error: unknown key `kl` of the candidate
             --> rlhf.gates.yaml:5:35
              |
            5 |     candidate: {mean_score: high, kl: NaN, items: {score: [1, 2], text: [a], length: 3}}
              |                                   ^^
              |
              = help: there are: mean_score, score_sd, length, eos_share, distinct_2, repetition, same_answer_share, data_rows, data_dropped, data_truncated, eval, items

            error: columns of different lengths: `text` 1, `score` 2
             --> rlhf.gates.yaml:5:67
              |
            5 |     candidate: {mean_score: high, kl: NaN, items: {score: [1, 2], text: [a], length: 3}}
              |                                                                   ^^^^
              |
              = help: every column has a cell for every item

            error: expected a column: a list with a cell for every item, found a whole number
             --> rlhf.gates.yaml:5:86
              |
            5 |     candidate: {mean_score: high, kl: NaN, items: {score: [1, 2], text: [a], length: 3}}
              |                                                                                      ^

            error: read broken.jsonl: line 2, column 5: EOF while parsing an object
             --> rlhf.gates.yaml:6:34
              |
            6 |     stages: {sft: {eval: {items: broken.jsonl}}}
              |                                  ^^^^^^^^^^^^

            error: two items have the id `1`
              --> rlhf.gates.yaml:10:24
               |
            10 |     candidate: {items: [{id: 1}, {id: 1}]}
               |                        ^

            error: expected a row: a mapping such as `{text: a, score: 0.1}`, found a whole number
              --> rlhf.gates.yaml:11:35
               |
            11 |     stages: {sft: {eval: {items: [1]}}}
               |                                   ^

            error: expected items: columns `{score: [0.1, 0.3]}`, a list of rows, or the path of a .jsonl file, found a text
              --> rlhf.gates.yaml:13:47
               |
            13 |   - {name: c, stage: eval, candidate: {items: none}, stages: {sft: {eval: {items: gone.jsonl}}}, expect: pass}
               |                                               ^^^^

            error: read gone.jsonl: No such file or directory (os error 2)
              --> rlhf.gates.yaml:13:83
               |
            13 |   - {name: c, stage: eval, candidate: {items: none}, stages: {sft: {eval: {items: gone.jsonl}}}, expect: pass}
               |                                                                                   ^^^^^^^^^^

        "#]],
    );
}

#[test]
fn counts_that_cannot_be() {
    refused(
        "pipeline: rlhf.yaml
tests:
  - name: a
    stage: ppo_1
    candidate: {eval: {versus: {sft: {win: -1, los: 2}, incumbent: {}}, items: {score: [1]}}, versus: {}}
    incumbent: {eval: {items: {score: [1]}}}
    expect: pass
  - name: b
    stage: ppo_1
    candidate: {eval: {versus: {sft: {win: 1}, incumbent: {win: 2}}}}
    incumbent: {}
    expect: pass
  - name: c
    stage: ppo_1
    candidates: {1: {eval: {versus: {sft: {win: 1}}}}}
    incumbent: {}
    stages: {sft: {}}
    expect: pass
  - name: d
    kind: ppo
    gate: {judge: eval, require: mean_score > 0 with 95% confidence}
    candidate: {eval: {versus: {sft: {win: 1}}}}
    expect: pass
",
        expect![[r#"
            error: `versus` makes up the items, and `items` gives them
             --> rlhf.gates.yaml:5:24
              |
            5 |     candidate: {eval: {versus: {sft: {win: -1, los: 2}, incumbent: {}}, items: {score: [1]}}, versus: {}}
              |                        ^^^^^^
              |
              = help: leave one of the two out

            error: expected a whole number from 0, found a negative one
             --> rlhf.gates.yaml:5:44
              |
            5 |     candidate: {eval: {versus: {sft: {win: -1, los: 2}, incumbent: {}}, items: {score: [1]}}, versus: {}}
              |                                            ^^

            error: unknown key `los` of `versus`
             --> rlhf.gates.yaml:5:48
              |
            5 |     candidate: {eval: {versus: {sft: {win: -1, los: 2}, incumbent: {}}, items: {score: [1]}}, versus: {}}
              |                                                ^^^
              |
              = help: did you mean `loss`?

            error: these are no answers at all
             --> rlhf.gates.yaml:5:57
              |
            5 |     candidate: {eval: {versus: {sft: {win: -1, los: 2}, incumbent: {}}, items: {score: [1]}}, versus: {}}
              |                                                         ^^^^^^^^^
              |
              = help: {win: 60, loss: 40, tie_unchanged: 100}

            error: `versus` makes up the items of `incumbent`, and they are given
             --> rlhf.gates.yaml:5:57
              |
            5 |     candidate: {eval: {versus: {sft: {win: -1, los: 2}, incumbent: {}}, items: {score: [1]}}, versus: {}}
              |                                                         ^^^^^^^^^
              |
              = help: leave one of the two out

            error: unknown key `versus` of the candidate
             --> rlhf.gates.yaml:5:95
              |
            5 |     candidate: {eval: {versus: {sft: {win: -1, los: 2}, incumbent: {}}, items: {score: [1]}}, versus: {}}
              |                                                                                               ^^^^^^
              |
              = help: `versus` stands in what a judge measures of the candidate

            error: 2 answers against `incumbent`, and 1 against `sft`
              --> rlhf.gates.yaml:10:48
               |
            10 |     candidate: {eval: {versus: {sft: {win: 1}, incumbent: {win: 2}}}}
               |                                                ^^^^^^^^^
               |
               = help: the candidate answers the same prompts against all

            error: `versus` makes up the answers of one candidate, and there are several
              --> rlhf.gates.yaml:15:29
               |
            15 |     candidates: {1: {eval: {versus: {sft: {win: 1}}}}}
               |                             ^^^^^^
               |
               = help: give each its `items`

            error: no rule of this gate names `sft`
              --> rlhf.gates.yaml:22:33
               |
            22 |     candidate: {eval: {versus: {sft: {win: 1}}}}
               |                                 ^^^
               |
               = help: there are: incumbent

            error: `versus` makes up who wins, and `mean_score > 0 with 95% confidence` asks for the scores themselves
              --> rlhf.gates.yaml:22:33
               |
            22 |     candidate: {eval: {versus: {sft: {win: 1}}}}
               |                                 ^^^
               |
               = help: give the `items`

        "#]],
    );
}

#[test]
fn expectations_that_cannot_be_met() {
    refused(
        "pipeline: rlhf.yaml
tests:
  - {name: a, stage: sft, candidate: {heldout_loss: 1}, expect: {step: 3, rules: [pass, pass], carries: nobody}}
  - {name: b, stage: rm, candidates: {50: {}, 60: {}, x: {}, 060: {}}, expect: {step: 55, explains: 3}}
  - {name: c, stage: sft, candidate: {}, expect: {}}
",
        expect![[r#"
            error: no candidate has step 3
             --> rlhf.gates.yaml:3:72
              |
            3 |   - {name: a, stage: sft, candidate: {heldout_loss: 1}, expect: {step: 3, rules: [pass, pass], carries: nobody}}
              |                                                                        ^
              |
              = help: `step` is for `candidates`, which have one each

            error: `rules` are those of `require`: expected 2, the gate has 1
             --> rlhf.gates.yaml:3:75
              |
            3 |   - {name: a, stage: sft, candidate: {heldout_loss: 1}, expect: {step: 3, rules: [pass, pass], carries: nobody}}
              |                                                                           ^^^^^
              |
              = help: one word for each, in order

            error: expected candidate, incumbent, nothing or held, found `nobody`
             --> rlhf.gates.yaml:3:105
              |
            3 |   - {name: a, stage: sft, candidate: {heldout_loss: 1}, expect: {step: 3, rules: [pass, pass], carries: nobody}}
              |                                                                                                         ^^^^^^

            error: expected a step, found `x`
             --> rlhf.gates.yaml:4:55
              |
            4 |   - {name: b, stage: rm, candidates: {50: {}, 60: {}, x: {}, 060: {}}, expect: {step: 55, explains: 3}}
              |                                                       ^
              |
              = help: checkpoints by step, such as `{50: {accuracy: 0.7}, 100: {accuracy: 0.8}}`

            error: step 60 is there already
             --> rlhf.gates.yaml:4:62
              |
            4 |   - {name: b, stage: rm, candidates: {50: {}, 60: {}, x: {}, 060: {}}, expect: {step: 55, explains: 3}}
              |                                                              ^^^

            error: no candidate has step 55
             --> rlhf.gates.yaml:4:87
              |
            4 |   - {name: b, stage: rm, candidates: {50: {}, 60: {}, x: {}, 060: {}}, expect: {step: 55, explains: 3}}
              |                                                                                       ^^
              |
              = help: there are: 50, 60

            error: expected a text, found a whole number
             --> rlhf.gates.yaml:4:101
              |
            4 |   - {name: b, stage: rm, candidates: {50: {}, 60: {}, x: {}, 060: {}}, expect: {step: 55, explains: 3}}
              |                                                                                                     ^
              |
              = help: quote it: "3"

            error: this test expects nothing
             --> rlhf.gates.yaml:5:42
              |
            5 |   - {name: c, stage: sft, candidate: {}, expect: {}}
              |                                          ^^^^^^
              |
              = help: expect: pass

        "#]],
    );
}
