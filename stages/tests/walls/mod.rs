//! Sizes beyond what a kernel can bind at once. A software driver binds 128 MiB, so that these can be tried without a
//! large GPU; on a device that binds more, the sizes would be too large to try.

use super::{DRAW, largest_difference, wgpu};
use burn::tensor::Device;
use formats::config::{Config, Llama};
use formats::dtype::Dtype;
use formats::layout::Sort;
use stages::generate::{self, Choice, Decoding};
use stages::kernel::{self, ByRow, Keep, Sampling, Start, TokenGradients, term};
use stages::model::{Decoder, Load, LoraParameters, Padding, memory, sizes, walls, weights};
use stages::tensor::{from_values, ids_of, values_of};
use stages::train::{self, Sequence};
use std::collections::BTreeMap;

/// The largest binding of the device, if it is small.
fn binding(device: &Device) -> Option<usize> {
    usize::try_from(stages::device::limits(device).binding).ok().filter(|binding| *binding <= 256 << 20)
}

fn numbers(number: u64, n: usize, scale: f64) -> Vec<f32> {
    let mut stream = DRAW.stream(11, number);
    let some: Vec<f32> = (0..4099).map(|_| (stream.normal() * scale) as f32).collect();
    (0..n).map(|at| some[at % some.len()]).collect()
}

fn llama(vocabulary: usize, width: usize, inner: usize, heads: usize, context: usize) -> Config {
    let (layers, kv_heads, is_tied, pad, bos, eos) = (1, heads, true, Some(0), 1, 2);
    let llama = Llama { vocabulary, width, inner, layers, heads, kv_heads, context, is_tied, pad, bos, eos };
    Config::of(llama.source()).unwrap()
}

fn random(config: Config, device: &Device) -> Decoder {
    let mut number = 0;
    weights::build(config, |weight| {
        number += 1;
        let [rows, columns] = weight.shape;
        let values = if weight.sort == Sort::Norm { vec![1.0; columns] } else { numbers(number, rows * columns, 0.05) };
        Ok(from_values(values, [rows, columns], device))
    })
    .unwrap()
}

fn same(what: &str, ours: &[f32], theirs: &[f32], error: f32) {
    let off = largest_difference(ours, theirs);
    assert!(off <= error, "{what} is off by {off}");
}

/// 145 MB where a kernel binds 128 MiB.
#[test]
fn an_embedding_that_is_too_large_for_one_binding_lies_in_parts() {
    let Some(gpu) = wgpu() else { return };
    let Some(binding) = binding(&gpu) else { return };
    let width = 1024;
    let first = binding / (4 * width);
    let made = random(llama(first + first / 12, width, 64, 2, 32), &Device::flex());
    let directory = tempfile::tempdir().unwrap();
    weights::save(&made, &BTreeMap::new(), Dtype::F32, directory.path()).unwrap();
    let last = made.config.vocabulary as u32 - 1;
    let boundary = first as u32;
    let ids = [0, boundary - 1, boundary, boundary + 1, last, 7];
    let on = |device: &Device| {
        let model = weights::load(directory.path(), made.config.clone(), Dtype::F32, device).unwrap();
        let batch = model.batch(&[&ids], Padding::of(device));
        let hidden = model.hidden(None, &batch, None);
        // Token by token: the products of several take a software driver ten times as long.
        let predicted = [(1, boundary), (4, last)].map(|(place, target)| {
            let hidden = hidden.clone().slice([place..place + 1, 0..width]);
            let log_probs = model.predict(hidden.clone(), &[target], 1.0).unwrap().log_probs;
            let slope = TokenGradients { log_probs: vec![1.0], entropies: Vec::new() };
            let back = model.predict_back(hidden, &[target], 1.0, false, |_, _| Ok(slope.clone().into())).unwrap().0;
            (log_probs[0] as f32, values_of(back).unwrap())
        });
        (values_of(hidden).unwrap(), predicted)
    };
    let ((our_hidden, ours), (their_hidden, theirs)) = (on(&gpu), on(&Device::flex()));
    same("the hidden states", &our_hidden, &their_hidden, 1e-4);
    for ((one, one_back), (other, other_back)) in ours.iter().zip(&theirs) {
        same("a log-probability", &[*one], &[*other], 1e-3);
        same("its gradient", one_back, other_back, 1e-5);
    }
}

