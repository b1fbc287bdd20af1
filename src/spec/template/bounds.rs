//! Bounds of what an expression may take: a file is read by people who did not write it, and by `check` before anything runs.
//! The engine itself bounds `range` and texts that are multiplied.

use minijinja::value::{Rest, Value};
use minijinja::{Environment, Error, ErrorKind};
use std::cell::LazyCell;

/// The longest expression, in bytes. Its parser goes as deep as it is long.
pub const LONGEST: usize = 2048;

/// The most steps of an expression.
const FUEL: u64 = 100_000;
/// The most bytes of a text, or items of a list, that a filter makes of little.
const MOST: usize = 1 << 20;

thread_local! {
    static PLAIN: LazyCell<Environment<'static>> = LazyCell::new(Environment::new);
}

/// The size of what a filter makes of a value and its arguments, at least.
type Estimate = fn(&Value, &[Value]) -> usize;

/// The filters that make much of little.
const GROWING: [(&str, Estimate); 5] = [
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
];

fn length(value: Option<&Value>) -> usize {
    value.map_or(0, |value| value.as_str().map_or_else(|| value.to_string().len(), str::len))
}

fn number(value: Option<&Value>) -> usize {
    value.and_then(|value| usize::try_from(value.clone()).ok()).unwrap_or(0)
}

/// Gives an environment an end to what an expression may do.
pub fn set(environment: &mut Environment) {
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(64);
    for (name, estimate) in GROWING {
        environment.add_filter(name, move |value: Value, arguments: Rest<Value>| -> Result<Value, Error> {
            if estimate(&value, &arguments) > MOST {
                let most = format!("`{name}` would make more than {MOST} bytes or items");
                return Err(Error::new(ErrorKind::InvalidOperation, most));
            }
            let all: Vec<Value> = std::iter::once(value).chain(arguments.0.iter().cloned()).collect();
            PLAIN.with(|plain| plain.empty_state().apply_filter(name, &all))
        });
    }
}
