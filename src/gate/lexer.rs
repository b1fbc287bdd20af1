//! The text of a rule → tokens with byte ranges. Spellings from other languages are refused with the right one.

use super::Mistake;
use std::ops::Range;

/// Words with a place in the grammar. No metric and no stage may have such a name. Others (`over`, `looks`, `up`,
/// `to`, `items`, `assuming`, `bounds`, `changed`) are words of the grammar only where it expects them.
pub const KEYWORDS: &[&str] = &["and", "or", "not", "between", "improves", "by", "with", "confidence"];

/// Words before a dot that name no stage.
pub const OWN_NAMES: &[&str] = &["self", "judge", "incumbent"];

pub fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
    Unequal,
}

impl Comparison {
    pub fn sign(self) -> &'static str {
        match self {
            Comparison::Above => ">",
            Comparison::AtLeast => ">=",
            Comparison::Below => "<",
            Comparison::AtMost => "<=",
            Comparison::Equal => "=",
            Comparison::Unequal => "!=",
        }
    }
    /// Whether it asks for less rather than more.
    pub fn is_downwards(self) -> bool {
        matches!(self, Comparison::Below | Comparison::AtMost)
    }
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Comparison::Above => left > right,
            Comparison::AtLeast => left >= right,
            Comparison::Below => left < right,
            Comparison::AtMost => left <= right,
            Comparison::Equal => left == right,
            Comparison::Unequal => left != right,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Number(f64),
    Word,
    Compare(Comparison),
    /// One of `+ - * / % ( ) , .`
    Symbol(char),
    /// `"…"`.
    Quoted,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Token<'a> {
    pub kind: Kind,
    /// The text as typed, except for `&&` and `||`, which are `and` and `or`.
    pub text: &'a str,
    pub range: Range<usize>,
}

enum Spelling {
    Compare(Comparison),
    Word(&'static str),
    /// Refused, with the right spelling.
    Write(&'static str),
}

/// Longer spellings come first, since the first match counts.
const SPELLINGS: &[(&str, Spelling)] = &[
    ("===", Spelling::Write("=")),
    ("!==", Spelling::Write("!=")),
    (">=", Spelling::Compare(Comparison::AtLeast)),
    ("<=", Spelling::Compare(Comparison::AtMost)),
    ("==", Spelling::Compare(Comparison::Equal)),
    ("!=", Spelling::Compare(Comparison::Unequal)),
    ("&&", Spelling::Word("and")),
    ("||", Spelling::Word("or")),
    ("=>", Spelling::Write(">=")),
    ("=<", Spelling::Write("<=")),
    ("<>", Spelling::Write("!=")),
    ("~=", Spelling::Write("!=")),
    ("**", Spelling::Write("the product out")),
    ("//", Spelling::Write("/")),
    (">", Spelling::Compare(Comparison::Above)),
    ("<", Spelling::Compare(Comparison::Below)),
    ("=", Spelling::Compare(Comparison::Equal)),
    ("!", Spelling::Write("not")),
    ("&", Spelling::Write("and")),
    ("|", Spelling::Write("or")),
    ("^", Spelling::Write("the product out")),
    ("≥", Spelling::Write(">=")),
    ("≧", Spelling::Write(">=")),
    ("≤", Spelling::Write("<=")),
    ("≦", Spelling::Write("<=")),
    ("≠", Spelling::Write("!=")),
    ("−", Spelling::Write("-")),
    ("×", Spelling::Write("*")),
    ("÷", Spelling::Write("/")),
];

/// The last token is always `End`.
pub fn tokens(text: &str) -> Result<Vec<Token<'_>>, Mistake> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        if next.is_whitespace() {
            at += next.len_utf8();
            continue;
        }
        let token = token(text, at, next)?;
        at = token.range.end;
        tokens.push(token);
    }
    tokens.push(Token { kind: Kind::End, text: "", range: text.len()..text.len() });
    Ok(tokens)
}

