//! An end to what a rendering may hold. The engine counts steps, and not what a step makes: a text doubled thirty times is
//! thirty steps. So each value is weighed where a name gets it (`set`, `for`, `with`, `macro`, `call`), by a filter that is
//! written into the template, and each text where it is printed. Between two names stands one expression, which has a
//! bound of its own.

use super::tags::{Tag, Tags};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use std::fmt::Write as _;

/// The most that a name may hold, in bytes, and the levels of lists in lists.
const LARGEST: usize = 2 << 20;
const DEEPEST: usize = 100;

/// The most that the names and the prints of one rendering may have held together.
const ALL: usize = 1 << 30;

/// The bytes that a value costs beside its text.
const ITEM: usize = 16;

/// The filter, by a name that no template uses.
const FILTER: &str = "weighed_value";

/// The bytes that one rendering was seen to hold.
#[derive(Default)]
struct RenderWeight(usize);

/// Adds the filter that [`guarded`] templates use.
pub(super) fn add(environment: &mut Environment) {
    environment.add_filter(FILTER, |state: &mut State, value: Value| -> Result<Value, Error> {
        let weight = weight(&value, LARGEST, DEEPEST).ok_or_else(|| {
            refused(&format!("a value of more than {LARGEST} bytes, or {DEEPEST} lists in each other"))
        })?;
        count(state, weight)?;
        // What reads others as it is read would lie in each other without end.
        if value.kind() == ValueKind::Iterable { Ok(value.try_iter()?.collect()) } else { Ok(value) }
    });
}

/// Counts what is printed. A formatter calls it for each value.
///
/// # Errors
/// The rendering has made too much.
pub fn count_printed(state: &mut State, value: &Value) -> Result<(), Error> {
    let weight = weight(value, ALL, DEEPEST).ok_or_else(|| refused("more than can be printed"))?;
    count(state, weight)
}

fn count(state: &mut State, weight: usize) -> Result<(), Error> {
    let seen = state.get_or_insert_extension(RenderWeight::default());
    seen.0 = seen.0.saturating_add(weight);
    if seen.0 > ALL { Err(refused(&format!("values of more than {ALL} bytes in all"))) } else { Ok(()) }
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("the template makes {what}"))
}

/// The bytes of a value, counted as if nothing in it were shared. `None` beyond `most`, and where lists lie deeper.
pub fn weight(value: &Value, most: usize, deepest: usize) -> Option<usize> {
    let own = ITEM + value.as_str().map_or(0, str::len) + value.as_bytes().map_or(0, <[u8]>::len);
    let mut sum = Some(own).filter(|own| *own <= most)?;
    let is_map = match value.kind() {
        ValueKind::Map => true,
        ValueKind::Seq | ValueKind::Iterable => false,
        _ => return Some(sum),
    };
    let deepest = deepest.checked_sub(1)?;
    for item in value.try_iter().ok()? {
        sum += weight(&item, most - sum, deepest)?;
        if is_map && let Ok(inner) = value.get_item(&item) {
            sum += weight(&inner, most - sum, deepest)?;
        }
    }
    Some(sum)
}

/// The template, which weighs each value that gets a name. Lines stay as they are.
pub fn guarded(template: &str) -> String {
    let mut out = String::with_capacity(template.len() * 2);
    let mut copied = 0;
    for Tag { closer, inner } in Tags::of(template) {
        let word_end = inner.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(inner.len());
        let (word, rest) = inner.split_at(word_end);
        let inner_start = closer.start - inner.len();
        if word == "set" {
            let Some(equals) = top_level(rest, is_assignment) else { continue };
            let value = inner_start + word.len() + equals + 1;
            out.push_str(&template[copied..value]);
            let _ = write!(out, "({})|{FILTER} ", &template[value..closer.start]);
            copied = closer.start;
            continue;
        }
        let names = match word {
            "for" => top_level(rest, is_in).map(|end| names(&rest[..end])).unwrap_or_default(),
            "macro" | "call" => parenthesised(rest).map(first_names).unwrap_or_default(),
            "with" => first_names(rest),
            _ => continue,
        };
        if names.is_empty() {
            continue;
        }
        out.push_str(&template[copied..closer.start]);
        // What closes the tag says whether the space behind it stays, so it stands last.
        out.push_str("%}");
        for (at, name) in names.iter().enumerate() {
            let _ = write!(out, "{{% set {name} = {name}|{FILTER} ");
            out.push_str(if at + 1 < names.len() { "%}" } else { "" });
        }
        copied = closer.start;
    }
    out + &template[copied..]
}

/// The first place outside of brackets and quotes where this is true of what comes before and what begins there.
fn top_level(text: &str, is_it: fn(&str, &str) -> bool) -> Option<usize> {
    let (mut quote, mut depth, mut is_escaped) = (None, 0_usize, false);
    for (at, letter) in text.char_indices() {
        match (letter, quote) {
            _ if is_escaped => is_escaped = false,
            ('\\', Some(_)) => is_escaped = true,
            (_, Some(own)) if letter == own => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(letter),
            ('(' | '[' | '{', None) => depth += 1,
            (')' | ']' | '}', None) => depth = depth.saturating_sub(1),
            _ if depth == 0 && is_it(&text[..at], &text[at..]) => return Some(at),
            _ => {}
        }
    }
    None
}

fn is_assignment(before: &str, here: &str) -> bool {
    here.starts_with('=') && !here.starts_with("==") && !before.ends_with(['=', '!', '<', '>'])
}

fn is_in(before: &str, here: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    here.strip_prefix("in").is_some_and(|rest| !rest.starts_with(is_letter)) && !before.ends_with(is_letter)
}

