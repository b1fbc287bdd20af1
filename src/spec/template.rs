//! `${…}` in scalars: expressions over `vars`, `for` variables and `env.NAME`, evaluated by minijinja. A value that is
//! exactly one `${…}` keeps its type; `$${` stands for a plain `${`.

mod pieces;

use crate::canonical::EXACT;
use crate::diagnostic::{Diagnostic, Span};
use crate::spec::node::{Node, Value, WithSpan};
use formats::jinja::{self, Bounds};
use minijinja::value::{Value as Jinja, ValueKind};
use minijinja::{Environment, UndefinedBehavior};
use pieces::{Piece, pieces};
use stages::stage::{did_you_mean, nearest};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

const BOUNDS: Bounds = Bounds { fuel: 100_000, depth: 64, most: LARGEST };

/// The most bytes of a variable, and of a text with expressions: one that doubles the one before it needs few lines.
const LARGEST: usize = 1 << 20;

/// Lists in lists of a variable.
const DEEPEST: usize = 100;

/// The variables an expression may use, each by its bare name, those under `vars:` also as `vars.NAME`. Cheap to copy:
/// every stage of a `for` has a copy.
#[derive(Clone, Default)]
pub struct Scope {
    file: Rc<Variables>,
    /// The variables of `for`; each hides a var of the same name.
    loops: Vec<(Rc<str>, Jinja)>,
}

/// The variables of the file.
#[derive(Clone, Default)]
struct Variables {
    vars: BTreeMap<String, Jinja>,
    env: BTreeMap<String, Jinja>,
    /// Variables with a reported mistake: expressions that use them are not reported again.
    broken: BTreeSet<String>,
    /// Made for the first expression that is more than a name: making it costs more than most expressions.
    environment: OnceCell<Environment<'static>>,
}

impl Variables {
    fn environment(&self) -> &Environment<'static> {
        self.environment.get_or_init(|| {
            let mut environment = Environment::new();
            environment.set_undefined_behavior(UndefinedBehavior::Strict);
            jinja::bound(&mut environment, &BOUNDS);
            environment
        })
    }
}

impl Scope {
    pub fn add_var(&mut self, name: &str, node: &Node, mistakes: &mut Vec<Diagnostic>) {
        let file = Rc::make_mut(&mut self.file);
        let value = Some(result_of(node)).filter(|value| jinja::weight(value, LARGEST, DEEPEST).is_some());
        if value.is_none() {
            let message = format!("`{name}` holds more than {LARGEST} bytes, or {DEEPEST} lists in each other");
            mistakes.push(Diagnostic::error(node.span, message));
        }
        if value.is_none() || contains_broken(node) {
            file.broken.insert(name.to_owned());
        }
        file.vars.insert(name.to_owned(), value.unwrap_or_default());
    }

    pub fn add_loop_variable(&mut self, name: &Rc<str>, node: &Node) {
        self.loops.push((Rc::clone(name), result_of(node)));
    }

    /// `None`: declared, but its value is a reported mistake.
    pub fn add_env(&mut self, name: &str, value: Option<&str>) {
        let file = Rc::make_mut(&mut self.file);
        if value.is_none() {
            file.broken.insert(format!("env.{name}"));
        }
        file.env.insert(name.to_owned(), Jinja::from(value.unwrap_or_default()));
    }

    fn of_loop(&self, name: &str) -> Option<&Jinja> {
        self.loops.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
    }

    /// The value of the first part of a name.
    fn value(&self, root: &str) -> Option<Jinja> {
        match root {
            "vars" => Some(Jinja::from(self.file.vars.clone())),
            "env" => Some(Jinja::from(self.file.env.clone())),
            _ => self.of_loop(root).or_else(|| self.file.vars.get(root)).cloned(),
        }
    }

    /// The value and the full name of a variable, if the expression is only its name.
    fn named(&self, expression: &str) -> Option<(Jinja, String)> {
        if CONSTANTS.contains(&expression) {
            return None;
        }
        if let Some(value) = self.of_loop(expression) {
            return Some((value.clone(), expression.to_owned()));
        }
        let (name, full) = match expression.strip_prefix("vars.") {
            Some(name) => (name, expression.to_owned()),
            None => (expression, format!("vars.{expression}")),
        };
        let value = self.file.vars.get(name).filter(|_| !self.file.broken.contains(name))?;
        Some((value.clone(), full))
    }
}

