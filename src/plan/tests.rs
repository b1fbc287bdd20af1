mod families;
mod judging;
mod leaks;
mod looks;
mod many;
mod proposals;
mod tokenizers;
mod yardsticks;

use super::*;
use crate::diagnostic::{SourceText, render};
use expect_test::{Expect, expect};
use stages::kinds::KINDS;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// A folder with `model/`, `gold.txt` and a data file for every port, each with one good row.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("model")).unwrap();
    let config = fs::read_to_string("stages/tests/parity/llama/config.json").unwrap();
    write("model/config.json", &config);
    write("model/tokenizer.json", "{}");
    fs::copy("stages/tests/parity/llama/model.safetensors", folder.path().join("model/model.safetensors")).unwrap();
    write("corpus.jsonl", "{\"text\": \"a\"}\n");
    write("sft.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
    write("pairs.jsonl", "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n");
    write("prompts.jsonl", "{\"prompt\": \"a\"}\n");
    write("heldout.jsonl", "{\"prompt\": \"b\"}\n");
    fs::create_dir(folder.path().join("gpt2")).unwrap();
    write("gpt2/config.json", &config.replace("\"llama\"", "\"mamba\""));
    write("gold.txt", "good\t1\n");
    write("bad.txt", "good 1\n");
    write("empty.jsonl", "");
    write("broken.jsonl", "{\"text\": \"a\"}\n{\"text\": \n");
    folder
}

fn check_with(text: &str, overrides: &[&str], expected: Expect) {
    expected.assert_eq(&planned(text, overrides, &folder(), &|_| None));
}

/// Checks a pipeline file that lies in a folder.
fn check_in(folder: &tempfile::TempDir, text: &str, expected: Expect) {
    expected.assert_eq(&planned(text, &[], folder, &|_| None));
}

/// The plan, or its mistakes.
fn planned(
    text: &str,
    overrides: &[&str],
    folder: &tempfile::TempDir,
    environment: &dyn Fn(&str) -> Option<String>,
) -> String {
    let overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
    let source = SourceText { path: PathBuf::from("rlhf.yaml"), text: text.to_owned(), overrides, rule: None };
    let planned = crate::spec::read(&source, environment).and_then(|spec| resolve(spec, folder.path(), KINDS));
    let shown = match planned {
        Ok(plan) => format!("{}{}", show(&plan), render(&source, &plan.warnings, false)),
        Err(mistakes) => render(&source, &mistakes, false),
    };
    shown.replace(&folder.path().display().to_string(), "DIR")
}

fn check(text: &str, expected: Expect) {
    check_with(text, &[], expected);
}

/// One line per stage: `ppo_1 = ppo(policy=sft, …) seed 7 needs … | judge eval keeps policy names …`.
fn show(plan: &Plan) -> String {
    let mut out = String::new();
    let names = |ids: &[StageId]| ids.iter().map(|id| plan.stages[*id].name.as_str()).collect::<Vec<_>>().join(" ");
    for stage in &plan.stages {
        let inputs: Vec<String> = stage.inputs.iter().map(|input| show_input(plan, input)).collect();
        write!(out, "{} = {}({})", stage.name, stage.kind.name, inputs.join(", ")).unwrap();
        if let Some(seed) = stage.seed {
            write!(out, " seed {seed}").unwrap();
        }
        for (word, ids) in [("needs", &stage.needs), ("after", &stage.after)] {
            if !ids.is_empty() {
                write!(out, " {word} {}", names(ids)).unwrap();
            }
        }
        if let Some(gate) = &stage.gate {
            write!(out, " | {:?} {} rules", gate.on_fail, gate.require.len() + gate.warn.len() + gate.observe.len())
                .unwrap();
            for judge in &gate.judges {
                write!(out, ", judge {}", plan.stages[*judge].name).unwrap();
            }
            if let Some(incumbent) = &stage.incumbent {
                write!(out, ", incumbent {incumbent}").unwrap();
            }
            if gate.select.is_some() {
                out.push_str(", select");
            }
            for (name, id) in &gate.stages {
                assert_eq!(*name, plan.stages[*id].name);
                write!(out, ", names {name}").unwrap();
            }
        }
        out.push('\n');
    }
    out
}

fn show_input(plan: &Plan, input: &Input) -> String {
    let source = |source: &Source| match source {
        Source::Stage { stage, pin: Pin::Open } => plan.stages[*stage].name.clone(),
        Source::Stage { stage, pin } => format!("{}@{pin:?}", plan.stages[*stage].name),
        Source::File { stage, pin, path } => format!("{}@{pin:?}:{path}", plan.stages[*stage].name),
        Source::Path(path) => path.file_name().unwrap().to_string_lossy().into_owned(),
    };
    format!("{}={}", input.port, input.sources.iter().map(source).collect::<Vec<_>>().join("+"))
}

/// base → sft → rm_1 → eval, to which a test adds its own stages.
fn with_base(stages: &str) -> String {
    format!(
        "stages:
  base: {{kind: pretrain, from: {{text: ./corpus.jsonl}}}}
  sft: {{kind: sft, from: {{model: base, data: ./sft.jsonl}}}}
  rm_1: {{kind: rm, from: {{model: sft, data: ./pairs.jsonl}}}}
  eval: {{kind: eval, from: {{policy: sft, reward: rm_1, prompts: ./heldout.jsonl, baseline: base}}}}
{stages}"
    )
}

