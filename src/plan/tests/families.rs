//! Tests of rules about the stages of a `for`, and of choices among stages: what is refused, and how it is told.

use super::*;

const STAGES: &str = "
name: toy
stages:
  sft: {kind: pretrain, from: {text: ./text.jsonl}}
  rm: {kind: rm, from: {model: sft, data: ./pairs.jsonl}}
  ppo_${seed}: {for: {seed: 1..3}, kind: ppo, from: {policy: sft, reward: rm, prompts: ./prompts.jsonl}, seed: '${seed}'}
  eval: {kind: eval, from: {policy: ppo_1, reward: rm, prompts: ./heldout.jsonl}}
";

fn refused(stages: &str, expected: Expect) {
    let text = format!("{STAGES}{stages}");
    let planned = planned(&text, &[], &with_files(), &|_| None);
    expected.assert_eq(&planned);
}

/// The files that the stages read.
fn with_files() -> tempfile::TempDir {
    let folder = folder();
    for (name, row) in [
        ("text.jsonl", r#"{"text": "warm words, and more of them"}"#),
        ("pairs.jsonl", r#"{"prompt": "hello", "chosen": "good morning", "rejected": "what"}"#),
        ("prompts.jsonl", r#"{"prompt": "how are you"}"#),
        ("heldout.jsonl", r#"{"prompt": "where were you born"}"#),
    ] {
        let rows: Vec<String> = (0..20).map(|n| row.replacen("\": \"", &format!("\": \"{n} "), 1)).collect();
        fs::write(folder.path().join(name), rows.join("\n")).unwrap();
    }
    folder
}

#[test]
fn a_rule_about_stages_of_a_for_that_are_not_there_is_refused() {
    let rules = [
        "mean_across(pppo.reward) > 0",
        "mean_across(sft.heldout_loss) > 0",
        "mean_across(reward) > 0",
        "mean_across(ppo.rewrad) > 0",
        "worst_across(ppo.length) > 0",
        "count_across(ppo.reward) > 1",
        "mean_across(ppo.reward) + 1 > 0 with 95% confidence",
        "mean_across(ppo.reward) > 0 with 95% confidence over 3 looks",
        "sd_across(ppo.reward) < 1 with 95% confidence",
        "mean_across(last.x) > 0",
    ];
    let rules: Vec<String> = rules.iter().map(|rule| format!("      - {rule}\n")).collect();
    refused(
        &format!(
            "  last_${{k}}:\n    for: {{k: 1..2}}\n    kind: exec\n    from: {{a: ppo_1}}\n    metrics: {{x: higher}}\n    with: {{command: 'true'}}\n    gate:\n{}",
            rules.concat()
        ),
        expect![[r#"
            error: no stages of a `for` are called `pppo`
              --> rlhf.yaml:15:21
               |
            15 |       - mean_across(pppo.reward) > 0
               |                     ^^^^
               |
               = help: did you mean `ppo`?

            error: `sft` is a single stage
              --> rlhf.yaml:16:21
               |
            16 |       - mean_across(sft.heldout_loss) > 0
               |                     ^^^
               |
               = help: name the stages of a `for` by what their names share: `ppo` of `ppo_${seed}`

            error: `reward` is a metric of one stage
              --> rlhf.yaml:17:21
               |
            17 |       - mean_across(reward) > 0
               |                     ^^^^^^
               |
               = help: `mean_across(STAGES.METRIC)`: the mean of a metric across the stages of a `for`: `mean_across(ppo.mean_score)` of `ppo_${seed}`; unknown where one of them failed; with confidence by their spread, which counts stages and not items as evidence

            error: unknown metric `rewrad` of `ppo_1`
              --> rlhf.yaml:18:25
               |
            18 |       - mean_across(ppo.rewrad) > 0
               |                         ^^^^^^
               |
               = help: did you mean `reward`?

            error: `worst_across` cannot tell which is better: `length` has no better side
              --> rlhf.yaml:19:9
               |
            19 |       - worst_across(ppo.length) > 0
               |         ^^^^^^^^^^^^^^^^^^^^^^^^
               |
               = help: count those above or below a number: `count_across(…)`

            error: expected a comparison, found `)`
              --> rlhf.yaml:20:32
               |
            20 |       - count_across(ppo.reward) > 1
               |                                ^
               |
               = help: `count_across(STAGES.METRIC > NUMBER)`: the number of stages of a `for` for which this holds; any comparison, with any number, as `sft.mean_score`; it holds for none that failed

            error: confidence across stages is given to `mean_across` alone, and to nothing computed with it
              --> rlhf.yaml:21:9
               |
            21 |       - mean_across(ppo.reward) + 1 > 0 with 95% confidence
               |         ^^^^^^^^^^^^^^^^^^^^^^^
               |
               = help: `mean_across(ppo.mean_score) > sft.mean_score by 0.1 with 95% confidence`

            error: the evidence here are stages, and looks, growing tables and bounds are those of items
              --> rlhf.yaml:22:37
               |
            22 |       - mean_across(ppo.reward) > 0 with 95% confidence over 3 looks
               |                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               |
               = help: write `with 95% confidence` alone

            error: confidence across stages is given to `mean_across` alone, and to nothing computed with it
              --> rlhf.yaml:23:9
               |
            23 |       - sd_across(ppo.reward) < 1 with 95% confidence
               |         ^^^^^^^^^^^^^^^^^^^^^
               |
               = help: `mean_across(ppo.mean_score) > sft.mean_score by 0.1 with 95% confidence`

            error: `last_1` is the stage of this gate
              --> rlhf.yaml:24:21
               |
            24 |       - mean_across(last.x) > 0
               |                     ^^^^
               |
               = help: write `self.METRIC`, or the metric alone

            error: `last_1` comes after the gate of `last_2`
              --> rlhf.yaml:24:21
               |
            24 |       - mean_across(last.x) > 0
               |                     ^^^^
               |
               = help: last_2 -> last_1

            error: `last_2` is the stage of this gate
              --> rlhf.yaml:24:21
               |
            24 |       - mean_across(last.x) > 0
               |                     ^^^^
               |
               = help: write `self.METRIC`, or the metric alone

        "#]],
    );
}

#[test]
fn stages_that_stand_on_each_other_are_no_repetitions() {
    refused(
        "  next_${k}: {for: {k: 1..2}, kind: ppo, from: {policy: \"${k == 1 and 'sft' or 'next_1'}\", reward: rm, prompts: ./prompts.jsonl}}
  last:
    kind: exec
    from: {a: ppo_1}
    metrics: {x: higher}
    with: {command: 'true'}
    gate: [worst_across(next.reward) > 0, mean_across(next.reward) > 0 with 95% confidence]\n",
        expect![[r#"
            error: the stages of `next` stand on each other, so that they are no repetitions
              --> rlhf.yaml:14:43
               |
            14 |     gate: [worst_across(next.reward) > 0, mean_across(next.reward) > 0 with 95% confidence]
               |                                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               |
               = help: next_1 -> next_2; leave the confidence out

        "#]],
    );
}

#[test]
fn a_choice_among_stages_of_two_sorts_or_by_a_number_that_not_all_have_is_refused() {
    refused(
        "  best: {kind: best_of, from: {stages: [ppo_1, rm]}, gate: {select: {best: reward}}}\n",
        expect![[r#"
            error: one of several is chosen, and these are of two sorts: `ppo_1` gives a language model, `rm` gives a reward model
             --> rlhf.yaml:8:3
              |
            8 |   best: {kind: best_of, from: {stages: [ppo_1, rm]}, gate: {select: {best: reward}}}
              |   ^^^^
              |
              = help: name stages of one kind

            error: `best` cannot name a stage: it is a word of the rule language
             --> rlhf.yaml:8:3
              |
            8 |   best: {kind: best_of, from: {stages: [ppo_1, rm]}, gate: {select: {best: reward}}}
              |   ^^^^
              |
              = help: `best_1`, for one

            error: unknown metric `reward`
             --> rlhf.yaml:8:76
              |
            8 |   best: {kind: best_of, from: {stages: [ppo_1, rm]}, gate: {select: {best: reward}}}
              |                                                                            ^^^^^^
              |
              = help: there are: data_dropped, data_rows, data_truncated

        "#]],
    );
    refused(
        "  last: {kind: exec, from: {a: {best_of: [ppo, sft], by: reward}, b: {best_of: ppo, by: rewrad}}, with: {command: 'true'}}\n",
        expect![[r#"
            error: unknown metric `reward`
             --> rlhf.yaml:8:58
              |
            8 |   last: {kind: exec, from: {a: {best_of: [ppo, sft], by: reward}, b: {best_of: ppo, by: rewrad}}, with: {command: 'true'}}
              |                                                          ^^^^^^
              |
              = help: there are: data_dropped, data_rows, data_truncated

            error: unknown metric `rewrad`
             --> rlhf.yaml:8:89
              |
            8 |   last: {kind: exec, from: {a: {best_of: [ppo, sft], by: reward}, b: {best_of: ppo, by: rewrad}}, with: {command: 'true'}}
              |                                                                                         ^^^^^^
              |
              = help: did you mean `reward`?

        "#]],
    );
}

#[test]
fn the_best_of_reward_models_is_a_reward_model() {
    refused(
        "  rm_${k}: {for: {k: 1..2}, kind: rm, from: {model: sft, data: ./pairs.jsonl}, seed: '${k}'}
  last: {kind: ppo, from: {policy: sft, reward: {best_of: rm, by: accuracy}, prompts: ./prompts.jsonl}}
  wrong: {kind: ppo, from: {policy: {best_of: [rm_1, rm_2], by: accuracy}, reward: rm, prompts: ./prompts.jsonl}}\n",
        expect![[r#"
            error: `wrong_policy` (kind `best_of`) gives a reward model
              --> rlhf.yaml:10:37
               |
            10 |   wrong: {kind: ppo, from: {policy: {best_of: [rm_1, rm_2], by: accuracy}, reward: rm, prompts: ./prompts.jsonl}}
               |                                     ^
               |
               = help: `policy` takes a language model: a stage that makes one, or a directory in Hugging Face layout

        "#]],
    );
}
