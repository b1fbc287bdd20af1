//! What must hold of PPO at any size (recipes of RLHF practice; Huang et al. 2024), on a real pretrained model, through
//! the kind itself: on the CPU backend, and through whatever wgpu finds, a software driver included.

use super::{DRAW, shared};
use burn::tensor::Device;
use serde_json::{Value, json};
use stages::io::{DeviceChoice, Host, Io};
use stages::model::{Adapter, Artifact, Dtype, LoraParameters, artifact};
use stages::stage::{Call, Work};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A reward model over the real base: a random head, which is as good as any to be chased.
fn reward_model(base: &Path, directory: &Path) {
    let artifact = Artifact::load(base, Dtype::F32, &Device::flex()).unwrap();
    let config = &artifact.model.config;
    let adapter = Adapter::new(config, &LoraParameters::default(), DRAW, &Device::flex());
    let adapter = adapter.with_head(config, DRAW, &Device::flex());
    artifact::save_adapter(&adapter, config.architecture.layout(), &directory.join("adapter")).unwrap();
    std::os::unix::fs::symlink(base.canonicalize().unwrap(), directory.join("model")).unwrap();
}

/// The curve of a PPO run, and the bytes of what came out.
fn ppo(device: DeviceChoice, with: &Value) -> (Vec<Value>, Vec<u8>) {
    let base = shared("models/stories260K").unwrap();
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir_all(at("reward")).unwrap();
    reward_model(&base, &at("reward"));
    let prompts = ["Once upon a time", "Tom and Lily", "One day, a big dog", "The little girl", "Ben saw"];
    let rows: String = prompts.iter().map(|prompt| format!("{}\n", json!({"prompt": prompt}))).collect();
    fs::write(at("prompts.jsonl"), rows).unwrap();
    fs::create_dir(at("work")).unwrap();
    let inputs = [("policy", base), ("reward", at("reward")), ("prompts", at("prompts.jsonl"))];
    let inputs: BTreeMap<_, _> = inputs.map(|(port, path)| (port.to_owned(), vec![path])).into();
    let kind = stages::kinds::kind("ppo").unwrap();
    let parameters = (kind.parse)(with.as_object().unwrap()).unwrap();
    let mut io = Io::open(&at("work"), inputs, Host { device, ..Host::default() }).unwrap();
    let Work::Run(run) = kind.work else { panic!("it runs") };
    run(&Call { parameters, seed: 5 }, &mut io).unwrap();
    let curve = fs::read_to_string(at("work/metrics.jsonl")).unwrap();
    let last = with["steps"].to_string();
    let bytes = fs::read(at("work/out").join(last).join("adapter/adapter_model.safetensors")).unwrap();
    (curve.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), bytes)
}

fn metric(point: &Value, name: &str) -> f64 {
    point["metrics"][name].as_f64().unwrap()
}