/// Names that minijinja reads as values, not as variables.
const CONSTANTS: [&str; 6] = ["true", "True", "false", "False", "none", "None"];

/// The tree with every `${…}` in its values replaced; keys are not templated.
pub fn fill(node: &Node, scope: &Scope, mistakes: &mut Vec<Diagnostic>) -> Node {
    let mut filled = node.clone();
    fill_in(&mut filled, scope, mistakes);
    filled
}

/// Replaces every `${…}` in place.
pub fn fill_in(node: &mut Node, scope: &Scope, mistakes: &mut Vec<Diagnostic>) {
    match &mut node.value {
        Value::String(text) if text.contains("${") => *node = fill_text(text, node.span, scope, mistakes),
        Value::List(items) => items.iter_mut().for_each(|item| fill_in(item, scope, mistakes)),
        Value::Map(map) => map.iter_mut().for_each(|(_, item)| fill_in(item, scope, mistakes)),
        _ => {}
    }
}

/// One text with every `${…}` replaced.
pub fn fill_text(text: &str, span: Span, scope: &Scope, mistakes: &mut Vec<Diagnostic>) -> Node {
    if !text.contains("${") {
        return Node::new(span, Value::String(text.to_owned()));
    }
    let place = |range: &Range<usize>| part_of(span, text, range);
    let pieces = match pieces(text) {
        Ok(pieces) => pieces,
        Err(open) => {
            mistakes
                .push(Diagnostic::error(place(&open), "`${` without its `}`").help("a plain `${` is written `$${`"));
            return Node::new(span, Value::Broken);
        }
    };
    let is_whole = pieces.len() == 1;
    let mut variables = Vec::new();
    let mut filled = String::new();
    let mut is_broken = false;
    for piece in &pieces {
        let (range, expression) = match piece {
            Piece::Text(text) => {
                filled.push_str(text);
                continue;
            }
            Piece::Expression(range, expression) => (range, expression),
        };
        match evaluate(expression, scope) {
            Ok(Evaluation { result, used }) => {
                variables.extend(used);
                if is_whole {
                    return match value_of(&result, span) {
                        Some(value) => Node { span, value, variables: variables.into() },
                        None => {
                            let message = "this is no value that the file could hold: whole numbers end at 2^53, others are finite";
                            mistakes.push(Diagnostic::error(place(range), message));
                            Node::new(span, Value::Broken)
                        }
                    };
                }
                if matches!(result.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
                    let message = "a list or mapping cannot stand inside a text";
                    mistakes.push(Diagnostic::error(place(range), message).help("let the value be this `${…}` alone"));
                    is_broken = true;
                }
                let more = result.to_string();
                if filled.len() + more.len() > LARGEST {
                    let message = format!("with this, the text has more than {LARGEST} bytes");
                    mistakes.push(Diagnostic::error(place(range), message));
                    return Node::new(span, Value::Broken);
                }
                filled.push_str(&more);
            }
            Err(NoValue::Reported) => is_broken = true,
            Err(NoValue::Mistake { message, help }) => {
                mistakes.push(Diagnostic { help, ..Diagnostic::error(place(range), message) });
                is_broken = true;
            }
        }
    }
    let value = if is_broken { Value::Broken } else { Value::String(filled) };
    Node { span, value, variables: variables.into() }
}

/// The variables in the expressions of a text; expressions that do not parse are skipped.
pub fn variables_of(text: &str) -> BTreeSet<String> {
    let mut variables = BTreeSet::new();
    for piece in pieces(text).unwrap_or_default() {
        if let Piece::Expression(_, expression) = piece
            && expression.len() <= jinja::LONGEST
            && let Ok(expression) = Environment::new().compile_expression(&expression)
        {
            variables.extend(expression.undeclared_variables(true));
        }
    }
    variables
}

/// The place of a part of a scalar: exact if the file holds the scalar unescaped, else the whole scalar.
pub fn part_of(span: Span, text: &str, range: &Range<usize>) -> Span {
    match span.end - span.start == text.len() {
        true => Span::new(span.start + range.start, span.start + range.end),
        false => span,
    }
}

/// Whether the text is an identifier: letters, digits and `_`, not beginning with a digit.
pub fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|next| next.is_ascii_alphanumeric() || next == '_')
}

