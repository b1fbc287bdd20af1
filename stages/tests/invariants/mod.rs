//! Invariants of PPO at any size (recipes of RLHF practice; Huang et al. 2024), checked through the kind itself: on the
//! CPU backend and on the adapter that wgpu finds, which may be a software driver; on a tiny model that is trained
//! here, and on a real pretrained one if it lies beside the project.

use super::{DRAW, kinds, skip, wgpu};
use burn::tensor::Device;
use formats::directory::model_directory;
use formats::dtype::Dtype;
use serde_json::{Value, json};
use stages::io::DeviceChoice;
use stages::model::{Adapter, Artifact, LoraParameters, weights};
use stages::rl;
use std::fs;
use std::path::Path;

/// A reward model over a base, with a random head: PPO can follow any scores.
fn reward_model(base: &Path, directory: &Path) {
    let artifact = Artifact::load(base, Dtype::F32, &Device::flex()).unwrap();
    let config = artifact.config();
    let adapter = Adapter::new(config, &LoraParameters::default(), DRAW, &Device::flex());
    let adapter = adapter.with_head(config, DRAW, &Device::flex());
    weights::save_adapter(&adapter, &config.architecture.layout, &directory.join("adapter")).unwrap();
    let model = model_directory(base).canonicalize().unwrap();
    std::os::unix::fs::symlink(model, directory.join("model")).unwrap();
}