fn settings(more: Value) -> Value {
    let mut all = json!({
        "batch": 8, "max_new_tokens": 12, "steps": 3, "epochs": 2, "temperature": 1.0, "missing_eos_score": null, "stop_token": 1,
        "schedule": "constant",
    });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

fn check(device: DeviceChoice, steps: u64) {
    // A large rate without a penalty: the policy leaves its reference, and the clip has something to hold back.
    let free = settings(json!({"steps": steps, "lr": 0.02, "kl": {"coef": 0.0}}));
    let (curve, bytes) = ppo(device, &free);
    assert!(metric(&curve[0], "kl").abs() < 1e-4, "policy and reference begin as one: {}", curve[0]);
    let last = curve.last().unwrap();
    assert!(metric(last, "kl") > 0.05 && metric(last, "kl") > metric(&curve[0], "kl"), "{last}");
    assert_eq!(ppo(device, &free).1, bytes, "the same call, the same bytes");

    // One epoch of one minibatch never sees a ratio but 1; further epochs see more and more.
    let clipped = |epochs: u64| {
        let (curve, _) = ppo(device, &settings(json!({"steps": 1, "lr": 0.02, "epochs": epochs})));
        (metric(&curve[0], "clip_fraction"), metric(&curve[0], "ratio_max"), metric(&curve[0], "approx_kl"))
    };
    let (one, two, four) = (clipped(1), clipped(2), clipped(4));
    let error = if device == DeviceChoice::Cpu { 0.0 } else { 1e-5 };
    assert!(one.0 == 0.0 && (one.1 - 1.0).abs() <= error && one.2 <= error, "{one:?}");
    assert!(two.0 > 0.0 && four.0 > two.0, "{two:?} {four:?}");
    assert!(two.2 > 0.0 && four.2 > two.2, "{two:?} {four:?}");
}

#[test]
fn ppo_on_stories260k_keeps_its_invariants() {
    if shared("models/stories260K").is_some() {
        check(DeviceChoice::Cpu, 3);
    }
}

#[test]
fn ppo_on_stories260k_keeps_its_invariants_through_wgpu() {
    let is_here = stages::device::open(DeviceChoice::Wgpu).is_ok();
    assert!(is_here || std::env::var_os("CI").is_none(), "CI installs a software Vulkan driver");
    if is_here && shared("models/stories260K").is_some() {
        check(DeviceChoice::Wgpu, 2);
    }
}

/// The base is frozen: its file is read, and neither it nor what is written of it changes. And all that shares PPO's
/// rollout runs: other advantages, other places of the KL, other references, other optimisers.
#[test]
fn every_relative_of_ppo_improves_nothing_but_its_adapter() {
    let Some(base) = shared("models/stories260K") else { return };
    let weights = fs::read(base.join("model.safetensors")).unwrap();
    let (plain, bytes) = ppo(DeviceChoice::Cpu, &settings(json!({})));
    assert_eq!(plain.len(), 3);
    let group = |advantage: &str| json!({"advantage": advantage, "answers_per_prompt": 4});
    let in_loss = json!({"kl": {"in": "loss", "estimate": "k3"}, "advantage": "grpo", "answers_per_prompt": 4, "average": "answers"});
    for more in [
        group("rloo"),
        group("grpo"),
        group("dr-grpo"),
        in_loss,
        json!({"kl": {"reference": "ema", "ema_decay": 0.5}}),
        json!({"kl": {"reference": "base", "estimate": "k2"}}),
        json!({"dual_clip": 3.0, "entropy_coef": 0.01, "value_clip": null, "whiten_rewards": true}),
        json!({"adam": "tensorflow", "minibatches": 2, "average": {"constant": 12}}),
        json!({"top_k": 20, "top_p": 0.9}),
        json!({"missing_eos_score": null, "missing_eos_penalty": 1.0}),
    ] {
        let (curve, other) = ppo(DeviceChoice::Cpu, &settings(more.clone()));
        assert_ne!(other, bytes, "{more}");
        for point in curve {
            let named = ["reward", "kl", "entropy", "approx_kl", "length"].map(|name| metric(&point, name));
            assert!(named.iter().all(|value| value.is_finite()), "{more}: {point}");
            let has_critic = more.get("advantage").is_none();
            assert_eq!(point["metrics"]["value_loss"].is_number(), has_critic, "{more}: {point}");
        }
    }
    // Fewer rows at a time and blocks run again are the same sums, up to their order.
    let (parts, _) = ppo(DeviceChoice::Cpu, &settings(json!({"micro_batch": 3, "recompute": true})));
    for (one, other) in plain.iter().zip(&parts) {
        assert!((metric(one, "reward") - metric(other, "reward")).abs() < 1e-3, "{one} {other}");
        assert!((one["gradient_norm"].as_f64().unwrap() - other["gradient_norm"].as_f64().unwrap()).abs() < 1e-2);
    }
    assert_eq!(fs::read(base.join("model.safetensors")).unwrap(), weights);
}
