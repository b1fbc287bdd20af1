//! Chat templates: Jinja, rendered as `transformers` renders it, that turns a dialogue into the text a model is trained
//! on.

mod marks;
mod turns;

use marks::{MARK_END, MARK_START, MARKED, with_marks, without_marks};
pub use turns::{AnswerText, DialogueText, with_answer};

use crate::dialogue::Message;
use crate::jinja::{self, Bounds, with_line};
use crate::json;
use crate::unreadable::{Reading, Unreadable};
use crate::whole;
use anyhow::{Context, Result, bail};
use jiff::civil::{DateTime, date};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

pub const FILE: &str = "chat_template.jinja";
const SETTINGS: &str = "tokenizer_config.json";

/// The time that templates see. A stage is a function of its inputs, so its prompts may not change overnight; templates
/// of LLaMA 3 fall back to this day themselves.
const NOW: DateTime = date(2024, 7, 26).at(0, 0, 0, 0);

/// The longest templates take some hundreds of steps, and some tens more for each message.
const BOUNDS: Bounds = Bounds { fuel: 10_000_000, depth: 100, most: 64 << 20 };

type Map = serde_json::Map<String, serde_json::Value>;

/// Values of names that a template uses, such as `enable_thinking`.
pub type Arguments = BTreeMap<String, serde_json::Value>;

pub struct Template {
    environment: Environment<'static>,
    source: String,
    /// `bos_token`, `eos_token`, … as text.
    special: BTreeMap<String, String>,
    /// The text that it puts after an answer, once that was asked for.
    ending: OnceLock<Option<String>>,
    /// The words in brackets that it puts around messages.
    marks: OnceLock<Vec<String>>,
}