/// Refuses names that an expression could not use.
pub fn check_variable_name(name: &WithSpan<String>, mistakes: &mut Vec<Diagnostic>) -> bool {
    let reserved = ["vars", "env", "true", "false", "none", "and", "or", "not", "in", "is", "if", "else"];
    let is_good = is_identifier(&name.value) && !reserved.contains(&name.value.as_str());
    if !is_good {
        let message = format!("`{}` cannot name a variable", name.value);
        mistakes.push(Diagnostic::error(name.span, message).help("names match [A-Za-z_][A-Za-z0-9_]*"));
    }
    is_good
}

struct Evaluation {
    result: Jinja,
    used: Vec<String>,
}

enum NoValue {
    /// It depends on a variable whose mistake is already known.
    Reported,
    Mistake {
        message: String,
        help: Option<String>,
    },
}

fn evaluate(expression: &str, scope: &Scope) -> Result<Evaluation, NoValue> {
    let expression = expression.trim();
    if let Some((result, name)) = scope.named(expression) {
        return Ok(Evaluation { result, used: vec![name] });
    }
    let mistake = |error: minijinja::Error| {
        let message = match error.detail() {
            Some(detail) => format!("`{expression}`: {detail}"),
            None => format!("`{expression}`: {}", error.kind()),
        };
        NoValue::Mistake { message, help: None }
    };
    if expression.len() > jinja::LONGEST {
        let message = format!("an expression of {} bytes; {} are the most", expression.len(), jinja::LONGEST);
        return Err(NoValue::Mistake { message, help: Some("let `vars:` hold parts of it".to_owned()) });
    }
    let environment = scope.file.environment();
    let compiled = environment.compile_expression(expression).map_err(mistake)?;
    let mut used = Vec::new();
    let mut context: BTreeMap<String, Jinja> = BTreeMap::new();
    let names: BTreeSet<String> = compiled.undeclared_variables(true).into_iter().collect();
    for name in names {
        used.push(known_variable(&name, scope, environment)?);
        let root = name.split('.').next().unwrap_or_default();
        if !context.contains_key(root)
            && let Some(value) = scope.value(root)
        {
            context.insert(root.to_owned(), value);
        }
    }
    let result = compiled.eval(context).map_err(mistake)?;
    if result.is_undefined() {
        return Err(NoValue::Mistake { message: format!("`{expression}` is not defined"), help: None });
    }
    Ok(Evaluation { result, used })
}

/// The full name of a variable (`steps` → `vars.steps`), or why it has none.
fn known_variable(name: &str, scope: &Scope, environment: &Environment) -> Result<String, NoValue> {
    let mut parts = name.split('.');
    let root = parts.next().unwrap_or_default();
    let member = parts.next();
    let unknown = |name: &str, help: String| {
        Err(NoValue::Mistake { message: format!("unknown variable `{name}`"), help: Some(help) })
    };
    let Variables { vars, env, broken, .. } = &*scope.file;
    match (root, member) {
        ("vars", Some(member)) if broken.contains(member) => Err(NoValue::Reported),
        ("vars", Some(member)) if vars.contains_key(member) => Ok(format!("vars.{member}")),
        ("vars", Some(member)) => unknown(name, did_you_mean(member, &names(vars))),
        ("env", Some(_)) if broken.contains(name) => Err(NoValue::Reported),
        ("env", Some(member)) if env.contains_key(member) => Ok(format!("env.{member}")),
        ("env", Some(member)) => unknown(name, format!("declare it: `env: [{member}]`")),
        ("vars" | "env", None) => Ok(root.to_owned()),
        _ if scope.of_loop(root).is_some() => Ok(root.to_owned()),
        _ if broken.contains(root) => Err(NoValue::Reported),
        _ if vars.contains_key(root) => Ok(format!("vars.{root}")),
        _ if environment.globals().any(|(global, _)| global == root) => Ok(root.to_owned()),
        _ => {
            let mut names = names(vars);
            names.extend(scope.loops.iter().map(|(name, _)| &**name).filter(|name| !vars.contains_key(*name)));
            names.sort_unstable();
            unknown(
                root,
                nearest(root, &names).map_or_else(|| elsewhere(root), |name| format!("did you mean `{name}`?")),
            )
        }
    }
}

/// The help for a name that no variable of the file is near to: a shell or the environment may have it.
fn elsewhere(name: &str) -> String {
    format!(
        "declare it under `vars:`; the shell's own is written `$${{{name}}}`, the environment's `${{env.{name}}}` with `env: [{name}]` in the file"
    )
}

