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
    check_in(&folder, &with_base(stages), expect![[r#"
        error: DIR/sft.jsonl: line 2: the rows are dialogues, and the model has no chat template; give it one by `chat_template`, or by a file chat_template.jinja beside its tokenizer.json
         --> rlhf.yaml:3:40
          |
        3 |   sft: {kind: sft, from: {model: base, data: ./sft.jsonl}}
          |                                        ^^^^

        warning: `eval` measures on 3 prompts; `ppo` learns from 1 of them
         --> rlhf.yaml:5:56
          |
        5 |   eval: {kind: eval, from: {policy: sft, reward: rm_1, prompts: ./heldout.jsonl, baseline: base}}
          |                                                        ^^^^^^^
          |
          = help: `pipeline data inspect DIR/prompts.jsonl --heldout DIR/heldout.jsonl` shows them; leave them out of one file, or say `allow_overlap: true` in `eval`

        warning: `eval` measures on 3 prompts; `sft` learns from 2 of them, 1 of them letter by letter
         --> rlhf.yaml:5:56
          |
        5 |   eval: {kind: eval, from: {policy: sft, reward: rm_1, prompts: ./heldout.jsonl, baseline: base}}
          |                                                        ^^^^^^^
          |
          = help: `pipeline data inspect DIR/sft.jsonl --heldout DIR/heldout.jsonl` shows them; leave them out of one file, or say `allow_overlap: true` in `eval`

        warning: `rm_2` measures on 1 prompts; `rm_2` learns from 1 of them, 0 of them letter by letter
         --> rlhf.yaml:6:61
          |
        6 |   rm_2: {kind: rm, from: {model: base, data: ./pairs.jsonl, heldout: ./valid.jsonl}}
          |                                                             ^^^^^^^
          |
          = help: `pipeline data inspect DIR/pairs.jsonl --heldout DIR/valid.jsonl` shows them; leave them out of one file, or say `allow_overlap: true` in `rm_2`

    "#]]);
}

#[test]
fn a_file_is_either_learned_or_measured() {
    let folder = folder();
    let stages = "  sft_2: {kind: sft, from: {model: base, data: ./sft.jsonl, heldout: DIR/model/../sft.jsonl}}
  make: {kind: exec, with: {command: 'true', outputs: [rows.jsonl]}}
  rm_2: {kind: rm, from: {model: sft_2, data: [./pairs.jsonl, make:rows.jsonl], heldout: make:rows.jsonl}}
  rm_3: {kind: rm, allow_overlap: true, from: {model: sft, data: ./pairs.jsonl, heldout: ./pairs.jsonl}}
";
    let stages = stages.replace("DIR", &folder.path().display().to_string());
    check_in(&folder, &with_base(&stages), expect![[r#"
        error: `sft_2` measures on `DIR/model/../sft.jsonl`, from which `sft_2` learns
         --> rlhf.yaml:6:61
          |
        6 |   sft_2: {kind: sft, from: {model: base, data: ./sft.jsonl, heldout: DIR/model/../sft.jsonl}}
          |                                                             ^^^^^^^
          |
          = help: what was learned by heart looks like an improvement: measure on other prompts; `allow_overlap: true` in `sft_2` lets it pass

        error: `rm_2` measures on `make:rows.jsonl`, from which `rm_2` learns
         --> rlhf.yaml:8:81
          |
        8 |   rm_2: {kind: rm, from: {model: sft_2, data: [./pairs.jsonl, make:rows.jsonl], heldout: make:rows.jsonl}}
          |                                                                                 ^^^^^^^
          |
          = help: what was learned by heart looks like an improvement: measure on other prompts; `allow_overlap: true` in `rm_2` lets it pass

    "#]]);
}
