//! The base of an exported model: its name on a hub, its licence and its languages, as its own card and its configuration
//! tell them.

use crate::report::card::{BaseModel, repository};
use crate::spec::yaml;
use formats::directory::model_directory;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The facts of the model at `source`, a path as a journal names it. What cannot be read is not known.
pub fn base_of(source: &str) -> BaseModel {
    let directory = Path::new(source);
    let cards = [directory.to_owned(), model_directory(directory)].map(|place| place.join("README.md"));
    let card = cards.iter().find_map(|card| fs::read_to_string(card).ok()).and_then(|text| front_matter(&text));
    let config = fs::read(model_directory(directory).join("config.json")).ok();
    let config = config.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let [card, config] = [card, config].map(Option::unwrap_or_default);
    let either = |field: &str| texts(&card[field]).into_iter().chain(texts(&config[field])).next();
    let named = either("_name_or_path").into_iter().chain(texts(&card["base_model"]));
    BaseModel {
        name: repository(source).or_else(|| named.into_iter().find(|name| is_repository(name))),
        license: either("license").filter(|license| license != "unknown"),
        license_name: either("license_name"),
        license_link: either("license_link"),
        languages: texts(&card["language"]),
    }
}

/// The front matter of a card: YAML between two lines of `---`.
fn front_matter(text: &str) -> Option<Value> {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let (inner, _) = text.strip_prefix("---\n")?.split_once("\n---")?;
    Some(yaml::parse(inner, 0, &mut Vec::new())?.to_json())
}

/// A text, or the texts of a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Whether a name is that of a repository: `owner/name`, and no path.
fn is_repository(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let is_part = |part: &&str| part.starts_with(|first: char| first.is_ascii_alphanumeric());
    parts.len() == 2 && parts.iter().all(is_part) && !Path::new(name).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_says_its_licence_in_its_card_or_its_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let of = || base_of(&directory.path().display().to_string());
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        let nothing = of();
        assert!(nothing.name.is_none() && nothing.license.is_none() && nothing.languages.is_empty());
        write("config.json", r#"{"_name_or_path": "owner/base", "license": "mit"}"#);
        let facts = of();
        assert_eq!((facts.name.as_deref(), facts.license.as_deref()), (Some("owner/base"), Some("mit")));
        write(
            "README.md",
            "---\r\nlicense: other\r\nlicense_name: gemma\r\nlicense_link: https://a.example/b\r\nlanguage:\r\n- ja\r\n- \
             'no'\r\n---\r\n# Base\r\n",
        );
        let facts = of();
        assert_eq!(facts.license.as_deref(), Some("other"));
        assert_eq!(facts.license_name.as_deref(), Some("gemma"));
        assert_eq!(facts.license_link.as_deref(), Some("https://a.example/b"));
        assert_eq!(facts.languages, ["ja", "no"]);
        write("README.md", "---\nlicense: [mit\n---\n");
        assert_eq!(of().license.as_deref(), Some("mit"), "a card that is not YAML says nothing");
        write("README.md", "---\nlicense: unknown\nbase_model: other/first\n---\n");
        write("config.json", r#"{"_name_or_path": "/home/me/base"}"#);
        let facts = of();
        assert_eq!((facts.name.as_deref(), facts.license), (Some("other/first"), None));
    }
}
