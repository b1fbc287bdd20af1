use super::*;
use crate::diagnostic::render;
use expect_test::{Expect, expect};
use std::fmt::Write;

fn source(text: &str, overrides: &[&str]) -> SourceText {
    let overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
    SourceText { path: PathBuf::from("rlhf.yaml"), text: text.to_owned(), overrides, rule: None }
}

fn check_with(text: &str, overrides: &[&str], expected: Expect) {
    let source = source(text, overrides);
    let environment = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
    expected.assert_eq(&match read(&source, &environment) {
        Ok(spec) => format!("{}{}", show(&spec), render(&source, &spec.mistakes, false)),
        Err(mistakes) => render(&source, &mistakes, false),
    });
}

fn check(text: &str, expected: Expect) {
    check_with(text, &[], expected);
}

/// One line a stage: `ppo_1: ppo(policy=sft, …) {"lr":…} gate …`.
fn show(spec: &Spec) -> String {
    let mut out = format!("{} seed {}\n", spec.name, spec.seed);
    for stage in &spec.stages {
        let kind = stage.kind.as_ref().map_or("?", |kind| kind.value.as_str());
        let ports: Vec<String> = stage.from.iter().map(show_port).collect();
        write!(out, "{}: {kind}({}) {}", stage.name.value, ports.join(", "), stage.with.to_json()).unwrap();
        if let Some(gate) = &stage.gate {
            let texts = |rules: &[WithSpan<String>]| rules.iter().map(|rule| rule.value.clone()).collect::<Vec<_>>();
            write!(out, " gate require {:?}", texts(&gate.require)).unwrap();
            for (word, rules) in [("warn", &gate.warn), ("observe", &gate.observe)] {
                if !rules.is_empty() {
                    write!(out, " {word} {:?}", texts(rules)).unwrap();
                }
            }
            for judge in &gate.judges {
                write!(out, " judge {}", judge.value).unwrap();
            }
            if let Some(select) = &gate.select {
                let text = |part: &Option<WithSpan<String>>| part.as_ref().map(|part| part.value.clone());
                write!(out, " select {:?} where {:?}", text(&select.best), text(&select.where_)).unwrap();
                if let Some(within) = select.within {
                    write!(out, " within {within} se").unwrap();
                }
            }
            write!(out, " {:?}", gate.on_fail).unwrap();
            if let Some(on_unsure) = gate.on_unsure {
                write!(out, " on_unsure {on_unsure:?}").unwrap();
            }
        }
        if let Some(seed) = &stage.seed {
            write!(out, " seed {}", seed.value).unwrap();
        }
        for metric in &stage.metrics {
            write!(out, " {}:{:?}", metric.name.value, metric.direction).unwrap();
            if let Some(bounds) = metric.bounds {
                write!(out, " within {} to {}", bounds.low, bounds.high).unwrap();
            }
        }
        if let Some(timeout) = stage.timeout {
            write!(out, " timeout {timeout:?} retry {}", stage.retry.times).unwrap();
        }
        out.push('\n');
    }
    out
}

fn show_port(port: &PortSpec) -> String {
    let source = |source: &SourceSpec| match &source.reference {
        Reference::Stage { name, pin: Pin::Open, file: None } => name.clone(),
        Reference::Stage { name, pin, file: None } => format!("{name}@{pin:?}"),
        Reference::Stage { name, pin, file: Some(file) } => format!("{name}@{pin:?}:{file}"),
        Reference::Path(path) => path.display().to_string(),
        Reference::Hub(model) => model.clone(),
    };
    let sources: Vec<String> = port.sources.iter().map(source).collect();
    match port.is_list {
        true => format!("{}=[{}]", port.port.value, sources.join(" ")),
        false => format!("{}={}", port.port.value, sources.join(" ")),
    }
}