fn names(map: &BTreeMap<String, Jinja>) -> Vec<&str> {
    map.keys().map(String::as_str).collect()
}

fn contains_broken(node: &Node) -> bool {
    match &node.value {
        Value::Broken => true,
        Value::List(items) => items.iter().any(contains_broken),
        Value::Map(map) => map.iter().any(|(_, item)| contains_broken(item)),
        _ => false,
    }
}

fn result_of(node: &Node) -> Jinja {
    match &node.value {
        Value::Broken | Value::Null => Jinja::from(()),
        Value::Bool(value) => Jinja::from(*value),
        Value::Int(value) => Jinja::from(*value),
        Value::Float(value) => Jinja::from(*value),
        Value::String(value) => Jinja::from(value.as_str()),
        Value::List(items) => Jinja::from(items.iter().map(result_of).collect::<Vec<_>>()),
        Value::Map(map) => {
            Jinja::from(map.iter().map(|(key, item)| (key.value.clone(), result_of(item))).collect::<BTreeMap<_, _>>())
        }
    }
}

fn value_of(result: &Jinja, span: Span) -> Option<Value> {
    Some(match result.kind() {
        ValueKind::None => Value::Null,
        ValueKind::Bool => Value::Bool(result.is_true()),
        ValueKind::Number if result.is_integer() => {
            let value = i64::try_from(result.clone()).ok()?;
            Some(value).filter(|value| value.unsigned_abs() <= EXACT).map(Value::Int)?
        }
        ValueKind::Number => f64::try_from(result.clone()).ok().filter(|value| value.is_finite()).map(Value::Float)?,
        ValueKind::String => Value::String(result.as_str()?.to_owned()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = result.try_iter().ok()?.map(|item| value_of(&item, span).map(|value| Node::new(span, value)));
            Value::List(items.collect::<Option<_>>()?)
        }
        ValueKind::Map => {
            let entries = result.try_iter().ok()?.map(|key| {
                let item = result.get_item(&key).ok()?;
                let name = WithSpan { value: key.as_str()?.to_owned(), span };
                Some((name, Node::new(span, value_of(&item, span)?)))
            });
            Value::Map(entries.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{SourceText, render};
    use crate::spec::yaml;
    use expect_test::{Expect, expect};
    use std::path::PathBuf;

    /// vars: steps 200, names [a, b]; `for` variable k = 2; env HOME = /home/me.
    fn check(text: &str, expected: Expect) {
        let mut mistakes = Vec::new();
        let mut scope = Scope::default();
        let vars = yaml::parse("{steps: 200, names: [a, b]}", 0, &mut mistakes).unwrap();
        for name in ["steps", "names"] {
            scope.add_var(name, vars.get(name).unwrap(), &mut mistakes);
        }
        scope.add_loop_variable(&Rc::from("k"), &Node::new(Span::default(), Value::Int(2)));
        scope.add_env("HOME", Some("/home/me"));
        let node = yaml::parse(text, 0, &mut mistakes).unwrap();
        let filled = fill(&node, &scope, &mut mistakes);
        let source =
            SourceText { path: PathBuf::from("rlhf.yaml"), text: text.to_owned(), overrides: Vec::new(), rule: None };
        expected.assert_eq(&format!("{}\n{}", filled.to_json(), render(&source, &mistakes, false)));
    }

    #[test]
    fn a_value_that_is_wholly_one_expression_keeps_its_type() {
        check(
            r#"{a: "${steps}", b: "${vars.steps // 3}", c: "${steps / 3 < 70}", d: "${names}", e: "${none}", f: "${1e-5}", g: "${ {'a': [k]} }"}"#,
            expect![[r#"
                {"a":200,"b":66,"c":true,"d":["a","b"],"e":null,"f":0.00001,"g":{"a":[2]}}
            "#]],
        );
    }

    #[test]
    fn expressions_inside_a_text_become_text() {
        check(
            r#"{a: "rm_${k - 1}", b: "${env.HOME}/x", c: "${'sft' if k == 1 else 'ppo_' ~ (k - 1)}", d: "$HOME $${HOME} $", e: "${'}'}"}"#,
            expect![[r#"
                {"a":"rm_1","b":"/home/me/x","c":"ppo_1","d":"$HOME ${HOME} $","e":"}"}
            "#]],
        );
    }

    #[test]
    fn unknown_variables_are_shown_at_their_expression_with_the_nearest_name() {
        check(
            "{a: 'x ${stpes} y', b: '${vars.nmes}', c: '${env.USER}', d: '${1 +}', e: '${', f: 'a ${names}', g: '${steps.x}', h: '${k / 0}'}",
            expect![[r#"
                {}
                error: unknown variable `stpes`
                 --> rlhf.yaml:1:8
                  |
                1 | {a: 'x ${stpes} y', b: '${vars.nmes}', c: '${env.USER}', d: '${1 +}', e: '${', f: 'a ${names}', g: '${steps.x}', h: '${k / 0}'}
                  |        ^^^^^^^^
                  |
                  = help: did you mean `steps`?

                error: unknown variable `vars.nmes`
                 --> rlhf.yaml:1:25
                  |
                1 | {a: 'x ${stpes} y', b: '${vars.nmes}', c: '${env.USER}', d: '${1 +}', e: '${', f: 'a ${names}', g: '${steps.x}', h: '${k / 0}'}
                  |                         ^^^^^^^^^^^^
                  |
                  = help: did you mean `names`?

                error: unknown variable `env.USER`
                 --> rlhf.yaml:1:44
                  |
                1 | {a: 'x ${stpes} y', b: '${vars.nmes}', c: '${env.USER}', d: '${1 +}', e: '${', f: 'a ${names}', g: '${steps.x}', h: '${k / 0}'}
                  |                                            ^^^^^^^^^^^
                  |
                  = help: declare it: `env: [USER]`

                error: `1 +`: unexpected end of input, expected expression
                 --> rlhf.yaml:1:62
                  |
                1 | {a: 'x ${stpes} y', b: '${vars.nmes}', c: '${env.USER}', d: '${1 +}', e: '${', f: 'a ${names}', g: '${steps.x}', h: '${k / 0}'}
                  |                                                              ^^^^^^

                error: `${` without its `}`
                 --> rlhf.yaml:1:75
                  |
                1 | {a: 'x ${stpes} y', b: '${vars.nmes}', c: '${env.USER}', d: '${1 +}', e: '${', f: 'a ${names}', g: '${steps.x}', h: '${k / 0}'}
                  |                                                                           ^^
                  |
                  = help: a plain `${` is written `$${`

                error: a list or mapping cannot stand inside a text
                 --> rlhf.yaml:1:86
                  |
                1 | {a: 'x ${stpes} y', b: '${vars.nmes}', c: '${env.USER}', d: '${1 +}', e: '${', f: 'a ${names}', g: '${steps.x}', h: '${k / 0}'}
                  |                                                                                      ^^^^^^^^
                  |
                  = help: let the value be this `${…}` alone

                error: `steps.x` is not defined
                 --> rlhf.yaml:1:101
                  |
                1 | {a: 'x ${stpes} y', b: '${vars.nmes}', c: '${env.USER}', d: '${1 +}', e: '${', f: 'a ${names}', g: '${steps.x}', h: '${k / 0}'}
                  |                                                                                                     ^^^^^^^^^^

                error: `k / 0`: unable to calculate 2 / 0
                 --> rlhf.yaml:1:118
                  |
                1 | {a: 'x ${stpes} y', b: '${vars.nmes}', c: '${env.USER}', d: '${1 +}', e: '${', f: 'a ${names}', g: '${steps.x}', h: '${k / 0}'}
                  |                                                                                                                      ^^^^^^^^

            "#]],
        );
    }

    #[test]
    fn variables_that_double_each_other_end_in_a_sentence() {
        for (first, next) in [("x", "${LAST ~ LAST}"), ("x", "${LAST}${LAST}"), ("[x]", "['${LAST}', '${LAST}']")] {
            let lines = (1..60).map(|n| format!("  v{n}: \"{}\"\n", next.replace("LAST", &format!("v{}", n - 1))));
            let lines = lines.map(|line| if first == "x" { line } else { line.replace('"', "") });
            let file = format!("name: a\nvars:\n  v0: {first}\n{}stages: {{}}\n", lines.collect::<String>());
            let source = SourceText { path: PathBuf::from("a.yaml"), text: file, overrides: Vec::new(), rule: None };
            let mistakes = crate::spec::read(&source, &|_| None).err().unwrap();
            assert!(mistakes.iter().any(|mistake| mistake.message.contains("more than 1048576 bytes")), "{next}");
        }
    }
}
