//! Training that is killed goes on to the bytes it would have given undisturbed: several times in each kind, at random
//! steps or while it starts again, by SIGTERM (which leaves a checkpoint) and by SIGKILL (which does not). Each kind
//! needs something else of a checkpoint: moments of the optimiser, a KL controller on its way, moving averages, the
//! place in the data.

#[path = "support/draws.rs"]
mod draws;
#[path = "support/program.rs"]
mod program;
#[path = "support/store.rs"]
mod store;

use draws::Draws;
use program::{Place, ROOT, copy_into, files, place, wait_for};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const STAGES: &str = "name: resume
seed: 11
stages:
  base:
    kind: pretrain
    from: {text: data/corpus.jsonl}
    with: {layers: 2, width: 64, inner: 128, heads: 2, kv_heads: 2, vocabulary: 400, context: 96, steps: 30, batch: 16}
  sft:
    kind: sft
    from: {model: base, data: data/sft.jsonl}
    with: {epochs: 1, batch: 16, max_tokens: 64, micro_batch: 8, checkpoint_every: 20}
  full:
    kind: sft
    from: {model: base, data: data/sft.jsonl}
    with: {epochs: 1, batch: 16, max_tokens: 64, train: full, recompute: true}
  rm:
    kind: rm
    from: {model: base, data: data/rankings.jsonl}
    with: {epochs: 1, batch: 8, max_tokens: 64, checkpoint_every: 25}
  ppo:
    kind: ppo
    from: {policy: base, reward: rm, prompts: data/prompts.jsonl}
    with:
      steps: 25
      batch: 16
      epochs: 4
      minibatches: 4
      micro_batch: 2
      checkpoint_every: 5
      max_new_tokens: 12
      lr: 0.003
      missing_eos_score: null
      adam: {form: tensorflow, weight_decay: 0.01}
      kl: {target: 0.05, horizon: 100, reference: ema, ema_decay: 0.9}
  dpo:
    kind: dpo
    from: {policy: base, data: data/pairs.jsonl}
    with: {epochs: 1, batch: 12, max_tokens: 64}
  kto:
    kind: kto
    from: {policy: base, data: data/pairs.jsonl}
    with: {epochs: 1, batch: 20, max_tokens: 64, micro_batch: 10}
";

/// The kinds, each with its steps.
const KINDS: [(&str, u64); 6] = [("sft", 50), ("full", 50), ("rm", 55), ("ppo", 25), ("dpo", 45), ("kto", 53)];

fn job() -> Place {
    let place = place();
    place.write("resume.yaml", STAGES);
    copy_into(Path::new(&format!("{ROOT}/pipelines/data")), &place.at("data"));
    place
}

/// The longest training curve below a work directory, in steps. A file that vanishes meanwhile does not count.
fn steps(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |path: std::path::PathBuf| match path.is_dir() {
        true => steps(&path),
        false if path.ends_with("metrics.jsonl") => {
            fs::read_to_string(path).map_or(0, |text| text.lines().count() as u64)
        }
        false => 0,
    };
    entries.map(|entry| of(entry.path())).max().unwrap_or(0)
}

/// Tells whether the last checkpoint of PPO was written between two optimiser steps of one update.
fn is_inside_an_update(place: &Place) -> bool {
    let checkpoints = files(&place.at(".pipeline/work")).into_iter().filter(|path| path.ends_with("resume/state.json"));
    checkpoints.map(|path| fs::read_to_string(path).unwrap()).any(|state| state.contains(r#""midway":[{"#))
}

/// All results of a run of all stages: by key, what the stage gave (candidates, metrics, tables), and its curve without
/// its times.
fn left(place: &Place) -> BTreeMap<String, (Value, Vec<Value>)> {
    place.run(&["run", "resume.yaml", "--json", "--device", "cpu"]).expect_exit(0);
    let records = store::check(&place.at(".pipeline"));
    let of = |(key, record): (String, Value)| {
        let attempts = fs::read_dir(place.at(".pipeline/work").join(&key)).unwrap();
        let curves =
            attempts.filter_map(|attempt| fs::read_to_string(attempt.unwrap().path().join("metrics.jsonl")).ok());
        let longest = curves.max_by_key(|curve| curve.lines().count()).unwrap_or_default();
        let point = |line: &str| {
            let mut point: Value = serde_json::from_str(line).unwrap();
            point.as_object_mut().unwrap().remove("seconds");
            point
        };
        let curve = longest.lines().map(point).collect();
        (key, (record, curve))
    };
    records.into_iter().map(of).collect()
}

#[test]
fn a_training_killed_at_two_random_steps_gives_the_bytes_of_an_undisturbed_one() {
    check(2);
}

#[test]
#[ignore = "in .ci/long"]
fn long_a_training_killed_at_ten_random_steps_gives_the_bytes_of_an_undisturbed_one() {
    let inside = check(10);
    assert!(inside > 0, "no checkpoint was written inside an update of PPO");
    // Two runs give the same: no result depends on time.
    assert_eq!(left(&job()), left(&job()));
}

/// Strikes each kind several times; gives how many checkpoints of PPO were written inside an update.
fn check(blows: u64) -> usize {
    let expected = left(&job());
    assert_eq!(expected.len(), 1 + KINDS.len());

    let place = job();
    let mut draws = Draws::new();
    place.run(&["run", "resume.yaml", "--only", "base", "--device", "cpu"]).expect_exit(0);
    let mut inside = 0;
    for (stage, total) in KINDS {
        // Not at the very end, where the stage would be faster than the blow.
        let mut at: Vec<u64> = (0..blows).map(|_| draws.below(total * 3 / 5)).collect();
        at.sort_unstable();
        for (number, step) in at.into_iter().enumerate() {
            let mut live = place.start(&["run", "resume.yaml", "--only", stage, "--json", "--device", "cpu"]);
            // Of the stage itself: the curves of stages that are done are longer.
            let own = place.at(".pipeline/work").join(live.started(stage)["key"].as_str().unwrap());
            wait_for("the step to come", || {
                assert!(live.child.try_wait().unwrap().is_none(), "{stage} was done before its blow {number}");
                (steps(&own) > step).then_some(())
            });
            live.signal(if number % 2 == 0 { Signal::TERM } else { Signal::KILL });
            assert_ne!(live.end().0, Some(0), "{stage} was done before its blow {number}");
            place.wait_for_silence();
            inside += usize::from(stage == "ppo" && is_inside_an_update(&place));
        }
        place.run(&["run", "resume.yaml", "--only", stage, "--device", "cpu"]).expect_exit(0);
    }
    assert_eq!(left(&place), expected);
    inside
}
