//! Numbers that must agree however they are computed: with or without the cache, padded left or right, on the CPU
//! backend or through wgpu, here or in the reference. One file, because each binary with wgpu in it is large.

use burn::tensor::{Device, Tensor};
use serde_json::Value;
use stages::data::Prompt;
use stages::draw::Draw;
use stages::generate::{self, Choice};
use stages::model::artifact::values_of;
use stages::model::layout::Sort;
use stages::model::weights;
use stages::model::{Adapter, Artifact, Batch, Config, Decoder, Dtype, LoraParameters, Padding};
use stages::rl;
use stages::train::{self, Adam, AdamSettings, Sequence};
use std::path::PathBuf;

mod parity;

const DRAW: Draw = Draw { seed: 7, kind: "test", purpose: "weights" };

/// A model with every feature on: grouped keys, a tied head, weights large enough that logits differ.
fn model(device: &Device) -> Decoder {
    let config = Config::of(Config::describe(50, 32, 48, 2, (4, 2), 64, (0, 1, 2))).unwrap();
    let mut number = 0;
    weights::build(config, |weight| {
        number += 1;
        let [rows, columns] = weight.shape;
        let mut stream = DRAW.stream(1, number);
        let is_norm = weight.sort == Sort::Norm;
        let values: Vec<f32> =
            (0..rows * columns).map(|_| if is_norm { 1.0 } else { (stream.normal() * 0.2) as f32 }).collect();
        Ok(Tensor::from_data(burn::tensor::TensorData::new(values, [rows, columns]), device))
    })
    .unwrap()
}

/// An adapter that changes something: B is not 0.
fn adapter(model: &Decoder) -> Adapter {
    let device = model.device();
    let adapter = Adapter::new(&model.config, &LoraParameters { rank: 4, alpha: 8.0 }, DRAW, &device).with_head(
        &model.config,
        Draw { purpose: "head", ..DRAW },
        &device,
    );
    let tensors: Vec<Tensor<2>> = adapter.tensors();
    let moved = tensors.into_iter().enumerate().map(|(index, tensor)| {
        let mut stream = DRAW.stream(2, index as u64);
        let [rows, columns] = tensor.dims();
        let noise: Vec<f32> = (0..rows * columns).map(|_| (stream.normal() * 0.1) as f32).collect();
        tensor + Tensor::from_data(burn::tensor::TensorData::new(noise, [rows, columns]), &device)
    });
    adapter.with_tensors(&moved.collect::<Vec<_>>())
}

const PROMPTS: [&[u32]; 3] = [&[1, 7, 9, 11], &[1, 30], &[1, 5, 6, 7, 8, 9, 10]];

fn greedy(model: &Decoder, adapter: &Adapter, prompts: &[&[u32]]) -> Vec<Vec<u32>> {
    let answers = generate::answer(model, Some(adapter), prompts, 12, &[2], Choice::Greedy).unwrap();
    answers.into_iter().map(|answer| answer.ids).collect()
}

