//! The precision of numbers in files and in memory, and the conversions between precisions.

use anyhow::{Result, bail};
use half::{bf16, f16};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The precision in which the matrices of a frozen base are kept and multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    #[default]
    F32,
    F16,
    Bf16,
}

impl Dtype {
    pub const ALL: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];

    /// The type in a safetensors file.
    pub fn in_file(self) -> safetensors::Dtype {
        match self {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::F16 => safetensors::Dtype::F16,
            Dtype::Bf16 => safetensors::Dtype::BF16,
        }
    }

    /// The name in a pipeline file and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        }
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }
}

/// Sets the precision that `config.json` names. Older tools read `torch_dtype`, newer ones `dtype`: the one that is
/// there is written.
pub fn set_dtype(source: &mut Value, dtype: Dtype) {
    let name = match dtype {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::Bf16 => "bfloat16",
    };
    let Some(fields) = source.as_object_mut() else { return };
    let is_there = |field: &str| fields.contains_key(field);
    let field = if is_there("dtype") && !is_there("torch_dtype") { "dtype" } else { "torch_dtype" };
    fields.insert(field.to_owned(), json!(name));
}

/// Little-endian numbers of a file as f32.
///
/// # Errors
/// The numbers are of another kind than F32, BF16 and F16.
pub fn floats(dtype: safetensors::Dtype, bytes: &[u8]) -> Result<Vec<f32>> {
    Ok(match dtype {
        safetensors::Dtype::F32 => converted(bytes, f32::from_le_bytes),
        // bfloat16 is the upper half of an f32.
        safetensors::Dtype::BF16 => converted(bytes, |two| f32::from_bits(u32::from(u16::from_le_bytes(two)) << 16)),
        safetensors::Dtype::F16 => converted(bytes, |two| f16::from_le_bytes(two).to_f32()),
        other => bail!("it is {other:?}; F32, BF16 and F16 are known"),
    })
}

/// Works on all cores, in pieces that a core's cache holds.
fn converted<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    const PIECE: usize = 1 << 15;
    let mut out = vec![0.0; bytes.len() / N];
    out.par_chunks_mut(PIECE).zip(bytes.par_chunks(PIECE * N)).for_each(|(out, bytes)| {
        let (numbers, _) = bytes.as_chunks::<N>();
        out.iter_mut().zip(numbers).for_each(|(out, bytes)| *out = number(*bytes));
    });
    out
}

/// Numbers rounded to f16.
pub fn to_f16(values: &[f32]) -> Vec<f16> {
    values.par_iter().map(|x| f16::from_f32(*x)).collect()
}

/// Numbers rounded to bf16.
pub fn to_bf16(values: &[f32]) -> Vec<bf16> {
    values.par_iter().map(|x| bf16::from_f32(*x)).collect()
}
