//! Small random models of every architecture compared with the outputs of transformers (`make.py`): logits, greedy
//! continuations, rewards and adapters, padded left and right; and the way back to files.

mod models;
mod text;

use burn::tensor::Device;
use formats::config::Config;
use formats::dtype::{Dtype, floats};
pub use models::{MODELS, directory, load};

use models::{Row, adapters, golden, long_row};
use safetensors::SafeTensors;
use stages::generate::{self, Choice, Decoding};
use stages::model::{Adapter, Decoder, Padding, weights};
use stages::tensor::values_of;
use stages::train;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The largest difference of any logit of any row, all rows in one batch.
fn difference(model: &Decoder, adapter: Option<&Adapter>, rows: &[Row], padding: Padding) -> f32 {
    let ids: Vec<&[u32]> = rows.iter().map(|row| row.ids.as_slice()).collect();
    let batch = model.batch(&ids, padding);
    let logits = values_of(model.logits(model.hidden(adapter, &batch, None))).unwrap();
    let v = model.config.vocabulary;
    let of_row = |(number, row): (usize, &Row)| {
        let theirs = if adapter.is_some() { &row.adapted } else { &row.logits };
        let mine = &logits[batch.spans[number].at * v..][..theirs.len()];
        mine.iter().zip(theirs).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
    };
    rows.iter().enumerate().map(of_row).fold(0.0, f32::max)
}

