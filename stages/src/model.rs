//! A decoder with its LoRA adapters: batches, the forward pass, predictions, the derivative by hand, and the way
//! between files and a device.

pub mod artifact;
mod backward;
mod base;
pub mod batch;
mod classifier;
pub mod decoder;
mod demand;
pub mod export;
mod input;
mod kv_cache;
pub mod lora;
pub mod memory;
pub mod predict;
mod resident;
mod role;
mod rotation;
pub mod sizes;
mod table;
mod templating;
mod together;
pub mod walls;
pub mod weights;

pub use artifact::Artifact;
pub use backward::{Gradient, Trace, Trainable};
pub use base::Base;
pub use batch::{Batch, Padding};
pub use decoder::{Affine, Block, Decoder};
pub use demand::{Demand, Load};
pub use kv_cache::Cache;
pub use lora::{Adapter, AdapterGradient, LoraParameters};
pub use role::{Expectation, Reference, expect, stops};
pub use templating::Templating;
