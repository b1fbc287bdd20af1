//! Training that is killed goes on to the bytes it would have given undisturbed: up to ten times in each kind, at random
//! steps or while it starts again, by SIGTERM (which leaves a checkpoint) and by SIGKILL (which does not). With what a checkpoint must
//! hold of each: moments of the optimiser, a KL controller on its way, moving averages, the place in the data.

#[path = "support/program.rs"]
mod program;

use program::{Place, ROOT, copy_into, place, wait_for};
use rustix::process::Signal;
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
      steps: 30
      batch: 16
      epochs: 2
      minibatches: 2
      micro_batch: 4
      max_new_tokens: 12
      lr: 0.003
      missing_eos_score: null
      kl: {target: 0.05, horizon: 100, reference: ema, ema_decay: 0.9}
  dpo:
    kind: dpo
    from: {policy: base, data: data/pairs.jsonl}
    with: {epochs: 1, batch: 12, max_tokens: 64}
";

const KINDS: [(&str, u64); 5] = [("sft", 50), ("full", 50), ("rm", 55), ("ppo", 30), ("dpo", 45)];
const BLOWS: u64 = 10;

fn job() -> Place {
    let place = place();
    place.write("resume.yaml", STAGES);
    copy_into(Path::new(&format!("{ROOT}/pipelines/data")), &place.at("data"));
    place
}

/// The longest training curve below a work directory, in steps. What vanishes meanwhile is not there.
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

fn contents(place: &Place, stages: &[&str]) -> BTreeMap<String, String> {
    let run = place.run(&["run", "resume.yaml", "--json", "--device", "cpu"]).expect_exit(0);
    let events = run.events();
    stages.iter().map(|stage| ((*stage).to_owned(), events.content(stage).to_owned())).collect()
}

#[test]
fn a_training_killed_at_ten_random_steps_gives_the_bytes_of_an_undisturbed_one() {
    let undisturbed = job();
    let stages = ["base", "sft", "full", "rm", "ppo", "dpo"];
    let expected = contents(&undisturbed, &stages);
    // Twice is once: nothing of it hangs on time.
    let again = job();
    assert_eq!(contents(&again, &stages), expected);

    let place = job();
    let mut draws = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |end: u64| {
        // xorshift64 (Marsaglia 2003).
        draws ^= draws << 13;
        draws ^= draws >> 7;
        draws ^= draws << 17;
        draws % end
    };
    place.run(&["run", "resume.yaml", "--only", "base", "--device", "cpu"]).expect_exit(0);
    for (stage, total) in KINDS {
        let mut at: Vec<u64> = (0..BLOWS).map(|_| below(total - 2)).collect();
        at.sort_unstable();
        let (mut struck, mut is_done) = (0, false);
        for (number, step) in at.into_iter().enumerate() {
            let live = place.start(&["run", "resume.yaml", "--only", stage, "--json", "--device", "cpu"]);
            live.started(stage);
            let mut live = live;
            let has_ended = wait_for("the step to come", || {
                let has_ended = live.child.try_wait().unwrap().is_some();
                (has_ended || steps(&place.at(".pipeline/work")) > step).then_some(has_ended)
            });
            if has_ended {
                is_done = true;
                break;
            }
            live.signal(if number % 2 == 0 { Signal::TERM } else { Signal::KILL });
            let (exit, _) = live.end();
            place.wait_for_silence();
            struck += 1;
            // The blow may have come behind the last step.
            if exit == Some(0) {
                is_done = true;
                break;
            }
        }
        place.run(&["run", "resume.yaml", "--only", stage, "--device", "cpu"]).expect_exit(0);
        assert!(struck >= BLOWS / 2 || is_done && struck >= 3, "{stage} was struck only {struck} times");
    }
    assert_eq!(contents(&place, &stages), expected);
}