/// A software driver ends all loops of a thread after 65,535 turns, and says nothing.
#[test]
fn sums_of_more_numbers_than_a_loop_takes_are_whole() {
    let Some(gpu) = wgpu() else { return };
    let cpu = Device::flex();
    let both = |on: &dyn Fn(&Device) -> Vec<f32>| [on(&gpu), on(&cpu)];
    let (rows, v) = (2, 150_001);
    let logits = |device: &Device| from_values(numbers(3, rows * v, 2.0), [rows, v], device);
    let targets = [7, 149_000];
    let [ours, theirs] = both(&|device: &Device| {
        let predicted = kernel::of(device).log_softmax(logits(device), &targets).get().unwrap();
        predicted.log_probs.iter().chain(&predicted.entropies).map(|number| *number as f32).collect()
    });
    same("log softmax", &ours, &theirs, 1e-3);
    let [ours, theirs] = both(&|device: &Device| {
        let slopes = ByRow::Host(vec![1.0, -0.5]);
        values_of(kernel::of(device).log_softmax_back(logits(device), &targets, &slopes, &[0.1, 0.2])).unwrap()
    });
    same("its gradient", &ours, &theirs, 1e-5);
    let [ours, theirs] = both(&|device: &Device| {
        let [left, right] =
            [[1, 300_001], [300_001, 3]].map(|[n, m]| from_values(numbers(5, n * m, 0.01), [n, m], device));
        values_of(kernel::of(device).products(Start::Zero, vec![term(&left, right)])).unwrap()
    });
    same("a product", &ours, &theirs, 1e-3);
    let tokens = 70_001;
    let gradient = |device: &Device| from_values(numbers(6, tokens * 3, 0.1), [tokens, 3], device);
    let [ours, theirs] = both(&|device: &Device| values_of(kernel::of(device).sum_of_rows(gradient(device))).unwrap());
    same("a sum of rows", &ours, &theirs, 1e-2);
    let ids: Vec<u32> = (0..tokens as u32).map(|token| if token % 1000 == 0 { 1 } else { 4 }).collect();
    let [ours, theirs] =
        both(&|device: &Device| values_of(kernel::of(device).table_back(gradient(device), &ids, 6).unwrap()).unwrap());
    same("the gradient of a table", &ours, &theirs, 1e-2);
    let v = 400_000;
    let logits = |device: &Device| from_values(numbers(8, v, 2.0), [1, v], device);
    let keep = Keep { top_k: Some(300_000), top_p: Some(0.9) };
    for draw in [0.1, 0.5, 0.9] {
        let [ours, theirs] = [&gpu, &cpu].map(|device| {
            let draws = kernel::of(device).draws(vec![draw], device);
            let sampling = Sampling { temperature: 1.0, keep, draws: &draws, token: 0 };
            ids_of(kernel::of(device).choose(logits(device), Some(sampling))).unwrap()
        });
        // Sums of so many weights differ by their order.
        let weight = |id: i32| numbers(8, v, 2.0)[id as usize];
        assert!(
            (ours[0] - theirs[0]).abs() <= 5 || (weight(ours[0]) - weight(theirs[0])).abs() < 1e-2,
            "{ours:?} {theirs:?}"
        );
    }
}

/// A row whose scores would be more than 128 MiB.
#[test]
fn attention_needs_no_room_for_the_scores_of_a_row() {
    let Some(gpu) = wgpu() else { return };
    let Some(binding) = binding(&gpu) else { return };
    let tokens = 5800;
    assert!(tokens * tokens * 4 > binding);
    let row: Vec<u32> = (0..tokens as u32).map(|token| token % 64).collect();
    let [ours, theirs] = [gpu, Device::flex()].map(|device| {
        let model = random(llama(64, 8, 8, 1, 8192), &device);
        let hidden = model.hidden(None, &model.batch(&[&row], Padding::of(&device)), None);
        let tokens = [0..2, 2890..2910, tokens - 2..tokens];
        tokens.map(|tokens| values_of(hidden.clone().slice([tokens, 0..8])).unwrap()).concat()
    });
    same("a long row", &ours, &theirs, 1e-3);
}

#[test]
fn scores_of_a_decoded_row_count_where_they_are_in_memory() {
    let Some(gpu) = wgpu() else { return };
    let (vocabulary, width, inner, layers, heads, kv_heads, context) = (9, 64, 9, 1, 16, 1, 2048);
    let (is_tied, pad, bos, eos) = (true, None, 1, 2);
    let llama = Llama { vocabulary, width, inner, layers, heads, kv_heads, context, is_tied, pad, bos, eos };
    let config = Config::of(llama.source()).unwrap();
    let bytes = |device: &Device| sizes::of_decoded_row(&config, 1, 2048, device);
    // Four numbers of a key each; sixteen scores as tensor expressions, which burn can differentiate, have them.
    assert_eq!(
        [bytes(&gpu), bytes(&Device::flex()), bytes(&Device::flex().autodiff())],
        [4, 4, 16].map(|x| x * 2048 * 4)
    );
}

