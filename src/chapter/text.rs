//! Text of models and people as data: nothing in it can act on the page, hide, or turn what stands beside it around.

use crate::report::format::mark;
use maud::{Markup, html};

/// The characters of a text that the page shows; the rest is counted.
const SHOWN: usize = 2_000;

/// Combining marks on one letter that are shown. Vietnamese takes two, careful Hebrew three.
const MARKS: usize = 4;

/// A text with everything that would be invisible, or would change how other text is read, as a visible mark. Escaping is
/// done by `html!`.
pub fn visible(text: &str) -> Markup {
    marked(text, SHOWN)
}

/// The same of a text that is judged: nothing of it is left out.
pub fn judged(text: &str) -> Markup {
    html! { bdi.said { (marked(text, usize::MAX)) } }
}

fn marked(text: &str, most: usize) -> Markup {
    let mut parts: Vec<(bool, String)> = Vec::new();
    let mut add = |is_mark: bool, piece: &str| match parts.last_mut() {
        Some((kind, last)) if *kind == is_mark && !is_mark => last.push_str(piece),
        _ => parts.push((is_mark, piece.to_owned())),
    };
    let (mut combining, mut hidden) = (0usize, 0usize);
    let mut characters = text.chars();
    for character in characters.by_ref().take(most) {
        combining = if is_combining(character) { combining + 1 } else { 0 };
        if combining > MARKS {
            hidden += 1;
            continue;
        }
        if hidden > 0 {
            add(true, &format!("+{hidden}"));
            hidden = 0;
        }
        match mark(character) {
            Some(mark) => add(true, &mark),
            None => add(false, character.encode_utf8(&mut [0; 4])),
        }
    }
    if hidden > 0 {
        add(true, &format!("+{hidden}"));
    }
    let rest = characters.count();
    if rest > 0 {
        add(true, &format!("… +{rest}"));
    }
    html! {
        @for (is_mark, part) in &parts {
            @if *is_mark { span.mark { (part) } } @else { (part) }
        }
    }
}

/// A text of a model, whose direction ends with it.
pub fn answer(text: &str, empty: &str) -> Markup {
    let text = text.trim_matches(['\n', ' ']);
    html! {
        bdi.said { @if text.is_empty() { span.mark { (empty) } } @else { (visible(text)) } }
    }
}

/// Whether a character is written on the one before it. Those that scripts of the world write in a row (vowels, tones) are
/// shorter runs than any text that is made to break out of its line.
fn is_combining(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}')
}

/// A path as others may read it: the directory on this machine means nothing to them, and is no fact of the run.
pub fn place(path: &str) -> &str {
    let is_from_root = path.starts_with('/') || path.starts_with('~') || path.get(1..3) == Some(":\\");
    if is_from_root { path.rsplit(['/', '\\']).next().unwrap_or(path) } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    /// Texts that made other pages run code, ask servers, or read backwards.
    pub const HOSTILE: [&str; 10] = [
        "</script><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "--><!-- ]]> \" ' & &lt;",
        "nul \0 bell \u{7} escape \u{1b}[31mred\u{1b}[0m",
        "right to left \u{202e}evil\u{202c} isolate \u{2067}x\u{2069}",
        "zero \u{200b}width\u{feff} soft\u{ad}hyphen tag \u{e0041}",
        "family 👨\u{200d}👩\u{200d}👧 flag 🇯🇵 skin 👍🏽",
        "مرحبا بالعالم",
        "line\u{2028}separator\u{85}next",
        "が\u{3099} e\u{301}\u{302}",
    ];

    #[test]
    fn hostile_text_is_shown_as_it_is_and_does_nothing() {
        let shown: Vec<String> = HOSTILE.iter().map(|text| visible(text).into_string()).collect();
        expect![[r#"
            &lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;
            &lt;img src=x onerror=alert(1)&gt;
            --&gt;&lt;!-- ]]&gt; &quot; ' &amp; &amp;lt;
            nul <span class="mark">NUL</span> bell <span class="mark">BEL</span> escape <span class="mark">ESC</span>[31mred<span class="mark">ESC</span>[0m
            right to left <span class="mark">U+202E</span>evil<span class="mark">U+202C</span> isolate <span class="mark">U+2067</span>x<span class="mark">U+2069</span>
            zero <span class="mark">U+200B</span>width<span class="mark">U+FEFF</span> soft<span class="mark">U+00AD</span>hyphen tag <span class="mark">U+E0041</span>
            family 👨‍👩‍👧 flag 🇯🇵 skin 👍🏽
            مرحبا بالعالم
            line<span class="mark">U+2028</span>separator<span class="mark">U+0085</span>next
            が゙ é̂"#]]
        .assert_eq(&shown.join("\n"));
    }

    #[test]
    fn long_lines_and_towers_of_marks_are_cut_and_counted() {
        let long = visible(&"x".repeat(100_000)).into_string();
        assert!(long.len() < 2_100 && long.ends_with("<span class=\"mark\">… +98000</span>"), "{}", long.len());
        let tower = visible(&format!("a{}b", "\u{301}".repeat(1_000))).into_string();
        assert_eq!(tower, format!("a{}<span class=\"mark\">+996</span>b", "\u{301}".repeat(4)));
    }

    #[test]
    fn a_path_from_the_root_is_a_name() {
        assert_eq!(
            ["/a/b.jsonl", "data/b.jsonl", "C:\\x\\y", "hf://o/n"].map(place),
            ["b.jsonl", "data/b.jsonl", "y", "hf://o/n"]
        );
    }
}
