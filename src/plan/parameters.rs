//! The `with:` block of a stage, typed by its kind; mistakes are traced back to the place in the file. No kind is known
//! by name.

use super::sheets::SheetFile;
use super::source::Input;
use crate::diagnostic::Diagnostic;
use crate::spec::{Node, StageSpec, WithSpan, stage};
use formats::dtype::Dtype;
use stages::stage::{Kind, did_you_mean};

/// The parameter that `dtype:` of the file stands for.
const DTYPE: &str = "dtype";

/// Everything from which the parameters of a stage come.
pub struct WrittenParameters<'a> {
    pub with: &'a Node,
    /// Sheets on ports, each in the place of a parameter.
    pub sheets: &'a [SheetFile],
    pub inputs: &'a [Input],
    /// `dtype:` of the file.
    pub dtype: Option<Dtype>,
}

/// Fills in every default; each mistake is shown at its key or value.
pub fn resolve(
    stage: &StageSpec,
    written: &WrittenParameters,
    kind: &Kind,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<serde_json::Value> {
    let WrittenParameters { with, sheets, inputs, dtype } = *written;
    let serde_json::Value::Object(mut given) = with.to_json() else { return None };
    given.extend(sheets.iter().map(|sheet| (sheet.parameter.to_owned(), sheet.node.to_json())));
    if let Some(dtype) = dtype
        && (kind.defaults)().get(DTYPE).is_some()
    {
        given.entry(DTYPE).or_insert_with(|| dtype.name().into());
    }
    let found = match (kind.parse)(&given) {
        Ok(parameters) => {
            let connected: Vec<&str> = inputs.iter().map(|input| input.port.as_str()).collect();
            let (warnings, found): (Vec<_>, Vec<_>) =
                (kind.unconnected)(&parameters, &connected).into_iter().partition(|mistake| mistake.is_warning);
            mistakes.extend(warnings.into_iter().map(|warning| {
                let span =
                    if with.get(&warning.path).is_some() { with.find(&warning.path).value } else { stage.name.span };
                Diagnostic { help: warning.help, ..Diagnostic::warning(span, warning.message) }
            }));
            if found.is_empty() {
                return Some(parameters);
            }
            found
        }
        Err(found) => found,
    };
    let defaults = (kind.defaults)();
    for mistake in found {
        let in_sheet = sheets.iter().find_map(|sheet| Some((sheet, mistake.path.strip_prefix(sheet.parameter)?)));
        if let Some((sheet, path)) = in_sheet {
            let place = sheet.node.find(path.trim_start_matches('.'));
            let message = in_plain_words(&mistake.message).unwrap_or(mistake.message);
            mistakes
                .push(sheet.told(Diagnostic { help: mistake.help, ..Diagnostic::error(sheet.shown(place), message) }));
            continue;
        }
        let place = with.find(&mistake.path);
        if place.is_broken {
            continue;
        }
        let pointer = format!("/{}", mistake.path.replace('.', "/"));
        let is_known = defaults.pointer(&pointer).is_some();
        // A mistake about an absent key is shown at the stage's name.
        let is_written = with.get(mistake.path.split(['.', '[']).next().unwrap_or_default()).is_some();
        let span = match (is_written, is_known) {
            (false, _) => stage.name.span,
            (true, true) => place.value,
            (true, false) => place.key,
        };
        let message = match in_plain_words(&mistake.message) {
            Some(message) => format!("`{}`: {message}", mistake.path),
            None if mistake.message.contains('`') || mistake.path.is_empty() => mistake.message,
            None => format!("`{}`: {}", mistake.path, mistake.message),
        };
        let is_of_stage = !is_known && stage::KEYS.contains(&mistake.path.as_str());
        let help = match is_of_stage {
            true => Some(format!("`{}` is a key of the stage: it stands beside `with`", mistake.path)),
            false => mistake.help,
        };
        mistakes.push(Diagnostic { help, ..Diagnostic::error(span, message) });
    }
    None
}

/// Reports parameters in whose place something is connected.
pub fn refuse_replaced(kind: &Kind, inputs: &[Input], with: &Node, mistakes: &mut Vec<Diagnostic>) {
    for port in kind.ports.iter().filter(|port| inputs.iter().any(|input| input.port == port.name)) {
        let Some(parameter) = port.instead_of else { continue };
        if parameter.split('.').try_fold(with, Node::get).is_some() {
            let message = format!("`{parameter}` and a source of `{}` exclude each other", port.name);
            let help = format!("take one of the two away; `{}`: {}", port.name, port.doc);
            mistakes.push(Diagnostic::error(with.find(parameter).key, message).help(help));
        }
    }
}

/// `dtype:` of the file, for every stage that has this parameter and does not set it.
pub fn dtype(typed: &WithSpan<String>, mistakes: &mut Vec<Diagnostic>) -> Option<Dtype> {
    let found = Dtype::ALL.into_iter().find(|dtype| dtype.name() == typed.value);
    if found.is_none() {
        let message = format!("unknown dtype `{}`", typed.value);
        let help = did_you_mean(&typed.value, &Dtype::ALL.map(Dtype::name));
        mistakes.push(Diagnostic::error(typed.span, message).help(help));
    }
    found
}

/// Rewords what serde says of Rust's types: `invalid type: string "many", expected u64`.
fn in_plain_words(message: &str) -> Option<String> {
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.split_once(", expected ")?;
    let expected = match expected {
        "u64" | "u32" | "u16" | "u8" | "usize" => "a whole number from 0",
        "i64" | "i32" | "isize" => "a whole number",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        "a map" => "a mapping",
        other => other.strip_prefix("struct ").map_or(other, |_| "a mapping"),
    };
    let found = match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer" | "boolean", value)) => value.to_owned(),
        Some(("floating", value)) => value.trim_start_matches("point ").to_owned(),
        _ if found == "map" => "a mapping".to_owned(),
        _ if found == "sequence" => "a list".to_owned(),
        _ if found == "null" || found == "unit value" => "nothing".to_owned(),
        _ => found.to_owned(),
    };
    Some(format!("expected {expected}, found {found}"))
}