fn is_comma(_: &str, here: &str) -> bool {
    here.starts_with(',')
}

/// The inside of the first brackets.
fn parenthesised(text: &str) -> Option<&str> {
    let inside = &text[text.find('(')? + 1..];
    let mut depth = 0_usize;
    let end = inside.find(|letter| {
        match letter {
            '(' => depth += 1,
            ')' if depth == 0 => return true,
            ')' => depth -= 1,
            _ => {}
        }
        false
    });
    Some(&inside[..end?])
}

/// The names that `a = 1, (b, c) = d` and `a, b = 1` set.
fn first_names(list: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = list;
    loop {
        let end = top_level(rest, is_comma).unwrap_or(rest.len());
        let one = &rest[..end];
        all.extend(names(&one[..top_level(one, is_assignment).unwrap_or(one.len())]));
        match rest.get(end + 1..) {
            Some(more) => rest = more,
            None => return all,
        }
    }
}

fn names(text: &str) -> Vec<&str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    #[test]
    fn a_guarded_template_weighs_what_gets_a_name_and_is_the_same_in_all_else() {
        let cases = [
            ("{%- set a = b == c -%}", "{%- set a =( b == c )|W -%}"),
            ("{% set n.a, b = '=', {'k': 1} %}", "{% set n.a, b =( '=', {'k': 1} )|W %}"),
            ("{% set a %}x{% endset %}", "{% set a %}x{% endset %}"),
            (
                "{%- for in_, b in d if b in c -%}",
                "{%- for in_, b in d if b in c %}{% set in_ = in_|W %}{% set b = b|W -%}",
            ),
            ("{% macro m(a, b=(1, 2)) +%}", "{% macro m(a, b=(1, 2)) %}{% set a = a|W %}{% set b = b|W +%}"),
            ("{% macro m() %}{% call(u) m() %}", "{% macro m() %}{% call(u) m() %}{% set u = u|W %}"),
            (
                "{% with a = [1, 2], (b, c) = d %}",
                "{% with a = [1, 2], (b, c) = d %}{% set a = a|W %}{% set b = b|W %}{% set c = c|W %}",
            ),
            (
                "{# {% set a = 1 %} #}{% raw %}{% set a = 1 %}{%- endraw %}",
                "{# {% set a = 1 %} #}{% raw %}{% set a = 1 %}{%- endraw %}",
            ),
        ];
        for (template, expected) in cases {
            assert_eq!(guarded(template), expected.replace('W', FILTER));
        }
    }

    /// Renders a template in an environment with bounds.
    fn rendered(template: &str) -> Result<String, String> {
        let mut environment = Environment::new();
        crate::jinja::bound(&mut environment, &crate::jinja::Bounds { fuel: 10_000_000, depth: 100, most: 64 << 20 });
        environment.set_formatter(|out, state, value| {
            count_printed(state, value)?;
            minijinja::escape_formatter(out, state, value)
        });
        environment.add_template_owned("it", guarded(template)).unwrap();
        let result = environment.get_template("it").unwrap().render(context! { list => [1, 2], text => "ab" });
        result.map_err(|error| error.to_string())
    }

    #[test]
    fn what_doubles_and_what_lies_in_itself_ends_in_a_sentence() {
        let often = |line: &str| line.repeat(60);
        let in_a_loop = |start: &str, line: &str| {
            format!("{{% set ns = namespace(a={start}) %}}{{% for i in range(90000) %}}{line}{{% endfor %}}")
        };
        let nested = |open: &str, close: &str| format!("{}x{}", open.repeat(60), close.repeat(60));
        let makes = [
            in_a_loop("text", "{% set ns.a = ns.a ~ ns.a %}"),
            in_a_loop("text", "{% set ns.a %}{{ ns.a }}{{ ns.a }}{% endset %}"),
            in_a_loop("list", "{% set ns.a = ns.a + ns.a %}"),
            in_a_loop("list", "{% set ns.a = [ns.a] %}"),
            in_a_loop("list", "{% set ns.a = {'a': ns.a} %}"),
            in_a_loop("list", "{% set ns.a = ns.a|chain(ns.a) %}"),
            in_a_loop("list", "{% set ns.a = ns %}"),
            format!("{{% set a = text %}}{}", often("{% set a = a ~ a %}")),
            format!("{{% set a = text %}}{}", nested("{% for a in [a ~ a] %}", "{% endfor %}")),
            format!("{{% set a = text %}}{}", nested("{% with a = a ~ a %}", "{% endwith %}")),
            "{% macro m(a) %}{{ m(a ~ a) }}{% endmacro %}{{ m(text) }}".to_owned(),
            "{% macro m(a, n) %}{% if n %}{{ m(a, n - 1) }}{{ m(a, n - 1) }}{% endif %}{{ a * 9999 }}{% endmacro %}{{ m(text, 90) }}".to_owned(),
        ];
        for template in makes {
            let error = rendered(&template).expect_err(&template[..template.len().min(200)]);
            let ends = ["the template makes", "recursion limit", "fuel"];
            assert!(ends.iter().any(|end| error.contains(end)), "{template:.200}: {error}");
        }
    }

    #[test]
    fn what_is_lazy_or_undefined_stays_usable() {
        let template = "{% macro m(a, b) %}{{ a is defined }}{{ b is defined }}{% endmacro %}{{ m(1) }}\
            {% for i in list|map('string') -%}\n  {{ i }}{{ loop.index }}{% endfor %}{% set a = list[1:] %}{{ a[0] }}{{ a|length }}";
        assert_eq!(rendered(template).unwrap(), "TrueFalse112221");
    }
}
