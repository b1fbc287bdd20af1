//! Text of others (answers, logs, names, the words of an error) as it may be shown: characters that steer a terminal, cannot
//! be seen, or turn the direction of what follows, stand as what they are: `⟨ESC⟩` for escape, `⟨U+202E⟩` for a turn.

use super::format::mark;
use std::borrow::Cow;

/// A text that steers nothing.
pub fn visible(text: &str) -> Cow<'_, str> {
    replaced(text, false, shown)
}

/// The same for a text in which colours are our own: those of others were taken out of its parts.
pub fn visible_but_color(text: &str) -> Cow<'_, str> {
    replaced(text, true, shown)
}

/// JSON with the same characters in its own form, which every reader understands: they occur in its strings alone.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    replaced(json, false, |character| {
        let mut units = [0; 2];
        character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    })
}

fn shown(character: char) -> String {
    mark(character).map_or_else(|| character.to_string(), |code| format!("⟨{code}⟩"))
}

fn replaced(text: &str, keeps_color: bool, form: impl Fn(char) -> String) -> Cow<'_, str> {
    let is_marked = |character: char| mark(character).is_some();
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) || !text.contains(is_marked) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(at) = rest.find(is_marked) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match color(rest).filter(|_| keeps_color) {
            Some(color) => {
                out.push_str(color);
                rest = &rest[color.len()..];
            }
            None => {
                let character = rest.chars().next().expect("one was found here");
                out.push_str(&form(character));
                rest = &rest[character.len_utf8()..];
            }
        }
    }
    out.push_str(rest);
    out.into()
}

/// The sequence that begins here, if it does nothing but choose a colour or a weight.
fn color(text: &str) -> Option<&str> {
    let numbers = text.strip_prefix("\u{1b}[")?;
    let length = numbers.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    numbers[length..].starts_with('m').then(|| &text[..length + 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_made_visible_and_nothing_else_changes() {
        for (text, shown) in [
            ("\u{1b}]0;title\u{7}", "⟨ESC⟩]0;title⟨BEL⟩"),
            ("\u{1b}[2J\u{1b}[31mred", "⟨ESC⟩[2J⟨ESC⟩[31mred"),
            ("\u{9b}2J\u{85}", "⟨U+009B⟩2J⟨U+0085⟩"),
            ("a\rb\u{8}\u{7f}", "a⟨CR⟩b⟨BS⟩⟨DEL⟩"),
            ("ab\u{202e}cd\u{2069}\u{200f}", "ab⟨U+202E⟩cd⟨U+2069⟩⟨U+200F⟩"),
            ("日本語 👩\u{200d}👧\tähm\n", "日本語 👩\u{200d}👧\tähm\n"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(visible_but_color("\u{1b}[1;31mours\u{1b}[0m\u{1b}[2J"), "\u{1b}[1;31mours\u{1b}[0m⟨ESC⟩[2J");
    }

    #[test]
    fn json_means_the_same_with_them_escaped() {
        let value = serde_json::json!({"a\u{9b}\u{202e}\u{e0001}": "b\u{7f}\u{1b}"});
        let text = value.to_string();
        let shown = visible_json(&text);
        assert_eq!(visible(&shown), shown);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
