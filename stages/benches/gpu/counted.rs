//! The table of the work that is asked of the GPU at hand: kernels by their names, uploads and reads.

use super::counts::{self, Counts, GREEDY, LONG, PLAIN, SHORT, TOKENS, TOP_P, by_layer};
use super::options::Options;
use formats::dtype::Dtype;
use stages::device;
use stages::model::Trainable;

pub fn print(options: &Options) {
    let device = device::open(&options.device).expect("there is a device for wgpu");
    let model = |layers: usize, dtype: Dtype| counts::llama(layers, dtype, &device);
    let model = &model;
    let decode =
        |dtype, has_adapter, choice| move |layers| counts::decoding(&model(layers, dtype), has_adapter, SHORT, choice);
    let sft = |trained: Trainable, part: usize| {
        move |layers| counts::sft_step(&model(layers, Dtype::F32), trained)[part].clone()
    };
    type Work<'a> = Box<dyn Fn(usize) -> Counts + 'a>;
    let all: Vec<(&str, usize, Work)> = vec![
        ("decoded token, LoRA", TOKENS, Box::new(decode(Dtype::F32, true, PLAIN))),
        ("decoded token, LoRA, f16", TOKENS, Box::new(decode(Dtype::F16, true, PLAIN))),
        (
            "decoded token, LoRA, Phi-3",
            TOKENS,
            Box::new(|layers| counts::decoding(&counts::phi3(layers, &device), true, SHORT, PLAIN)),
        ),
        (
            "decoded token, LoRA, behind 600 others",
            TOKENS,
            Box::new(|layers| counts::decoding(&model(layers, Dtype::F32), true, LONG, PLAIN)),
        ),
        ("decoded token", TOKENS, Box::new(decode(Dtype::F32, false, PLAIN))),
        ("decoded token, greedy", TOKENS, Box::new(decode(Dtype::F32, false, GREEDY))),
        ("decoded token, top-k and top-p", TOKENS, Box::new(decode(Dtype::F32, false, TOP_P))),
        ("forward", 1, Box::new(|layers| counts::forward(&model(layers, Dtype::F32)))),
        ("SFT step, LoRA", 1, Box::new(sft(Trainable::Adapter, 0))),
        ("Adam, LoRA", 1, Box::new(sft(Trainable::Adapter, 1))),
        ("SFT step, all weights", 1, Box::new(sft(Trainable::Weights, 0))),
        ("PPO step, policy and critic", 1, Box::new(|layers| counts::ppo_step(&model(layers, Dtype::F32)))),
        ("checkpoint", 1, Box::new(|layers| counts::checkpoint(&model(layers, Dtype::F32)))),
    ];
    println!("{}", device::class(&device));
    println!("| work | kernels a layer | besides | uploads | bytes | reads | bytes |");
    println!("|---|---|---|---|---|---|---|");
    for (name, per, work) in all {
        if !options.is_wanted(name) {
            continue;
        }
        let (two, four) = (work(2), work(4));
        let per = per as f64;
        let (layer, besides) = by_layer(&two, &four);
        let of = |count: i64| count as f64 / per;
        let (uploads, sent, reads, read) =
            (of(four.uploads), of(four.uploaded_bytes), of(four.reads), of(four.read_bytes));
        println!(
            "| {name} | {:.2} | {:.2} | {uploads:.2} | {sent:.0} | {reads:.3} | {read:.0} |",
            layer / per,
            besides / per
        );
        if options.shows_kernels {
            for (kernel, count) in &four.minus(&two).kernels {
                println!("  {:8.2} a layer  {kernel}", *count as f64 / 2.0 / per);
            }
            for (kernel, count) in &two.kernels {
                println!("  {:8.2} with two layers  {kernel}", *count as f64 / per);
            }
        }
    }
}