fn largest_difference(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
fn cached_decoding_gives_what_full_recomputation_gives() {
    let model = model(&Device::flex());
    let adapter = adapter(&model);
    let cached = greedy(&model, &adapter, &PROMPTS);
    for (prompt, answer) in PROMPTS.iter().zip(&cached) {
        let mut ids = prompt.to_vec();
        for expected in answer {
            let batch = Batch::new(&model.config, &[&ids], Padding::Right, &model.device());
            let logits = values_of(model.logits(model.hidden(Some(&adapter), &batch, None))).unwrap();
            let last = &logits[logits.len() - model.config.vocabulary..];
            let best = (0..last.len()).max_by(|x, y| last[*x].total_cmp(&last[*y])).unwrap();
            assert_eq!(best as u32, *expected, "after {ids:?}");
            ids.push(*expected);
        }
    }
}

#[test]
fn a_sampled_answer_depends_on_its_draw_and_not_on_its_neighbours() {
    let model = model(&Device::flex());
    let adapter = adapter(&model);
    let sample = |prompts: &[&[u32]], first_row, step| {
        let choice = Choice::Sample { temperature: 1.0, draw: DRAW, step, first_row };
        generate::answer(&model, Some(&adapter), prompts, 12, &[2], choice).unwrap()
    };
    let together = sample(&PROMPTS, 0, 0);
    for (row, prompt) in PROMPTS.iter().enumerate() {
        assert_eq!(sample(&[prompt], row as u64, 0)[0], together[row]);
    }
    assert_ne!(sample(&PROMPTS, 0, 1), together);
}

#[test]
fn rewards_are_the_same_padded_left_or_right_and_blind_to_what_follows() {
    let model = model(&Device::flex());
    let adapter = adapter(&model);
    let score =
        |rows: &[&[u32]], padding| values_of(train::last_values(&model, &adapter, rows, padding).unwrap()).unwrap();
    let right = score(&PROMPTS, Padding::Right);
    assert!(largest_difference(&right, &score(&PROMPTS, Padding::Left)) < 1e-5);
    for (row, prompt) in PROMPTS.iter().enumerate() {
        assert!((score(&[prompt], Padding::Right)[0] - right[row]).abs() < 1e-5);
    }
    // Three prompts of other lengths beside it are three ways of padding it; their scores differ among themselves.
    assert!((right[0] - right[1]).abs() > 1e-3);
}

fn sequences() -> Vec<Sequence> {
    let rows: [(&[u32], usize); 3] =
        [(&[1, 7, 9, 11, 3, 4, 2], 4), (&[1, 30, 31, 2], 2), (&[1, 5, 6, 7, 8, 9, 10, 40, 2], 7)];
    rows.map(|(ids, start)| Sequence { ids: ids.to_vec(), start }).to_vec()
}

/// One step of PPO's objective on fixed advantages, from log-probabilities computed beforehand.
fn ppo_step(device: &Device) -> (Vec<f64>, f64, Vec<f32>) {
    ppo_step_of(&model(device))
}

fn ppo_step_of(model: &Decoder) -> (Vec<f64>, f64, Vec<f32>) {
    let device = &model.device();
    let adapter = adapter(model);
    let sequences = sequences();
    let rows: Vec<&Sequence> = sequences.iter().collect();
    let old = train::completion_log_probs(model, Some(&adapter), &rows, 1.0).0;
    let [n] = old.dims();
    let advantages: Vec<f32> = (0..n).map(|token| (token as f32 * 0.7).sin()).collect();
    let advantages = Tensor::from_data(burn::tensor::TensorData::new(advantages, [n]), device);
    let mut adam = Adam::new(adapter.tensors(), AdamSettings::default());
    let (_, norm, ratio) = adam
        .step(1e-2, |tensors| {
            let new = train::completion_log_probs(model, Some(&adapter.with_tensors(tensors)), &rows, 1.0).0;
            let (loss, ratio) = rl::policy_loss(new, old.clone(), advantages.clone(), 0.2);
            Ok((loss.mean(), ratio))
        })
        .unwrap();
    let moved = adam.tensors.iter().flat_map(|tensor| values_of(tensor.clone()).unwrap()).collect();
    (values_of(ratio).unwrap().into_iter().map(f64::from).collect(), norm, moved)
}

/// Sampling and scoring run without autodiff, the update with it: their log-probabilities must agree to the last bit,
/// else PPO's ratio does not begin at 1.
#[test]
fn the_ratio_is_one_in_the_first_minibatch_and_the_base_stays_as_it_was() {
    let model = model(&Device::flex());
    let weights = |model: &Decoder| -> Vec<Vec<f32>> {
        weights::tensors(model).into_iter().map(|tensor| values_of(tensor).unwrap()).collect()
    };
    let before = weights(&model);
    let (ratio, norm, _) = ppo_step_of(&model);
    assert!(ratio.iter().all(|ratio| *ratio == 1.0), "{ratio:?}");
    assert!(norm > 0.0);
    assert_eq!(before, weights(&model));
}

#[test]
fn stories260k_begins_an_update_at_ratio_one() {
    let Some(directory) = shared("models/stories260K") else { return };
    let artifact = Artifact::load(&directory, Dtype::F32, &Device::flex()).unwrap();
    let adapter = Adapter::new(&artifact.model.config, &LoraParameters::default(), DRAW, &Device::flex());
    let prompt =
        artifact.tokenizer.prompt(&Prompt::Text("Once upon a time, there was a little bird.".to_owned())).unwrap();
    let choice = Choice::Sample { temperature: 1.0, draw: DRAW, step: 0, first_row: 0 };
    let answers = generate::answer(&artifact.model, Some(&adapter), &[prompt.as_slice(); 8], 64, &[1], choice).unwrap();
    let rows: Vec<Sequence> = answers
        .iter()
        .map(|answer| Sequence { ids: [prompt.as_slice(), &answer.ids].concat(), start: prompt.len() })
        .collect();
    let rows: Vec<&Sequence> = rows.iter().collect();
    let log_probs =
        |adapter: &Adapter| values_of(train::completion_log_probs(&artifact.model, Some(adapter), &rows, 1.0).0);
    let tracked: Vec<Tensor<2>> =
        adapter.tensors().into_iter().map(|tensor| tensor.autodiff().require_grad()).collect();
    let worst = largest_difference(&log_probs(&adapter).unwrap(), &log_probs(&adapter.with_tensors(&tracked)).unwrap());
    assert!(worst <= 1e-5, "{worst}");
}

#[test]
fn prompt_and_padding_positions_have_exactly_no_gradient() {
    let device = Device::flex();
    let model = model(&device);
    let adapter = adapter(&model);
    let sequences = sequences();
    let rows: Vec<&Sequence> = sequences.iter().collect();
    let ids: Vec<&[u32]> = rows.iter().map(|row| row.ids.as_slice()).collect();
    let batch = Batch::new(&model.config, &ids, Padding::Right, &device);
    // The gradient of the loss by the hidden state of every position, padding included.
    let hidden = model.hidden(Some(&adapter), &batch, None).autodiff().require_grad();
    let places = train::predictions(&rows, batch.columns, &device);
    let (log_probs, _) = model.log_probs(hidden.clone().select(0, places.hidden), places.targets, 1.0);
    let gradient = values_of(hidden.grad(&log_probs.mean().backward()).unwrap()).unwrap();
    for (position, gradient) in gradient.chunks_exact(model.config.width).enumerate() {
        let (row, column) = (position / batch.columns, position % batch.columns);
        let predicts = column + 1 >= rows[row].start && column + 1 < rows[row].ids.len();
        assert_eq!(gradient.iter().any(|x| *x != 0.0), predicts, "row {row}, column {column}");
    }
    // And what the padding holds reaches no real position: rows alone have the log-probabilities they have together.
    let together = values_of(train::completion_log_probs(&model, Some(&adapter), &rows, 1.0).0).unwrap();
    let alone =
        |row: &&Sequence| values_of(train::completion_log_probs(&model, Some(&adapter), &[row], 1.0).0).unwrap();
    assert!(largest_difference(&together, &rows.iter().flat_map(alone).collect::<Vec<_>>()) < 1e-5);
}

#[test]
fn the_same_step_gives_the_same_bytes() {
    assert_eq!(ppo_step(&Device::flex()).2, ppo_step(&Device::flex()).2);
}

/// Through whatever adapter wgpu finds, a software driver included. Without any the test says so and passes.
#[test]
fn wgpu_trains_and_decodes_as_the_cpu_does() {
    let Ok(gpu) = stages::device::open(stages::io::DeviceChoice::Wgpu) else {
        assert!(std::env::var_os("CI").is_none(), "CI installs a software Vulkan driver, but wgpu finds no adapter");
        eprintln!("skipped: wgpu finds no adapter on this machine");
        return;
    };
    parity::check(&gpu);
    let cpu = Device::flex();
    let (cpu_ratio, cpu_norm, cpu_moved) = ppo_step(&cpu);
    let (gpu_ratio, gpu_norm, gpu_moved) = ppo_step(&gpu);
    assert!(gpu_ratio.iter().all(|ratio| (ratio - 1.0).abs() <= 1e-5), "{gpu_ratio:?}");
    assert_eq!(cpu_ratio.len(), gpu_ratio.len());
    assert!((cpu_norm - gpu_norm).abs() < 1e-4 * cpu_norm, "{cpu_norm} {gpu_norm}");
    // Adam's first step moves every number by about the rate, 1e-2, along the sign of its gradient; near-zero
    // gradients are where devices differ most.
    assert!(largest_difference(&cpu_moved, &gpu_moved) < 1e-3, "{}", largest_difference(&cpu_moved, &gpu_moved));

    let answers = |device: &Device| {
        let model = model(device);
        greedy(&model, &adapter(&model), &PROMPTS)
    };
    assert_eq!(answers(&cpu), answers(&gpu));
}

/// The real pretrained model and its golden numbers lie beside the project, not in it.
fn shared(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn stories260k_decodes_the_golden_tokens_with_the_golden_logits() {
    let Some(directory) = shared("models/stories260K") else { return };
    let golden: Value = serde_json::from_slice(&std::fs::read(directory.join("golden_greedy.json")).unwrap()).unwrap();
    let row =
        |value: &Value| -> Vec<f32> { value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect() };
    let ids: Vec<u32> = golden["greedy_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let artifact = Artifact::load(&directory, Dtype::F32, &Device::flex()).unwrap();
    assert_eq!(
        artifact.tokenizer.prompt(&Prompt::Text(String::new())).unwrap(),
        [1],
        "an empty prompt is the beginning-of-text token"
    );

    let answer = generate::answer(&artifact.model, None, &[&ids[..1]], ids.len() - 1, &[], Choice::Greedy).unwrap();
    assert_eq!(answer[0].ids, ids[1..], "130 greedy tokens from BOS");

    let batch = Batch::new(&artifact.model.config, &[&ids[..8]], Padding::Right, &Device::flex());
    let logits = values_of(artifact.model.logits(artifact.model.hidden(None, &batch, None))).unwrap();
    for (ours, theirs) in logits.chunks_exact(512).zip(golden["logits_after_first_8_tokens"].as_array().unwrap()) {
        let worst = largest_difference(ours, &row(theirs));
        assert!(worst < 2e-4, "logits differ by {worst}");
    }
    let whole = Sequence { ids: ids.clone(), start: 1 };
    let log_probs = values_of(train::completion_log_probs(&artifact.model, None, &[&whole], 1.0).0).unwrap();
    let worst = largest_difference(&log_probs, &row(&golden["greedy_token_logprobs"]));
    assert!(worst < 2e-4, "log-probabilities differ by {worst}");
}

#[test]
fn a_training_that_was_killed_goes_on_from_its_checkpoint_to_the_same_bytes() {
    use stages::io::{Host, Io};
    let work = tempfile::tempdir().unwrap();
    let open = || Io::open(work.path(), Default::default(), Host::default()).unwrap();
    let model = model(&Device::flex());
    let adapter = adapter(&model);
    let sequences = sequences();
    let rows: Vec<&Sequence> = sequences.iter().collect();
    let step = |adam: &mut Adam| {
        let loss = |tensors: &[Tensor<2>]| {
            let log_probs = train::completion_log_probs(&model, Some(&adapter.with_tensors(tensors)), &rows, 1.0).0;
            Ok((log_probs.mean().neg(), ()))
        };
        adam.step(1e-2, loss).unwrap();
    };
    let bytes = |adam: &Adam| adam.tensors.iter().map(|tensor| values_of(tensor.clone()).unwrap()).collect::<Vec<_>>();

    let mut io = open();
    let mut adam = Adam::new(adapter.tensors(), AdamSettings::default());
    for done in 1..=2 {
        step(&mut adam);
        io.curve(&serde_json::json!({"step": done})).unwrap();
        io.candidate_dir(done).unwrap();
        io.candidate(done, &[("loss", 0.5)]).unwrap();
    }
    train::checkpoint(&mut io, (2, 4), true, &adam, &"the rest".to_owned()).unwrap();
    // What is done after the checkpoint is lost with the process.
    step(&mut adam);
    io.curve(&serde_json::json!({"step": 3})).unwrap();
    io.candidate_dir(3).unwrap();
    drop(io);
    step(&mut adam);

    let mut io = open();
    let mut resumed = Adam::new(adapter.tensors(), AdamSettings::default());
    let (done, rest): (u64, String) = train::resume(&mut io, &mut resumed).unwrap().unwrap();
    assert_eq!((done, rest.as_str()), (2, "the rest"));
    assert!(work.path().join("out/2").exists() && !work.path().join("out/3").exists());
    assert_eq!(std::fs::read_to_string(work.path().join("metrics.jsonl")).unwrap().lines().count(), 2);
    assert!(io.candidate(2, &[]).is_err(), "its candidates count as handed over");
    step(&mut resumed);
    step(&mut resumed);
    assert_eq!(bytes(&resumed), bytes(&adam));

    // Another device class would give other last bits: the checkpoint is not taken up.
    let mut io = open();
    io.telemetry("device", "another");
    assert!(train::resume::<String>(&mut io, &mut resumed).unwrap().is_none());
    assert!(!work.path().join("out/2").exists());
}

/// A checkpoint of llama2.c says what the model says that it was made of; so does its tokenizer, by its scores.
#[test]
fn a_checkpoint_of_llama2c_is_the_model_it_was_made_of() {
    use stages::model::llama2c;
    let model = model(&Device::flex());
    let Config { width, heads, kv_heads, layers, .. } = model.config;
    let all = stages::model::layout::weights(&model.config);
    let value = |name: &str| {
        let at = all.iter().position(|weight| weight.name == format!("{name}.weight")).unwrap();
        values_of(weights::tensors(&model)[at].clone()).unwrap()
    };
    // Back to pairs side by side.
    let in_pairs = |values: Vec<f32>, heads: usize| -> Vec<f32> {
        let half = values.len() / width / heads / 2;
        let row = |head: usize, pair: usize, which: usize| head * 2 * half + which * half + pair;
        let order =
            (0..heads).flat_map(|head| (0..half).flat_map(move |pair| [0, 1].map(|which| row(head, pair, which))));
        order.flat_map(|row| values[row * width..(row + 1) * width].to_vec()).collect()
    };
    let of_layers = |name: &str| -> Vec<f32> {
        let one = |layer: usize| match name {
            "self_attn.q_proj" => in_pairs(value(&format!("model.layers.{layer}.{name}")), heads),
            "self_attn.k_proj" => in_pairs(value(&format!("model.layers.{layer}.{name}")), kv_heads),
            _ => value(&format!("model.layers.{layer}.{name}")),
        };
        (0..layers).flat_map(one).collect()
    };
    let sizes = [width, 48, layers, heads, kv_heads, 50, 64].map(|size| (size as i32).to_le_bytes()).concat();
    let attention =
        ["q_proj", "k_proj", "v_proj", "o_proj"].map(|name| of_layers(&format!("self_attn.{name}"))).concat();
    let mlp = ["mlp.gate_proj", "mlp.down_proj", "mlp.up_proj"].map(of_layers).concat();
    let norms = [of_layers("input_layernorm"), of_layers("post_attention_layernorm"), value("model.norm")];
    let embedding = value("model.embed_tokens");
    let angles = vec![0.0; 64 * width / heads];
    let first = [&embedding, &norms[0], &attention, &norms[1], &mlp, &norms[2], &angles];
    let second = [&norms[0], &norms[1], &norms[2], &embedding, &attention, &mlp];
    let bytes =
        |parts: &[&Vec<f32>]| -> Vec<u8> { parts.iter().copied().flatten().flat_map(|x| x.to_le_bytes()).collect() };
    let mut head = [&0x616b_3432_i32.to_le_bytes()[..], &1_i32.to_le_bytes(), &sizes, &[1]].concat();
    head.resize(256, 0);
    // `ab` scores higher than `bc`, so `abc` is `ab` and `c`.
    let pieces = ["<unk>", "\n<s>\n", "\n</s>\n", " ", "a", "b", "c", "ab", "bc", " a"];
    let mut tokens = 3_i32.to_le_bytes().to_vec();
    for id in 0..50 {
        let text = pieces.get(id).map_or(format!("<0x{id:02X}>"), |text| (*text).to_owned());
        tokens.extend((if text == "ab" { -1.0_f32 } else { -(id as f32) }).to_le_bytes());
        tokens.extend((text.len() as i32).to_le_bytes());
        tokens.extend(text.as_bytes());
    }
    let ids: &[u32] = &[1, 7, 9, 11, 30];
    let logits = |model: &Decoder| {
        let batch = Batch::new(&model.config, &[ids], Padding::Right, &Device::flex());
        values_of(model.logits(model.hidden(None, &batch, None))).unwrap()
    };
    for checkpoint in [[sizes.clone(), bytes(&first)].concat(), [head, bytes(&second)].concat()] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("model.bin"), &checkpoint).unwrap();
        std::fs::write(directory.path().join("tokenizer.bin"), &tokens).unwrap();
        let artifact = Artifact::load(directory.path(), Dtype::F32, &Device::flex()).unwrap();
        assert_eq!(logits(&artifact.model), logits(&model));
        assert_eq!(artifact.tokenizer.prompt(&Prompt::Text("abc".to_owned())).unwrap(), [1, 3, 7, 6]);
        assert_eq!(artifact.tokenizer.decode(&[1, 3, 7, 6]).unwrap(), "abc");
        std::fs::write(directory.path().join("model.bin"), &checkpoint[..checkpoint.len() - 4]).unwrap();
        let found = llama2c::find(directory.path()).unwrap();
        let error = llama2c::check(&found).unwrap_err().to_string();
        assert!(error.contains("bytes, its head speaks of"), "{error}");
    }
}
