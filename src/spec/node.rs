//! A tree of values with their places in the file.

use crate::diagnostic::Span;

#[derive(Clone, Debug, PartialEq)]
pub struct WithSpan<T> {
    pub value: T,
    pub span: Span,
}

/// A value with its place. `span` is a scalar without its quotes if the file holds it in one piece, else the scalar as
/// written; for a list or mapping, its first character.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub span: Span,
    pub value: Value,
    /// The variables in the `${…}` that the value was made from: `vars.steps`, `k`, `env.HOME`.
    pub variables: Box<[String]>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A value with a reported mistake. It must not cause further mistakes.
    Broken,
    Null,
    Bool(bool),
    /// Within [`crate::canonical::EXACT`].
    Int(i64),
    /// Finite.
    Float(f64),
    String(String),
    List(Vec<Node>),
    Map(Map),
}

pub type Map = Vec<(WithSpan<String>, Node)>;

impl Node {
    pub fn new(span: Span, value: Value) -> Node {
        Node { span, value, variables: Box::default() }
    }

    /// The value as JSON; keys with broken values are left out.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Broken | Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::String(value) => value.as_str().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(map) => {
                let whole = map.iter().filter(|(_, node)| node.value != Value::Broken);
                whole.map(|(key, node)| (key.value.clone(), node.to_json())).collect()
            }
        }
    }

    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(map) = &self.value else { return None };
        map.iter().find(|(name, _)| name.value == key).map(|(_, node)| node)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Value::Map(map) = &mut self.value else { return None };
        map.iter_mut().find(|(name, _)| name.value == key).map(|(_, node)| node)
    }

    /// Takes the value of a key out and leaves null in its place.
    pub fn take(&mut self, key: &str) -> Option<(Span, Node)> {
        let Value::Map(map) = &mut self.value else { return None };
        let (name, node) = map.iter_mut().find(|(name, _)| name.value == key)?;
        let nothing = Node::new(node.span, Value::Null);
        Some((name.span, std::mem::replace(node, nothing)))
    }

    /// The word for the value in messages: `a text`, `a list`.
    pub fn what(&self) -> &'static str {
        match self.value {
            Value::Broken => "a mistake",
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::String(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The spans of key and value at a path such as `lora.rank` or `command[0]`, or at the last part of it that exists.
    pub fn find(&self, path: &str) -> NodeSpans {
        let mut found = NodeSpans { key: self.span, value: self.span, is_broken: false };
        let mut here = self;
        for part in path.split(['.', '[']).map(|part| part.trim_end_matches(']')) {
            let next = match &here.value {
                Value::Map(map) => map.iter().find(|(key, _)| key.value == part).map(|(key, node)| (key.span, node)),
                Value::List(items) => {
                    part.parse().ok().and_then(|index: usize| items.get(index)).map(|node| (node.span, node))
                }
                _ => None,
            };
            let Some((key, node)) = next else { break };
            found = NodeSpans { key, value: node.span, is_broken: node.value == Value::Broken };
            here = node;
        }
        found
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeSpans {
    pub key: Span,
    pub value: Span,
    pub is_broken: bool,
}
