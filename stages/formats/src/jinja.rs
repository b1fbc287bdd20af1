//! Bounds of what a text of Jinja may take: it is read by people who did not write it, and by `check` before anything runs.
//! The engine itself bounds `range` and texts that are multiplied.

use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Environment, Error, ErrorKind};
use std::cell::LazyCell;
use std::ops::Range;

mod guard;
mod tags;
mod text;

pub use guard::{count_printed, guarded, weight};
pub use text::{TextTemplate, with_line};

/// The longest expression, in bytes. Its compiler goes as deep as it is long.
pub const LONGEST: usize = 2048;

/// Bounds of one rendering.
pub struct Bounds {
    /// Steps.
    pub fuel: u64,
    /// Macros and blocks within each other.
    pub depth: usize,
    /// Bytes of a text, or items of a list, that a filter makes of little.
    pub most: usize,
}

thread_local! {
    static PLAIN: LazyCell<Environment<'static>> = LazyCell::new(Environment::new);
}

/// The size of what a filter makes of a value and its arguments, at least.
type Estimate = fn(&Value, &[Value]) -> usize;

/// The filters that make much of little.
const GROWING: [(&str, Estimate); 6] = [
    ("join", |value, arguments| {
        let Ok(items) = value.try_iter() else { return 0 };
        let separator = length(arguments.first());
        items.fold(0, |sum, item| sum.saturating_add(length(Some(&item))).saturating_add(separator))
    }),
    ("replace", |value, arguments| {
        let [from, to] = [0, 1].map(|at| arguments.get(at).map(ToString::to_string).unwrap_or_default());
        let text = value.to_string();
        text.matches(&*from).count().saturating_mul(to.len()).saturating_add(text.len())
    }),
    ("batch", |_, arguments| number(arguments.first())),
    ("slice", |_, arguments| number(arguments.first())),
    ("indent", |value, arguments| {
        number(arguments.first()).saturating_mul(value.to_string().matches('\n').count() + 1)
    }),
    // Widths and precisions, in the text or (`*`) among the arguments.
    ("format", |value, arguments| {
        let text = value.to_string();
        let digits = text.split(|letter: char| !letter.is_ascii_digit()).filter(|digits| !digits.is_empty());
        let widths = digits.map(|digits| digits.parse().unwrap_or(usize::MAX)).fold(0, usize::saturating_add);
        let starred = arguments.iter().filter(|_| text.contains('*')).map(|argument| number(Some(argument)));
        starred.fold(widths, usize::saturating_add)
    }),
];

fn length(value: Option<&Value>) -> usize {
    value.map_or(0, |value| value.as_str().map_or_else(|| value.to_string().len(), str::len))
}

fn number(value: Option<&Value>) -> usize {
    value.and_then(|value| usize::try_from(value.clone()).ok()).unwrap_or(0)
}

/// Gives an environment an end to what a rendering may do.
pub fn bound(environment: &mut Environment, bounds: &Bounds) {
    let Bounds { fuel, depth, most } = *bounds;
    environment.set_fuel(Some(fuel));
    environment.set_recursion_limit(depth);
    guard::add(environment);
    for (name, estimate) in GROWING {
        let filter = move |value: Value, arguments: Rest<Value>, named: Kwargs| -> Result<Value, Error> {
            if estimate(&value, &arguments) > most {
                let most = format!("`{name}` would make more than {most} bytes or items");
                return Err(Error::new(ErrorKind::InvalidOperation, most));
            }
            let mut all: Vec<Value> = std::iter::once(value).chain(arguments.0.iter().cloned()).collect();
            if named.args().next().is_some() {
                all.push(named.into());
            }
            PLAIN.with(|plain| plain.empty_state().apply_filter(name, &all))
        };
        environment.add_filter(name, filter);
    }
}

/// The first `{{ … }}` or `{% … %}` with more than [`LONGEST`] bytes beside the texts in quotes.
pub fn too_long(template: &str) -> Option<Range<usize>> {
    let mut at = 0;
    while let Some(tag) = tags::next(template, at) {
        let mut quote = None;
        let mut is_escaped = false;
        let count = template[tag.clone()].bytes().filter(|&letter| {
            match (letter, quote) {
                _ if is_escaped => is_escaped = false,
                (b'\\', Some(_)) => is_escaped = true,
                (_, Some(own)) if letter == own => quote = None,
                (b'"' | b'\'', None) => quote = Some(letter),
                _ => {}
            }
            quote.is_none()
        });
        if count.count() > LONGEST {
            return Some(tag);
        }
        at = tag.end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_text_makes_an_expression_long() {
        let long = |inner: &str| format!("{{# ({} #}}ab{{{{ {inner} }}}}", "-".repeat(3000));
        assert_eq!(too_long(&long(&format!("'{}'", "é\\'".repeat(3000)))), None);
        assert_eq!(too_long(&long("{'a': {'b': 1}}")), None);
        let tag = long(&format!("{{'a': {{}}}} {}1", "-".repeat(3000)));
        assert_eq!(too_long(&tag), Some(3009..tag.len()));
        assert!(too_long(&format!("{{% if {} %}}", "(".repeat(3000))).is_some());
    }
}
