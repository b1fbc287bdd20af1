//! The front matter of a card, as hubs read it.

use crate::report::fold::StageRun;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The beginning of the name of a data set of a hub.
const DATASETS: &str = "datasets/";

/// The exported model, as far as the card describes it.
pub struct ExportedModel {
    pub has_adapter: bool,
    pub is_merged: bool,
    pub is_reward: bool,
    /// The value that is subtracted from the output of a merged reward model.
    pub offset: f64,
    /// A merged reward model has a padding token with which no answer ends.
    pub is_padded: bool,
    pub parameters: usize,
    pub dtypes: String,
}

/// The facts that the base of a model tells of itself. Empty where nothing is known.
#[derive(Debug, Default)]
pub struct BaseModel {
    /// Its name on a hub: `owner/name`.
    pub name: Option<String>,
    pub license: Option<String>,
    pub license_name: Option<String>,
    pub license_link: Option<String>,
    pub languages: Vec<String>,
}

/// The source of the model that others started from.
pub enum BaseSource {
    Path(String),
    /// It was trained from nothing.
    Scratch,
    /// A command made it.
    Unknown,
}

/// The front matter of a model with this base, or without one that describes itself.
pub fn front_matter(
    stage: &StageRun,
    lineage: &[&StageRun],
    model: &ExportedModel,
    base: Result<&BaseModel, &BaseSource>,
) -> String {
    let is_adapter = model.has_adapter && !model.is_merged;
    let nothing = BaseModel::default();
    let BaseModel { name, license, license_name, license_link, languages } = base.unwrap_or(&nothing);
    let why = match base {
        Err(BaseSource::Scratch) => "it was trained from scratch: choose one before you publish it",
        Err(BaseSource::Unknown) => "its base is not known: look it up before you publish it",
        Ok(_) | Err(BaseSource::Path(_)) => {
            "neither the card nor the configuration of the base names one: look it up before you publish it"
        }
    };
    let license = license.as_ref().map_or_else(|| format!("unknown # {why}"), scalar);
    let named = |key: &str, value: &Option<String>| value.as_ref().map(|value| (key.to_owned(), scalar(value)));
    let relation = name.as_ref().map(|_| if is_adapter { "adapter" } else { "finetune" }.to_owned());
    let library = if is_adapter { "peft" } else { "transformers" };
    let task = if model.is_reward { "text-classification" } else { "text-generation" };
    let first = [("library_name", library.to_owned()), ("pipeline_tag", task.to_owned()), ("license", license)];
    let single = first.map(|(key, value)| (key.to_owned(), value)).into_iter();
    let single = single
        .chain(named("license_name", license_name))
        .chain(named("license_link", license_link))
        .chain(named("base_model", name))
        .chain(named("base_model_relation", &relation));
    let sources = lineage.iter().flat_map(|stage| &stage.head.from).flat_map(|(_, sources)| sources);
    let names: BTreeSet<String> = sources.filter_map(|source| repository(&source.to_string())).collect();
    let datasets = names.iter().filter_map(|name| name.strip_prefix(DATASETS)).map(scalar).collect();
    let tags = [stage.head.kind.as_str(), "rlhf"].map(scalar).to_vec();
    let lists: [(&str, Vec<String>); 3] =
        [("language", languages.iter().map(scalar).collect()), ("datasets", datasets), ("tags", tags)];
    let mut text = "---\n".to_owned();
    single.for_each(|(key, value)| _ = writeln!(text, "{key}: {value}"));
    for (key, values) in lists.into_iter().filter(|(_, values)| !values.is_empty()) {
        _ = writeln!(text, "{key}:\n- {}", values.join("\n- "));
    }
    text + "---\n"
}

/// `owner/name`, or `datasets/owner/name`, for a place in the local cache of a hub.
pub fn repository(source: &str) -> Option<String> {
    Some(hub_name(source)?.strip_prefix("hf://")?.split('@').next()?.to_owned())
}

/// `hf://owner/name@commit`, or `hf://datasets/owner/name@commit/path`, for a place in the local cache of a hub.
pub fn hub_name(source: &str) -> Option<String> {
    let of = |mark: &str, start: &str| {
        let (_, rest) = source.split_once(mark)?;
        let (name, commit) = rest.split_once("/snapshots/")?;
        Some(format!("hf://{start}{}@{commit}", name.replace("--", "/")))
    };
    of("/models--", "").or_else(|| of("/datasets--", DATASETS))
}

/// A text as a scalar of YAML: in quotes where it could be anything but this text.
fn scalar(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "._/-".contains(letter))
        // `no` is a language, and false to old readers.
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