#[test]
fn fewer_answers_are_decoded_at_once_where_their_keys_are_too_large() {
    let Some(gpu) = wgpu() else { return };
    let Some(binding) = binding(&gpu) else { return };
    // 2 GB of keys for 64 rows of 2,048 tokens: nothing is tried that is as large.
    let config = llama(64, 4096, 4096, 64, 2048);
    let rows = sizes::rows_decoded_at_once(&config, 0, 64, 2048, &gpu);
    assert!(rows < 64 && rows * 2048 * 4096 * 4 <= binding, "{rows}");
    let model = random(llama(64, 128, 128, 2, 65_536), &gpu);
    // All tokens end an answer, so that each has one.
    let stops: Vec<u32> = (0..64).collect();
    let prompts: Vec<Vec<u32>> = (0..9).map(|row| vec![1, 3 + row]).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let decoding = Decoding { max_new: 65_000, stops: &stops, choice: Choice::Greedy, at_once: 9 };
    let together = generate::answer(&model, None, &prompts, decoding).unwrap();
    let alone = generate::answer(&model, None, &prompts, Decoding { at_once: 1, ..decoding }).unwrap();
    assert_eq!(together, alone);
}

#[test]
fn fewer_rows_are_scored_at_once_where_their_numbers_are_too_large() {
    let Some(gpu) = wgpu() else { return };
    let Some(binding) = binding(&gpu) else { return };
    let (tokens, inner) = (128, 140_000);
    let model = random(llama(64, 8, inner, 1, 256), &gpu);
    assert!(2 * tokens * inner * 4 > binding);
    assert_eq!(sizes::rows_at_once(&model.config, tokens, &gpu), 1);
    let row = Sequence::new((0..tokens as u32).map(|token| token * 7 % 64).collect(), 9);
    let log_probs = train::predicted(&model, None, &[&row, &row], 1.0).unwrap().log_probs;
    let (one, other) = log_probs.split_at(tokens - 9);
    assert_eq!(one, other);
}

#[test]
fn what_cannot_be_cut_is_refused_with_the_parameter_to_lower() {
    let Some(gpu) = wgpu() else { return };
    let Some(binding) = binding(&gpu) else { return };
    let most = format!("binds at most {:.1} MB at once; ", binding as f64 / 1e6);
    let of = |error: anyhow::Error| error.to_string();
    let wide = llama(64, 16_384, 16_384, 128, 32);
    let error = of(walls::check_weights(&wide, Dtype::F32, &gpu).unwrap_err());
    assert!(error.starts_with("load the model: `model.layers.0."), "{error}");
    assert!(error.ends_with(&format!("{most}take `dtype: f16`, a smaller model, or another device")), "{error}");
    let error = of(walls::check_weights(&wide, Dtype::F16, &gpu).unwrap_err());
    assert!(error.ends_with(&format!("{most}take a smaller model, or another device")), "{error}");
    let config = llama(131_072, 512, 512, 8, 262_144);
    let check = |load: Load, rank: usize, lower: &str| {
        let lora = LoraParameters { rank, ..LoraParameters::default() };
        let memory = memory::estimate(&config, &lora, Dtype::F32, load, &gpu);
        of(walls::check_load(&config, &lora, load, memory, lower, &gpu).unwrap_err())
    };
    let trained = Load { rows: 512, tokens: 512, trained: 1, ..Load::default() };
    let refusals = [
        (
            check(trained, 8, "`micro_batch`"),
            "the numbers of 512 rows of 512 tokens in a layer take 536.9 MB",
            "lower `micro_batch`",
        ),
        (
            check(Load { rows: 1, tokens: 8, ..trained }, 4096, ""),
            "the numbers of the adapter take",
            "lower `lora.rank`",
        ),
        (
            check(Load { decoded: (4, 262_144), tokens: 8, ..Load::default() }, 8, "`max_new_tokens`"),
            "the keys of a row of 262144 tokens in a layer take 536.9 MB",
            "lower `max_new_tokens`",
        ),
        (
            check(Load { rows: 1, tokens: 8, is_full: true, ..Load::default() }, 8, ""),
            "the numbers of `model.embed_tokens.weight`, which is trained whole, take 268.4 MB",
            "take a smaller vocabulary or width, train an adapter, or take another device",
        ),
    ];
    for (error, what, end) in refusals {
        assert!(error.contains(what) && error.ends_with(&format!("{most}{end}")), "{error}");
    }
}