#[test]
fn the_example_of_the_design_is_read() {
    check(
        r#"
name: rlhf
seed: 7
vars: {steps: 200}
stages:
  rm_1:
    kind: rm
    from: {model: sft, data: data/preferences.jsonl}
    with: {checkpoint_every: 50}
    gate:
      select: {best: accuracy, where: ece < 0.25}   # an intermediate checkpoint, by rule
      require: accuracy > 0.6
  ppo_1:
    kind: ppo
    from: {policy: sft@last, reward: rm_1@150, prompts: data/prompts.jsonl}
    with: {steps: "${steps}", kl: {coef: 0.05}}
    gate: &promote
      judge: eval
      require:
        - mean_score > incumbent.mean_score
        - win_rate(sft over changed) > 0.5
      on_fail: keep
  ppo_2:
    kind: ppo
    from: {policy: ppo_1, reward: rm_1, prompts: data/prompts.jsonl}
    gate: *promote
    timeout: 2h
    retry: 2
  eval:
    kind: eval
    from: {policy: ppo_2, reward: [rm_1, ./gold.txt], prompts: data/heldout.jsonl, baseline: sft}
    gate: win_rate(sft over changed) > 0.5
  table:
    kind: exec
    metrics: {mean_score: higher, loss: lower}
"#,
        expect![[r#"
            rlhf seed 7
            rm_1: rm(model=sft, data=data/preferences.jsonl) {"checkpoint_every":50} gate require ["accuracy > 0.6"] select Some("accuracy") where Some("ece < 0.25") Stop
            ppo_1: ppo(policy=sft@Last, reward=rm_1@Step(150), prompts=data/prompts.jsonl) {"kl":{"coef":0.05},"steps":200} gate require ["mean_score > incumbent.mean_score", "win_rate(sft over changed) > 0.5"] judge eval Keep
            ppo_2: ppo(policy=ppo_1, reward=rm_1, prompts=data/prompts.jsonl) {} gate require ["mean_score > incumbent.mean_score", "win_rate(sft over changed) > 0.5"] judge eval Keep timeout 7200s retry 2
            eval: eval(policy=ppo_2, reward=[rm_1 ./gold.txt], prompts=data/heldout.jsonl, baseline=sft) {} gate require ["win_rate(sft over changed) > 0.5"] Stop
            table: exec() {} mean_score:Higher loss:Lower
        "#]],
    );
}

#[test]
fn a_stage_with_for_is_written_out_once_per_value() {
    check(
        r#"
vars: {n: 3}
stages:
  "ppo_${k}":
    for: {k: "1..${n}"}
    kind: ppo
    from: {policy: "${'sft' if k == 1 else 'ppo_' ~ (k - 1)}", reward: "rm_${k}"}
    with: {steps: "${k * 10}"}
    seed: "${k}"
  "probe_${layer}_${kind}":
    for: {layer: [1, 4], kind: [a, b]}
    kind: exec
"#,
        expect![[r#"
            rlhf seed 0
            ppo_1: ppo(policy=sft, reward=rm_1) {"steps":10} seed 1
            ppo_2: ppo(policy=ppo_1, reward=rm_2) {"steps":20} seed 2
            ppo_3: ppo(policy=ppo_2, reward=rm_3) {"steps":30} seed 3
            probe_1_a: exec() {}
            probe_1_b: exec() {}
            probe_4_a: exec() {}
            probe_4_b: exec() {}
        "#]],
    );
}

#[test]
fn set_reaches_variables_keys_that_are_there_and_keys_that_are_not() {
    check_with(
        r#"
x-note: {any: [thing, "${nothing}"]}
vars: {steps: 200}
stages:
  "ppo_${k}":
    for: {k: 1..2}
    kind: ppo
    with: {steps: "${steps}"}
"#,
        &[
            "vars.steps=20",
            "seed=3",
            "ppo_1.with.lr=1e-5",
            "ppo_2.with.kl.coef=0.1",
            "stages.ppo_2.gate.require=kl < 5",
            "ppo_2.with.steps=${steps + 1}",
        ],
        expect![[r#"
            rlhf seed 3
            ppo_1: ppo() {"lr":0.00001,"steps":20}
            ppo_2: ppo() {"kl":{"coef":0.1},"steps":21} gate require ["kl < 5"] Stop
        "#]],
    );
}

#[test]
fn a_mistake_in_a_set_argument_is_shown_in_the_argument() {
    check_with(
        "vars: {steps: 200}\nstages:\n  sft: {kind: sft, with: {lr: 1}}\n",
        &[
            "stf.with.lr=1",
            "vars.stpes=1",
            "sft.retry=many",
            "sft",
            "sft=1",
            "sft.with.lr.x=1",
            "sft.with.lr=[1",
            "sft.wiht.lr=1",
        ],
        expect![[r#"
            rlhf seed 0
            sft: sft() null
            error: unknown stage `stf`
             --> --set:1:1
              |
            1 | stf.with.lr=1
              | ^^^
              |
              = help: did you mean `sft`?

            error: the file has no variable `stpes`
             --> --set:1:6
              |
            1 | vars.stpes=1
              |      ^^^^^
              |
              = help: did you mean `steps`?

            error: expected a whole number, found a text
             --> --set:1:11
              |
            1 | sft.retry=many
              |           ^^^^

            error: expected PATH=VALUE
             --> --set:1:1
              |
            1 | sft
              | ^^^
              |
              = help: --set ppo_1.with.lr=1e-5

            error: `sft` cannot be set as a whole
             --> --set:1:1
              |
            1 | sft=1
              | ^^^
              |
              = help: --set sft.with.lr=1e-5

            error: nothing can be set inside a whole number
             --> --set:1:13
              |
            1 | sft.with.lr.x=1
              |             ^
              |
              = help: set the whole value

            error: not YAML: unclosed bracket '['
             --> --set:1:13
              |
            1 | sft.with.lr=[1
              |             ^

            error: unknown key `wiht` of a stage
             --> --set:1:5
              |
            1 | sft.wiht.lr=1
              |     ^^^^
              |
              = help: did you mean `with`?

        "#]],
    );
}

#[test]
fn all_mistakes_of_a_file_are_reported_at_once() {
    check(
        r#"
name: 5
seed: -1
vras: {steps: 200}
vars: {steps: "${stpes}", env: 1}
env: [NOWHERE]
stages:
  sft:
    kind: sft
    knid: sft
    from: {model: my model, data: rm_1@best}
    with: [epochs, 2]
    with: {epochs: 2}
  rm_1:
    from: sft
    with: {steps: "${steps}", out: "${env.NOWHERE}/x ${env.USER}"}
    timeout: soon
  ppo_1:
    kind: ppo
    gate: {jugde: eval, on_fail: kepe, require: 5}
  "ppo_${k}":
    for: {k: 1..2}
    kind: ppo
  ppo:
    for: {k: 1..2}
    kind: ppo
  "q_${k}":
    for: {k: 4..1}
    kind: ppo
  table:
    kind: exec
    metrics: {loss: down, 2x: higher}
"#,
        expect![[r#"
            rlhf seed 0
            sft: sft(model=, data=) null
            rm_1: ?() {}
            ppo_1: ppo() {} gate require [] Stop
            ppo_2: ppo() {}
            table: exec() {} loss:Neutral 2x:Higher
            error: expected a text, found a whole number
             --> rlhf.yaml:2:7
              |
            2 | name: 5
              |       ^
              |
              = help: quote it: "5"

            error: expected a whole number from 0, found a negative one
             --> rlhf.yaml:3:7
              |
            3 | seed: -1
              |       ^^

            error: unknown key `vras` of a pipeline
             --> rlhf.yaml:4:1
              |
            4 | vras: {steps: 200}
              | ^^^^
              |
              = help: did you mean `vars`?

            error: unknown variable `stpes`
             --> rlhf.yaml:5:16
              |
            5 | vars: {steps: "${stpes}", env: 1}
              |                ^^^^^^^^
              |
              = help: declare it under `vars:`; the shell's own is written `$${stpes}`, the environment's `${env.stpes}` with `env: [stpes]` in the file

            error: `env` cannot name a variable
             --> rlhf.yaml:5:27
              |
            5 | vars: {steps: "${stpes}", env: 1}
              |                           ^^^
              |
              = help: names match [A-Za-z_][A-Za-z0-9_]*

            error: the environment variable `NOWHERE` is not set
             --> rlhf.yaml:6:7
              |
            6 | env: [NOWHERE]
              |       ^^^^^^^
              |
              = help: set it, or give it a default: `env: {NOWHERE: value}`

            error: unknown key `knid` of a stage
              --> rlhf.yaml:10:5
               |
            10 |     knid: sft
               |     ^^^^
               |
               = help: did you mean `kind`?

            error: `my model` is neither a stage nor a path
              --> rlhf.yaml:11:19
               |
            11 |     from: {model: my model, data: rm_1@best}
               |                   ^^^^^^^^
               |
               = help: stages match [A-Za-z_][A-Za-z0-9_]*; a path holds a `/` or `.`: `./my model`

            error: `@best` pins no checkpoint
              --> rlhf.yaml:11:35
               |
            11 |     from: {model: my model, data: rm_1@best}
               |                                   ^^^^^^^^^
               |
               = help: `rm_1@150` takes the one of step 150, `rm_1@last` the last one

            error: expected a mapping of parameters, found a list
              --> rlhf.yaml:12:11
               |
            12 |     with: [epochs, 2]
               |           ^

            error: duplicate key `with`
              --> rlhf.yaml:13:5
               |
            13 |     with: {epochs: 2}
               |     ^^^^
               |
               = help: it is already set in line 12

            error: stage `rm_1` has no `kind`
              --> rlhf.yaml:14:3
               |
            14 |   rm_1:
               |   ^^^^
               |
               = help: `pipeline kinds` lists them

            error: expected a mapping of inputs such as `{model: base, data: data/sft.jsonl}`, found a text
              --> rlhf.yaml:15:11
               |
            15 |     from: sft
               |           ^^^

            error: unknown variable `env.USER`
              --> rlhf.yaml:16:54
               |
            16 |     with: {steps: "${steps}", out: "${env.NOWHERE}/x ${env.USER}"}
               |                                                      ^^^^^^^^^^^
               |
               = help: declare it: `env: [USER]`

            error: expected a length of time, found a text
              --> rlhf.yaml:17:14
               |
            17 |     timeout: soon
               |              ^^^^
               |
               = help: 30m, 2h, or a number of seconds

            error: unknown key `jugde` of a gate
              --> rlhf.yaml:20:12
               |
            20 |     gate: {jugde: eval, on_fail: kepe, require: 5}
               |            ^^^^^
               |
               = help: did you mean `judge`?

            error: expected stop, keep or hold, found `kepe`
              --> rlhf.yaml:20:34
               |
            20 |     gate: {jugde: eval, on_fail: kepe, require: 5}
               |                                  ^^^^
               |
               = help: did you mean `keep`?

            error: expected a rule, found a whole number
              --> rlhf.yaml:20:49
               |
            20 |     gate: {jugde: eval, on_fail: kepe, require: 5}
               |                                                 ^

            error: a second stage named `ppo_1`
              --> rlhf.yaml:21:4
               |
            21 |   "ppo_${k}":
               |    ^^^^^^^^

            error: the name of this stage must hold `${k}`
              --> rlhf.yaml:24:3
               |
            24 |   ppo:
               |   ^^^
               |
               = help: else all of them would be called `ppo`

            error: this range is empty
              --> rlhf.yaml:28:14
               |
            28 |     for: {k: 4..1}
               |              ^^^^
               |
               = help: the smaller number stands first

            error: expected higher, lower or neutral, found `down`
              --> rlhf.yaml:32:21
               |
            32 |     metrics: {loss: down, 2x: higher}
               |                     ^^^^

            error: `2x` cannot name a metric
              --> rlhf.yaml:32:27
               |
            32 |     metrics: {loss: down, 2x: higher}
               |                           ^^
               |
               = help: names match [A-Za-z_][A-Za-z0-9_]* and are no words of the rule language

        "#]],
    );
}

#[test]
fn a_rule_that_did_not_arrive_in_one_piece_is_answered_with_quote_this_rule() {
    check(
        r#"
stages:
  a:
    gate: {require: best(a, b) > 0.5, on_fail: keep}
    kind: exec
  b:
    gate: [loss < 2, best(a, b) > 0.5]
    kind: exec
  c:
    gate:
      - loss < 2
      - loss: 3
    kind: exec
  d:
    gate: {loss < 2}
    kind: exec
  e:
    gate: {judge: eval}
    kind: exec
"#,
        expect![[r#"
            rlhf seed 0
            a: exec() {} gate require [] Keep
            b: exec() {} gate require ["loss < 2"] Stop
            c: exec() {} gate require ["loss < 2"] Stop
            d: exec() {} gate require [] Stop
            e: exec() {} gate require [] judge eval Stop
            error: this rule was split at a comma
             --> rlhf.yaml:4:21
              |
            4 |     gate: {require: best(a, b) > 0.5, on_fail: keep}
              |                     ^^^^^^
              |
              = help: quote this rule: "best(a, b) > 0.5"

            error: this rule was split at a comma
             --> rlhf.yaml:7:22
              |
            7 |     gate: [loss < 2, best(a, b) > 0.5]
              |                      ^^^^^^
              |
              = help: quote this rule: "best(a, b) > 0.5"

            error: expected a rule, found a mapping
              --> rlhf.yaml:12:9
               |
            12 |       - loss: 3
               |         ^^^^
               |
               = help: quote this rule: a text that holds `:` or `{` needs quotes

            error: unknown key `loss < 2` of a gate
              --> rlhf.yaml:15:12
               |
            15 |     gate: {loss < 2}
               |            ^^^^^^^^
               |
               = help: if this is a rule, quote this rule: `require: "loss < 2"`

            error: this gate lets everything through
              --> rlhf.yaml:18:5
               |
            18 |     gate: {judge: eval}
               |     ^^^^
               |
               = help: give it `require`, `select`, `warn` or `observe`

        "#]],
    );
}

#[test]
fn limits_that_nobody_knows_are_refused_by_name() {
    check(
        r#"
stages:
  a:
    kind: exec
    gate: {judge: [eval, safety], select: {best: loss, within: 1 se}, on_fail: hold, on_unsure: stop}
    resources: {gpus: 1, memory: lots}
    retry: {wait: 10s, often: true}
"#,
        expect![[r#"
            rlhf seed 0
            a: exec() {} gate require [] judge eval judge safety select Some("loss") where None within 1 se Hold on_unsure Stop
            error: unknown key `gpus` of `resources`
             --> rlhf.yaml:6:17
              |
            6 |     resources: {gpus: 1, memory: lots}
              |                 ^^^^
              |
              = help: did you mean `gpu`?

            error: expected an amount of memory, found a text
             --> rlhf.yaml:6:34
              |
            6 |     resources: {gpus: 1, memory: lots}
              |                                  ^^^^
              |
              = help: 8G, 512M, or a number of bytes

            error: `retry` does not say how many `times`
             --> rlhf.yaml:7:12
              |
            7 |     retry: {wait: 10s, often: true}
              |            ^

            error: unknown key `often` of `retry`
             --> rlhf.yaml:7:24
              |
            7 |     retry: {wait: 10s, often: true}
              |                        ^^^^^
              |
              = help: there are: times, wait

        "#]],
    );
}

#[test]
fn a_file_without_stages_is_refused() {
    check(
        "",
        expect![[r#"
        error: expected a pipeline: a mapping with `stages`, found nothing
         --> rlhf.yaml:1:1
          |
        1 |
          | ^

    "#]],
    );
    check(
        "name: x\n",
        expect![[r#"
        error: there are no stages
         --> rlhf.yaml:1:1
          |
        1 | name: x
          | ^
          |
          = help: stages: {base: {kind: pretrain, …}}

    "#]],
    );
    check(
        "[a, b]\n",
        expect![[r#"
        error: expected a pipeline: a mapping with `stages`, found a list
         --> rlhf.yaml:1:1
          |
        1 | [a, b]
          | ^

    "#]],
    );
}

#[test]
fn a_metric_may_declare_the_bounds_of_its_items() {
    check(
        r#"
name: rated
stages:
  ratings:
    kind: exec
    metrics: {rating: {better: higher, bounds: [1, 5]}, harm: {bounds: [-1, 0.5], better: lower}, length: {better: neutral}}
"#,
        expect![[r#"
            rated seed 0
            ratings: exec() {} rating:Higher within 1 to 5 harm:Lower within -1 to 0.5 length:Neutral
        "#]],
    );
    check(
        r#"
name: rated
stages:
  ratings:
    kind: exec
    metrics: {a: {bounds: [1, 5]}, b: {better: up}, c: {better: lower, bounds: [5, 1]}, d: {better: lower, bounds: 5}}
  others:
    kind: exec
    metrics: {e: {better: lower, bounds: [1, 2, 3]}, f: {better: lower, bonds: [1, 2]}, g: {better: lower, bounds: [1, x]}}
"#,
        expect![[r#"
            rated seed 0
            ratings: exec() {} a:Neutral within 1 to 5 b:Neutral c:Lower d:Lower
            others: exec() {} e:Lower f:Lower g:Lower
            error: `a` does not say which is better
             --> rlhf.yaml:6:15
              |
            6 |     metrics: {a: {bounds: [1, 5]}, b: {better: up}, c: {better: lower, bounds: [5, 1]}, d: {better: lower, bounds: 5}}
              |               ^
              |
              = help: {better: higher, bounds: [1, 5]}

            error: expected higher, lower or neutral, found `up`
             --> rlhf.yaml:6:48
              |
            6 |     metrics: {a: {bounds: [1, 5]}, b: {better: up}, c: {better: lower, bounds: [5, 1]}, d: {better: lower, bounds: 5}}
              |                                                ^^

            error: the bounds 5 and 1 leave nothing between them
             --> rlhf.yaml:6:80
              |
            6 |     metrics: {a: {bounds: [1, 5]}, b: {better: up}, c: {better: lower, bounds: [5, 1]}, d: {better: lower, bounds: 5}}
              |                                                                                ^
              |
              = help: write the least and the largest number of an item, such as [1, 5]

            error: expected the least and the largest number of an item, such as [1, 5], found a whole number
             --> rlhf.yaml:6:116
              |
            6 |     metrics: {a: {bounds: [1, 5]}, b: {better: up}, c: {better: lower, bounds: [5, 1]}, d: {better: lower, bounds: 5}}
              |                                                                                                                    ^

            error: expected the least and the largest number of an item, such as [1, 5], found a list
             --> rlhf.yaml:9:42
              |
            9 |     metrics: {e: {better: lower, bounds: [1, 2, 3]}, f: {better: lower, bonds: [1, 2]}, g: {better: lower, bounds: [1, x]}}
              |                                          ^

            error: unknown key `bonds` of a metric
             --> rlhf.yaml:9:73
              |
            9 |     metrics: {e: {better: lower, bounds: [1, 2, 3]}, f: {better: lower, bonds: [1, 2]}, g: {better: lower, bounds: [1, x]}}
              |                                                                         ^^^^^
              |
              = help: did you mean `bounds`?

            error: expected the least and the largest number of an item, such as [1, 5], found a list
             --> rlhf.yaml:9:116
              |
            9 |     metrics: {e: {better: lower, bounds: [1, 2, 3]}, f: {better: lower, bonds: [1, 2]}, g: {better: lower, bounds: [1, x]}}
              |                                                                                                                    ^

        "#]],
    );
}

fn families(text: &str) -> String {
    let spec = read(&source(text, &[]), &|_| None).unwrap_or_else(|_| panic!("no stage could be read"));
    spec.families.iter().map(|(family, stages)| format!("{family}: {}\n", stages.join(" "))).collect()
}

#[test]
fn the_stages_of_a_for_have_a_name_together_for_all_and_for_each_value_of_a_variable() {
    expect![[r#"
        last: a_last b_last
        ppo_high_s: ppo_high_s1 ppo_high_s2
        ppo_low_s: ppo_low_s1 ppo_low_s2
        ppo_s: ppo_low_s1 ppo_low_s2 ppo_high_s1 ppo_high_s2
        rm: rm_1 rm_2
    "#]]
    .assert_eq(&families(
        "
stages:
  base: {kind: exec}
  rm_${k}: {for: {k: 1..2}, kind: exec}
  ppo_${rate}_s${seed}: {for: {rate: [low, high], seed: 1..2}, kind: exec}
  ${seed}_last: {for: {seed: [a, b]}, kind: exec}
  x_${k + 1}: {for: {k: 1..2}, kind: exec}
",
    ));
}

#[test]
fn the_best_of_several_stages_stands_for_a_stage_that_chooses() {
    check(
        "
stages:
  ppo_${k}: {for: {k: 1..2}, kind: ppo}
  last: {kind: eval, from: {policy: {best_of: ppo, by: mean_score, judge: eval}, reward: [{best_of: [rm_1, rm_2], by: accuracy}, rm_3]}}
",
        expect![[r#"
            rlhf seed 0
            ppo_1: ppo() {}
            ppo_2: ppo() {}
            last_policy: best_of(stages=[ppo_1 ppo_2]) {} gate require [] judge eval select Some("mean_score") where None Stop
            last_reward: best_of(stages=[rm_1 rm_2]) {} gate require [] select Some("accuracy") where None Stop
            last: eval(policy=last_policy, reward=[last_reward rm_3]) {}
        "#]],
    );
    check(
        "
stages:
  last_policy: {kind: ppo}
  last: {kind: eval, from: {policy: {best_of: ppo}, reward: {best_of: ppo, by: kl, jugde: eval}}}
",
        expect![[r#"
            rlhf seed 0
            last_policy: ppo() {}
            best_last_policy: best_of(stages=ppo) {} gate require [] select None where None Stop
            last_reward: best_of(stages=ppo) {} gate require [] select Some("kl") where None Stop
            last: eval(policy=best_last_policy, reward=last_reward) {}
            error: the best of these stages by what?
             --> rlhf.yaml:4:37
              |
            4 |   last: {kind: eval, from: {policy: {best_of: ppo}, reward: {best_of: ppo, by: kl, jugde: eval}}}
              |                                     ^
              |
              = help: {best_of: [ppo_a, ppo_b], by: mean_score, judge: eval}

            error: unknown key `jugde` of the best of several stages
             --> rlhf.yaml:4:84
              |
            4 |   last: {kind: eval, from: {policy: {best_of: ppo}, reward: {best_of: ppo, by: kl, jugde: eval}}}
              |                                                                                    ^^^^^
              |
              = help: did you mean `judge`?

        "#]],
    );
}
