//! Characters that look like those of YAML and are others: input methods for Japanese and Chinese leave them in a file.

/// A character, its name, and the plain text that is meant.
const LOOKALIKES: [(char, &str, &str); 9] = [
    ('\u{ff1a}', "full-width", "`: `"),
    ('\u{3000}', "an ideographic space", "a plain space"),
    ('\u{ff0c}', "full-width", "`, `"),
    ('\u{3001}', "an ideographic comma", "`, `"),
    ('\u{ff5b}', "full-width", "`{`"),
    ('\u{ff5d}', "full-width", "`}`"),
    ('\u{ff3b}', "full-width", "`[`"),
    ('\u{ff3d}', "full-width", "`]`"),
    ('\u{a0}', "a no-break space", "a plain space"),
];

/// Says which character of a text was probably not meant.
pub fn lookalike(text: &str) -> Option<String> {
    let is_in = |(character, ..): &&(char, &str, &str)| text.contains(*character);
    let (character, what, meant) = LOOKALIKES.iter().find(is_in)?;
    Some(format!("`{character}` is {what} (U+{:04X}): write {meant}", u32::from(*character)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_character_is_named_with_the_one_that_is_meant() {
        assert_eq!(lookalike("kind\u{ff1a}sft").unwrap(), "`\u{ff1a}` is full-width (U+FF1A): write `: `");
        assert_eq!(
            lookalike("\u{3000}kind").unwrap(),
            "`\u{3000}` is an ideographic space (U+3000): write a plain space"
        );
        assert_eq!(lookalike("\u{65e5}\u{672c}"), None);
    }
}