#[test]
fn the_study_of_the_design_is_planned() {
    check(
        r#"
seed: 7
stages:
  eval:
    kind: eval
    from: {policy: ppo_2, reward: [rm_1, ./gold.txt], prompts: ./heldout.jsonl, baseline: sft}
    gate: {require: win_rate(sft over changed) > 0.5 and mean_score_2 > 0}
  base:
    kind: pretrain
    from: {text: ./corpus.jsonl}
  sft:
    kind: sft
    from: {model: base, data: ./sft.jsonl}
    gate: {require: heldout_loss < 2.5}
  rm_1:
    kind: rm
    from: {model: sft, data: ./pairs.jsonl}
    gate:
      select: {best: accuracy, where: ece < 0.25}
      require: accuracy > 0.6
  ppo_1:
    kind: ppo
    from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}
    gate: &promote
      judge: eval
      require:
        - mean_score > incumbent.mean_score
        - win_rate(sft over changed) > 0.5
      on_fail: keep
  rm_2:
    kind: rm
    from: {model: rm_1@50, data: ./pairs.jsonl}
    gate: {require: accuracy > rm_1.accuracy, on_fail: keep}
  ppo_2:
    kind: ppo
    seed: 8
    from: {policy: ppo_1, reward: rm_2, prompts: ./prompts.jsonl}
    gate: *promote
  table:
    kind: exec
    with: {command: [python, table.py]}
    from: {model: ppo_2@last, "1": model/}
    metrics: {mean_score: higher}
    incumbent: model
    gate: {require: mean_score > 0, on_fail: keep}
"#,
        expect![[r#"
            base = pretrain(text=corpus.jsonl) seed 7
            sft = sft(model=base, data=sft.jsonl) seed 7 needs base | Stop 1 rules, incumbent model
            rm_1 = rm(model=sft, data=pairs.jsonl) seed 7 needs sft | Stop 1 rules, select
            ppo_1 = ppo(policy=sft, reward=rm_1, prompts=prompts.jsonl) seed 7 needs sft rm_1 | Keep 2 rules, judge eval, incumbent policy, names sft
            rm_2 = rm(model=rm_1@Step(50), data=pairs.jsonl) seed 7 needs rm_1 | Keep 1 rules, incumbent model, names rm_1
            ppo_2 = ppo(policy=ppo_1, reward=rm_2, prompts=prompts.jsonl) seed 8 needs sft rm_1 ppo_1 rm_2 | Keep 2 rules, judge eval, incumbent policy, names sft
            eval = eval(policy=ppo_2, reward=rm_1+gold.txt, prompts=heldout.jsonl, baseline=sft) needs sft rm_1 ppo_2 after ppo_1 | Stop 1 rules, names sft
            table = exec(model=ppo_2@Last, 1=model) needs ppo_2 | Keep 1 rules, incumbent model
            warning: `eval` scores by `rm_1`, which trained the candidate of the gate of `ppo_1`: a better score may be its loophole
              --> rlhf.yaml:25:14
               |
            25 |       judge: eval
               |              ^^^^
               |
               = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, let a second stage like `eval` score by it, `judge: [eval, second]`, and require both: `eval.mean_score > eval.incumbent.mean_score and second.mean_score > second.incumbent.mean_score`

        "#]],
    );
}

#[test]
fn mistakes_of_spec_and_plan_are_reported_together() {
    check(
        r#"
stages:
  base:
    kind: pretrian
    from: {text: ./corpus.jsonl}
  sft:
    kind: sft
    knid: sft
    from: {modle: base, data: ./sft.jsonl}
    with: {epocs: 2}
  rm_1:
    kind: rm
    from: {model: stf, data: ./pears.jsonl}
    gate: {require: acuracy > 0.6}
  ppo_1:
    kind: ppo
    from: {policy: [sft], reward: rm_1, prompts: prompts.jsonl, reference: ppo_1}
  eval:
    kind: eval
    from: {policy: rm_1, reward: sft, prompts: ./heldout.jsonl, baseline: eval_2}
  eval_2:
    kind: eval
    from: {policy: sft, reward: rm_1, prompts: model/, baseline: eval}
  judge:
    kind: exec
    with: {command: [run]}
  2nd: {kind: exec, with: {command: run}}
"#,
        expect![[r#"
            error: unknown kind `pretrian`
             --> rlhf.yaml:4:11
              |
            4 |     kind: pretrian
              |           ^^^^^^^^
              |
              = help: did you mean `pretrain`?

            error: stage `sft` has no input `model`
             --> rlhf.yaml:6:3
              |
            6 |   sft:
              |   ^^^
              |
              = help: `model`: the model to start from

            error: unknown key `knid` of a stage
             --> rlhf.yaml:8:5
              |
            8 |     knid: sft
              |     ^^^^
              |
              = help: did you mean `kind`?

            error: `sft` has no input `modle`
             --> rlhf.yaml:9:12
              |
            9 |     from: {modle: base, data: ./sft.jsonl}
              |            ^^^^^
              |
              = help: did you mean `model`?

            error: unknown parameter `epocs`
              --> rlhf.yaml:10:12
               |
            10 |     with: {epocs: 2}
               |            ^^^^^
               |
               = help: did you mean `epochs`?

            error: unknown stage `stf`
              --> rlhf.yaml:13:19
               |
            13 |     from: {model: stf, data: ./pears.jsonl}
               |                   ^^^
               |
               = help: did you mean `sft`?

            error: there is nothing at `DIR/pears.jsonl`
              --> rlhf.yaml:13:30
               |
            13 |     from: {model: stf, data: ./pears.jsonl}
               |                              ^^^^^^^^^^^^^
               |
               = help: did you mean `pairs.jsonl`?

            error: unknown metric `acuracy`
              --> rlhf.yaml:14:21
               |
            14 |     gate: {require: acuracy > 0.6}
               |                     ^^^^^^^
               |
               = help: did you mean `accuracy`?

            error: `policy` takes one source, not a list
              --> rlhf.yaml:17:12
               |
            17 |     from: {policy: [sft], reward: rm_1, prompts: prompts.jsonl, reference: ppo_1}
               |            ^^^^^^

            error: stage `ppo_1` takes itself as an input
              --> rlhf.yaml:17:76
               |
            17 |     from: {policy: [sft], reward: rm_1, prompts: prompts.jsonl, reference: ppo_1}
               |                                                                            ^^^^^

            error: `rm_1` (kind `rm`) gives a reward model
              --> rlhf.yaml:20:20
               |
            20 |     from: {policy: rm_1, reward: sft, prompts: ./heldout.jsonl, baseline: eval_2}
               |                    ^^^^
               |
               = help: `policy` takes a language model: a stage that makes one, or a directory in Hugging Face layout

            error: `sft` (kind `sft`) gives a language model
              --> rlhf.yaml:20:34
               |
            20 |     from: {policy: rm_1, reward: sft, prompts: ./heldout.jsonl, baseline: eval_2}
               |                                  ^^^
               |
               = help: `reward` takes a reward: a stage that makes one, the directory of a reward model, or a file that scores (.txt, .tsv, .jsonl)

            error: `eval_2` (kind `eval`) gives measurements only, no artifact
              --> rlhf.yaml:20:75
               |
            20 |     from: {policy: rm_1, reward: sft, prompts: ./heldout.jsonl, baseline: eval_2}
               |                                                                           ^^^^^^
               |
               = help: `baseline` takes a language model: a stage that makes one, or a directory in Hugging Face layout

            error: DIR/model: the directory holds a model (config.json), not data
              --> rlhf.yaml:23:48
               |
            23 |     from: {policy: sft, reward: rm_1, prompts: model/, baseline: eval}
               |                                                ^^^^^^

            error: `eval` (kind `eval`) gives measurements only, no artifact
              --> rlhf.yaml:23:66
               |
            23 |     from: {policy: sft, reward: rm_1, prompts: model/, baseline: eval}
               |                                                                  ^^^^
               |
               = help: `baseline` takes a language model: a stage that makes one, or a directory in Hugging Face layout

            error: `judge` cannot name a stage: it is a word of the rule language
              --> rlhf.yaml:24:3
               |
            24 |   judge:
               |   ^^^^^
               |
               = help: `judge_1`, for one

            error: `2nd` cannot name a stage
              --> rlhf.yaml:27:3
               |
            27 |   2nd: {kind: exec, with: {command: run}}
               |   ^^^
               |
               = help: names match [A-Za-z_][A-Za-z0-9_]*

        "#]],
    );
}

#[test]
fn a_parameter_of_the_wrong_type_is_shown_at_its_value_and_an_unknown_one_at_its_key() {
    check(
        "stages:\n  base:\n    kind: pretrain\n    from: {text: ./corpus.jsonl}\n    with:\n      steps: many\n      lr: 1e-3\n  b:\n    kind: pretrain\n    from: {text: ./corpus.jsonl}\n    with: {layesr: 2, width: -1, lr: [1]}\n  c:\n    kind: exec\n",
        expect![[r#"
            error: `steps`: expected a whole number from 0, found the text "many"
             --> rlhf.yaml:6:14
              |
            6 |       steps: many
              |              ^^^^

            error: unknown parameter `layesr`
              --> rlhf.yaml:11:12
               |
            11 |     with: {layesr: 2, width: -1, lr: [1]}
               |            ^^^^^^
               |
               = help: did you mean `layers`?

            error: `width`: expected a whole number from 0, found `-1`
              --> rlhf.yaml:11:30
               |
            11 |     with: {layesr: 2, width: -1, lr: [1]}
               |                              ^^

            error: `lr`: expected a number, found a list
              --> rlhf.yaml:11:38
               |
            11 |     with: {layesr: 2, width: -1, lr: [1]}
               |                                      ^

            error: `command`: no command to run
              --> rlhf.yaml:12:3
               |
            12 |   c:
               |   ^
               |
               = help: write `command: [program, argument, …]`, or a text for the shell

        "#]],
    );
    check_with(
        "stages:\n  base: {kind: pretrain, from: {text: ./corpus.jsonl}}\n",
        &["base.with.steps=few"],
        expect![[r#"
            error: `steps`: expected a whole number from 0, found the text "few"
             --> --set:1:17
              |
            1 | base.with.steps=few
              |                 ^^^

        "#]],
    );
}

#[test]
fn a_missing_path_from_a_variable_says_how_to_set_it() {
    check(
        r#"
vars: {stories: ../stories, data: ./nothing}
stages:
  sft: {kind: sft, from: {model: "${vars.stories}", data: "${data}/sft.jsonl"}}
  b: {kind: sft, from: {model: "hf://llm-jp/150m", data: sft}}
  rm_1: {kind: rm, from: {model: ./gold.txt, data: corpus}}
"#,
        expect![[r#"
            error: there is nothing at `DIR/../stories`
             --> rlhf.yaml:4:35
              |
            4 |   sft: {kind: sft, from: {model: "${vars.stories}", data: "${data}/sft.jsonl"}}
              |                                   ^^^^^^^^^^^^^^^
              |
              = help: set it with --set vars.stories=FOLDER

            error: there is nothing at `DIR/nothing/sft.jsonl`
             --> rlhf.yaml:4:60
              |
            4 |   sft: {kind: sft, from: {model: "${vars.stories}", data: "${data}/sft.jsonl"}}
              |                                                            ^^^^^^^^^^^^^^^^^
              |
              = help: set it with --set vars.data=FOLDER

            error: `hf://llm-jp/150m`: HF_HUB_CACHE, HF_HOME and HOME are not set, so there is no place for it
             --> rlhf.yaml:5:33
              |
            5 |   b: {kind: sft, from: {model: "hf://llm-jp/150m", data: sft}}
              |                                 ^^^^^^^^^^^^^^^^

            error: `sft` (kind `sft`) gives a language model
             --> rlhf.yaml:5:58
              |
            5 |   b: {kind: sft, from: {model: "hf://llm-jp/150m", data: sft}}
              |                                                          ^^^
              |
              = help: `data` takes data: a file (JSON, JSONL, CSV, TSV, Parquet, Arrow, text; .gz and .zst, too), a directory of them, a pattern, or `hf://datasets/owner/name`

            error: `DIR/gold.txt` is a file
             --> rlhf.yaml:6:34
              |
            6 |   rm_1: {kind: rm, from: {model: ./gold.txt, data: corpus}}
              |                                  ^^^^^^^^^^
              |
              = help: `model` takes a language model: a stage that makes one, or a directory in Hugging Face layout

            error: unknown stage `corpus`
             --> rlhf.yaml:6:52
              |
            6 |   rm_1: {kind: rm, from: {model: ./gold.txt, data: corpus}}
              |                                                    ^^^^^^
              |
              = help: there are: b, sft

        "#]],
    );
}

#[test]
fn an_empty_data_set_and_a_malformed_row_are_known_before_anything_runs() {
    check(
        "stages:\n  base: {kind: pretrain, from: {text: ./empty.jsonl}}\n  b: {kind: pretrain, from: {text: ./broken.jsonl}}\n",
        expect![[r#"
            error: DIR/empty.jsonl: it is empty: it was not downloaded or written; fetch it again
             --> rlhf.yaml:2:39
              |
            2 |   base: {kind: pretrain, from: {text: ./empty.jsonl}}
              |                                       ^^^^^^^^^^^^^

            error: DIR/broken.jsonl: line 2: not JSON, at column 9: it is cut, as it ends within a value
             --> rlhf.yaml:3:36
              |
            3 |   b: {kind: pretrain, from: {text: ./broken.jsonl}}
              |                                    ^^^^^^^^^^^^^^

        "#]],
    );
}

#[test]
fn a_cycle_is_printed_as_a_path() {
    check(
        r#"
stages:
  a: {kind: sft, from: {model: c, data: ./sft.jsonl}}
  b: {kind: sft, from: {model: a, data: ./sft.jsonl}}
  c: {kind: sft, from: {model: b, data: ./sft.jsonl}}
  d: {kind: sft, from: {model: d, data: ./sft.jsonl}}
"#,
        expect![[r#"
            error: these stages wait for each other: a -> b -> c -> a
             --> rlhf.yaml:3:32
              |
            3 |   a: {kind: sft, from: {model: c, data: ./sft.jsonl}}
              |                                ^

            error: stage `d` takes itself as an input
             --> rlhf.yaml:6:32
              |
            6 |   d: {kind: sft, from: {model: d, data: ./sft.jsonl}}
              |                                ^

        "#]],
    );
}

#[test]
fn a_judge_must_be_an_eval_stage_that_does_not_wait_for_the_gate() {
    check(
        &with_base(
            "  ppo_1: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: late, require: mean_score > 0}}
  ppo_2: {kind: ppo, from: {policy: ppo_1, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: evil, require: mean_score > 0}}
  ppo_3: {kind: ppo, from: {policy: ppo_2, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: rm_1, require: mean_score > 0}}
  rm_2: {kind: rm, from: {model: rm_1, data: ./pairs.jsonl}, gate: {judge: eval, require: mean_score > 0}}
  late: {kind: eval, from: {policy: ppo_3, reward: rm_1, prompts: ./heldout.jsonl, baseline: ppo_2}, gate: {judge: late, require: mean_score > 0}}
",
        ),
        expect![[r#"
            error: `late` cannot judge `ppo_1`: its `baseline` comes after that gate
             --> rlhf.yaml:6:97
              |
            6 |   ppo_1: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: late, require: mean_score > 0}}
              |                                                                                                 ^^^^
              |
              = help: ppo_1 -> ppo_2 -> late.baseline

            error: unknown stage `evil`
             --> rlhf.yaml:7:99
              |
            7 |   ppo_2: {kind: ppo, from: {policy: ppo_1, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: evil, require: mean_score > 0}}
              |                                                                                                   ^^^^
              |
              = help: did you mean `eval`?

            error: `rm_1` (kind `rm`) cannot judge: a judge is an eval stage
             --> rlhf.yaml:8:99
              |
            8 |   ppo_3: {kind: ppo, from: {policy: ppo_2, reward: rm_1, prompts: ./prompts.jsonl}, gate: {judge: rm_1, require: mean_score > 0}}
              |                                                                                                   ^^^^
              |
              = help: there are: eval, late

            error: `eval` measures language models, and `rm_2` gives none
             --> rlhf.yaml:9:76
              |
            9 |   rm_2: {kind: rm, from: {model: rm_1, data: ./pairs.jsonl}, gate: {judge: eval, require: mean_score > 0}}
              |                                                                            ^^^^
              |
              = help: leave `judge` out: the rules then see the stage's own metrics

            error: an eval stage judges by itself
              --> rlhf.yaml:10:116
               |
            10 |   late: {kind: eval, from: {policy: ppo_3, reward: rm_1, prompts: ./heldout.jsonl, baseline: ppo_2}, gate: {judge: late, require: me...
               |                                                                                                                    ^^^^
               |
               = help: leave `judge` out

        "#]],
    );
}

#[test]
fn a_stage_waits_for_the_reward_that_judges_it_and_for_no_further_one() {
    // rm_2 is trained after ppo_1: waiting for it would be a cycle.
    let stages = "
  ppo_1:
    kind: ppo
    from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}
    gate: {judge: late, require: mean_score > incumbent.mean_score, on_fail: keep}
  rm_2: {kind: rm, from: {model: ppo_1, data: ./pairs.jsonl}}
  late:
    kind: eval
    from: {policy: ppo_1, reward: [rm_1, rm_2], prompts: ./heldout.jsonl, baseline: sft}
    seed: 4
";
    check(
        &with_base(stages),
        expect![[r#"
            base = pretrain(text=corpus.jsonl) seed 0
            sft = sft(model=base, data=sft.jsonl) seed 0 needs base
            rm_1 = rm(model=sft, data=pairs.jsonl) seed 0 needs sft
            eval = eval(policy=sft, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base sft rm_1
            ppo_1 = ppo(policy=sft, reward=rm_1, prompts=prompts.jsonl) seed 0 needs sft rm_1 | Keep 1 rules, judge late, incumbent policy
            rm_2 = rm(model=ppo_1, data=pairs.jsonl) seed 0 needs ppo_1
            late = eval(policy=ppo_1, reward=rm_1+rm_2, prompts=heldout.jsonl, baseline=sft) needs sft rm_1 ppo_1 rm_2
            warning: `late` scores by `rm_1`, which trained the candidate of the gate of `ppo_1`: a better score may be its loophole
              --> rlhf.yaml:10:19
               |
            10 |     gate: {judge: late, require: mean_score > incumbent.mean_score, on_fail: keep}
               |                   ^^^^
               |
               = help: no level of confidence helps against that: take a second reward, such as a reward model with its own data and seed, let a second stage like `late` score by it, `judge: [late, second]`, and require both: `late.mean_score > late.incumbent.mean_score and second.mean_score > second.incumbent.mean_score`

            warning: `rm_2` repeats `rm_1` when the gate of `ppo_1` keeps the incumbent
              --> rlhf.yaml:11:3
               |
            11 |   rm_2: {kind: rm, from: {model: ppo_1, data: ./pairs.jsonl}}
               |   ^^^^
               |
               = help: give it its own `seed` (or data) if it is meant as a new attempt

            warning: `seed` has no effect: the kind `eval` draws nothing
              --> rlhf.yaml:15:11
               |
            15 |     seed: 4
               |           ^

        "#]],
    );
}

#[test]
fn stages_in_a_row_agree_on_the_shape_of_their_adapter() {
    let stages = "
  ppo_1: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, with: {lora: {rank: 4}}}
  ppo_2: {kind: ppo, from: {policy: ppo_1, reward: rm_1, prompts: ./prompts.jsonl, reference: sft}, with: {lora: {rank: 4}}}
";
    check(
        &with_base(stages),
        expect![[r#"
        error: `ppo_1` goes on with the adapter of `sft`, which has another shape
         --> rlhf.yaml:7:96
          |
        7 |   ppo_1: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, with: {lora: {rank: 4}}}
          |                                                                                                ^
          |
          = help: `sft` has lora: {rank: 8, alpha: 16.0}, `ppo_1` has {rank: 4, alpha: 16.0}; they must be the same

    "#]],
    );
}

#[test]
fn a_model_or_a_word_list_that_cannot_be_read_is_known_before_anything_runs() {
    let stages = "stages:
  sft: {kind: sft, from: {model: ./model, data: ./sft.jsonl}}
  eval: {kind: eval, from: {policy: sft, reward: ./bad.txt, prompts: ./heldout.jsonl}}
  ppo: {kind: ppo, from: {policy: ./gpt2, reward: ./gold.txt, prompts: ./prompts.jsonl}}
";
    check(
        stages,
        expect![[r#"
            error: DIR/bad.txt: line 1: not `word<tab>number`
             --> rlhf.yaml:3:50
              |
            3 |   eval: {kind: eval, from: {policy: sft, reward: ./bad.txt, prompts: ./heldout.jsonl}}
              |                                                  ^^^^^^^^^

            error: DIR/gpt2/config.json: model_type `mamba` is not known; known are `llama`, `mistral`, `qwen2`, `qwen3`, `gemma2`, `gemma3_text`, `phi3`, `olmo2`, `smollm3`, `granite`, `stablelm`, `gpt_neox`, `gpt2`
             --> rlhf.yaml:4:35
              |
            4 |   ppo: {kind: ppo, from: {policy: ./gpt2, reward: ./gold.txt, prompts: ./prompts.jsonl}}
              |                                   ^^^^^^

            error: the critic starts from a reward model, and none is on `reward`
             --> rlhf.yaml:4:43
              |
            4 |   ppo: {kind: ppo, from: {policy: ./gpt2, reward: ./gold.txt, prompts: ./prompts.jsonl}}
              |                                           ^^^^^^
              |
              = help: `with: {critic: zero}` takes a critic of zeros on the policy's own base, `advantage: rloo` and the like none

        "#]],
    );
}

#[test]
fn rules_are_checked_against_the_names_there_are() {
    check(
        &with_base(
            "  ppo_1:
    kind: ppo
    from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}
    gate:
      judge: eval
      require:
        - mean_scroe > incumbent.mean_score
        - \"win_rate(stf over changed) > 0.5\"
        - ppo_2.mean_score < mean_score
        - ppo_1.reward > 0 and
        - rm_1.mean_score > 0
        - mean_score_2 > 0
        - length > 3
        - ppo_1.reward > 0
  ppo_2:
    kind: ppo
    from: {policy: ppo_1, reward: rm_1, prompts: ./prompts.jsonl}
    gate: {require: incumbent.reward < reward, select: {best: rewrad, where: ppo_1.kl < 3}}
  rm_2:
    kind: rm
    seed: 1
    from: {model: sft, data: ./pairs.jsonl}
    gate: {require: accuracy > incumbent.accuracy, on_fail: keep}
",
        ),
        expect![[r#"
            error: unknown metric `mean_scroe`
              --> rlhf.yaml:12:11
               |
            12 |         - mean_scroe > incumbent.mean_score
               |           ^^^^^^^^^^
               |
               = help: did you mean `mean_score`?

            error: unknown stage `stf`
              --> rlhf.yaml:13:21
               |
            13 |         - "win_rate(stf over changed) > 0.5"
               |                     ^^^
               |
               = help: did you mean `sft`?

            error: `ppo_2` comes after the gate of `ppo_1`
              --> rlhf.yaml:14:11
               |
            14 |         - ppo_2.mean_score < mean_score
               |           ^^^^^
               |
               = help: ppo_1 -> ppo_2

            error: expected a number, a metric or `(`, found the end of the rule
              --> rlhf.yaml:15:31
               |
            15 |         - ppo_1.reward > 0 and
               |                               ^

            error: `eval` measures language models, and `rm_1` gives none
              --> rlhf.yaml:16:11
               |
            16 |         - rm_1.mean_score > 0
               |           ^^^^
               |
               = help: name a stage that makes a language model

            error: unknown metric `mean_score_2`
              --> rlhf.yaml:17:11
               |
            17 |         - mean_score_2 > 0
               |           ^^^^^^^^^^^^
               |
               = help: did you mean `mean_score`?

            error: `length` is measured by this stage and by its judge `eval`
              --> rlhf.yaml:18:11
               |
            18 |         - length > 3
               |           ^^^^^^
               |
               = help: write `self.length` or `judge.length`

            error: `ppo_1` is the stage of this gate
              --> rlhf.yaml:19:11
               |
            19 |         - ppo_1.reward > 0
               |           ^^^^^
               |
               = help: write `self.METRIC`, or the metric alone

            warning: `incumbent.reward` was measured by the incumbent's own stage: a different yardstick
              --> rlhf.yaml:23:21
               |
            23 |     gate: {require: incumbent.reward < reward, select: {best: rewrad, where: ppo_1.kl < 3}}
               |                     ^^^^^^^^^^^^^^^^
               |
               = help: add `judge: STAGE`, so that both are measured alike

            error: unknown metric `rewrad`
              --> rlhf.yaml:23:63
               |
            23 |     gate: {require: incumbent.reward < reward, select: {best: rewrad, where: ppo_1.kl < 3}}
               |                                                               ^^^^^^
               |
               = help: did you mean `reward`?

            error: no checkpoint has this of its own
              --> rlhf.yaml:23:78
               |
            23 |     gate: {require: incumbent.reward < reward, select: {best: rewrad, where: ppo_1.kl < 3}}
               |                                                                              ^^^^^^^^
               |
               = help: `where` filters checkpoints by the stage's own metrics, before anything is judged

            error: `on_fail: keep`: stage `rm_2` has no incumbent to keep
              --> rlhf.yaml:28:5
               |
            28 |     gate: {require: accuracy > incumbent.accuracy, on_fail: keep}
               |     ^^^^
               |
               = help: use `on_fail: stop`

            error: this stage has no incumbent
              --> rlhf.yaml:28:32
               |
            28 |     gate: {require: accuracy > incumbent.accuracy, on_fail: keep}
               |                                ^^^^^^^^^
               |
               = help: name a stage, or compare with a number: nothing goes into this stage that it could keep

        "#]],
    );
}

#[test]
fn two_rules_that_name_each_others_stages_wait_for_each_other() {
    check(
        &with_base(
            "  a: {kind: sft, seed: 1, from: {model: base, data: ./sft.jsonl}, gate: {require: loss < b.loss}}
  b: {kind: sft, seed: 2, from: {model: base, data: ./sft.jsonl}, gate: {require: loss < a.loss}}
",
        ),
        expect![[r#"
            error: `a` comes after the gate of `b`
             --> rlhf.yaml:7:90
              |
            7 |   b: {kind: sft, seed: 2, from: {model: base, data: ./sft.jsonl}, gate: {require: loss < a.loss}}
              |                                                                                          ^
              |
              = help: b -> a

        "#]],
    );
}

#[test]
fn without_a_baseline_an_eval_measures_no_kl() {
    check(
        "stages:\n  eval: {kind: eval, from: {policy: model/, reward: ./gold.txt, prompts: ./heldout.jsonl}, gate: {require: kl < 3}}\n",
        expect![[r#"
            error: unknown metric `kl`
             --> rlhf.yaml:2:108
              |
            2 |   eval: {kind: eval, from: {policy: model/, reward: ./gold.txt, prompts: ./heldout.jsonl}, gate: {require: kl < 3}}
              |                                                                                                            ^^
              |
              = help: there are: data_dropped, data_rows, data_truncated, distinct_2, eos_share, length, mean_score, repetition, same_answer_share, score_sd

        "#]],
    );
}

#[test]
fn a_stage_that_repeats_an_action_is_warned_of() {
    check(
        &with_base(
            "  again: {kind: sft, from: {model: base, data: ./sft.jsonl}, with: {epochs: 2}}
  ppo_1: {kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, gate: {require: reward > 0, on_fail: keep}}
  ppo_2: {kind: ppo, from: {policy: ppo_1, reward: rm_1, prompts: ./prompts.jsonl}}
  ppo_3: {kind: ppo, seed: 5, from: {policy: ppo_1, reward: rm_1, prompts: ./prompts.jsonl}}
",
        ),
        expect![[r#"
            base = pretrain(text=corpus.jsonl) seed 0
            sft = sft(model=base, data=sft.jsonl) seed 0 needs base
            rm_1 = rm(model=sft, data=pairs.jsonl) seed 0 needs sft
            eval = eval(policy=sft, reward=rm_1, prompts=heldout.jsonl, baseline=base) needs base sft rm_1
            again = sft(model=base, data=sft.jsonl) seed 0 needs base
            ppo_1 = ppo(policy=sft, reward=rm_1, prompts=prompts.jsonl) seed 0 needs sft rm_1 | Keep 1 rules, incumbent policy
            ppo_2 = ppo(policy=ppo_1, reward=rm_1, prompts=prompts.jsonl) seed 0 needs rm_1 ppo_1
            ppo_3 = ppo(policy=ppo_1, reward=rm_1, prompts=prompts.jsonl) seed 5 needs rm_1 ppo_1
            warning: `ppo_2` repeats `ppo_1` when the gate of `ppo_1` keeps the incumbent
             --> rlhf.yaml:8:3
              |
            8 |   ppo_2: {kind: ppo, from: {policy: ppo_1, reward: rm_1, prompts: ./prompts.jsonl}}
              |   ^^^^^
              |
              = help: give it its own `seed` (or data) if it is meant as a new attempt

        "#]],
    );
}

#[test]
fn metrics_and_incumbent_belong_to_exec() {
    check(
        &with_base(
            "  ppo_1:
    kind: ppo
    from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}
    metrics: {mean_score: higher}
    incumbent: policy
  run:
    kind: exec
    with: {command: [run]}
    from: {model: sft}
    incumbent: modle
",
        ),
        expect![[r#"
            error: `ppo` declares its metrics itself
             --> rlhf.yaml:9:15
              |
            9 |     metrics: {mean_score: higher}
              |               ^^^^^^^^^^
              |
              = help: `metrics` is for stages of kind `exec`

            error: `ppo` has its incumbent by its kind
              --> rlhf.yaml:10:16
               |
            10 |     incumbent: policy
               |                ^^^^^^
               |
               = help: `incumbent` is for stages of kind `exec`

            error: nothing is connected to `modle`
              --> rlhf.yaml:15:16
               |
            15 |     incumbent: modle
               |                ^^^^^
               |
               = help: did you mean `model`?

        "#]],
    );
}

#[test]
fn a_file_that_a_stage_makes_is_data() {
    let text = r#"
stages:
  make:
    kind: exec
    with: {command: "true", outputs: [data, pairs.jsonl]}
  sft:
    kind: sft
    from: {model: ./model, data: "make:data/./rows.jsonl"}
  rm:
    kind: rm
    from: {model: ./model, data: make@last:pairs.jsonl}
"#;
    check(
        text,
        expect![[r#"
        make = exec()
        sft = sft(model=model, data=make@Open:data/rows.jsonl) seed 0 needs make
        rm = rm(model=model, data=make@Last:pairs.jsonl) seed 0 needs make
    "#]],
    );
    let text = r#"
stages:
  make:
    kind: exec
    with: {command: "true", outputs: [prompts.jsonl, words.txt]}
  quiet:
    kind: exec
    with: {command: "true"}
  sft:
    kind: sft
    from: {model: make:model, data: make}
  other:
    kind: sft
    from: {model: ./model, data: make:../rows.jsonl}
  more:
    kind: sft
    from: {model: ./model, data: nobody:rows.jsonl}
  judged:
    kind: sft
    from: {model: ./model, data: eval:rows.jsonl}
  eval:
    kind: eval
    from: {policy: ./model, reward: make:words.txt, prompts: make:prompt.jsonl}
  again:
    kind: sft
    from: {model: ./model, data: quiet:rows.jsonl}
"#;
    check(
        text,
        expect![[r#"
            error: `model` is one file of `make`
              --> rlhf.yaml:11:19
               |
            11 |     from: {model: make:model, data: make}
               |                   ^^^^^^^^^^
               |
               = help: `model` takes a language model: a stage that makes one, or a directory in Hugging Face layout

            error: `make` (kind `exec`) gives files
              --> rlhf.yaml:11:37
               |
            11 |     from: {model: make:model, data: make}
               |                                     ^^^^
               |
               = help: `data` takes data: a file (JSON, JSONL, CSV, TSV, Parquet, Arrow, text; .gz and .zst, too), a directory of them, a pattern, or `hf://datasets/owner/name`; name the file that `make` makes: `make:rows.jsonl`

            error: `../rows.jsonl` names no file in what `make` makes
              --> rlhf.yaml:14:34
               |
            14 |     from: {model: ./model, data: make:../rows.jsonl}
               |                                  ^^^^^^^^^^^^^^^^^^
               |
               = help: the path of a file, from the top of its output: `make:rows.jsonl`, `make:data/rows.jsonl`

            error: unknown stage `nobody`
              --> rlhf.yaml:17:34
               |
            17 |     from: {model: ./model, data: nobody:rows.jsonl}
               |                                  ^^^^^^^^^^^^^^^^^
               |
               = help: there are: again, eval, judged, make, other, quiet, sft

            error: `eval` (kind `eval`) gives measurements only, no artifact
              --> rlhf.yaml:20:34
               |
            20 |     from: {model: ./model, data: eval:rows.jsonl}
               |                                  ^^^^^^^^^^^^^^^
               |
               = help: a file is taken from a stage that makes files

            error: `make` does not declare `prompt.jsonl` among its `outputs`
              --> rlhf.yaml:23:62
               |
            23 |     from: {policy: ./model, reward: make:words.txt, prompts: make:prompt.jsonl}
               |                                                              ^^^^^^^^^^^^^^^^^
               |
               = help: did you mean `prompts.jsonl`?

            error: `quiet` does not declare `rows.jsonl` among its `outputs`
              --> rlhf.yaml:26:34
               |
            26 |     from: {model: ./model, data: quiet:rows.jsonl}
               |                                  ^^^^^^^^^^^^^^^^
               |
               = help: it declares none: `outputs: [rows.jsonl]`

        "#]],
    );
}

#[test]
fn data_of_a_hub_is_read_where_it_is_here_and_warned_of_where_it_is_not() {
    let folder = folder();
    let data = folder.path().join("hub/datasets--o--n");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let snapshot = data.join("snapshots").join(commit);
    for directory in [data.join("refs"), snapshot.join("data")] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(data.join("refs/main"), commit).unwrap();
    fs::write(snapshot.join(".gitattributes"), "").unwrap();
    for name in ["data/one.jsonl", "data/two.jsonl"] {
        fs::copy(folder.path().join("sft.jsonl"), snapshot.join(name)).unwrap();
    }
    fs::write(snapshot.join("bad.jsonl"), "{\"prompt\": 3}\n").unwrap();
    let hub = folder.path().join("hub").display().to_string();
    let shown = |stages: &str| {
        planned(&format!("stages:\n{stages}"), &[], &folder, &|name| (name == "HF_HUB_CACHE").then(|| hub.clone()))
    };
    expect![[r#"
        a = sft(model=model, data=one.jsonl+two.jsonl) seed 0
        b = sft(model=a, data=n@v2+two.jsonl) seed 0 needs a
        c = exec(x=one.jsonl+two.jsonl)
        warning: `hf://datasets/o/n@v2` is not on this machine yet
         --> rlhf.yaml:3:43
          |
        3 |   b: {kind: sft, from: {model: a, data: ['hf://datasets/o/n@v2', {path: 'hf://datasets/o/n/data/two.jsonl', take: 1}]}}
          |                                           ^^^^^^^^^^^^^^^^^^^^
          |
          = help: `pipeline run` fetches it, and so does `pipeline data inspect`

    "#]].assert_eq(&shown(
        "  a: {kind: sft, from: {model: ./model, data: 'hf://datasets/o/n/data'}}\n  \
         b: {kind: sft, from: {model: a, data: ['hf://datasets/o/n@v2', {path: 'hf://datasets/o/n/data/two.jsonl', take: 1}]}}\n  \
         c: {kind: exec, from: {x: 'hf://datasets/o/n/data/*'}, with: {command: ls}}\n",
    ));
    expect![[r#"
        error: `hf://datasets/o/n` is a data set
         --> rlhf.yaml:2:33
          |
        2 |   a: {kind: sft, from: {model: 'hf://datasets/o/n', data: 'hf://o/n'}}
          |                                 ^^^^^^^^^^^^^^^^^
          |
          = help: `model` takes a language model: a stage that makes one, or a directory in Hugging Face layout; a model of the hub is written `hf://owner/name`

        error: `hf://o/n` is a model, if it is anything
         --> rlhf.yaml:2:60
          |
        2 |   a: {kind: sft, from: {model: 'hf://datasets/o/n', data: 'hf://o/n'}}
          |                                                            ^^^^^^^^
          |
          = help: a data set of the hub is written `hf://datasets/o/n`

        warning: `hf://datasets/o/n@v2` is not on this machine yet
         --> rlhf.yaml:3:49
          |
        3 |   b: {kind: sft, from: {model: ./model, data: ['hf://datasets/o/n@v2', 'hf://datasets/o/n/bad.jsonl']}}
          |                                                 ^^^^^^^^^^^^^^^^^^^^
          |
          = help: `pipeline run` fetches it, and so does `pipeline data inspect`

        error: DIR/hub/datasets--o--n/snapshots/0123456789abcdef0123456789abcdef01234567/bad.jsonl: line 1: field `prompt` is a number, not a text
         --> rlhf.yaml:3:73
          |
        3 |   b: {kind: sft, from: {model: ./model, data: ['hf://datasets/o/n@v2', 'hf://datasets/o/n/bad.jsonl']}}
          |                                                                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^

        error: `hf://datasets/o/n@main/one.jsonl`: the data set has no `one.jsonl`; did you mean `data/one.jsonl`?
         --> rlhf.yaml:4:48
          |
        4 |   c: {kind: sft, from: {model: ./model, data: 'hf://datasets/o/n/one.jsonl'}}
          |                                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^

        error: `hf://datasets/n`: the name is missing; write hf://datasets/owner/name, and where needed hf://datasets/owner/name@revision/path
         --> rlhf.yaml:5:48
          |
        5 |   d: {kind: sft, from: {model: ./model, data: 'hf://datasets/n'}}
          |                                                ^^^^^^^^^^^^^^^

    "#]].assert_eq(&shown(
        "  a: {kind: sft, from: {model: 'hf://datasets/o/n', data: 'hf://o/n'}}\n  \
         b: {kind: sft, from: {model: ./model, data: ['hf://datasets/o/n@v2', 'hf://datasets/o/n/bad.jsonl']}}\n  \
         c: {kind: sft, from: {model: ./model, data: 'hf://datasets/o/n/one.jsonl'}}\n  \
         d: {kind: sft, from: {model: ./model, data: 'hf://datasets/n'}}\n",
    ));
}

#[test]
fn what_cannot_be_looked_at_is_not_said_to_be_absent() {
    let name = "x".repeat(300);
    let text = format!("stages:\n  sft: {{kind: sft, from: {{model: ./model, data: ./{name}.jsonl}}}}\n");
    let said = planned(&text, &[], &folder(), &|_| None);
    assert!(said.contains("cannot be looked at: File name too long") && !said.contains("nothing at"), "{said}");
}
