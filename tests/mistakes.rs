//! Messages about a user's mistakes: all of them at once, each with its place and a way out; exit code 2, and nothing
//! is run or written.

#[path = "support/program.rs"]
mod program;
#[path = "support/skip.rs"]
mod skip;

use expect_test::{Expect, expect};
use program::{Place, ROOT, Ran, place};
use std::fs;

/// A place with data, good and bad.
fn desk() -> Place {
    let place = place();
    place.write("corpus.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
    place.write("sft.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
    place.write("pairs.jsonl", "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n");
    place.write("prompts.jsonl", "{\"prompt\": \"a\"}\n");
    place.write("heldout.jsonl", "{\"prompt\": \"z\"}\n");
    place.write("empty.jsonl", "");
    place.write("broken.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"c\", \"completion\"\n");
    place.write("other.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"c\"}\n");
    place
}

/// The messages of `run` about a file; `check` and `plan` have to say the same.
fn check(stages: &str, expected: Expect) {
    let place = desk();
    place.write("rlhf.yaml", &format!("name: rlhf\nstages:\n{stages}"));
    let before = place.snapshot();
    let refused = place.run(&["run", "rlhf.yaml"]).expect_exit(2);
    expected.assert_eq(&refused.stderr);
    for verb in ["check", "plan"] {
        assert_eq!(place.run(&[verb, "rlhf.yaml"]).expect_exit(2).stderr, refused.stderr, "{verb}");
    }
    assert_eq!((refused.stdout.as_str(), place.snapshot()), ("", before), "something was run or written");
}

const BASE: &str = "  base: {kind: pretrain, from: {text: ./corpus.jsonl}}
  sft: {kind: sft, from: {model: base, data: ./sft.jsonl}}
  rm_1: {kind: rm, from: {model: sft, data: ./pairs.jsonl}}
";

fn with_base(stages: &str, expected: Expect) {
    check(&format!("{BASE}{stages}"), expected);
}

#[test]
fn an_unknown_stage() {
    with_base(
        "  rm_2: {kind: rm, from: {model: rm_l, data: ./pairs.jsonl}}\n",
        expect![[r#"
        error: unknown stage `rm_l`
         --> rlhf.yaml:6:34
          |
        6 |   rm_2: {kind: rm, from: {model: rm_l, data: ./pairs.jsonl}}
          |                                  ^^^^
          |
          = help: did you mean `rm_1`?

    "#]],
    );
}

#[test]
fn an_unknown_kind_and_an_unknown_key() {
    with_base(
        "  ppo_1: {kind: pp, from: {policy: sft}}\n  dpo: {kind: exec, whith: {command: [ls]}}\n",
        expect![[r#"
            error: unknown kind `pp`
             --> rlhf.yaml:6:17
              |
            6 |   ppo_1: {kind: pp, from: {policy: sft}}
              |                 ^^
              |
              = help: did you mean `ppo`?

            error: unknown key `whith` of a stage
             --> rlhf.yaml:7:21
              |
            7 |   dpo: {kind: exec, whith: {command: [ls]}}
              |                     ^^^^^
              |
              = help: did you mean `with`?

        "#]],
    );
}

#[test]
fn an_unknown_parameter() {
    with_base(
        "  rm_2: {kind: rm, from: {model: sft, data: ./pairs.jsonl}, with: {lora: {rnak: 4}, batchsize: 3}}\n",
        expect![[r#"
            error: unknown parameter `rnak`
             --> rlhf.yaml:6:75
              |
            6 |   rm_2: {kind: rm, from: {model: sft, data: ./pairs.jsonl}, with: {lora: {rnak: 4}, batchsize: 3}}
              |                                                                           ^^^^
              |
              = help: did you mean `rank`?

            error: unknown parameter `batchsize`
             --> rlhf.yaml:6:85
              |
            6 |   rm_2: {kind: rm, from: {model: sft, data: ./pairs.jsonl}, with: {lora: {rnak: 4}, batchsize: 3}}
              |                                                                                     ^^^^^^^^^
              |
              = help: there are: adam, batch, centring, chat_template, checkpoint_every, dtype, ends, epochs, heldout, label_smoothing, lora, loss, lr, margin, max_tokens, micro_batch, normalize, pairs_per_prompt, recompute, schedule, shards, stop_token, template_args, truncate

        "#]],
    );
}

#[test]
fn an_unknown_metric_in_a_gate() {
    with_base(
        "  rm_2:
    kind: rm
    from: {model: sft, data: ./pairs.jsonl}
    gate:
      select: {best: accuracy, where: eec < 0.2}
      require:
        - acuracy > 0.6
        - accuracy > rm_3.accuracy
",
        expect![[r#"
            error: unknown metric `eec`
              --> rlhf.yaml:10:39
               |
            10 |       select: {best: accuracy, where: eec < 0.2}
               |                                       ^^^
               |
               = help: did you mean `ece`?

            error: unknown metric `acuracy`
              --> rlhf.yaml:12:11
               |
            12 |         - acuracy > 0.6
               |           ^^^^^^^
               |
               = help: did you mean `accuracy`?

            error: unknown stage `rm_3`
              --> rlhf.yaml:13:22
               |
            13 |         - accuracy > rm_3.accuracy
               |                      ^^^^
               |
               = help: did you mean `rm_1`?

        "#]],
    );
}

/// Habits from Python, shells and the hub, each with the help that it gets.
#[test]
fn habits_from_elsewhere_get_a_help_of_their_own() {
    let helps = |text: &str| {
        let place = desk();
        place.write("a.yaml", text);
        let refused = place.run(&["check", "a.yaml"]).expect_exit(2);
        let helps = refused.stderr.lines().filter_map(|line| Some(line.split_once("= help: ")?.1.to_owned()));
        helps.collect::<Vec<_>>().join("\n")
    };
    let with =
        |with: &str| format!("{BASE}  new: {{kind: sft, from: {{model: base, data: ./sft.jsonl}}, with: {with}}}");
    let from = |from: &str| format!("{BASE}  new: {{kind: sft, from: {from}}}");
    let ppo = "{kind: ppo, from: {policy: sft, reward: rm_1, prompts: ./prompts.jsonl}, with: {steps: 20, checkpoint_every: 5}";
    let eval = "  eval: {kind: eval, from: {policy: ppo_1, reward: rm_1, prompts: ./heldout.jsonl}}";
    let gate = "gate: mean_score > 0.5";
    for (stages, expected) in [
        (with("{learning_rate: 1e-4}"), "here it is `lr`"),
        (with("{lora: {r: 8}}"), "here it is `rank`"),
        (with("{lora_alpha: 16}"), "here it is `lora: {alpha: …}`"),
        (with("{num_train_epochs: 3}"), "here it is `epochs`"),
        (
            from("{model: Qwen/Qwen2.5-0.5B, data: ./sft.jsonl}"),
            "a model of the hub is written `hf://Qwen/Qwen2.5-0.5B`",
        ),
        (
            from("{model: ~/models/qwen, data: ./sft.jsonl}"),
            "`~` is not expanded: write `${env.HOME}/models/qwen`, with `env: [HOME]` in the file",
        ),
        (
            from("{model: base, data: './$${name}.jsonl'}"),
            "`$${` stands for a plain `${`: with a single `$` it is a variable",
        ),
        (
            from("{model: base, data: hf://tatsu-lab/alpaca}"),
            "a data set of the hub is written `hf://datasets/tatsu-lab/alpaca`",
        ),
        (
            format!("{BASE}  new: {{kind: exec, with: {{command: 'ls ${{HOME}}'}}}}"),
            "declare it under `vars:`; the shell's own is written `$${HOME}`, the environment's `${env.HOME}` with `env: [HOME]` in the file",
        ),
        (with("{epochs: ${n}}"), "inside `{…}` and `[…]` a `${…}` stands in quotes: `\"${steps}\"`"),
        (format!("{BASE}  new:\n    kind：sft\n    seed: 3\n"), "`：` is full-width (U+FF1A): write `: `"),
        (format!("{BASE}  new: {{kind： exec, with: {{command: ls}}}}"), "`：` is full-width (U+FF1A): write `: `"),
        (
            format!("{BASE}  new: {{kind: exec,　with: {{command: ls}}}}"),
            "`　` is an ideographic space (U+3000): write a plain space",
        ),
        (format!("{BASE}  new: {{kind: exec， with: {{command: ls}}}}"), "`，` is full-width (U+FF0C): write `, `"),
        (
            format!("{BASE}  ppo_1: {ppo}}}\n  two: {{kind: sft, from: {{model: ppo_1@7, data: ./sft.jsonl}}}}"),
            "it has steps 5, 10, … and 20, as its `checkpoint_every` says; `ppo_1@last` is the last one",
        ),
        (
            format!("{BASE}  ppo_1: {ppo}, {gate}}}\n{eval}"),
            "`mean_score` is what `eval` measures: add `judge: eval` to the gate",
        ),
        (
            format!("{BASE}  ppo_1: {ppo}, {gate}}}"),
            "`mean_score` is what a stage of kind `eval` measures: add one, and name it as `judge:` of the gate",
        ),
    ] {
        let told = helps(&format!("name: rlhf\nstages:\n{stages}\n"));
        assert!(told.lines().any(|line| line == expected), "{stages}\n{told}");
    }
}

#[test]
fn a_device_of_another_tool_gets_the_name_of_it_here() {
    let place = desk();
    place.write("a.yaml", &format!("name: rlhf\nstages:\n{BASE}"));
    let refused = place.run(&["run", "a.yaml", "--device", "cuda"]).expect_exit(2);
    assert!(refused.stderr.contains("wgpu (Vulkan, Metal, DX12): write `wgpu`, or `auto`"), "{}", refused.stderr);
    let refused = place.run(&["run", "a.yaml", "--device", "tpu"]).expect_exit(2);
    assert!(
        refused.stderr.contains("[possible values: auto, cpu, wgpu, wgpu:1, wgpu:NAME-PART]"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_rule_that_is_none() {
    with_base(
        "  rm_2: {kind: rm, from: {model: sft, data: ./pairs.jsonl}, gate: accuracy > > 0.6}\n",
        expect![[r#"
        error: expected a number, a metric or `(`, found `>`
         --> rlhf.yaml:6:78
          |
        6 |   rm_2: {kind: rm, from: {model: sft, data: ./pairs.jsonl}, gate: accuracy > > 0.6}
          |                                                                              ^

    "#]],
    );
}

#[test]
fn a_cycle() {
    check(
        "  one: {kind: exec, from: {x: three}, with: {command: [ls]}}
  two: {kind: exec, from: {x: one}, with: {command: [ls]}}
  three: {kind: exec, from: {x: two}, with: {command: [ls]}}
",
        expect![[r#"
            error: these stages wait for each other: one -> two -> three -> one
             --> rlhf.yaml:3:31
              |
            3 |   one: {kind: exec, from: {x: three}, with: {command: [ls]}}
              |                               ^^^^^

        "#]],
    );
}

#[test]
fn a_file_that_is_not_there() {
    check(
        "  base: {kind: pretrain, from: {text: ./corpsu.jsonl}}\n",
        expect![[r#"
        error: there is nothing at `./corpsu.jsonl`
         --> rlhf.yaml:3:39
          |
        3 |   base: {kind: pretrain, from: {text: ./corpsu.jsonl}}
          |                                       ^^^^^^^^^^^^^^
          |
          = help: did you mean `corpus.jsonl`?

    "#]],
    );
}

#[test]
fn values_of_the_wrong_type() {
    check(
        "  base: {kind: pretrain, from: {text: ./corpus.jsonl}, with: {steps: many, layers: 1.5, lr: [1, 2]}}\n",
        expect![[r#"
            error: `steps`: expected a whole number from 0, found the text "many"
             --> rlhf.yaml:3:70
              |
            3 |   base: {kind: pretrain, from: {text: ./corpus.jsonl}, with: {steps: many, layers: 1.5, lr: [1, 2]}}
              |                                                                      ^^^^

            error: `layers`: expected a whole number from 0, found `1.5`
             --> rlhf.yaml:3:84
              |
            3 |   base: {kind: pretrain, from: {text: ./corpus.jsonl}, with: {steps: many, layers: 1.5, lr: [1, 2]}}
              |                                                                                    ^^^

            error: `lr`: expected a number, found a list
             --> rlhf.yaml:3:93
              |
            3 |   base: {kind: pretrain, from: {text: ./corpus.jsonl}, with: {steps: many, layers: 1.5, lr: [1, 2]}}
              |                                                                                             ^

        "#]],
    );
}

#[test]
fn a_value_out_of_its_range() {
    check(
        "  base: {kind: pretrain, from: {text: ./corpus.jsonl}, with: {steps: 0, width: 30, heads: 4}}\n",
        expect![[r#"
            error: `steps` must be at least 1
             --> rlhf.yaml:3:70
              |
            3 |   base: {kind: pretrain, from: {text: ./corpus.jsonl}, with: {steps: 0, width: 30, heads: 4}}
              |                                                                      ^

            error: `heads`: 4 heads do not divide width 30 into an even size
             --> rlhf.yaml:3:91
              |
            3 |   base: {kind: pretrain, from: {text: ./corpus.jsonl}, with: {steps: 0, width: 30, heads: 4}}
              |                                                                                           ^

        "#]],
    );
}

#[test]
fn data_that_cannot_be_read() {
    check(
        "  base: {kind: pretrain, from: {text: ./empty.jsonl}}
  one: {kind: sft, from: {model: base, data: ./broken.jsonl}}
  two: {kind: sft, from: {model: base, data: ./other.jsonl}}
  three: {kind: sft, from: {model: base, data: ./prompts.jsonl}}
",
        expect![[r#"
            error: ./empty.jsonl: it is empty: it was not downloaded or written; fetch it again
             --> rlhf.yaml:3:39
              |
            3 |   base: {kind: pretrain, from: {text: ./empty.jsonl}}
              |                                       ^^^^^^^^^^^^^

            error: ./broken.jsonl: line 2: not JSON, at column 28: it is cut, as it ends within a value
             --> rlhf.yaml:4:46
              |
            4 |   one: {kind: sft, from: {model: base, data: ./broken.jsonl}}
              |                                              ^^^^^^^^^^^^^^

            error: ./other.jsonl: line 2: no answer to learn (`completion`, `output`, `response`, `answer`, or a last turn of the assistant)
             --> rlhf.yaml:5:46
              |
            5 |   two: {kind: sft, from: {model: base, data: ./other.jsonl}}
              |                                              ^^^^^^^^^^^^^

            error: ./prompts.jsonl: line 1: no answer to learn (`completion`, `output`, `response`, `answer`, or a last turn of the assistant)
             --> rlhf.yaml:6:48
              |
            6 |   three: {kind: sft, from: {model: base, data: ./prompts.jsonl}}
              |                                                ^^^^^^^^^^^^^^^

        "#]],
    );
}

#[test]
fn what_gives_no_model_is_not_taken_for_one() {
    with_base(
        "  ppo_1: {kind: ppo, from: {policy: rm_1, reward: sft, prompts: ./prompts.jsonl}}\n  rm_2: {kind: rm, from: {model: sft}}\n",
        expect![[r#"
            error: `rm_1` (kind `rm`) gives a reward model
             --> rlhf.yaml:6:37
              |
            6 |   ppo_1: {kind: ppo, from: {policy: rm_1, reward: sft, prompts: ./prompts.jsonl}}
              |                                     ^^^^
              |
              = help: `policy` takes a language model: a stage that makes one, or a directory in Hugging Face layout

            error: `sft` (kind `sft`) gives a language model
             --> rlhf.yaml:6:51
              |
            6 |   ppo_1: {kind: ppo, from: {policy: rm_1, reward: sft, prompts: ./prompts.jsonl}}
              |                                                   ^^^
              |
              = help: `reward` takes a reward: a stage that makes one, the directory of a reward model, or a file that scores (.txt, .tsv, .jsonl)

            error: stage `rm_2` has no input `data`
             --> rlhf.yaml:7:3
              |
            7 |   rm_2: {kind: rm, from: {model: sft}}
              |   ^^^^
              |
              = help: `data`: preferences: pairs (`prompt`, `chosen`, `rejected`), rankings, ratings or labels

        "#]],
    );
}

#[test]
fn a_key_that_stands_there_twice() {
    check(
        "  base: {kind: pretrain, from: {text: ./corpus.jsonl}, kind: sft}\n",
        expect![[r#"
        error: duplicate key `kind`
         --> rlhf.yaml:3:56
          |
        3 |   base: {kind: pretrain, from: {text: ./corpus.jsonl}, kind: sft}
          |                                                        ^^^^
          |
          = help: it is already set in line 3

    "#]],
    );
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    with_base(
        "  ppo_1:
    kind: ppo
    from: {policy: stf, reward: rm_1, prompts: ./promts.jsonl}
    with: {step: 30}
    gate: {judge: evl, require: mean_score > incumbent.mean_score, on_fail: kepe}
",
        expect![[r#"
            error: unknown stage `stf`
             --> rlhf.yaml:8:20
              |
            8 |     from: {policy: stf, reward: rm_1, prompts: ./promts.jsonl}
              |                    ^^^
              |
              = help: did you mean `sft`?

            error: there is nothing at `./promts.jsonl`
             --> rlhf.yaml:8:48
              |
            8 |     from: {policy: stf, reward: rm_1, prompts: ./promts.jsonl}
              |                                                ^^^^^^^^^^^^^^
              |
              = help: did you mean `prompts.jsonl`?

            error: unknown parameter `step`
             --> rlhf.yaml:9:12
              |
            9 |     with: {step: 30}
              |            ^^^^
              |
              = help: did you mean `steps`?

            error: unknown stage `evl`
              --> rlhf.yaml:10:19
               |
            10 |     gate: {judge: evl, require: mean_score > incumbent.mean_score, on_fail: kepe}
               |                   ^^^
               |
               = help: there are none here

            error: expected stop, keep or hold, found `kepe`
              --> rlhf.yaml:10:77
               |
            10 |     gate: {judge: evl, require: mean_score > incumbent.mean_score, on_fail: kepe}
               |                                                                             ^^^^
               |
               = help: did you mean `keep`?

        "#]],
    );
}

#[test]
fn an_override_that_fits_nothing() {
    let place = desk();
    place.write("rlhf.yaml", &format!("name: rlhf\nstages:\n{BASE}"));
    let run = |set: &str| place.run(&["run", "rlhf.yaml", "--set", set]).expect_exit(2).stderr;
    expect![[r#"
        error: unknown stage `rm_2`
         --> --set:1:1
          |
        1 | rm_2.with.lr=1
          | ^^^^
          |
          = help: did you mean `rm_1`?


        error: unknown parameter `lrr`
         --> --set:1:11
          |
        1 | rm_1.with.lrr=1
          |           ^^^
          |
          = help: did you mean `lr`?


        error: expected PATH=VALUE
         --> --set:1:1
          |
        1 | rm_1.with.lr
          | ^^^^^^^^^^^^
          |
          = help: --set ppo_1.with.lr=1e-5

    "#]]
    .assert_eq(&["rm_2.with.lr=1", "rm_1.with.lrr=1", "rm_1.with.lr"].map(run).join("\n"));
    assert!(!place.at(".pipeline").exists());
}

#[test]
fn the_stories_job_says_how_to_name_its_folder() {
    let place = place();
    fs::copy(format!("{ROOT}/pipelines/stories.yaml"), place.at("stories.yaml")).unwrap();
    let refused = place.run(&["run", "stories.yaml", "--set", "vars.stories=./no/such/folder"]).expect_exit(2).stderr;
    assert!(refused.contains("--set vars.stories=FOLDER"), "{refused}");
    expect![[r#"
        error: there is nothing at `./no/such/folder/models/stories260K`
          --> stories.yaml:15:15
           |
        15 |       model: "${stories}/models/stories260K"
           |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: set it with --set vars.stories=FOLDER

        error: there is nothing at `./no/such/folder/data/stories_afinn/pairs_train.jsonl`
          --> stories.yaml:16:21
           |
        16 |       data: {path: "${stories}/data/stories_afinn/pairs_train.jsonl", join: " "}
           |                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: set it with --set vars.stories=FOLDER

        error: there is nothing at `./no/such/folder/data/stories_afinn/pairs_valid.jsonl`
          --> stories.yaml:17:24
           |
        17 |       heldout: {path: "${stories}/data/stories_afinn/pairs_valid.jsonl", join: " "}      # 113 pairs of other prompts
           |                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: set it with --set vars.stories=FOLDER

        error: there is nothing at `./no/such/folder/models/stories260K`
          --> stories.yaml:27:16
           |
        27 |       policy: "${stories}/models/stories260K"
           |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: set it with --set vars.stories=FOLDER

        error: there is nothing at `./no/such/folder/data/stories_afinn/prompts_train.jsonl`
          --> stories.yaml:29:17
           |
        29 |       prompts: "${stories}/data/stories_afinn/prompts_train.jsonl"
           |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: set it with --set vars.stories=FOLDER

        error: there is nothing at `./no/such/folder/data/stories_afinn/AFINN-en-165.txt`
          --> stories.yaml:47:23
           |
        47 |       reward: [rm_1, "${stories}/data/stories_afinn/AFINN-en-165.txt"]
           |                       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: set it with --set vars.stories=FOLDER

        error: there is nothing at `./no/such/folder/data/stories_afinn/prompts_eval.jsonl`
          --> stories.yaml:48:17
           |
        48 |       prompts: "${stories}/data/stories_afinn/prompts_eval.jsonl"
           |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: set it with --set vars.stories=FOLDER

        error: there is nothing at `./no/such/folder/models/stories260K`
          --> stories.yaml:49:18
           |
        49 |       baseline: "${stories}/models/stories260K"
           |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: set it with --set vars.stories=FOLDER

        error: there is nothing at `./no/such/folder/data/stories_afinn/AFINN-en-165.txt`
          --> stories.yaml:58:16
           |
        58 |       reward: "${stories}/data/stories_afinn/AFINN-en-165.txt"
           |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: set it with --set vars.stories=FOLDER

        error: there is nothing at `./no/such/folder/data/stories_afinn/prompts_eval.jsonl`
          --> stories.yaml:59:17
           |
        59 |       prompts: "${stories}/data/stories_afinn/prompts_eval.jsonl"
           |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: set it with --set vars.stories=FOLDER

        error: there is nothing at `./no/such/folder/models/stories260K`
          --> stories.yaml:60:18
           |
        60 |       baseline: "${stories}/models/stories260K"
           |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: set it with --set vars.stories=FOLDER

    "#]]
    .assert_eq(&refused);
    assert!(!place.at(".pipeline").exists());
}

#[test]
fn a_command_line_that_makes_no_sense() {
    let place = desk();
    let ask = |line: &str| {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let refused = place.run(&arguments).expect_exit(2);
        assert_eq!(refused.stdout, "");
        // clap's own words, of which the first line is the point.
        format!("{line}: {}", refused.stderr.lines().next().unwrap_or_default())
    };
    let lines = [
        "run",
        "rnu rlhf.yaml",
        "run no-such.yaml",
        "run .",
        "run rlhf.yaml --device tpu",
        "run rlhf.yaml --jobs 0",
        "kinds pp",
        "status",
        "explain sft",
    ];
    expect![[r#"
        run: error: the following required arguments were not provided:
        rnu rlhf.yaml: error: unrecognized subcommand 'rnu'
        run no-such.yaml: error: read no-such.yaml: No such file or directory (os error 2)
        run .: error: read .: Is a directory (os error 21)
        run rlhf.yaml --device tpu: error: invalid value 'tpu' for '--device <DEVICE>': there is no such device [possible values: auto, cpu, wgpu, wgpu:1, wgpu:NAME-PART]
        run rlhf.yaml --jobs 0: error: invalid value '0' for '--jobs <N>': 0 is not in 1..=65535
        kinds pp: error: there is no kind `pp`: did you mean `ppo`?
        status: error: no run was found in this directory or one below it: name the pipeline file
        explain sft: error: no run was found in this directory or one below it: name the pipeline file"#]]
    .assert_eq(&lines.map(ask).join("\n"));
}

fn checked(name: &str) -> Ran {
    place().run(&["check", &format!("{ROOT}/pipelines/{name}.yaml")]).expect_exit(0)
}

/// Their models and data lie beside the project, not in it.
#[test]
fn the_pipelines_on_real_models_hold_no_mistake() {
    if skip::shared("models").is_some() {
        for name in ["stories", "overoptimisation", "ja-reward"] {
            assert_eq!(checked(name).stderr, "", "{name}");
        }
    }
}

#[test]
fn the_pipelines_of_the_project_hold_no_mistake() {
    let main_job = checked("rlhf");
    assert!(main_job.stdout.contains("no mistakes; 8 stages, 8 gates"), "{}", main_job.stdout);
    assert_eq!(main_job.stderr, "");
    // The warnings about the published table are true: every stage brings its own measurement.
    let table = checked("published-table");
    let warnings: Vec<&str> = table.stderr.lines().filter(|line| line.starts_with("warning")).collect();
    expect!["warning: `incumbent.mean_score` was measured by the incumbent's own stage: a different yardstick"]
        .assert_eq(&warnings.join("\n"));
}
