//! One training on several devices: their number never shows in a result.

use crate::kinds::{self, Ran, base, run_on};
use serde_json::{Value, json};
use stages::io::DeviceChoice;
use std::fs;
use std::path::{Path, PathBuf};

/// A kind, its inputs and its parameters.
struct Training {
    kind: &'static str,
    inputs: Vec<(&'static str, PathBuf)>,
    with: Value,
}

impl Training {
    fn on(&self, devices: &[DeviceChoice], more: &Value) -> Ran {
        let mut with = self.with.clone();
        with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let inputs: Vec<(&str, &Path)> = self.inputs.iter().map(|(port, path)| (*port, &**path)).collect();
        run_on(self.kind, devices, &inputs, &with).unwrap_or_else(|error| panic!("{}: {error:#}", self.kind))
    }
}

/// Every kind that trains, with batches that no number of shards divides.
fn trainings(base: &Path, place: &Path) -> Vec<Training> {
    let some = |name: &str, rows: usize| {
        let text = fs::read_to_string(kinds::data(name)).unwrap();
        let path = place.join(name);
        fs::write(&path, text.lines().take(rows).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        path
    };
    let (sft, pairs) = (some("sft.jsonl", 14), some("pairs.jsonl", 12));
    let (rankings, prompts) = (some("rankings.jsonl", 12), some("prompts.jsonl", 7));
    let of_rows = json!({"batch": 7, "max_tokens": 160, "heldout": 0.2, "lr": 1e-2, "epochs": 2.0});
    let rm = kinds::run("rm", DeviceChoice::Cpu, &[("model", base), ("data", &rankings)], &of_rows).unwrap();
    let reward = place.join("reward");
    copy(&rm.artifact(), &reward);
    let with = |more: Value| {
        let mut all = of_rows.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let ppo = |more: Value| {
        let mut all = json!({
            "batch": 10, "max_new_tokens": 6, "steps": 2, "epochs": 2, "minibatches": 2, "missing_eos_score": null,
            "temperature": 1.0, "lr": 1e-2,
        });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let policy = || vec![("policy", base.to_owned()), ("reward", reward.clone()), ("prompts", prompts.clone())];
    let of = |port: &'static str, data: &Path| vec![(port, base.to_owned()), ("data", data.to_owned())];
    vec![
        Training {
            kind: "pretrain",
            inputs: vec![("text", kinds::data("corpus.jsonl"))],
            with: json!({
                "layers": 1, "width": 16, "inner": 24, "heads": 2, "kv_heads": 1, "vocabulary": 300, "context": 64, "steps": 3, "batch": 7,
            }),
        },
        Training { kind: "sft", inputs: of("model", &sft), with: of_rows.clone() },
        Training { kind: "sft", inputs: of("model", &sft), with: with(json!({"train": "full"})) },
        Training { kind: "rm", inputs: of("model", &rankings), with: with(json!({"micro_batch": 3})) },
        Training { kind: "dpo", inputs: of("policy", &pairs), with: of_rows.clone() },
        Training { kind: "kto", inputs: of("policy", &sft_labels(&sft, place)), with: of_rows.clone() },
        Training { kind: "ppo", inputs: policy(), with: ppo(json!({})) },
        Training {
            kind: "ppo",
            inputs: policy(),
            with: ppo(json!({"kl": {"reference": "ema", "ema_decay": 0.5}, "micro_batch": 2, "entropy_coef": 0.01})),
        },
        Training {
            kind: "ppo",
            inputs: policy(),
            with: ppo(json!({"advantage": "grpo", "answers_per_prompt": 2, "kl": {"in": "loss", "estimate": "k3"}})),
        },
    ]
}

fn sft_labels(sft: &Path, place: &Path) -> PathBuf {
    let label = |(row, line): (usize, &str)| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value["label"] = (row % 3 != 0).into();
        format!("{value}\n")
    };
    let path = place.join("labels.jsonl");
    fs::write(&path, fs::read_to_string(sft).unwrap().lines().enumerate().map(label).collect::<String>()).unwrap();
    path
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        match fs::metadata(entry.path()).unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// Asserts that several devices give the bytes of one; of the trainings, every `step`th.
fn check(device: &DeviceChoice, numbers: &[usize], shards: usize, step: usize) {
    let (base, place) = (base(), tempfile::tempdir().unwrap());
    for training in trainings(&base.artifact(), place.path()).into_iter().step_by(step) {
        let cut = json!({"shards": shards});
        let alone = training.on(std::slice::from_ref(device), &cut).everything();
        for number in numbers {
            let several = training.on(&vec![device.clone(); *number], &cut).everything();
            let paths = |all: &std::collections::BTreeMap<PathBuf, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
            assert_eq!(paths(&alone), paths(&several), "{}", training.kind);
            for (path, bytes) in &alone {
                let (one, other) = (String::from_utf8_lossy(bytes), String::from_utf8_lossy(&several[path]));
                assert!(*bytes == several[path], "{} on {number}: {}\n{one}\n{other}", training.kind, path.display());
            }
        }
    }
}

#[test]
fn the_number_of_devices_never_shows_in_a_result() {
    check(&DeviceChoice::Cpu, &[2, 4], 5, 1);
}

#[test]
fn nor_does_it_through_wgpu() {
    if crate::wgpu().is_some() {
        // `pretrain`, and PPO with a critic: a software driver is slow.
        check(&DeviceChoice::Wgpu, &[2], 3, 6);
    }
}

/// Shards are another order of the same sums.
#[test]
fn shards_change_last_bits_alone() {
    let (base, place) = (base(), tempfile::tempdir().unwrap());
    let mut differing = 0;
    for training in trainings(&base.artifact(), place.path()) {
        let ran = |more: Value| training.on(&[DeviceChoice::Cpu], &more);
        let (whole, cut) = (ran(json!({})), ran(json!({"shards": 4})));
        assert_eq!(ran(json!({"shards": 1})).everything(), whole.everything(), "{}", training.kind);
        for (whole, cut) in whole.curve().iter().zip(cut.curve()) {
            let (whole, cut) = (whole["loss"].as_f64().unwrap(), cut["loss"].as_f64().unwrap());
            assert!((whole - cut).abs() < 2e-4 * (1.0 + whole.abs()), "{}: {whole} {cut}", training.kind);
        }
        differing += usize::from(whole.everything() != cut.everything());
    }
    assert!(differing > 6, "the order of sums shows, so that equal bytes mean an equal order: {differing}");
}
