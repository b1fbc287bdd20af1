use super::{check_in, folder, with_base};
use expect_test::expect;
use std::fs;

/// Two PPO stages, one after the other, that `eval` judges; `eval` measures on `heldout.jsonl`.
fn chain(first: &str, second: &str, last: &str) -> String {
    with_base(&format!(
        "  ppo_1: {{kind: ppo, from: {{policy: sft, reward: rm_1, prompts: ./prompts.jsonl}}, gate: {{judge: eval, {first}}}}}
  ppo_2: {{kind: ppo, from: {{policy: ppo_1, reward: rm_1, prompts: ./prompts.jsonl}}, gate: {{judge: eval, {second}}}}}
  last: {{kind: eval, from: {{policy: ppo_2, reward: rm_1, prompts: ./heldout.jsonl, baseline: base}}{last}}}
"
    ))
}

fn warned(first: &str, second: &str, last: &str, expected: expect_test::Expect) {
    let folder = folder();
    fs::write(folder.path().join("prompts.jsonl"), r#"{"prompt": "of its own"}"#).unwrap();
    check_in(&folder, &chain(first, second, last), expected);
}

const SURE: &str = "require: mean_score > incumbent.mean_score with 95% confidence";

#[test]
fn gates_that_look_at_one_file_are_told_to_declare_it() {
    warned(
        SURE,
        SURE,
        "",
        expect![[r#"
            base = pretrain(text=corpus.jsonl) seed 0
            sft = sft(model=base, data=sft.jsonl) seed 0 needs base
            rm_1 = rm(model=sft, data=pairs.jsonl) seed 0 needs sft
            ppo_1 = ppo(policy=sft, reward=rm_1, prompts=prompts.jsonl) seed 0 needs base sft rm_1 | Stop 1 rules, judge eval, incumbent policy
            ppo_2 = ppo(policy=ppo_1, reward=rm_1, prompts=prompts.jsonl) seed 0 needs base rm_1 ppo_1 | Stop 1 rules, judge eval, incumbent policy
            eval = eval(policy=sft, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base sft rm_1 after ppo_1 ppo_2
            last = eval(policy=ppo_2, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base rm_1 ppo_2
            warning: `eval` scores by `rm_1`, which trained the candidate of the gate of `ppo_1` (and of another gate): a better score may be its loophole
             --> rlhf.yaml:6:97
              |
            6 |   ppo_1: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: eval, require: mean_score > incumbent...
              |                                                                                                 ^^^^
              |
              = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, let a second stage like `eval` score by it, `judge: [eval, second]`, and require both: `eval.mean_score > eval.incumbent.mean_score and second.mean_score > second.incumbent.mean_score`

            warning: 2 gates look at heldout.jsonl (`ppo_1`, `ppo_2`): where no candidate is better, some false promotion happens in 10 % of such runs
             --> rlhf.yaml:6:146
              |
            6 | ...udge: eval, require: mean_score > incumbent.mean_score with 95% confidence}}
              |                                                           ^^^^^^^^^^^^^^^^^^^
              |
              = help: write `with 95% confidence over 2 looks` in each, or give the last gate fresh prompts

        "#]],
    );
}

#[test]
fn declared_looks_are_silent() {
    let declared = format!("{SURE} over 2 looks");
    warned(
        &declared,
        &declared,
        "",
        expect![[r#"
            base = pretrain(text=corpus.jsonl) seed 0
            sft = sft(model=base, data=sft.jsonl) seed 0 needs base
            rm_1 = rm(model=sft, data=pairs.jsonl) seed 0 needs sft
            ppo_1 = ppo(policy=sft, reward=rm_1, prompts=prompts.jsonl) seed 0 needs base sft rm_1 | Stop 1 rules, judge eval, incumbent policy
            ppo_2 = ppo(policy=ppo_1, reward=rm_1, prompts=prompts.jsonl) seed 0 needs base rm_1 ppo_1 | Stop 1 rules, judge eval, incumbent policy
            eval = eval(policy=sft, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base sft rm_1 after ppo_1 ppo_2
            last = eval(policy=ppo_2, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base rm_1 ppo_2
            warning: `eval` scores by `rm_1`, which trained the candidate of the gate of `ppo_1` (and of another gate): a better score may be its loophole
             --> rlhf.yaml:6:97
              |
            6 |   ppo_1: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: eval, require: mean_score > incumbent...
              |                                                                                                 ^^^^
              |
              = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, let a second stage like `eval` score by it, `judge: [eval, second]`, and require both: `eval.mean_score > eval.incumbent.mean_score and second.mean_score > second.incumbent.mean_score`

        "#]],
    );
}

#[test]
fn a_gate_declares_one_number_of_looks() {
    let two = format!("require: [{}, {}]", &SURE[9..], "mean_score > 0 with 95% confidence over 3 looks");
    warned(
        &two,
        "require: mean_score > 0",
        "",
        expect![[r#"
        error: a gate takes one look at its items, and its rules declare different numbers of looks
         --> rlhf.yaml:6:147
          |
        6 | ...dge: eval, require: [mean_score > incumbent.mean_score with 95% confidence, mean_score > 0 with 95% confidence over 3 looks]}}
          |                                                           ^^^^^^^^^^^^^^^^^^^
          |
          = help: write the same `over …` in each

    "#]],
    );
}

#[test]
fn the_last_gate_is_warned_of_prompts_by_which_was_chosen_before() {
    let plain = "require: mean_score > incumbent.mean_score";
    warned(
        plain,
        plain,
        ", gate: mean_score > 0 with 95% confidence",
        expect![[r#"
            base = pretrain(text=corpus.jsonl) seed 0
            sft = sft(model=base, data=sft.jsonl) seed 0 needs base
            rm_1 = rm(model=sft, data=pairs.jsonl) seed 0 needs sft
            ppo_1 = ppo(policy=sft, reward=rm_1, prompts=prompts.jsonl) seed 0 needs base sft rm_1 | Stop 1 rules, judge eval, incumbent policy
            ppo_2 = ppo(policy=ppo_1, reward=rm_1, prompts=prompts.jsonl) seed 0 needs base rm_1 ppo_1 | Stop 1 rules, judge eval, incumbent policy
            eval = eval(policy=sft, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base sft rm_1 after ppo_1 ppo_2
            last = eval(policy=ppo_2, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base rm_1 ppo_2 | Stop 1 rules
            warning: `eval` scores by `rm_1`, which trained the candidate of the gate of `ppo_1` (and of another gate): a better score may be its loophole
             --> rlhf.yaml:6:97
              |
            6 |   ppo_1: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: eval, require: mean_score > incumbent...
              |                                                                                                 ^^^^
              |
              = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, let a second stage like `eval` score by it, `judge: [eval, second]`, and require both: `eval.mean_score > eval.incumbent.mean_score and second.mean_score > second.incumbent.mean_score`

            warning: `last` scores by `rm_1`, which trained the candidate of the gate of `last`: a better score may be its loophole
             --> rlhf.yaml:8:101
              |
            8 |   last: {kind: eval, from: {policy: ppo_2, reward: rm_1, prompts: ./heldout.jsonl, baseline: base}, gate: mean_score > 0 with 95% con...
              |                                                                                                     ^^^^
              |
              = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, add it to `reward`, and require both: `mean_score > base.mean_score and mean_score_2 > base.mean_score_2`

            warning: the gate of `ppo_1` has chosen by heldout.jsonl before, without confidence: what this one sees there may be the luck of that choice
             --> rlhf.yaml:8:122
              |
            8 | ..../heldout.jsonl, baseline: base}, gate: mean_score > 0 with 95% confidence}
              |                                                           ^^^^^^^^^^^^^^^^^^^
              |
              = help: give the last gate fresh prompts

        "#]],
    );
}

#[test]
fn too_few_declared_looks_and_a_gate_that_declares_none_are_told() {
    let one = format!("{SURE} over 1 look");
    warned(
        &one,
        &one,
        "",
        expect![[r#"
        base = pretrain(text=corpus.jsonl) seed 0
        sft = sft(model=base, data=sft.jsonl) seed 0 needs base
        rm_1 = rm(model=sft, data=pairs.jsonl) seed 0 needs sft
        ppo_1 = ppo(policy=sft, reward=rm_1, prompts=prompts.jsonl) seed 0 needs base sft rm_1 | Stop 1 rules, judge eval, incumbent policy
        ppo_2 = ppo(policy=ppo_1, reward=rm_1, prompts=prompts.jsonl) seed 0 needs base rm_1 ppo_1 | Stop 1 rules, judge eval, incumbent policy
        eval = eval(policy=sft, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base sft rm_1 after ppo_1 ppo_2
        last = eval(policy=ppo_2, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base rm_1 ppo_2
        warning: `eval` scores by `rm_1`, which trained the candidate of the gate of `ppo_1` (and of another gate): a better score may be its loophole
         --> rlhf.yaml:6:97
          |
        6 |   ppo_1: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: eval, require: mean_score > incumbent...
          |                                                                                                 ^^^^
          |
          = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, let a second stage like `eval` score by it, `judge: [eval, second]`, and require both: `eval.mean_score > eval.incumbent.mean_score and second.mean_score > second.incumbent.mean_score`

        warning: 2 gates look at heldout.jsonl (`ppo_1`, `ppo_2`), and 1 look is declared: the last ones have nothing left to spend
         --> rlhf.yaml:6:146
          |
        6 | ...eval, require: mean_score > incumbent.mean_score with 95% confidence over 1 look}}
          |                                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: write `over 2 looks` in each, or more if they will be tried again

    "#]],
    );
    warned(
        &format!("{SURE} over 2 looks"),
        SURE,
        "",
        expect![[r#"
        base = pretrain(text=corpus.jsonl) seed 0
        sft = sft(model=base, data=sft.jsonl) seed 0 needs base
        rm_1 = rm(model=sft, data=pairs.jsonl) seed 0 needs sft
        ppo_1 = ppo(policy=sft, reward=rm_1, prompts=prompts.jsonl) seed 0 needs base sft rm_1 | Stop 1 rules, judge eval, incumbent policy
        ppo_2 = ppo(policy=ppo_1, reward=rm_1, prompts=prompts.jsonl) seed 0 needs base rm_1 ppo_1 | Stop 1 rules, judge eval, incumbent policy
        eval = eval(policy=sft, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base sft rm_1 after ppo_1 ppo_2
        last = eval(policy=ppo_2, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base rm_1 ppo_2
        warning: `eval` scores by `rm_1`, which trained the candidate of the gate of `ppo_1` (and of another gate): a better score may be its loophole
         --> rlhf.yaml:6:97
          |
        6 |   ppo_1: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: eval, require: mean_score > incumbent...
          |                                                                                                 ^^^^
          |
          = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, let a second stage like `eval` score by it, `judge: [eval, second]`, and require both: `eval.mean_score > eval.incumbent.mean_score and second.mean_score > second.incumbent.mean_score`

        warning: other gates declare how often they look at heldout.jsonl, and `ppo_2` does not: it spends a whole level beside theirs
         --> rlhf.yaml:7:148
          |
        7 | ...udge: eval, require: mean_score > incumbent.mean_score with 95% confidence}}
          |                                                           ^^^^^^^^^^^^^^^^^^^
          |
          = help: write the same `over … looks` in each, or give it fresh prompts

    "#]],
    );
}