/// The curve of a PPO run, and the bytes of the adapter it trained.
fn ppo(base: &Path, device: &DeviceChoice, with: &Value) -> (Vec<Value>, Vec<u8>) {
    let place = tempfile::tempdir().unwrap();
    let reward = place.path().join("reward");
    fs::create_dir_all(&reward).unwrap();
    reward_model(base, &reward);
    let prompts = ["Once upon a time", "Tom and Lily", "One day, a big dog", "The little girl", "Ben saw"];
    let rows: String = prompts.iter().map(|prompt| format!("{}\n", json!({"prompt": prompt}))).collect();
    let prompts = place.path().join("prompts.jsonl");
    fs::write(&prompts, rows).unwrap();
    let ran = kinds::run("ppo", device.clone(), &[("policy", base), ("reward", &reward), ("prompts", &prompts)], with)
        .unwrap();
    (ran.curve(), ran.adapter())
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

/// A rate at which a few updates move the tiny model; the real one moves at a tenth of it.
const RATE: f64 = 0.2;

fn check(base: &Path, device: &DeviceChoice, rate: f64) {
    // With a large learning rate and no penalty the policy leaves its reference, and the clip takes effect. The KL is an
    // estimate from the answers of one rollout: eight of them have said 0.04 and less of a policy that 32 say 0.18 of.
    let free = settings(json!({"steps": 3, "batch": 32, "lr": rate, "kl": {"coef": 0.0}}));
    let (curve, bytes) = ppo(base, device, &free);
    assert!(metric(&curve[0], "kl").abs() < 1e-4, "policy and reference begin as one: {}", curve[0]);
    let last = curve.last().unwrap();
    assert!(metric(last, "kl") > 0.05 && metric(last, "kl") > metric(&curve[0], "kl"), "{last}");
    assert_eq!(ppo(base, device, &free).1, bytes, "the same call, the same bytes");

    // An adaptive β starts from the given one and follows the KL of each rollout.
    let (curve, _) =
        ppo(base, device, &settings(json!({"steps": 3, "kl": {"coef": 0.1, "target": 0.01, "horizon": 50}})));
    let mut beta = 0.1;
    for point in &curve {
        assert_eq!(point["beta"], beta, "{point}");
        beta = rl::adapted_beta(beta, metric(point, "kl"), 0.01, 50.0, 8);
    }
    assert_ne!(beta, 0.1);

    // In one epoch of one minibatch all ratios are 1; in further epochs they move away from 1.
    let clipped = |epochs: u64| {
        let (curve, _) = ppo(base, device, &settings(json!({"steps": 1, "lr": rate, "epochs": epochs})));
        (metric(&curve[0], "clip_fraction"), metric(&curve[0], "ratio_max"), metric(&curve[0], "approx_kl"))
    };
    let (one, two, four) = (clipped(1), clipped(2), clipped(4));
    let error = if *device == DeviceChoice::Cpu { 0.0 } else { 1e-5 };
    assert!(one.0 == 0.0 && (one.1 - 1.0).abs() <= error && one.2 <= error, "{one:?}");
    assert!(two.0 > 0.0 && four.0 > two.0, "{two:?} {four:?}");
    assert!(two.2 > 0.0 && four.2 > two.2, "{two:?} {four:?}");
}

#[test]
fn ppo_keeps_its_invariants() {
    check(&kinds::base().artifact(), &DeviceChoice::Cpu, RATE);
}

#[test]
fn ppo_keeps_its_invariants_through_wgpu() {
    if wgpu().is_some() {
        check(&kinds::base().artifact(), &DeviceChoice::Wgpu, RATE);
    }
}

#[test]
fn ppo_on_stories260k_keeps_its_invariants() {
    if let Some(base) = skip::shared("models/stories260K") {
        check(&base, &DeviceChoice::Cpu, RATE / 10.0);
    }
}

/// Models trained on one base share it in memory. A model that differs from it in one number does not.
#[test]
fn models_on_one_base_share_it() {
    let base = kinds::base();
    let base = base.artifact();
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("reward")).unwrap();
    reward_model(&base, &place.path().join("reward"));
    let policy = Artifact::load(&base, Dtype::F32, &Device::flex()).unwrap();
    let shares = |directory: &Path| Artifact::open_beside(directory, &policy).unwrap().base.is(&policy.base);
    assert!(shares(&place.path().join("reward")));
    let copy = place.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(model_directory(&base).join(name), copy.join(name)).unwrap();
    }
    assert!(shares(&copy), "the same bytes elsewhere");
    let mut weights = fs::read(copy.join("model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(copy.join("model.safetensors"), weights).unwrap();
    assert!(!shares(&copy));
}

/// A base that is kept is that of the same bytes, whatever lies at its path, or has its inode, later.
#[test]
fn a_kept_base_is_found_by_its_bytes() {
    let base = kinds::base();
    let source = model_directory(&base.artifact());
    let place = tempfile::tempdir().unwrap();
    let numbers = |changed: u8| {
        let directory = place.path().join("model");
        fs::create_dir(&directory).unwrap();
        for name in ["config.json", "tokenizer.json"] {
            fs::copy(source.join(name), directory.join(name)).unwrap();
        }
        let mut weights = fs::read(source.join("model.safetensors")).unwrap();
        *weights.last_mut().unwrap() ^= changed;
        fs::write(directory.join("model.safetensors"), weights).unwrap();
        let artifact = Artifact::open_resident(&directory, Dtype::F32, &Device::flex()).unwrap();
        artifact.base.send().unwrap();
        let values: Vec<f32> = weights::tensors(artifact.model())
            .into_iter()
            .flat_map(|tensor| stages::tensor::values_of(tensor).unwrap())
            .collect();
        fs::remove_dir_all(&directory).unwrap();
        values
    };
    let first = numbers(0);
    for _ in 0..3 {
        assert!(numbers(1) != first);
        assert!(numbers(0) == first);
    }
}

/// A candidate is measured on answers of its own, not on those of earlier policies.
#[test]
fn the_kl_of_a_candidate_is_its_own() {
    let base = kinds::base();
    let base = base.artifact();
    let place = tempfile::tempdir().unwrap();
    let reward = place.path().join("reward");
    fs::create_dir(&reward).unwrap();
    reward_model(&base, &reward);
    let prompts = place.path().join("prompts.jsonl");
    fs::write(&prompts, "{\"prompt\": \"Once upon a time\"}\n").unwrap();
    let inputs: [(&str, &Path); 3] = [("policy", &base), ("reward", &reward), ("prompts", &prompts)];
    let one = settings(json!({"steps": 1, "lr": RATE, "kl": {"coef": 0.0}}));
    let ran = kinds::run("ppo", DeviceChoice::Cpu, &inputs, &one).unwrap();
    assert!(metric(&ran.curve()[0], "kl").abs() < 1e-4);
    assert!(ran.metrics()["kl"].as_f64().unwrap() > 0.05, "{}", ran.metrics());
    assert!(ran.metrics()["weight_change"].as_f64().unwrap() > 0.0, "{}", ran.metrics());
    let bounded = settings(json!({"steps": 1, "lr": RATE, "kl": {"coef": 0.0}, "abort_if": {"kl_above": 0.01}}));
    let error = format!("{:#}", kinds::run("ppo", DeviceChoice::Cpu, &inputs, &bounded).err().unwrap());
    assert!(error.contains("after update 1, above `abort_if.kl_above` 0.01"), "{error}");
}

/// The base is frozen: its file does not change. And every variant that shares PPO's rollout runs: other advantages,
/// other places of the KL, other references, other optimisers.
#[test]
fn every_relative_of_ppo_improves_nothing_but_its_adapter() {
    let base = kinds::base();
    let base = base.artifact();
    let file = model_directory(&base).join("model.safetensors");
    let before = fs::read(&file).unwrap();
    let (plain, bytes) = ppo(&base, &DeviceChoice::Cpu, &settings(json!({})));
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
        json!({"adam": {"form": "tensorflow", "max_norm": null}, "minibatches": 2, "average": {"constant": 12}}),
        json!({"critic": "zero"}),
        json!({"top_k": 20, "top_p": 0.9}),
        json!({"missing_eos_score": null, "missing_eos_penalty": 1.0}),
    ] {
        let (curve, other) = ppo(&base, &DeviceChoice::Cpu, &settings(more.clone()));
        assert_ne!(other, bytes, "{more}");
        for point in curve {
            let named = ["reward", "kl", "entropy", "approx_kl", "length"].map(|name| metric(&point, name));
            assert!(named.iter().all(|value| value.is_finite()), "{more}: {point}");
            let has_critic = more.get("advantage").is_none();
            assert_eq!(point["metrics"]["value_loss"].is_number(), has_critic, "{more}: {point}");
        }
    }
    // Micro-batches and recomputed blocks give the same sums, up to their order.
    let (parts, _) = ppo(&base, &DeviceChoice::Cpu, &settings(json!({"micro_batch": 3, "recompute": true})));
    for (one, other) in plain.iter().zip(&parts) {
        assert!((metric(one, "reward") - metric(other, "reward")).abs() < 1e-3, "{one} {other}");
        assert!((one["gradient_norm"].as_f64().unwrap() - other["gradient_norm"].as_f64().unwrap()).abs() < 1e-2);
    }
    assert_eq!(fs::read(&file).unwrap(), before);
}
