//! Causes as a reader sees them.

use super::super::sample::*;
use super::*;
use crate::event::{Event, StageHead};
use expect_test::expect;
use serde_json::{Value, json};

fn begun(stages: &[(&str, &[(&str, &str)])]) -> Event {
    let Event::RunStarted { run, pipeline, file, at, overrides, .. } = run_started(&[]) else { unreachable!() };
    let head = |(name, from): &(&str, &[(&str, &str)])| StageHead {
        from: from.iter().map(|(port, source)| ((*port).to_owned(), vec![(*source).to_owned().into()])).collect(),
        ..head(name, "exec")
    };
    Event::RunStarted {
        run,
        pipeline,
        file,
        at,
        overrides,
        selection: String::new(),
        machine: None,
        stages: stages.iter().map(|stage| head(stage).into()).collect(),
    }
}

fn content(n: usize) -> String {
    format!("tree:{n:012}{}", "0".repeat(52))
}

fn hit(stage: &str, part: Option<&str>, action: Value) -> Event {
    Event::Hit {
        stage: stage.to_owned(),
        part: part.map(|part| part.to_owned().into()),
        key: action.to_string(),
        action: action.into(),
    }
}

fn gave(stage: &str, n: usize) -> Event {
    let outcome = Outcome::Done {
        content: content(n),
        step: Some(1),
        kept: false,
        executed: false,
        seconds: 0.0,
        metrics: metrics(&[]),
    };
    ended(stage, outcome)
}

/// The differences of the first action of a stage.
fn causes(old: &RunState, new: &RunState, stage: usize) -> Vec<StageCause> {
    let [old, new] = [old, new].map(|run| &run.stages[stage].actions[0]);
    let cause = |difference| StageCause { part: new.part.clone(), cause: Cause::Changed(difference) };
    differences(&old.action, &new.action).into_iter().map(cause).collect()
}

/// Layers of two stages, each on both of the layer before: 2^30 ways lead up.
#[test]
fn a_tower_of_diamonds_is_told_once() {
    let names: Vec<(String, String)> = (0..30).map(|n| (format!("a{n}"), format!("b{n}"))).collect();
    let run = |by: usize| {
        let mut stages: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
        for (n, (a, b)) in names.iter().enumerate() {
            let from = if n == 0 {
                vec![("left", "x.txt")]
            } else {
                vec![("left", names[n - 1].0.as_str()), ("right", names[n - 1].1.as_str())]
            };
            stages.extend([(a.as_str(), from.clone()), (b.as_str(), from)]);
        }
        let stages: Vec<(&str, &[(&str, &str)])> = stages.iter().map(|(name, from)| (*name, from.as_slice())).collect();
        let mut events = vec![begun(&stages)];
        for (n, (a, b)) in names.iter().enumerate() {
            for (side, name) in [a, b].into_iter().enumerate() {
                let of = |side: usize| content(by + 2 * n.wrapping_sub(1) + side);
                let inputs = if n == 0 { json!({"left": content(by)}) } else { json!({"left": of(0), "right": of(1)}) };
                events.extend([hit(name, None, json!({"inputs": inputs})), gave(name, by + 2 * n + side)]);
            }
        }
        folded(&events)
    };
    let (old, new) = (run(1000), run(2000));
    let told = trail(&old, &new).followed("b29", &causes(&old, &new, 59)).join("\n");
    assert!(told.contains("x.txt was changed") && told.len() < 6000, "{}: {told}", told.len());
}

#[test]
fn a_difference_of_a_measurement_is_followed_by_its_content() {
    let run = |by: usize| {
        let base = json!({"parameters": {"lr": by}});
        let answers = json!({"inputs": {"model": content(by), "prompts": content(7)}, "version": by});
        folded(&[
            begun(&[("base", &[]), ("eval", &[("policy", "base")])]),
            hit("base", None, base),
            gave("base", by),
            hit("eval", Some("answers of base"), answers),
        ])
    };
    let (old, new) = (run(1), run(2));
    expect![[r#"
        answers of base: inputs.model: tree:000000000001 -> tree:000000000002 (`base` changed: parameters.lr: 1 -> 2)
        answers of base: `answers` is of version 2 now, it was of 1"#]]
    .assert_eq(&trail(&old, &new).followed("eval", &causes(&old, &new, 1)).join("\n"));
}

#[test]
fn another_source_on_a_port_is_said_to_be_one() {
    let run = |source: &str, by: usize| {
        let action = json!({"inputs": {"data": content(by)}});
        folded(&[begun(&[("base", &[]), ("next", &[("data", source)])]), hit("next", None, action)])
    };
    let line = |old: (&str, usize), new: (&str, usize)| {
        let (old, new) = (run(old.0, old.1), run(new.0, new.1));
        trail(&old, &new).followed("next", &causes(&old, &new, 1)).join("\n")
    };
    let told =
        [line(("base", 1), ("a/b.txt", 2)), line(("a/b.txt", 1), ("a/b.txt", 2)), line(("base", 1), ("base@last", 2))];
    expect![[r#"
        inputs.data: tree:000000000001 -> tree:000000000002 (a/b.txt in the place of base)
        inputs.data: tree:000000000001 -> tree:000000000002 (a/b.txt was changed)
        inputs.data: tree:000000000001 -> tree:000000000002 (base@last in the place of base)"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn without_a_run_before_a_stage_never_ran() {
    let because = vec![StageCause { part: None, cause: Cause::New }];
    let run = folded(&[begun(&[("base", &[])]), ended("base", Outcome::WouldRun { because })]);
    assert_eq!(now(None, &run, &run.stages[0]).because, ["it never ran before"]);
}
