//! The tags of a template, found without reading them: comments and raw text hold none.

use std::ops::Range;

/// A tag `{% … %}`.
pub struct Tag<'a> {
    /// `%}`, with the sign before it that says what becomes of the space behind.
    pub closer: Range<usize>,
    /// The text between, without the sign and the space at its beginning.
    pub inner: &'a str,
}

/// The tags in the order of the text.
pub struct Tags<'a> {
    template: &'a str,
    at: usize,
}

impl<'a> Tags<'a> {
    pub fn of(template: &'a str) -> Tags<'a> {
        Tags { template, at: 0 }
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        loop {
            let Range { start, end } = next(self.template, self.at)?;
            self.at = end;
            let whole = &self.template[start..end];
            let Some(inside) = whole.strip_prefix("{%").and_then(|rest| rest.strip_suffix("%}")) else { continue };
            let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
            let signs = usize::from(inside.ends_with(['-', '+']));
            let inner = inside[..inside.len() - signs].trim_start();
            if inner.trim_end() == "raw" {
                // It ends with the tag that says so, whatever stands between.
                let rest = &self.template[end..];
                let is_end = |at: &usize| {
                    let tag = rest[at + 2..].trim_start_matches(['-', '+']).trim_start();
                    tag.starts_with("endraw")
                };
                let found = rest.match_indices("{%").map(|(at, _)| at).find(is_end)?;
                self.at = end + found;
            }
            return Some(Tag { closer: end - 2 - signs..end, inner });
        }
    }
}

/// The next `{{ … }}` or `{% … %}` from `at` on. One that does not end reaches to the end of the text.
pub fn next(template: &str, mut at: usize) -> Option<Range<usize>> {
    let bytes = template.as_bytes();
    loop {
        let end = match (bytes.get(at)?, bytes.get(at + 1)?) {
            (b'{', b'{') => b'}',
            (b'{', b'%') => b'%',
            (b'{', b'#') => {
                at += template[at..].find("#}")?;
                continue;
            }
            _ => {
                at += 1;
                continue;
            }
        };
        let start = at;
        let (mut open, mut quote) = (0_usize, None);
        at += 2;
        while let Some(&letter) = bytes.get(at) {
            match (letter, quote) {
                (b'\\', Some(_)) => at += 1,
                (letter, Some(own)) if letter == own => quote = None,
                (_, Some(_)) => {}
                (b'"' | b'\'', None) => quote = Some(letter),
                (_, None) if letter == end && open == 0 && bytes.get(at + 1) == Some(&b'}') => {
                    return Some(start..at + 2);
                }
                (b'{' | b'[' | b'(', None) => open += 1,
                (b'}' | b']' | b')', None) => open = open.saturating_sub(1),
                _ => {}
            }
            at += 1;
        }
        return Some(start..bytes.len());
    }
}