fn token(text: &str, at: usize, next: char) -> Result<Token<'_>, Mistake> {
    let rest = &text[at..];
    let digit_follows = rest[next.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
    if next.is_ascii_digit() || (next == '.' && digit_follows) {
        return number(text, at);
    }
    if next.is_ascii_alphabetic() || next == '_' {
        let length = rest.find(|c| !is_word_part(c)).unwrap_or(rest.len());
        let word = Token { kind: Kind::Word, text: &rest[..length], range: at..at + length };
        return small_letters(word);
    }
    for (typed, meaning) in SPELLINGS {
        if !rest.starts_with(typed) {
            continue;
        }
        let range = at..at + typed.len();
        return match meaning {
            Spelling::Compare(comparison) => Ok(Token { kind: Kind::Compare(*comparison), text: typed, range }),
            Spelling::Word(word) => Ok(Token { kind: Kind::Word, text: word, range }),
            Spelling::Write(ours) => {
                let help = if ours.contains(' ') { format!("write {ours}") } else { format!("write `{ours}`") };
                Err(Mistake::new(&range, format!("`{typed}` is no part of the rule language")).help(help))
            }
        };
    }
    let range = at..at + next.len_utf8();
    if let Some(length) = rest.strip_prefix('"').and_then(|text| text.find('"')) {
        let range = at..at + length + 2;
        return Ok(Token { kind: Kind::Quoted, text: &text[range.clone()], range });
    }
    if "+-*/%(),.".contains(next) {
        return Ok(Token { kind: Kind::Symbol(next), text: &rest[..next.len_utf8()], range });
    }
    Err(foreign(next, &range))
}

fn is_word_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Refuses `AND`, a habit of SQL. Only words that join tests are refused, since a metric may well be called `By`.
fn small_letters(word: Token<'_>) -> Result<Token<'_>, Mistake> {
    let small = word.text.to_ascii_lowercase();
    if small != word.text && ["and", "or", "not", "between", "improves"].contains(&small.as_str()) {
        let message = format!("`{}`: words of the rule language are written in small letters", word.text);
        return Err(Mistake::new(&word.range, message).help(format!("write `{small}`")));
    }
    Ok(word)
}

fn number(text: &str, at: usize) -> Result<Token<'_>, Mistake> {
    let bytes = text.as_bytes();
    let digits = |mut from: usize| {
        while bytes.get(from).is_some_and(u8::is_ascii_digit) {
            from += 1;
        }
        from
    };
    let mut end = digits(at);
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    if text[end..].starts_with(|c| is_word_part(c) || c == '.') {
        let length = text[end..].find(|c| !is_word_part(c) && c != '.').unwrap_or(text.len() - end);
        let range = at..end + length;
        let message = format!("`{}` is not a number", &text[range.clone()]);
        return Err(Mistake::new(&range, message).help("numbers look like 200, 0.5 or 1e-5"));
    }
    let range = at..end;
    let typed = &text[range.clone()];
    match typed.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Token { kind: Kind::Number(value), text: typed, range }),
        _ => Err(Mistake::new(&range, format!("`{typed}` is too large for a number"))),
    }
}

/// A character that has no place in a rule.
fn foreign(c: char, range: &Range<usize>) -> Mistake {
    let shown = if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let unknown = Mistake::new(range, format!("`{shown}` is no part of the rule language"));
    match c {
        // The full-width block repeats ASCII from `!` to `~` at a fixed offset.
        '\u{ff01}'..='\u{ff5e}' => {
            let ascii = char::from_u32(u32::from(c) - 0xfee0).unwrap_or('?');
            Mistake::new(range, format!("`{c}` is a full-width character")).help(format!("write `{ascii}`"))
        }
        '@' => unknown.help("a rule names a stage without a step: what carries the stage's name is meant"),
        '"' | '\'' | '`' | '“' | '”' => unknown.help("names are written without quotes"),
        '$' => unknown.help("`${…}` is filled in only in values of the file that are written as `${…}`"),
        ':' => unknown.help("quote this rule, or write one rule a line"),
        ';' => unknown.help("one rule a line, or join them with `and`"),
        '#' => unknown.help("a remark stands behind the rule, with a space before its `#`"),
        '[' | ']' | '{' | '}' => unknown.help("group with `(` and `)`"),
        _ => unknown,
    }
}
