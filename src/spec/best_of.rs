//! `best_of` in the place of a source: the best of several stages by a number. It stands for a stage of its own, of the kind
//! `best_of`, so that the choice is judged, remembered and shown as every other gate is.

use crate::diagnostic::Diagnostic;
use crate::spec::expand::Families;
use crate::spec::expect;
use crate::spec::node::{Map, Node, Value, WithSpan};
use stages::kinds::best_of;

/// The keys of a source that is the best of several stages.
pub const KEYS: [&str; 3] = [BEST_OF, BY, JUDGE];
pub const BEST_OF: &str = best_of::KIND.name;
pub const BY: &str = "by";
pub const JUDGE: &str = "judge";

/// A stage as typed.
pub struct NamedBody {
    pub name: WithSpan<String>,
    pub body: Node,
}

/// The stages that sources of this one stand for, which take their places. `is_taken` says whether a stage has a name
/// already.
pub fn take_out(
    stage: &WithSpan<String>,
    body: &mut Node,
    is_taken: &dyn Fn(&str) -> bool,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<NamedBody> {
    let mut taken_out = Vec::new();
    let ports = body.get_mut("from").map(|from| &mut from.value);
    let Some(Value::Map(ports)) = ports else { return taken_out };
    for (port, sources) in ports {
        let sources = match &mut sources.value {
            Value::List(sources) => sources.as_mut_slice(),
            _ => std::slice::from_mut(sources),
        };
        for (at, source) in sources.iter_mut().enumerate() {
            if source.get(BEST_OF).is_none() {
                continue;
            }
            let nth = if at == 0 { String::new() } else { format!("_{}", at + 1) };
            let name = format!("{}_{}{nth}", stage.value, port.value);
            let name =
                WithSpan { value: if is_taken(&name) { format!("best_{name}") } else { name }, span: source.span };
            if is_taken(&name.value) {
                let message = format!("the best of these stages would be called `{}`, as another stage is", name.value);
                mistakes.push(Diagnostic::error(source.span, message).help("give the other stage another name"));
                continue;
            }
            let span = source.span;
            let choice = std::mem::replace(source, Node::new(span, Value::String(name.value.clone())));
            taken_out.push(NamedBody { name, body: body_of(choice, mistakes) });
        }
    }
    taken_out
}

/// The stage that makes the choice.
fn body_of(mut choice: Node, mistakes: &mut Vec<Diagnostic>) -> Node {
    let span = choice.span;
    let new = |value: Value| Node::new(span, value);
    let entry = |key: &str, node: Node| (WithSpan { value: key.to_owned(), span }, node);
    if let Value::Map(map) = &choice.value {
        expect::known_keys(map, "the best of several stages", &KEYS, mistakes);
        if choice.get(BY).is_none() {
            let message = "the best of these stages by what?";
            mistakes
                .push(Diagnostic::error(span, message).help("{best_of: [ppo_a, ppo_b], by: mean_score, judge: eval}"));
        }
    }
    let mut take = |key: &str| choice.take(key).map(|(_, node)| node);
    let stages = take(BEST_OF).unwrap_or_else(|| new(Value::Broken));
    let best = take(BY).unwrap_or_else(|| new(Value::Broken));
    let mut gate: Map = vec![entry("select", new(Value::Map(vec![entry("best", best)])))];
    gate.extend(take(JUDGE).map(|judge| entry("judge", judge)));
    new(Value::Map(vec![
        entry("kind", new(Value::String(best_of::KIND.name.to_owned()))),
        entry("from", new(Value::Map(vec![entry(best_of::PORT, stages)]))),
        entry("gate", new(Value::Map(gate))),
    ]))
}

/// Puts the stages of a family in the place of its name, where a stage of this kind chooses among them.
pub fn name_members(body: &mut Node, families: &Families, is_stage: &dyn Fn(&str) -> bool) {
    let is_choice = body.get("kind").is_some_and(|kind| kind.value == Value::String(best_of::KIND.name.to_owned()));
    let Some(sources) = body.get_mut("from").filter(|_| is_choice).and_then(|from| from.get_mut(best_of::PORT)) else {
        return;
    };
    let members = |source: &Node| -> Option<Vec<Node>> {
        let Value::String(name) = &source.value else { return None };
        let family = families.get(name).filter(|_| !is_stage(name))?;
        Some(family.iter().map(|member| Node::new(source.span, Value::String(member.clone()))).collect())
    };
    match &mut sources.value {
        Value::List(list) => {
            *list = list.drain(..).flat_map(|source| members(&source).unwrap_or_else(|| vec![source])).collect();
        }
        _ => {
            if let Some(members) = members(sources) {
                sources.value = Value::List(members);
            }
        }
    }
}