impl Template {
    /// Loads the template of a model directory: `instead`, else `chat_template.jinja`, else the field `chat_template`
    /// of `tokenizer_config.json`, which is a text or a list of named texts with one called `default`. `None`: it has
    /// none.
    ///
    /// # Errors
    /// A file that is there cannot be read, or the template is no Jinja.
    pub fn load(directory: &Path, instead: Option<&str>) -> Result<Option<Template>> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum TemplateField {
            One(String),
            Several(Vec<NamedTemplate>),
        }
        #[derive(serde::Deserialize)]
        struct NamedTemplate {
            name: String,
            template: String,
        }
        let path = directory.join(SETTINGS);
        let mut settings: Map = json::read_if_there(&path)?.unwrap_or_default();
        let apart = directory.join(FILE);
        let apart = files::exists(&apart)?.then(|| whole::text(&apart));
        let source = match (instead, apart, settings.remove("chat_template")) {
            (Some(source), ..) => Some(source.to_owned()),
            (_, Some(source), _) => Some(source?),
            (.., Some(given)) if !given.is_null() => {
                match serde_json::from_value(given).context("`chat_template`").reading(&path)? {
                    TemplateField::One(source) => Some(source),
                    TemplateField::Several(all) => {
                        all.into_iter().find(|named| named.name == "default").map(|named| named.template)
                    }
                }
            }
            _ => None,
        };
        let Some(source) = source else { return Ok(None) };
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => Some(text.clone()),
            other => other.get("content")?.as_str().map(str::to_owned),
        };
        // For tokens that tokenizer_config.json does not name.
        let more: Option<Map> = json::read_if_there(&directory.join("special_tokens_map.json"))?;
        for (name, value) in more.unwrap_or_default() {
            settings.entry(name).or_insert(value);
        }
        let special = settings.iter().filter(|(name, _)| name.ends_with("_token"));
        let special = special.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect();
        let template = Template::new(&source, special);
        let unreadable = |fault| Unreadable::new(directory, fault).part("the chat template of ");
        Ok(Some(template.map_err(unreadable)?))
    }

    /// # Errors
    /// The text is no Jinja.
    pub fn new(source: &str, special: BTreeMap<String, String>) -> Result<Template> {
        let mut environment = Environment::new();
        jinja::bound(&mut environment, &BOUNDS);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(with_line)?;
        environment.set_syntax(syntax);
        environment.set_unknown_method_callback(method);
        environment.set_formatter(|out, state, value| {
            jinja::count_printed(state, value)?;
            match printed(value) {
                Some(text) => {
                    out.write_str(&text).map_err(|error| Error::new(ErrorKind::WriteFailure, error.to_string()))
                }
                None => minijinja::escape_formatter(out, state, value),
            }
        });
        environment.add_test("sequence", |value: &Value| {
            use ValueKind::{Iterable, Map, Seq, String, Undefined};
            matches!(value.kind(), Seq | Iterable | String | Map | Undefined)
        });
        environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: &str| {
            jiff::fmt::strtime::format(format, NOW)
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
        });
        environment.add_filter("tojson", to_json);
        environment.add_filter(MARKED, |text: &str| format!("{MARK_START}{text}{MARK_END}"));
        if let Some(place) = jinja::too_long(source) {
            let line = source[..place.start].matches('\n').count() + 1;
            bail!("a tag of more than {} bytes beside its texts (line {line} of the template)", jinja::LONGEST);
        }
        environment.add_template_owned("chat", jinja::guarded(&with_marks(source))).map_err(with_line)?;
        Ok(Template {
            environment,
            source: source.to_owned(),
            special,
            ending: OnceLock::new(),
            marks: OnceLock::new(),
        })
    }

    /// A name of the template by its text.
    pub fn digest(&self) -> String {
        blake3::hash(self.source.as_bytes()).to_hex().to_string()
    }

    /// The text of a template that renders as this one with `arguments`, in `transformers` as well: they become the
    /// defaults of the names that the template uses.
    ///
    /// # Errors
    /// The template does not use such a name.
    pub fn source_with(&self, arguments: &Arguments) -> Result<String> {
        let mut out = String::new();
        for (name, value) in arguments {
            let mut words = self.source.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            if !words.any(|word| word == name) {
                bail!("`template_args`: the chat template does not use the name `{name}`");
            }
            let value = literal(value);
            out += &format!("{{% set {name} = {name} if {name} is defined else {value} %}}\n");
        }
        Ok(out + &self.source)
    }

    /// Renders a dialogue; with `asks`, as far as the beginning of the next answer.
    ///
    /// # Errors
    /// The template itself refuses it: roles that do not alternate, for example.
    pub fn render(&self, messages: &[Message], asks: bool) -> Result<String> {
        self.render_with(messages, asks, &BTreeMap::<String, ()>::new())
    }

    /// Renders a dialogue, and the parts of the text that the template marks as the assistant's by `{% generation %}`.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_marked(&self, messages: &[Message]) -> Result<(String, Vec<Range<usize>>)> {
        Ok(without_marks(&self.rendered(messages, false, &BTreeMap::<String, ()>::new())?))
    }

    /// As [`Template::render`], with further names that the template may use: `tools`, `enable_thinking`.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_with(
        &self,
        messages: &(impl Serialize + ?Sized),
        asks: bool,
        more: &impl Serialize,
    ) -> Result<String> {
        Ok(without_marks(&self.rendered(messages, asks, more)?).0)
    }

    fn rendered(&self, messages: &(impl Serialize + ?Sized), asks: bool, more: &impl Serialize) -> Result<String> {
        let given = minijinja::context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => asks,
            tools => (),
            documents => (),
        };
        let all = minijinja::context! { ..Value::from(Serde(more)), ..given, ..Value::from(Serde(&self.special)) };
        let template = self.environment.get_template("chat").map_err(with_line)?;
        template.render(all).map_err(with_line).context("render the chat template")
    }
}

/// A value as Jinja writes it.
fn literal(value: &serde_json::Value) -> String {
    use serde_json::Value::{Array, Null, Object};
    let joined = |parts: Vec<String>| parts.join(", ");
    match value {
        Null => "none".to_owned(),
        Array(items) => format!("[{}]", joined(items.iter().map(literal).collect())),
        Object(fields) => {
            let field =
                |(name, value): (&String, _)| format!("{}: {}", serde_json::Value::from(&**name), literal(value));
            format!("{{{}}}", joined(fields.iter().map(field).collect()))
        }
        other => other.to_string(),
    }
}

/// Methods of Python's `str` that minijinja lacks or defines otherwise.
fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str().filter(|_| name == "title") else {
        return minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments);
    };
    let mut out = String::with_capacity(text.len());
    let mut is_inside = false;
    for letter in text.chars() {
        match is_inside {
            true => out.extend(letter.to_lowercase()),
            false => out.extend(letter.to_uppercase()),
        }
        is_inside = letter.is_alphabetic();
    }
    Ok(Value::from(out))
}

