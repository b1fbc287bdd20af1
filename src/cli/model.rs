//! `model inspect`: what a model is and how much memory it needs. Fetches models of hubs.

use super::refusal::refused;
use super::{fetching, terminal};
use crate::hub;
use crate::report::format::bytes;
use crate::report::sheet::{Sheet, Tone};
use crate::run::slots;
use anyhow::{Context, Result};
use formats::config::Config;
use formats::describe::{self, Description};
use formats::directory::model_directory;
use formats::dropout;
use formats::dtype::Dtype;
use formats::peft::Lora;
use stages::device;
use stages::io::DeviceChoice;
use stages::kinds::KINDS;
use stages::model::{Demand, memory, walls};
use std::path::{Path, PathBuf};

/// The directory of a model: a local one, or that of a hub model, which is fetched if it is missing.
pub fn directory(typed: &str) -> Result<PathBuf> {
    if typed.starts_with("hf://") {
        let model = hub::Repository::model(typed).map_err(|error| refused(format!("{error:#}")))?;
        let found = fetching::model(&model, true)?;
        return found.map(|snapshot| snapshot.directory).context("fetch a model: it is not there");
    }
    match Path::new(typed) {
        path if path.is_dir() => Ok(path.to_owned()),
        path if path.exists() => Err(refused(format!("{typed} is no directory"))),
        _ => Err(refused(format!("there is nothing at {typed}"))),
    }
}

/// The layers whose tokens attend to the last tokens alone.
fn windows(config: &Config) -> Option<String> {
    let window = config.windows.iter().flatten().next()?;
    let layers = config.attention.iter().filter(|layer| config.windows[layer.window].is_some()).count();
    Some(format!("{layers} of {} layers attend to the last {window} tokens", config.layers))
}

pub fn inspect(typed: &str, choice: &DeviceChoice, dtype: Dtype) -> Result<u8> {
    let directory = directory(typed)?;
    let described = describe::describe(&directory).map_err(|error| refused(format!("{error:#}")))?;
    let device = device::open(choice).map_err(|error| refused(format!("{error:#}")))?;
    let mut sheet = Sheet::default();
    let mut say = |label: &str, value: String| sheet.say(label, value, Tone::Plain);
    let base = model_directory(&directory);
    say("model", base.display().to_string());
    let dropout =
        dropout::of_model(&directory, &described.config.source).map_err(|error| refused(format!("{error:#}")))?;
    let Description { config, summary, vocabulary, front, ends, has_template, adapter } = described;
    say(
        "architecture",
        format!(
            "{}, {} layers of width {}, mlp {}",
            config.architecture.title, config.layers, config.width, config.inner
        ),
    );
    let shared = if config.kv_heads == config.heads { String::new() } else { format!(", {} of keys", config.kv_heads) };
    let windows = windows(&config).map_or_else(String::new, |windows| format!("; {windows}"));
    say(
        "attention",
        format!("{} heads of {}{shared}; context {} tokens{windows}", config.heads, config.head_dim, config.context),
    );
    let tied = if config.is_tied { ", head tied to the embedding" } else { "" };
    let dtypes: Vec<&str> = summary.dtypes.iter().map(String::as_str).collect();
    say("parameters", format!("{}{tied}", grouped(summary.parameters)));
    say("weights", format!("{}, {}", dtypes.join(" and "), bytes(summary.bytes as u64)));
    let begins = if front.is_empty() { "nothing".to_owned() } else { front.join(" ") };
    say("tokenizer", format!("{vocabulary} tokens (the model has {}); before a prompt: {begins}", config.vocabulary));
    let ends = if ends.is_empty() { "none: set `stop_token`".to_owned() } else { ends.join(" ") };
    say("ends", ends);
    let template = if has_template { "there" } else { "none: rows of dialogues need `chat_template`" };
    say("chat template", template.to_owned());
    if let Some(adapter) = adapter {
        let head = if adapter.head.is_some() { ", with a reward head" } else { "" };
        let (matrices, parameters) = (adapter.matrices(), grouped(adapter.parameters()));
        let Lora { rank, alpha, .. } = adapter;
        let text = format!("rank {rank}, alpha {alpha}, beside {matrices} matrices: {parameters} parameters{head}");
        say("adapter", text);
    }
    if let Some(fields) = dropout {
        say("dropout", format!("{fields}; not applied in training: nothing is dropped"));
    }
    let limits = device::limits(&device);
    let has = match (limits.binding, limits.memory) {
        (u64::MAX, _) => slots::memory("MemAvailable").map(|free| format!("; this machine has {} free", bytes(free))),
        (most, memory) => {
            let memory = memory.map_or("memory not told".to_owned(), |memory| format!("{} of memory", bytes(memory)));
            Some(format!("; {memory}, a tensor at most {}", bytes(most)))
        }
    };
    say("device", format!("{}{}", device::class(&device), has.unwrap_or_default()));
    if let Err(error) = walls::check_weights(&config, device::kept(dtype, &device), &device) {
        say("does not fit", error.to_string());
    }
    for kind in KINDS {
        let Some(demand) = kind.memory else { continue };
        let Demand { of, lora, load } = demand(config.context);
        let memory = memory::estimate(&config, &lora, dtype, load, &device);
        let parts = format!(
            "base {}, adapters {}, activations {}",
            bytes(memory.base),
            bytes(memory.adapters),
            bytes(memory.activations)
        );
        let wall = walls::check_load(&config, &lora, load, memory, "`micro_batch` or `lora.rank`", &device).err();
        let wall = wall.map_or(String::new(), |wall| format!("; does not fit: {wall}"));
        say(&format!("memory of {}", kind.name), format!("about {} with {of} ({parts}){wall}", bytes(memory.total())));
    }
    terminal::show(&[sheet])?;
    Ok(0)
}

/// A number with commas: `1,234,567`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let groups = digits.as_bytes()[first..].chunks(3).map(String::from_utf8_lossy);
    let head = Some(digits[..first].into()).filter(|head: &std::borrow::Cow<str>| !head.is_empty());
    head.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}
