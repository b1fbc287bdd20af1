//! Writes what `tests/parity/back.py` reads, to the folder that is named: each small model as a stage hands it on, exported
//! in every way, and what this program says of it.

#[path = "../tests/parity/models.rs"]
#[expect(dead_code, reason = "the tests compare with the numbers of transformers; here `back.py` does")]
mod models;

use burn::tensor::Device;
use formats::dtype::Dtype;
use models::{MODELS, adapters, directory, golden};
use safetensors::tensor::TensorView;
use stages::model::{Adapter, Artifact, Padding, export};
use stages::tensor::values_of;
use stages::train;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

fn main() {
    let out = std::env::args_os().nth(1).map(PathBuf::from).expect("usage: way_back DIR");
    for name in MODELS {
        let folder = out.join(name);
        let base = folder.join("base");
        fs::create_dir_all(&base).unwrap();
        for entry in fs::read_dir(directory(name)).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            if entry.file_name() != "golden.safetensors" {
                fs::copy(entry.path(), base.join(entry.file_name())).unwrap();
            }
        }
        let tokenizer = directory("tokenizers/bytes");
        for entry in fs::read_dir(&tokenizer).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), base.join(entry.file_name())).unwrap();
        }
        let artifact = Artifact::load(&base, Dtype::F32, &Device::flex()).unwrap();
        let [adapter, reward] = adapters(name, artifact.model());
        let made = |which: &str, adapter: &Adapter| {
            let made = folder.join(which);
            fs::create_dir_all(&made).unwrap();
            artifact.save_with(adapter, &made).unwrap();
            made
        };
        let (policy, judge) = (made("of-adapter", &adapter), made("of-reward", &reward));
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            export::export(&policy, &folder.join(format!("merged-{}", dtype.name())), true, Some(dtype)).unwrap();
        }
        export::export(&policy, &folder.join("plain"), false, None).unwrap();
        for (from, to) in [("plain/model", "model"), ("plain/adapter", "adapter")] {
            fs::rename(folder.join(from), folder.join(to)).unwrap();
        }
        let merged = export::export(&judge, &folder.join("reward-merged"), true, Some(Dtype::F32));
        if artifact.model().config.architecture.classifier.is_some() {
            merged.unwrap();
            fs::rename(folder.join("of-reward/adapter"), folder.join("reward")).unwrap();
        } else {
            let Err(error) = merged else { panic!("{name}: what transformers cannot read is not exported") };
            assert!(error.to_string().contains("has no sequence classifier"), "{error:#}");
            fs::remove_dir_all(folder.join("reward-merged")).unwrap();
        }
        let mut ours: BTreeMap<String, (Vec<f32>, Vec<usize>)> = BTreeMap::new();
        let mut ids: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (number, row) in golden(name).iter().enumerate() {
            let batch = artifact.model().batch(&[&row.ids], Padding::Right);
            let (t, v) = (row.ids.len(), artifact.model().config.vocabulary);
            let logits = |adapter: Option<&Adapter>| {
                values_of(artifact.model().logits(artifact.model().hidden(adapter, &batch, None))).unwrap()
            };
            ours.insert(format!("logits.{number}"), (logits(None), vec![t, v]));
            ours.insert(format!("adapted.{number}"), (logits(Some(&adapter)), vec![t, v]));
            // These have neither offset nor spread: what the head says is the reward.
            let value = train::rewards(artifact.model(), &reward, &[&row.ids], 1).unwrap()[0] as f32;
            ours.insert(format!("reward.{number}"), (vec![value], vec![1]));
            for (layer, hidden) in artifact.model().layers(None, &batch).into_iter().enumerate() {
                ours.insert(
                    format!("hidden.{number}.{layer}"),
                    (values_of(hidden).unwrap(), vec![t, artifact.model().config.width]),
                );
            }
            ids.insert(format!("ids.{number}"), row.ids.iter().map(|id| i64::from(*id)).collect());
        }
        let of_ids = ids.iter().map(|(name, ids)| {
            (name, TensorView::new(safetensors::Dtype::I64, vec![ids.len()], bytemuck::cast_slice(ids)).unwrap())
        });
        let of_ours = ours.iter().map(|(name, (values, shape))| {
            (name, TensorView::new(safetensors::Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).unwrap())
        });
        safetensors::serialize_to_file(of_ids.chain(of_ours), None, &folder.join("ours.safetensors")).unwrap();
        let texts = ["Hello, world!", "吾輩は猫である。", "def f(x):\n    return x  # 😀"];
        let encoded: Vec<Vec<u32>> = texts.iter().map(|text| artifact.tokenizer.text(text).unwrap()).collect();
        fs::write(folder.join("texts.json"), serde_json::json!({"texts": texts, "ids": encoded}).to_string()).unwrap();
    }
}