/// Values that Python prints otherwise than minijinja: True, False, None, fractions, and lists and mappings of them.
fn printed(value: &Value) -> Option<String> {
    match value.kind() {
        ValueKind::Bool | ValueKind::None | ValueKind::Seq | ValueKind::Map => Some(represented(value)),
        ValueKind::Number if !value.is_integer() => Some(represented(value)),
        _ => None,
    }
}

/// A value as `repr` of Python writes it.
fn represented(value: &Value) -> String {
    let joined = |parts: Vec<String>, open: char, close: char| format!("{open}{}{close}", parts.join(", "));
    match value.kind() {
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::Number if !value.is_integer() => f64::try_from(value.clone()).map_or(value.to_string(), fraction),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            let escape = |letter: char| match letter {
                '\\' => "\\\\".to_owned(),
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                '\t' => "\\t".to_owned(),
                letter if letter == quote => format!("\\{quote}"),
                letter => letter.to_string(),
            };
            format!("{quote}{}{quote}", text.chars().map(escape).collect::<String>())
        }
        ValueKind::Seq => {
            joined(value.try_iter().into_iter().flatten().map(|item| represented(&item)).collect(), '[', ']')
        }
        ValueKind::Map => {
            let pair = |key: Value| {
                let item = value.get_item(&key).unwrap_or_default();
                format!("{}: {}", represented(&key), represented(&item))
            };
            joined(value.try_iter().into_iter().flatten().map(pair).collect(), '{', '}')
        }
        _ => value.to_string(),
    }
}

/// A float as Python writes it: the fewest digits that mean it, with an exponent below 1e-4 and from 1e16.
fn fraction(value: f64) -> String {
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return value.to_string() };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        }
        _ if value.fract() == 0.0 => format!("{value:.1}"),
        _ => value.to_string(),
    }
}

/// JSON as `json.dumps` of Python writes it, on which models were trained: a space after `:` and `,`, and no escapes
/// for HTML.
fn to_json(value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    let (ascii, sorts): (Option<bool>, Option<bool>) = (kwargs.get("ensure_ascii")?, kwargs.get("sort_keys")?);
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    kwargs.assert_all_used()?;
    let [between, behind] = match &separators.unwrap_or_default()[..] {
        [between, behind] => [between.clone(), behind.clone()],
        _ => [if indent.is_some() { "," } else { ", " }, ": "].map(str::to_owned),
    };
    let style = JsonStyle { indent, between, behind, is_sorted: sorts == Some(true), is_ascii: ascii == Some(true) };
    let mut out = String::new();
    style.write(&value, 0, &mut out)?;
    Ok(Value::from_safe_string(out))
}

/// The options of `json.dumps`.
struct JsonStyle {
    indent: Option<usize>,
    between: String,
    behind: String,
    is_sorted: bool,
    is_ascii: bool,
}

impl JsonStyle {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        let bad = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.block(['[', ']'], items.len(), depth, out, |at, out| self.write(&items[at], depth + 1, out))
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.is_sorted {
                    keys.sort();
                }
                self.block(['{', '}'], keys.len(), depth, out, |at, out| {
                    self.write(&Value::from(keys[at].to_string()), depth + 1, out)?;
                    out.push_str(&self.behind);
                    self.write(&value.get_item(&keys[at])?, depth + 1, out)
                })
            }
            ValueKind::Number if !value.is_integer() => {
                out.push_str(&f64::try_from(value.clone()).map_or(value.to_string(), fraction));
                Ok(())
            }
            _ => {
                let text = serde_json::to_string(value).map_err(bad)?;
                out.push_str(&if self.is_ascii { escaped(&text) } else { text });
                Ok(())
            }
        }
    }

    fn block(
        &self,
        [open, close]: [char; 2],
        count: usize,
        depth: usize,
        out: &mut String,
        mut write: impl FnMut(usize, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line =
            |depth: usize| self.indent.map_or(String::new(), |indent| format!("\n{}", " ".repeat(indent * depth)));
        out.push(open);
        for at in 0..count {
            if at > 0 {
                out.push_str(&self.between);
            }
            out.push_str(&line(depth + 1));
            write(at, out)?;
        }
        if count > 0 {
            out.push_str(&line(depth));
        }
        out.push(close);
        Ok(())
    }
}

/// Writes letters beyond ASCII as `\uXXXX`, in UTF-16.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_ascii() && letter != '\u{7f}' {
            true => out.push(letter),
            false => letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out
}
