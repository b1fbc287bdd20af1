//! Prompts that two data sets share: what was learned from cannot tell whether learning helped.

use crate::dialogue::{Prompt, SYSTEM};
use std::borrow::Cow;
use std::collections::HashSet;
use unicode_normalization::{UnicodeNormalization, is_nfkc};

/// Digests of the prompts of data: 16 bytes a prompt, however long it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptDigests(Vec<PromptDigest>);

/// A prompt, letter by letter with the roles of its turns, and without what makes no other question of it: roles, the
/// text of the system, case, spaces and compatibility forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PromptDigest {
    pub exact: u64,
    pub normalised: u64,
}

/// The prompts of one data set that another one has as well; each counts once, however many rows it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// The different prompts of the first data set.
    pub all: usize,
    /// Those whose normalised form the other data set has.
    pub shared: usize,
    /// Those of them that do not differ at all.
    pub exact: usize,
}

impl PromptDigest {
    pub fn of(prompt: &Prompt) -> PromptDigest {
        let (exact, plain) = match prompt {
            Prompt::Text(text) => (digest(text), normalised(text)),
            Prompt::Chat(turns) => {
                let asked = turns.iter().filter(|turn| turn.role != SYSTEM);
                let turns = asked.map(|turn| normalised(&turn.content));
                (digest(&prompt.to_string()), turns.collect::<Vec<_>>().join(" "))
            }
        };
        PromptDigest { exact, normalised: digest(&plain) }
    }
}

impl PromptDigests {
    pub fn add(&mut self, prompts: impl IntoIterator<Item = PromptDigest>) {
        self.0.extend(prompts);
    }

    /// Whether both have the same prompts, as two copies of a file do.
    pub fn is_copy(&self, other: &PromptDigests) -> bool {
        let sorted = |digests: &PromptDigests| {
            let mut exact: Vec<u64> = digests.0.iter().map(|prompt| prompt.exact).collect();
            exact.sort_unstable();
            exact
        };
        self.0.len() == other.0.len() && !self.0.is_empty() && sorted(self) == sorted(other)
    }

    /// The prompts of this data set that the other one has as well.
    pub fn overlap(&self, other: &PromptDigests) -> Overlap {
        let own: HashSet<u64> = self.0.iter().map(|prompt| prompt.normalised).collect();
        let own_exact: HashSet<u64> = self.0.iter().map(|prompt| prompt.exact).collect();
        let (mut shared, mut exact) = (HashSet::new(), HashSet::new());
        for prompt in &other.0 {
            if own.contains(&prompt.normalised) {
                shared.insert(prompt.normalised);
                exact.extend(own_exact.contains(&prompt.exact).then_some(prompt.normalised));
            }
        }
        Overlap { all: own.len(), shared: shared.len(), exact: exact.len() }
    }
}

/// The first 8 bytes of the hash. Among a million prompts and a million others, two different ones are alike with a
/// chance of 1 to 10 million.
fn digest(text: &str) -> u64 {
    let digest = blake3::hash(text.as_bytes());
    u64::from_le_bytes(std::array::from_fn(|at| digest.as_bytes()[at]))
}

/// The text in Unicode NFKC, in small letters, with one space for all spaces in a row and none at the ends.
fn normalised(text: &str) -> String {
    // Most texts of a large file: no letter has another form, and a small letter is a byte.
    if text.is_ascii() {
        let mut plain = one_space(text.split_ascii_whitespace(), text.len());
        plain.make_ascii_lowercase();
        return plain;
    }
    let compatible: Cow<str> = if is_nfkc(text) { text.into() } else { text.nfkc().collect::<String>().into() };
    one_space(compatible.to_lowercase().split_whitespace(), compatible.len())
}

fn one_space<'a>(words: impl Iterator<Item = &'a str>, length: usize) -> String {
    let mut plain = String::with_capacity(length);
    for word in words {
        if !plain.is_empty() {
            plain.push(' ');
        }
        plain.push_str(word);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::Message;

    fn digests(texts: &[&str]) -> PromptDigests {
        PromptDigests(texts.iter().map(|text| PromptDigest::of(&Prompt::Text((*text).to_owned()))).collect())
    }

    #[test]
    fn shared_prompts_are_counted_once_exactly_and_normalised() {
        let heldout = digests(&["What is 2+2?", "What is 2+2?", "ＡＢＣ　を 説明", "Ｏｎｅ", "two", "three"]);
        let learned = digests(&["What is 2+2?", "abc を  説明\n", "one ", "two", "two", "other"]);
        assert_eq!(heldout.overlap(&learned), Overlap { all: 5, shared: 4, exact: 2 });
        assert!(!heldout.is_copy(&learned) && heldout.is_copy(&heldout.clone()));
        assert_eq!(heldout.overlap(&PromptDigests::default()), Overlap { all: 5, shared: 0, exact: 0 });
    }

    #[test]
    fn the_turn_of_a_user_and_a_plain_text_ask_the_same() {
        let turn = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
        let asked = PromptDigest::of(&Prompt::Chat(vec![turn("user", "Why?")]));
        assert_eq!(asked, PromptDigest::of(&Prompt::Text("Why?".to_owned())));
        let with_system = PromptDigest::of(&Prompt::Chat(vec![turn("system", "Be brief."), turn("user", "Why?")]));
        assert_eq!(asked.normalised, with_system.normalised, "another tone of the answer makes no other question");
        assert_ne!(asked.exact, with_system.exact);
    }
}
