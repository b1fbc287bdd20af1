//! The comparison as a reader sees it, over journals made by hand.

use super::super::page::print;
use super::super::sample::*;
use super::*;
use crate::event::{Event, StageHead};
use crate::report::fold::ActionRun;
use expect_test::expect;
use serde_json::{Value, json};

/// Name, kind, and what stands on each port.
type Head = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

fn begun(run: &str, overrides: &[&str], stages: &[Head]) -> Event {
    let head = |(name, kind, from): &Head| StageHead {
        from: from.iter().map(|(port, source)| ((*port).to_owned(), vec![(*source).to_owned().into()])).collect(),
        ..head(name, kind)
    };
    Event::RunStarted {
        run: format!("20261121T{run}-rlhf"),
        pipeline: "rlhf".to_owned(),
        file: "rlhf.yaml".to_owned(),
        at: "2026-11-21T23:15:00Z".to_owned(),
        stages: stages.iter().map(|stage| head(stage).into()).collect(),
        overrides: overrides.iter().map(|set| (*set).to_owned()).collect(),
        selection: String::new(),
        machine: None,
    }
}

fn content(letter: &str) -> String {
    format!("tree:{}", letter.repeat(64))
}

/// A stage that was found, with a key for each action.
fn hit(stage: &str, action: Value) -> Event {
    Event::Hit { stage: stage.to_owned(), part: None, key: action.to_string(), action: action.into() }
}

fn gave(stage: &str, letter: &str, values: &[(&str, f64)]) -> Event {
    let (content, metrics) = (content(letter), metrics(values));
    ended(stage, Outcome::Done { content, step: Some(1), kept: false, executed: false, seconds: 0.0, metrics })
}

const STAGES: [Head; 4] = [
    ("base", "pretrain", &[("text", "corpus.jsonl")]),
    ("sft", "sft", &[("model", "base"), ("data", "sft.jsonl")]),
    ("rm", "rm", &[("model", "base")]),
    ("ppo", "ppo", &[("policy", "sft"), ("reward", "rm@last")]),
];

fn runs() -> (Vec<Event>, Vec<Event>) {
    let rule = |text: &'static str| [("require", text, "")];
    let base = |corpus: &str| json!({"kind": "pretrain", "version": 1, "inputs": {"text": format!("file.jsonl:{}", corpus.repeat(64))}});
    let sft = |base: &str, lr: f64| json!({"version": 1, "parameters": {"lr": lr}, "inputs": {"model": content(base)}});
    let rm = json!({"version": 1, "inputs": {"model": content("9")}});
    let ppo = |version: u32, policy: &str, rm: &str| json!({"version": version, "inputs": {"policy": content(policy), "reward": [content(rm)]}});
    let old = vec![
        begun("080000", &["vars.steps=20", "seed=1"], &STAGES),
        hit("base", base("a")),
        gave("base", "1", &[("loss", 1.5)]),
        hit("sft", sft("1", 0.1)),
        gave("sft", "2", &[("heldout_loss", 0.9), ("data_truncated", 3.0)]),
        hit("rm", rm.clone()),
        judged("rm", Decision::Pass, "step 50", None, &rule("accuracy > 0.6")),
        gave("rm", "3", &[("accuracy", 0.75)]),
        hit("ppo", ppo(2, "2", "3")),
        judged("ppo", Decision::Pass, "step 40", None, &rule("reward > 0")),
        gave("ppo", "4", &[("reward", 0.4), ("kl", 2.0)]),
        run_finished(0),
    ];
    let new = vec![
        begun("090000", &["vars.steps=40", "seed=1"], &STAGES),
        hit("base", base("b")),
        gave("base", "5", &[("loss", 1.25)]),
        hit("sft", sft("5", 0.2)),
        gave("sft", "6", &[("heldout_loss", 1.0), ("data_truncated", 4.0)]),
        hit("rm", rm),
        judged("rm", Decision::Pass, "step 100", None, &rule("accuracy > 0.7")),
        gave("rm", "7", &[("accuracy", 0.75)]),
        hit("ppo", ppo(3, "6", "7")),
        judged("ppo", Decision::Fail, "", None, &rule("reward > 0")),
        ended(
            "ppo",
            Outcome::Stopped { executed: true, seconds: 3.0, metrics: metrics(&[("reward", f64::NAN), ("kl", 2.0)]) },
        ),
        run_finished(3),
    ];
    (old, new)
}

