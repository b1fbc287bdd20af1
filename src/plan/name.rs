//! The name of an artifact, as a pipeline file, a journal and a report write it.

use crate::spec::{Pin, is_identifier};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `sft` is what carries the name of a stage, `rm_1@150` one of its checkpoints, `ppo_2@last` what came out before its
/// gate; a file or a model from outside is called by its path or the last part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ArtifactName {
    /// The name of the stage, if there is one.
    pub name: String,
    pub pin: Pin,
}

impl ArtifactName {
    /// The artifact that carries the name of a stage.
    pub fn open(name: &str) -> ArtifactName {
        ArtifactName { name: name.to_owned(), pin: Pin::Open }
    }

    pub fn last(stage: &str) -> ArtifactName {
        ArtifactName { name: stage.to_owned(), pin: Pin::Last }
    }

    pub fn step(stage: &str, step: u64) -> ArtifactName {
        ArtifactName { name: stage.to_owned(), pin: Pin::Step(step) }
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str(&self.name)?;
        match self.pin {
            Pin::Open => Ok(()),
            Pin::Last => text.write_str("@last"),
            Pin::Step(step) => write!(text, "@{step}"),
        }
    }
}

/// An `@` in a path pins nothing.
impl From<String> for ArtifactName {
    fn from(text: String) -> ArtifactName {
        let pin = |pin: &str| match pin {
            "last" => Some(Pin::Last),
            step => step.parse().ok().filter(|number: &u64| number.to_string() == step).map(Pin::Step),
        };
        let pinned = text.split_once('@').filter(|(name, _)| is_identifier(name));
        match pinned.and_then(|(name, text)| Some((name.to_owned(), pin(text)?))) {
            Some((name, pin)) => ArtifactName { name, pin },
            None => ArtifactName { name: text, pin: Pin::Open },
        }
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
        let names = [ArtifactName::open("sft"), ArtifactName::last("ppo_2"), ArtifactName::step("rm_1", 150)];
        let texts = names.clone().map(String::from);
        assert_eq!(texts, ["sft", "ppo_2@last", "rm_1@150"]);
        assert_eq!(texts.map(ArtifactName::from), names);
        for path in ["data/sft@last", "./rm@150", "a.txt@3", "rm@07", "rm@x", "hf://a/b@main"] {
            assert_eq!(ArtifactName::from(path.to_owned()), ArtifactName::open(path));
        }
    }
}
