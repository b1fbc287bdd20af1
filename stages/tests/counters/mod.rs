//! The work that is asked of a GPU, held to a table: kernels a layer and kernels besides, uploads and reads. Counts are the
//! same on every device; these are taken on the one that wgpu finds, which may be a software driver.

#[path = "../../benches/gpu/counts.rs"]
mod counts;

use burn::tensor::Device;
use counts::{Choice, Counts, GREEDY, LONG, PLAIN, SHORT, TOKENS, TOP_P, by_layer};
use formats::dtype::Dtype;
use stages::model::{Decoder, Trainable};

/// The most that may be asked for.
struct Most {
    by_layer: f64,
    besides: f64,
    uploads: i64,
    reads: i64,
}

fn check(name: &str, [two, four]: [Counts; 2], per: usize, most: &Most) {
    let per_of = |count: f64| count / per as f64;
    let (layer, besides) = by_layer(&two, &four);
    let (layer, besides) = (per_of(layer), per_of(besides));
    println!("{name}: {layer} a layer, {besides} besides; {} uploads, {} reads in {per}", four.uploads, four.reads);
    assert!(layer <= most.by_layer && besides <= most.besides, "{name}: {layer} and {besides}; {:#?}", four.kernels);
    assert!(four.uploads <= most.uploads, "{name}: {} uploads of {} bytes", four.uploads, four.uploaded_bytes);
    assert!(four.reads <= most.reads, "{name}: {} reads of {} bytes", four.reads, four.read_bytes);
}

fn models(dtype: Dtype, device: &Device) -> [Decoder; 2] {
    [2, 4].map(|layers| counts::llama(layers, dtype, device))
}

pub fn check_decoding(device: &Device) {
    let (plain, half) = (models(Dtype::F32, device), models(Dtype::F16, device));
    let decode_behind = |models: &[Decoder; 2], has_adapter: bool, prompts: [usize; 3], choice: Choice| {
        [0, 1].map(|model| counts::decoding(&models[model], has_adapter, prompts, choice))
    };
    let decode =
        |models: &[Decoder; 2], has_adapter: bool, choice: Choice| decode_behind(models, has_adapter, SHORT, choice);
    // One read in sixteen tokens, and one upload of their draws.
    let most = |by_layer: f64| Most { by_layer, besides: 6.0, uploads: 1, reads: 1 };
    let phi3 = [2, 4].map(|layers| counts::phi3(layers, device));
    check("decoding with LoRA, Phi-3", decode(&phi3, true, PLAIN), TOKENS, &most(14.0));
    let long = decode_behind(&plain, true, LONG, PLAIN);
    assert!(long[0].kernels.keys().any(|name| name.contains("join_parts")), "keys are read in parts: {long:?}");
    check("decoding with LoRA, long rows", long, TOKENS, &most(14.0));
    check("decoding, greedy, long rows", decode_behind(&plain, false, LONG, GREEDY), TOKENS, &most(10.0));
    check("decoding with LoRA", decode(&plain, true, PLAIN), TOKENS, &most(14.0));
    check("decoding, greedy", decode(&plain, false, GREEDY), TOKENS, &most(10.0));
    check("decoding, top-k and top-p", decode(&plain, false, TOP_P), TOKENS, &most(10.0));
    check("decoding with LoRA, f16", decode(&half, true, PLAIN), TOKENS, &most(14.0));
}

pub fn check_training(device: &Device) {
    let models = models(Dtype::F32, device);
    let of = |work: &dyn Fn(&Decoder) -> Counts| [0, 1].map(|model| work(&models[model]));
    let once = |by_layer: f64, besides: f64, uploads: i64| Most { by_layer, besides, uploads, reads: 1 };
    check("forward", of(&counts::forward), 1, &once(16.0, 5.0, 10));
    let steps = [0, 1].map(|model| counts::sft_step(&models[model], Trainable::Adapter));
    let all = steps.each_ref().map(|[all, _]| all.clone());
    check("SFT step", all, 1, &once(16.0 + 29.0, 17.0, 10));
    let adam = steps.each_ref().map(|[_, adam]| adam.clone());
    check("Adam", adam, 1, &once(0.0, 3.0, 0));
    // Masks are made of a number a token; the mask of a line is a number for each pair of its tokens.
    assert!(steps[1][0].uploaded_bytes <= 24 * 120, "an SFT step sends {} bytes", steps[1][0].uploaded_bytes);
    let full = of(&|model| counts::sft_step(model, Trainable::Weights)[0].clone());
    check("step of all weights", full, 1, &once(59.0, 25.0, 12));
    check("checkpoint", of(&counts::checkpoint), 1, &once(0.0, 0.0, 0));
    let ppo = of(&counts::ppo_step);
    check("PPO step of policy and critic", ppo, 1, &once(2.0 * 45.0, 35.0, 16));
}