#[test]
fn every_difference_is_followed_to_what_was_changed() {
    let (old, new) = runs();
    expect![[r#"
        old  20261121T080000-rlhf, 2026-11-21 23:15:00 UTC (rlhf.yaml)
        new  20261121T090000-rlhf, 2026-11-21 23:15:00 UTC (rlhf.yaml)

        only the old  --set vars.steps=20
        only the new  --set vars.steps=40

        base (pretrain)  inputs.text: file.jsonl:aaaaaaaaaaaa -> file.jsonl:bbbbbbbbbbbb (corpus.jsonl was changed)
        sft (sft)        inputs.model: tree:111111111111 -> tree:555555555555 (`base` changed: corpus.jsonl was changed)
                         parameters.lr: 0.1 -> 0.2
        rm (rm)          the same work, another output: tree:333333333333 -> tree:777777777777
        ppo (ppo)        inputs.policy: tree:222222222222 -> tree:666666666666 (`sft` changed: parameters.lr: 0.1 -> 0.2;
                         `base` changed: corpus.jsonl was changed)
                         inputs.reward.0: tree:333333333333 -> tree:777777777777 (`rm` changed: its gate lets step 100 go on,
                         it was step 50)
                         `ppo` is of version 3 now, it was of 2
                         done -> stopped

        stage  metric            old    new  change
        ───────────────────────────────────────────────────────────────────────
        base   loss            1.500  1.250  -0.250  not compared: other rows
        sft    data_truncated      3      4      +1  worse
               heldout_loss    0.900      1  +0.100  worse
        ppo    reward          0.400    NaN

        gate of rm   pass (step 50 goes on) -> pass (step 100 goes on)
                     no longer: require accuracy > 0.6
                     now: require accuracy > 0.7
        gate of ppo  pass (step 40 goes on) -> fail

        4 stages differ, 0 unchanged
    "#]].assert_eq(&print(&sheets(&diff(&folded(&old), &folded(&new), &|_| None)), PAGE));
}

#[test]
fn a_program_reads_the_same() {
    let (old, new) = runs();
    let diff: Value = serde_json::from_str(&json(&diff(&folded(&old), &folded(&new), &|_| None))).unwrap();
    assert_eq!((&diff["format"], &diff["unchanged"], &diff["new"]["exit"]), (&json!(1), &json!(0), &json!(3)));
    expect![[r#"
        {
          "because": [
            "inputs.policy: tree:222222222222 -> tree:666666666666 (`sft` changed: parameters.lr: 0.1 -> 0.2; `base` changed: corpus.jsonl was changed)",
            "inputs.reward.0: tree:333333333333 -> tree:777777777777 (`rm` changed: its gate lets step 100 go on, it was step 50)",
            "`ppo` is of version 3 now, it was of 2"
          ],
          "content": {
            "new": null,
            "old": "tree:4444444444444444444444444444444444444444444444444444444444444444"
          },
          "gate": {
            "new": {
              "carries": "",
              "decision": "fail",
              "rules": [
                "require reward > 0"
              ]
            },
            "old": {
              "carries": "step 40",
              "decision": "pass",
              "rules": [
                "require reward > 0"
              ]
            }
          },
          "kind": "ppo",
          "metrics": [
            {
              "change": null,
              "is": null,
              "name": "reward",
              "new": null,
              "old": 0.4
            }
          ],
          "name": "ppo",
          "outcome": {
            "new": "stopped",
            "old": "done"
          }
        }"#]].assert_eq(&format!("{:#}", diff["stages"][3]));
}

/// A stage whose candidate a judge measured, under this reward model and on these rows.
fn measured_by(run: &str, [reward, prompts, baseline]: [&str; 3], numbers: [f64; 4]) -> RunState {
    let part = |part: &str, action: Value| Event::Hit {
        stage: "ppo".to_owned(),
        part: Some(part.to_owned().into()),
        key: format!("{run} {part}"),
        action: action.into(),
    };
    let [score, second, kl, length] = numbers;
    let answers = json!({"inputs": {"model": content(run), "prompts": format!("file.jsonl:{}", prompts.repeat(64))}});
    let scores = |reward: &str| json!({"inputs": {"answers": content(run), "reward": content(reward)}});
    let divergence = json!({"inputs": {"answers": content(run), "model": content(run), "baseline": content(baseline)}});
    folded(&[
        begun(run, &[], &[("ppo", "ppo", &[]), ("eval", "eval", &[])]),
        part("answers of ppo", answers),
        part("scores of ppo", scores(reward)),
        part("scores of ppo by rm_2", scores("e")),
        part("divergence of ppo", divergence),
        gave("ppo", run, &[("mean_score", score), ("mean_score_2", second), ("kl", kl), ("distinct_2", length)]),
        run_finished(0),
    ])
}

fn compared(old: &RunState, new: &RunState, class: DeviceClass) -> Vec<String> {
    let text = json(&diff(old, new, class));
    let diff: Value = serde_json::from_str(&text).unwrap();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = diff["stages"][0]["metrics"].as_array().unwrap();
    rows.iter().map(|row| format!("{} {}{}", word(&row["name"]), word(&row["is"]), word(&row["yardstick"]))).collect()
}

#[test]
fn a_number_is_not_called_better_across_another_yardstick() {
    let old = measured_by("1", ["a", "b", "c"], [0.1, 0.1, 2.0, 0.9]);
    let of = |by: [&str; 3]| compared(&old, &measured_by("2", by, [0.2, 0.2, 1.0, 0.8]), &|_| None);
    assert_eq!(of(["a", "b", "c"]), ["distinct_2 worse", "kl better", "mean_score better", "mean_score_2 "]);
    assert_eq!(
        of(["d", "b", "c"]),
        ["distinct_2 worse", "kl better", "mean_score another reward model", "mean_score_2 "]
    );
    assert_eq!(of(["a", "b", "d"]), ["distinct_2 worse", "mean_score better", "kl another baseline", "mean_score_2 "]);
    let other_rows = of(["a", "d", "c"]);
    assert!(
        other_rows.len() == 4 && other_rows.iter().all(|row| row.ends_with(" another held-out file")),
        "{other_rows:?}"
    );
    // The same work on another class of device.
    let class = |action: &ActionRun| Some(if action.key.starts_with('1') { "cpu" } else { "gpu" }.to_owned());
    let moved = compared(&old, &measured_by("2", ["d", "b", "c"], [0.2, 0.1, 2.0, 0.9]), &class);
    assert_eq!(moved, ["mean_score another reward model and another class of device"]);
    expect![[r#"
        stage  metric          old    new  change
        ───────────────────────────────────────────────────────────────────────────────
        ppo    distinct_2    0.900  0.800  -0.100  worse
               kl                2      1      -1  better
               mean_score    0.100  0.200  +0.100  not compared: another reward model
               mean_score_2  0.100  0.200  +0.100
    "#]]
    .assert_eq(&print(
        &[table(&diff(&old, &measured_by("2", ["d", "b", "c"], [0.2, 0.2, 1.0, 0.8]), &|_| None)).into()],
        PAGE,
    ));
}

#[test]
fn a_stage_that_learns_is_compared_on_rows_that_stayed_and_by_a_reward_model_that_stayed() {
    let of = |kind: &str, port: &str, value: Value, metrics: &[(&str, f64)]| {
        let stages: [Head; 1] = [("s", if kind == "ppo" { "ppo" } else { "sft" }, &[])];
        let mut inputs =
            json!({"policy": content("1"), "data": "file.jsonl:1", "prompts": "file.jsonl:2", "reward": "tree:3"});
        inputs[port] = value;
        folded(&[
            begun("080000", &[], &stages),
            hit("s", json!({"inputs": inputs})),
            gave("s", "1", metrics),
            run_finished(0),
        ])
    };
    let both = |kind: &str, port: &str, name: &str| {
        let [old, new] =
            [("tree:7", 0.1), ("tree:8", 0.2)].map(|(input, value)| of(kind, port, input.into(), &[(name, value)]));
        compared(&old, &new, &|_| None).remove(0)
    };
    assert_eq!(both("sft", "model", "heldout_loss"), "heldout_loss worse");
    assert_eq!(both("sft", "data", "heldout_loss"), "heldout_loss other rows");
    assert_eq!(both("sft", "heldout", "heldout_loss"), "heldout_loss another held-out file");
    assert_eq!(both("ppo", "policy", "reward"), "reward better");
    assert_eq!(both("ppo", "reward", "reward"), "reward another reward model");
    assert_eq!(both("ppo", "reward", "eos_share"), "eos_share better");
}

#[test]
fn a_run_does_not_differ_from_itself() {
    let run = folded(&promotion());
    let itself = diff(&run, &run, &|_| None);
    let text = print(&sheets(&itself), PAGE);
    assert!(text.ends_with("no difference in 6 stages\n"), "{text}");
}

#[test]
fn stages_of_one_run_only_are_named() {
    let old = folded(&[run_started(&[("sft", "sft"), ("rm_1", "rm")])]);
    let new = folded(&[run_started(&[("sft", "sft"), ("rm_2", "rm")])]);
    let text = print(&sheets(&diff(&old, &new, &|_| None)), PAGE);
    assert!(
        text.ends_with("only in the old run: rm_1\nonly in the new run: rm_2\nno difference in 1 stage\n"),
        "{text}"
    );
}
