//! Random LLaMAs, drawn on the device that computes with them: nothing is read, and nothing is sent.

use burn::tensor::{Device, Distribution, Tensor};
use formats::config::{Config, Llama};
use formats::dtype::Dtype;
use formats::layout::Sort;
use serde_json::Value;
use stages::draw::Draw;
use stages::model::weights::{self, of_burn};
use stages::model::{Decoder, LoraParameters};
use stages::train::Sequence;

pub const DRAW: Draw = Draw { seed: 7, kind: "bench", purpose: "weights" };
pub const LORA: LoraParameters = LoraParameters { rank: 8, alpha: 16.0, rslora: false };

/// The sizes of a LLaMA with rotary positions, RMSNorm and SwiGLU.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub width: usize,
    pub inner: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub vocabulary: usize,
    /// Positions.
    pub context: usize,
}

/// A LLaMA of these sizes with a tied head. No answer of it ends before its time.
pub fn llama(sizes: &Sizes, dtype: Dtype, device: &Device) -> Decoder {
    drawn(config(sizes), dtype, device)
}

pub fn drawn(config: Config, dtype: Dtype, device: &Device) -> Decoder {
    device.seed(DRAW.seed);
    weights::build(config, |weight| {
        let shape = weight.shape;
        if weight.sort == Sort::Norm {
            return Ok(Tensor::ones(shape, device));
        }
        // A standard deviation of 0.02.
        let bound = 0.02 * 3.0_f64.sqrt();
        let drawn = Tensor::<2>::random(shape, Distribution::Uniform(-bound, bound), device);
        let is_kept = dtype == Dtype::F32 || weight.sort.is_vector();
        Ok(if is_kept { drawn } else { drawn.cast(of_burn(dtype)) })
    })
    .expect("every weight is drawn")
}

pub fn config(sizes: &Sizes) -> Config {
    Config::of(source(sizes)).expect("the configuration is good")
}

/// The configuration as a file has it.
pub fn source(sizes: &Sizes) -> Value {
    let &Sizes { width, inner, layers, heads, kv_heads, vocabulary, context } = sizes;
    let (is_tied, pad, bos, eos) = (true, Some(0), 1, 2);
    let llama = Llama { vocabulary, width, inner, layers, heads, kv_heads, context, is_tied, pad, bos, eos };
    let mut source = llama.source();
    source["eos_token_id"] = Value::Null;
    source
}

/// Random tokens, none of which is special.
pub fn ids(number: u64, length: usize, vocabulary: usize) -> Vec<u32> {
    let mut stream = DRAW.stream(2, number);
    (0..length).map(|_| 3 + stream.below(vocabulary - 3) as u32).collect()
}

/// A row of random tokens, of which those from `start` on are learned.
pub fn row(number: u64, length: usize, start: usize, vocabulary: usize) -> Sequence {
    Sequence::new(ids(number, length, vocabulary), start)
}
