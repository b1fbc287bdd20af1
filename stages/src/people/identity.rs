//! Answers that tell who wrote them: by name, or as what somebody made. People who read that judge the name.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The names, and the words around them; the file says what its sections are.
const NAMES: &str = include_str!("identity.txt");

/// The words before a name and after it.
type Around = (&'static str, &'static str);

/// A name, and the words around it, of which one must be there; of a name that is enough by itself, nothing.
struct KnownName {
    name: &'static str,
    around: Option<&'static [Around]>,
}

struct KnownNames {
    phrases: Vec<&'static str>,
    /// Names that begin with a letter or digit of ASCII, by their first word.
    by_word: HashMap<&'static str, Vec<KnownName>>,
    others: Vec<KnownName>,
}

static KNOWN: LazyLock<KnownNames> = LazyLock::new(|| {
    let around = |section: &str| -> &'static [Around] {
        let split = |line: &'static str| line.split_once("{}").expect("a line around a name has a place for it");
        lines(section).map(split).collect::<Vec<_>>().leak()
    };
    let alone = lines("names").map(|name| KnownName { name, around: None });
    let (calls, makes) = (around("calls"), around("makes"));
    let called = lines("called").map(|name| KnownName { name, around: Some(calls) });
    let makers = lines("makers").map(|name| KnownName { name, around: Some(makes) });
    let (mut by_word, mut others): (HashMap<_, Vec<KnownName>>, Vec<KnownName>) = (HashMap::new(), Vec::new());
    for known in alone.chain(called).chain(makers) {
        match first_word(known.name) {
            "" => others.push(known),
            word => by_word.entry(word).or_default().push(known),
        }
    }
    KnownNames { phrases: lines("phrases").collect(), by_word, others }
});

/// The lines of a section.
fn lines(section: &str) -> impl Iterator<Item = &'static str> {
    let title = format!("[{section}]");
    let lines = NAMES.lines().skip_while(move |line| *line != title).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn first_word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(text.len());
    &text[..end]
}

/// Whether an answer names the model that wrote it, or its maker.
pub fn names_its_model(answer: &str) -> bool {
    let text = plain(answer);
    if KNOWN.phrases.iter().any(|phrase| text.contains(phrase)) {
        return true;
    }
    let stands = |known: &KnownName, start: usize| {
        let (before, end) = (&text[..start], start + known.name.len());
        let after = &text[end..];
        let has_end = !known.name.ends_with(|letter: char| letter.is_ascii_alphanumeric())
            || !after.starts_with(|letter: char| letter.is_ascii_alphanumeric());
        let is_around = |(first, last): &Around| {
            before.ends_with(first)
                && after.starts_with(last)
                && (!first.starts_with(|letter: char| letter.is_ascii_alphanumeric())
                    || !before[..before.len() - first.len()].ends_with(|letter: char| letter.is_ascii_alphanumeric()))
        };
        has_end && known.around.is_none_or(|around| around.iter().any(is_around))
    };
    let foreign = |known: &KnownName| text.match_indices(known.name).any(|(start, _)| stands(known, start));
    if KNOWN.others.iter().any(foreign) {
        return true;
    }
    let mut start = 0;
    while let Some(step) = text[start..].find(|letter: char| letter.is_ascii_alphanumeric()) {
        start += step;
        let word = first_word(&text[start..]);
        let known = KNOWN.by_word.get(word).into_iter().flatten();
        let mut here = known.filter(|known| text[start..].starts_with(known.name));
        if here.any(|known| stands(known, start)) {
            return true;
        }
        start += word.len();
    }
    false
}

/// The text in small letters, as it is typed on a keyboard: wide letters as narrow ones, one space in the place of several.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_lowercase) {
        let letter = match letter {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(letter as u32 - 0xfee0).unwrap_or(letter).to_ascii_lowercase(),
            '\u{2019}' => '\'',
            letter if letter.is_whitespace() => ' ',
            letter => letter,
        };
        if letter != ' ' || !plain.ends_with(' ') {
            plain.push(letter);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_tells_who_wrote_it_is_known() {
        for answer in [
            "As an AI developed by Anyone, I cannot say.",
            "Hello! I'm Claude, and I would love to help.",
            "I am a large language model trained by the team.",
            "This model was made by OpenAI.",
            "I was  created by\nGoogle.",
            "私はＣｈａｔＧＰＴです。",
            "私はクロードと申します。",
            "私はGoogleによって開発されたので、わかりません。",
            "Metaが開発したAIです。",
            "Ask GPT-4, or ask me.",
            "Llama 3 thinks so.",
        ] {
            assert!(names_its_model(answer), "{answer}");
        }
    }

    #[test]
    fn names_that_mean_other_things_tell_nothing() {
        for answer in [
            "Claude Monet painted lilies, and Apple sells phones.",
            "The llama and the koala are animals; a falcon is a bird.",
            "Gemini is a sign of the zodiac.",
            "クロード・モネは画家です。メタな話をします。",
            "As an AI language model, I cannot do that.",
            "Google was founded in 1998; the phone was developed by Google.",
            "She studies the rinnas of ants.",
            "I am falconry's biggest friend.",
            "",
        ] {
            assert!(!names_its_model(answer), "{answer}");
        }
    }
}
