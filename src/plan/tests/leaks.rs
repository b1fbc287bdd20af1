use super::{check_in, folder, with_base};
use expect_test::expect;
use std::fs;

#[test]
fn prompts_from_which_was_learned_and_on_which_is_measured_are_counted() {
    let folder = folder();
    let write = |name: &str, rows: &[&str]| fs::write(folder.path().join(name), rows.join("\n")).unwrap();
    // `b` once exactly and once in another form; `c` is asked twice, `d` was never learned.
    write("heldout.jsonl", &[r#"{"prompt": "b c"}"#, r#"{"prompt": "c"}"#, r#"{"prompt": "c"}"#, r#"{"prompt": "d"}"#]);
    write("sft.jsonl", &[r#"{"prompt": "Ｂ　ｃ", "completion": "x"}"#, r#"{"prompt": "c", "completion": "x"}"#]);
    write("pairs.jsonl", &[r#"{"prompt": "a", "chosen": "x", "rejected": "y"}"#]);
    write("valid.jsonl", &[r#"{"prompt": "a ", "chosen": "x", "rejected": "z"}"#]);
    write("prompts.jsonl", &[r#"{"prompt": "d"}"#]);
    let stages = "  rm_2: {kind: rm, from: {model: base, data: ./pairs.jsonl, heldout: ./valid.jsonl}}
  # Measured by `eval`, which does not come after it by its inputs.
  ppo: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: eval, require: mean_score > 0}}
  free: {kind: eval, allow_overlap: true, from: {policy: ppo, reward: rm_1, prompts: ./heldout.jsonl}}
";
    check_in(
        &folder,
        &with_base(stages),
        expect![[r#"
            base = pretrain(text=corpus.jsonl) seed 0
            sft = sft(model=base, data=sft.jsonl) seed 0 needs base
            rm_1 = rm(model=sft, data=pairs.jsonl) seed 0 needs sft
            rm_2 = rm(model=base, data=pairs.jsonl, heldout=valid.jsonl) seed 0 needs base
            ppo = ppo(policy=sft, reward=rm_1, prompts=prompts.jsonl) seed 0 needs base sft rm_1 | Stop 1 rules, judge eval, incumbent policy
            eval = eval(policy=sft, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base sft rm_1 after ppo
            free = eval(policy=ppo, reward=rm_1, prompts=heldout.jsonl) needs rm_1 ppo
            warning: `ppo` learns from 1 of the 3 prompts on which `eval` measures
             --> rlhf.yaml:5:56
              |
            5 |   eval: {kind: eval, from: {policy: sft, reward: rm_1, prompts: ./heldout.jsonl, baseline: base}}
              |                                                        ^^^^^^^
              |
              = help: `pipeline data inspect DIR/prompts.jsonl --heldout DIR/heldout.jsonl` shows them; leave them out of one file, or say `allow_overlap: true` in the stage `eval`

            warning: `sft` learns from 2 of the 3 prompts on which `eval` measures (1 letter by letter)
             --> rlhf.yaml:5:56
              |
            5 |   eval: {kind: eval, from: {policy: sft, reward: rm_1, prompts: ./heldout.jsonl, baseline: base}}
              |                                                        ^^^^^^^
              |
              = help: `pipeline data inspect DIR/sft.jsonl --heldout DIR/heldout.jsonl` shows them; leave them out of one file, or say `allow_overlap: true` in the stage `eval`

            warning: `rm_2` learns from 1 of the 1 prompts on which it measures (in other letters, or with another text of the system)
             --> rlhf.yaml:6:61
              |
            6 |   rm_2: {kind: rm, from: {model: base, data: ./pairs.jsonl, heldout: ./valid.jsonl}}
              |                                                             ^^^^^^^
              |
              = help: `pipeline data inspect DIR/pairs.jsonl --heldout DIR/valid.jsonl` shows them; leave them out of one file, or say `allow_overlap: true` in the stage `rm_2`

            warning: `eval` scores by `rm_1`, which trained the candidate of the gate of `ppo`: a better score may be its loophole
             --> rlhf.yaml:8:95
              |
            8 |   ppo: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: eval, require: mean_score > 0}}
              |                                                                                               ^^^^
              |
              = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, let a second stage like `eval` score by it, `judge: [eval, second]`, and require both: `eval.mean_score > eval.incumbent.mean_score and second.mean_score > second.incumbent.mean_score`

        "#]],
    );
}

#[test]
fn a_file_is_either_learned_or_measured() {
    let folder = folder();
    fs::copy(folder.path().join("sft.jsonl"), folder.path().join("copy.jsonl")).unwrap();
    let stages = "  sft_2: {kind: sft, from: {model: base, data: ./sft.jsonl, heldout: DIR/model/../sft.jsonl}}
  sft_3: {kind: sft, from: {model: base, data: ./sft.jsonl, heldout: ./copy.jsonl}}
  make: {kind: exec, with: {command: 'true', outputs: [rows.jsonl]}}
  rm_2: {kind: rm, from: {model: sft_2, data: [./pairs.jsonl, make:rows.jsonl], heldout: make:rows.jsonl}}
  rm_3: {kind: rm, allow_overlap: true, from: {model: sft, data: ./pairs.jsonl, heldout: ./pairs.jsonl}}
";
    let stages = stages.replace("DIR", &folder.path().display().to_string());
    check_in(
        &folder,
        &with_base(&stages),
        expect![[r#"
            error: `sft_2` measures on `DIR/model/../sft.jsonl`, from which it learns
             --> rlhf.yaml:6:61
              |
            6 |   sft_2: {kind: sft, from: {model: base, data: ./sft.jsonl, heldout: DIR/model/../sft.jsonl}}
              |                                                             ^^^^^^^
              |
              = help: what was learned by heart looks like an improvement: measure on other prompts; `allow_overlap: true` in the stage `sft_2` lets it pass

            error: `DIR/copy.jsonl`, on which `sft_3` measures, has the same prompts as `DIR/sft.jsonl`, from which it learns
             --> rlhf.yaml:7:61
              |
            7 |   sft_3: {kind: sft, from: {model: base, data: ./sft.jsonl, heldout: ./copy.jsonl}}
              |                                                             ^^^^^^^
              |
              = help: what was learned by heart looks like an improvement: measure on other prompts; `allow_overlap: true` in the stage `sft_3` lets it pass

            error: `rm_2` measures on `make:rows.jsonl`, from which it learns
             --> rlhf.yaml:9:81
              |
            9 |   rm_2: {kind: rm, from: {model: sft_2, data: [./pairs.jsonl, make:rows.jsonl], heldout: make:rows.jsonl}}
              |                                                                                 ^^^^^^^
              |
              = help: what was learned by heart looks like an improvement: measure on other prompts; `allow_overlap: true` in the stage `rm_2` lets it pass

        "#]],
    );
}
