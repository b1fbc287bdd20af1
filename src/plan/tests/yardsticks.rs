//! One yardstick for training and judging.

use super::{folder, planned, with_base};
use expect_test::{Expect, expect};
use std::fs;

/// The warnings of a plan, without the plan.
fn warned(stages: &str, expected: Expect) {
    let folder = folder();
    fs::write(folder.path().join("also.txt"), "good\t2\n").unwrap();
    let text = planned(&with_base(stages), &[], &folder, &|_| None);
    let warnings = text.find("warning: ").or_else(|| text.find("error: ")).map_or("", |at| &text[at..]);
    expected.assert_eq(warnings);
}

/// A policy that `rm_1` trained, with this gate.
fn ppo(gate: &str) -> String {
    format!("  ppo: {{kind: ppo, from: {{policy: sft, reward: rm_1, prompts: ./prompts.jsonl}}, gate: {gate}}}\n")
}

/// A second judge with a reward model of its own.
const SECOND: &str = "  rm_2: {kind: rm, seed: 9, from: {model: sft, data: ./pairs.jsonl}}
  second: {kind: eval, from: {policy: sft, reward: rm_2, prompts: ./heldout.jsonl}}
";

#[test]
fn a_judge_by_the_reward_model_that_trained_the_candidate_is_told_once() {
    let more = "  again: {kind: ppo, from: {policy: ppo, reward: rm_1@10, prompts: ./prompts.jsonl}, gate: {judge: eval, require: mean_score improves over sft}}
  last: {kind: eval, from: {policy: again, reward: [rm_1, ./gold.txt], prompts: ./heldout.jsonl, baseline: sft}, gate: mean_score > 0}
";
    warned(
        &(ppo("{judge: eval, require: mean_score > incumbent.mean_score with 95% confidence}") + more),
        expect![[r#"
            warning: `eval` scores by `rm_1`, which trained the candidate of the gate of `ppo` (and of another gate): a better score may be its loophole
             --> rlhf.yaml:6:95
              |
            6 |   ppo: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: eval, require: mean_score > incumbent.m...
              |                                                                                               ^^^^
              |
              = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, let a second stage like `eval` score by it, `judge: [eval, second]`, and require both: `eval.mean_score > eval.incumbent.mean_score and second.mean_score > second.incumbent.mean_score`

            warning: `last` scores by `rm_1`, which trained the candidate of the gate of `last`: a better score may be its loophole
             --> rlhf.yaml:8:114
              |
            8 |   last: {kind: eval, from: {policy: again, reward: [rm_1, ./gold.txt], prompts: ./heldout.jsonl, baseline: sft}, gate: mean_score > 0}
              |                                                                                                                  ^^^^
              |
              = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, add it to `reward`, and require both: `mean_score > sft.mean_score and mean_score_2 > sft.mean_score_2`

        "#]],
    );
}

#[test]
fn a_second_judge_guards_where_the_rules_need_it() {
    let both = "eval.mean_score > eval.incumbent.mean_score and second.mean_score > second.incumbent.mean_score";
    for gate in [
        format!("{{judge: [eval, second], require: {both}}}"),
        "{judge: [eval, second], require: [eval.mean_score > 0, second.win_rate(incumbent over changed) > 0.5]}"
            .to_owned(),
        format!("{{judge: [eval, second], require: not (not ({both}))}}"),
        "{judge: second, require: mean_score > 0}".to_owned(),
        // Nothing is decided by the scores.
        "{judge: eval, require: [judge.length < 60, changed(incumbent) > 0.1], warn: mean_score > 0}".to_owned(),
    ] {
        warned(&(ppo(&gate) + SECOND), expect![[""]]);
    }
    for rule in [
        "eval.mean_score > 0 or second.mean_score > 0",
        "[eval.mean_score > 0, second.length < 60]",
        "eval.mean_score + second.mean_score > 0",
        "not (eval.mean_score < 0 and second.mean_score < 0)",
    ] {
        let text = planned(
            &with_base(&(ppo(&format!("{{judge: [eval, second], require: {rule}}}")) + SECOND)),
            &[],
            &folder(),
            &|_| None,
        );
        assert!(text.contains("warning: `eval` scores by `rm_1`"), "{rule}: {text}");
    }
}

#[test]
fn what_trained_the_model_that_is_compared_with_does_not_count() {
    // `rm_1` trained the incumbent of `again`, and `rm_2` what `again` is better in.
    let again = |rule: &str| {
        let gate = format!("{{judge: eval, require: {rule}}}");
        let from = "{policy: ppo, reward: rm_2, prompts: ./prompts.jsonl}";
        format!(
            "  ppo: {{kind: ppo, from: {{policy: sft, reward: rm_1, prompts: ./prompts.jsonl}}}}\n{SECOND}  again: {{kind: ppo, \
             from: {from}, gate: {gate}}}\n"
        )
    };
    for rule in ["mean_score > incumbent.mean_score", "win_rate(ppo over changed) > 0.5"] {
        warned(&again(rule), expect![[""]]);
    }
    warned(
        &again("win_rate(sft over changed) > 0.5"),
        expect![[r#"
        warning: `eval` scores by `rm_1`, which trained the candidate of the gate of `again`: a better score may be its loophole
         --> rlhf.yaml:9:97
          |
        9 |   again: {kind: ppo, from: {policy: ppo, reward: rm_2, prompts: ./prompts.jsonl}, gate: {judge: eval, require: win_rate(sft over chan...
          |                                                                                                 ^^^^
          |
          = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, let a second stage like `eval` score by it, `judge: [eval, second]`, and require both: `eval.mean_score > eval.incumbent.mean_score and second.mean_score > second.incumbent.mean_score`

    "#]],
    );
}

#[test]
fn a_reward_model_trains_through_the_rows_that_it_labelled() {
    let labelled = "  label:
    kind: exec
    from: {policy: sft, judge: rm_1, prompts: ./prompts.jsonl}
    with: {command: label, outputs: [pairs.jsonl]}
  dpo: {kind: dpo, from: {policy: sft, data: label:pairs.jsonl}, gate: {judge: eval, require: mean_score > incumbent.mean_score}}
  plain: {kind: dpo, from: {policy: sft, data: ./pairs.jsonl}, gate: {judge: eval, require: mean_score > incumbent.mean_score}}
";
    warned(
        labelled,
        expect![[r#"
        warning: `eval` scores by `rm_1`, which trained the candidate of the gate of `dpo`: a better score may be its loophole
          --> rlhf.yaml:10:80
           |
        10 |   dpo: {kind: dpo, from: {policy: sft, data: label:pairs.jsonl}, gate: {judge: eval, require: mean_score > incumbent.mean_score}}
           |                                                                                ^^^^
           |
           = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, let a second stage like `eval` score by it, `judge: [eval, second]`, and require both: `eval.mean_score > eval.incumbent.mean_score and second.mean_score > second.incumbent.mean_score`

    "#]],
    );
}

#[test]
fn a_file_is_one_yardstick_however_it_is_written() {
    let words = "  tuned:
    kind: exec
    from: {policy: sft, words: ./gold.txt}
    incumbent: policy
    with: {command: tune, outputs: [model]}
    gate: {judge: gold, require: mean_score > incumbent.mean_score}
  gold: {kind: eval, from: {policy: sft, reward: ././gold.txt, prompts: ./heldout.jsonl}}
  also: {kind: eval, from: {policy: sft, reward: ./also.txt, prompts: ./heldout.jsonl}}
";
    warned(
        words,
        expect![[r#"
        warning: `gold` scores by `DIR/gold.txt`, which trained the candidate of the gate of `tuned`: a better score may be its loophole
          --> rlhf.yaml:11:19
           |
        11 |     gate: {judge: gold, require: mean_score > incumbent.mean_score}
           |                   ^^^^
           |
           = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, let a second stage like `gold` score by it, `judge: [gold, second]`, and require both: `gold.mean_score > gold.incumbent.mean_score and second.mean_score > second.incumbent.mean_score`

    "#]],
    );
    warned(&words.replace("judge: gold", "judge: also"), expect![[""]]);
}