/// The largest difference of the hidden states after every block, of the first row without an adapter.
fn where_it_begins(name: &str, model: &Decoder, ids: &[u32]) {
    let bytes = fs::read(directory(name).join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let batch = model.batch(&[ids], Padding::Right);
    for (layer, ours) in model.layers(None, &batch).into_iter().enumerate() {
        let theirs = file.tensor(&format!("hidden.0.{layer}")).unwrap();
        let theirs = floats(theirs.dtype(), theirs.data()).unwrap();
        let pairs = values_of(ours).unwrap().into_iter().zip(theirs);
        let most = pairs.map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        println!("{name}: hidden states behind block {layer} (0: before the first) off by {most}");
    }
}

pub fn check(device: &Device) {
    for name in MODELS {
        let (model, rows) = (load(&directory(name), device), golden(name));
        let [adapter, reward] = adapters(name, &model);
        let own = Some(Padding::of(device)).filter(|own| *own != Padding::Right);
        for padding in [Padding::Left, Padding::Right].into_iter().chain(own) {
            for adapter in [None, Some(&adapter)] {
                let (difference, which) = (difference(&model, adapter, &rows, padding), adapter.is_some());
                if difference > 1e-4 {
                    where_it_begins(name, &model, &rows[0].ids);
                }
                assert!(difference <= 1e-4, "{name}, padded {padding:?}, adapted {which}: logits off by {difference}");
            }
        }
        let ids: Vec<&[u32]> = rows.iter().map(|row| row.ids.as_slice()).collect();
        for (row, mine) in rows.iter().zip(train::rewards(&model, &reward, &ids, 2).unwrap()) {
            assert!((mine - f64::from(row.reward)).abs() <= 1e-4, "{name}: reward {mine}, not {}", row.reward);
        }
        let prompts: Vec<&[u32]> = rows.iter().map(|row| row.ids.as_slice()).collect();
        let new = rows[0].greedy.len();
        let answers = generate::answer(
            &model,
            None,
            &prompts,
            Decoding { max_new: new, stops: &[], choice: Choice::Greedy, at_once: prompts.len() },
        )
        .unwrap();
        for (row, answer) in rows.iter().zip(answers) {
            assert_eq!(answer.ids, row.greedy, "{name}: greedy continuation of {:?}", row.ids);
        }
    }
}

#[test]
fn logits_and_greedy_continuations_are_those_of_transformers() {
    check(&Device::flex());
}

/// Two rows in one batch turn each by its own length.
#[test]
fn a_row_beyond_the_first_context_turns_by_the_long_factors() {
    let (model, (long, logits)) = (load(&directory("phi3-long"), &Device::flex()), long_row("phi3-long"));
    let short = &golden("phi3-long")[0];
    for padding in [Padding::None, Padding::Left, Padding::Right] {
        let batch = model.batch(&[&short.ids, &long], padding);
        let ours = values_of(model.logits(model.hidden(None, &batch, None))).unwrap();
        for (span, theirs) in batch.spans.iter().zip([&short.logits, &logits]) {
            let ours = &ours[span.at * model.config.vocabulary..][..theirs.len()];
            let off = ours.iter().zip(theirs).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
            assert!(off <= 1e-4, "padded {padding:?}, {} tokens: off by {off}", span.len);
        }
    }
    let decoding = Decoding { max_new: 9, stops: &[], choice: Choice::Greedy, at_once: 1 };
    let Err(error) = generate::answer(&model, None, &[&long[..30]], decoding) else { panic!("it was decoded") };
    assert!(error.to_string().starts_with("decode: rows of up to 39 tokens go past 32"), "{error}");
    assert_eq!(generate::answer(&model, None, &[&long[..40]], decoding).unwrap()[0].ids.len(), 9);
}

#[test]
fn weights_come_back_from_files_as_they_went() {
    for name in MODELS {
        let model = load(&directory(name), &Device::flex());
        let copy = tempfile::tempdir().unwrap();
        weights::save(&model, &BTreeMap::new(), Dtype::F32, copy.path()).unwrap();
        let again = load(copy.path(), &Device::flex());
        for (one, other) in weights::tensors(&model).into_iter().zip(weights::tensors(&again)) {
            assert_eq!(values_of(one).unwrap(), values_of(other).unwrap(), "{name}");
        }
        let off = |model: &Decoder| difference(model, None, &golden(name), Padding::Right);
        assert_eq!(off(&again), off(&model), "{name}");
    }
}

#[test]
fn adapters_are_written_as_peft_writes_them() {
    for name in MODELS {
        let model = load(&directory(name), &Device::flex());
        for (which, adapter) in ["adapter", "reward"].into_iter().zip(adapters(name, &model)) {
            let (theirs, ours) = (directory(name).join(which), tempfile::tempdir().unwrap());
            weights::save_adapter(&adapter, &model.config.architecture.layout, ours.path()).unwrap();
            let read = |directory: &Path, file: &str| fs::read(directory.join(file)).unwrap();
            let tensors = |directory: &Path| {
                let bytes = read(directory, "adapter_model.safetensors");
                let file = SafeTensors::deserialize(&bytes).unwrap();
                let all = file.iter().map(|(name, view)| {
                    (name.to_owned(), (view.shape().to_vec(), floats(view.dtype(), view.data()).unwrap()))
                });
                all.collect::<BTreeMap<_, _>>()
            };
            assert_eq!(tensors(ours.path()), tensors(&theirs), "{name}/{which}");
            let settings = |directory: &Path| -> serde_json::Map<String, serde_json::Value> {
                serde_json::from_slice(&read(directory, "adapter_config.json")).unwrap()
            };
            let (ours, theirs) = (settings(ours.path()), settings(&theirs));
            for (field, value) in &ours {
                match field.as_str() {
                    // A set: its order does not matter.
                    "target_modules" => {
                        let sorted = |value: &serde_json::Value| {
                            let mut names: Vec<String> = serde_json::from_value(value.clone()).unwrap();
                            names.sort();
                            names
                        };
                        assert_eq!(sorted(value), sorted(&theirs[field]), "{name}/{which}");
                    }
                    // For a classifier, peft names every head that its library of models knows.
                    "modules_to_save" if which == "reward" => {
                        let theirs = theirs[field].as_array().unwrap();
                        assert!(value.as_array().unwrap().iter().all(|head| theirs.contains(head)), "{name}");
                    }
                    _ => assert_eq!(value, &theirs[field], "{name}/{which}: {field}"),
                }
            }
        }
    }
}

#[test]
fn an_adapter_that_is_more_than_lora_is_refused_by_name() {
    let model = load(&directory("llama"), &Device::flex());
    let read = |change: &dyn Fn(&mut serde_json::Value), tensors: bool| {
        let copy = tempfile::tempdir().unwrap();
        let from = directory("llama").join("adapter");
        let mut settings = serde_json::from_slice(&fs::read(from.join("adapter_config.json")).unwrap()).unwrap();
        change(&mut settings);
        fs::write(copy.path().join("adapter_config.json"), settings.to_string()).unwrap();
        match tensors {
            true => _ = fs::copy(from.join("adapter_model.safetensors"), copy.path().join("adapter_model.safetensors")),
            false => fs::write(copy.path().join("adapter_model.bin"), "").unwrap(),
        }
        let read = weights::load_adapter(copy.path(), &model.config, &model.device());
        read.map_err(|error| format!("{error:#}").replace(&copy.path().display().to_string(), "DIR"))
    };
    let told = |change: &dyn Fn(&mut serde_json::Value), tensors: bool| {
        let Err(told) = read(change, tensors) else { panic!("it was read") };
        told
    };
    // The scale of rank-stabilised LoRA is α/√r.
    let scale = |adapter: Adapter| adapter.scale();
    let stable = read(&|settings| settings["use_rslora"] = true.into(), true).map(scale).unwrap();
    let plain = read(&|_| (), true).map(scale).unwrap();
    assert!((stable - plain * 3f64.sqrt()).abs() < 1e-12);
    // One layer less: the second has no place.
    let short = Config { layers: 1, ..model.config.clone() };
    let Err(error) = weights::load_adapter(&directory("llama").join("adapter"), &short, &model.device()) else {
        panic!("it was read")
    };
    assert!(format!("{error:#}").contains("model.layers.1.mlp.down_proj.lora_A.weight` has no place in this model"));
    let all = [
        told(&|settings| settings["use_dora"] = true.into(), true),
        told(&|settings| settings["alpha_pattern"] = serde_json::json!({"q_proj": 32}), true),
        told(&|settings| settings["bias"] = "all".into(), true),
        told(&|settings| *settings = serde_json::json!({"peft_type": "IA3"}), true),
        told(&|_| (), false),
    ];
    expect_test::expect![[r#"
        read DIR/adapter_config.json: it is DoRA (`use_dora: true`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
        read DIR/adapter_config.json: it is LoRA with matrices of several scales (`alpha_pattern: {"q_proj":32}`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
        read DIR/adapter_config.json: it is LoRA with trained biases (`bias: "all"`), and no plain LoRA; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
        read DIR/adapter_config.json: peft_type is `IA3`; only LORA is known; merge it in peft: `PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(OUT)`, and take OUT as the model
        read DIR/adapter_model.bin: pickled weights can run code, so they are not read; `PeftModel.from_pretrained(BASE, DIR).save_pretrained(DIR)` in peft saves them as safetensors"#]].assert_eq(&all.join("\n"));
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let refused = |change: &dyn Fn(&Path)| {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(directory("llama")).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                continue;
            }
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        change(copy.path());
        let read = Config::load(copy.path())
            .and_then(|config| weights::load(copy.path(), config, Dtype::F32, &Device::flex()));
        let Err(error) = read else { panic!("it was read") };
        format!("{error:#}").replace(&copy.path().display().to_string(), "DIR")
    };
    let config = |change: &'static dyn Fn(&mut serde_json::Value)| {
        move |directory: &Path| {
            let path = directory.join("config.json");
            let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            change(&mut config);
            fs::write(path, config.to_string()).unwrap();
        }
    };
    let told = [
        refused(&config(&|config| config["model_type"] = "mamba".into())),
        refused(&config(&|config| config["rope_parameters"]["rope_type"] = "proportional".into())),
        refused(&config(&|config| config["hidden_act"] = "xielu".into())),
        refused(&config(&|config| config["num_key_value_heads"] = 3.into())),
        refused(&config(&|config| config["vocab_size"] = 62.into())),
        refused(&config(&|config| config["num_hidden_layers"] = 3.into())),
        refused(&|directory| {
            fs::rename(directory.join("model.safetensors"), directory.join("pytorch_model.bin")).unwrap()
        }),
        refused(&|directory| fs::remove_file(directory.join("model.safetensors")).unwrap()),
        refused(&|directory| fs::write(directory.join("model.safetensors"), "{}").unwrap()),
        refused(&|directory| {
            fs::remove_file(directory.join("model.safetensors")).unwrap();
            let index = r#"{"weight_map": {"model.norm.weight": "../model-1.safetensors"}}"#;
            fs::write(directory.join("model.safetensors.index.json"), index).unwrap();
        }),
    ];
    expect_test::expect![[r#"
        read DIR/config.json: model_type `mamba` is not known; known are `llama`, `mistral`, `qwen2`, `qwen3`, `gemma2`, `gemma3_text`, `phi3`, `olmo2`, `smollm3`, `granite`, `stablelm`, `gpt_neox`, `gpt2`
        read DIR/config.json: rope type `proportional` is not supported; known are default, linear, dynamic, llama3, yarn and longrope
        read DIR/config.json: the activation `xielu` is not known
        read DIR/config.json: 4 attention heads do not share 3 key/value heads evenly
        read DIR/model.safetensors: `model.embed_tokens.weight` has shape [61, 24], expected [62, 24]
        read DIR/model.safetensors: there is no tensor `model.layers.2.input_layernorm.weight`
        read DIR/pytorch_model.bin: pickled weights can run code, so they are not read; save the model as safetensors: `AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)` in transformers does
        read DIR: there is no model.safetensors and no model.safetensors.index.json
        read DIR/model.safetensors: it is cut within the length of its header: it has 2 bytes; it was not downloaded to its end; fetch it again
        read DIR/model.safetensors.index.json: `../model-1.safetensors` is not the name of a file beside it"#]].assert_eq(&told.join("\n"));
}

/// In half precision the largest of the logits say how far others may be off: no sharp bound holds for every model. The
/// shares are those that `back.py` allows what `peft` itself has merged and rounded, with the same reason.
fn check_half(device: &Device, dtype: Dtype, share: f32) {
    for name in MODELS {
        let config = Config::load(&directory(name)).unwrap();
        let model = weights::load(&directory(name), config, dtype, device).unwrap();
        let rows = golden(name);
        let largest = rows.iter().flat_map(|row| &row.logits).fold(0.0f32, |most, logit| most.max(logit.abs()));
        let difference = difference(&model, None, &rows, Padding::Right) / largest;
        println!("{name} in {}: logits off by {difference} of the largest", dtype.name());
        assert!(difference > 0.0 && difference <= share, "{name} in {}: {difference}", dtype.name());
    }
}

#[test]
fn half_precision_is_near() {
    check_half(&Device::flex(), Dtype::F16, 6e-3);
    check_half(&Device::flex(), Dtype::Bf16, 4e-2);
}
