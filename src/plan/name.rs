//! The name of an artifact, as a pipeline file, a journal and a report write it.

use crate::spec::{Pin, is_identifier};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `sft` is what carries the name of a stage, `rm_1@150` one of its checkpoints, `ppo_2@last` what came out before its
/// gate, `make:rows.jsonl` a file of what a stage made; a file or a model from outside is called by its path or the last
/// part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ArtifactName {
    /// The name of the stage, if there is one.
    pub name: String,
    pub pin: Pin,
    /// A file of the artifact, from its top.
    pub file: Option<String>,
}

impl ArtifactName {
    /// The artifact that carries the name of a stage.
    pub fn open(name: &str) -> ArtifactName {
        ArtifactName::pinned(name, Pin::Open)
    }

    pub fn last(stage: &str) -> ArtifactName {
        ArtifactName::pinned(stage, Pin::Last)
    }

    pub fn step(stage: &str, step: u64) -> ArtifactName {
        ArtifactName::pinned(stage, Pin::Step(step))
    }

    pub fn pinned(stage: &str, pin: Pin) -> ArtifactName {
        ArtifactName { name: stage.to_owned(), pin, file: None }
    }

    pub fn file(stage: &str, pin: Pin, file: &str) -> ArtifactName {
        ArtifactName { file: Some(file.to_owned()), ..ArtifactName::pinned(stage, pin) }
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str(&self.name)?;
        match self.pin {
            Pin::Open => {}
            Pin::Last => text.write_str("@last")?,
            Pin::Step(step) => write!(text, "@{step}")?,
        }
        match &self.file {
            Some(file) => write!(text, ":{file}"),
            None => Ok(()),
        }
    }
}

/// An `@` or a `:` in a path means nothing.
impl From<String> for ArtifactName {
    fn from(text: String) -> ArtifactName {
        let (stage, file) = match text.split_once(':') {
            Some((stage, file)) => (stage, Some(file)),
            None => (text.as_str(), None),
        };
        let is_path = |file: &str| file.split('/').all(|part| !part.is_empty());
        let (name, pin) = match stage.split_once('@') {
            Some((name, pin)) => (name, read_pin(pin)),
            None => (stage, Some(Pin::Open)),
        };
        match pin {
            Some(pin) if is_identifier(name) && file.is_none_or(is_path) => {
                ArtifactName { name: name.to_owned(), pin, file: file.map(str::to_owned) }
            }
            _ => ArtifactName { name: text, pin: Pin::Open, file: None },
        }
    }
}

fn read_pin(pin: &str) -> Option<Pin> {
    match pin {
        "last" => Some(Pin::Last),
        step => step.parse().ok().filter(|number: &u64| number.to_string() == step).map(Pin::Step),
    }
}

impl From<ArtifactName> for String {
    fn from(name: ArtifactName) -> String {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_from_its_text() {
        let names = [
            ArtifactName::open("sft"),
            ArtifactName::last("ppo_2"),
            ArtifactName::step("rm_1", 150),
            ArtifactName::file("make", Pin::Open, "data/rows.jsonl"),
            ArtifactName::file("make", Pin::Step(7), "rows.jsonl"),
        ];
        let texts = names.clone().map(String::from);
        assert_eq!(texts, ["sft", "ppo_2@last", "rm_1@150", "make:data/rows.jsonl", "make@7:rows.jsonl"]);
        assert_eq!(texts.map(ArtifactName::from), names);
        for path in ["data/sft@last", "./rm@150", "a.txt@3", "rm@07", "rm@x", "hf://a/b@main", "./a:b"] {
            assert_eq!(ArtifactName::from(path.to_owned()), ArtifactName::open(path));
        }
    }
}
