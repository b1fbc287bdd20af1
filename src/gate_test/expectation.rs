//! Reads what a test expects: `pass`, or a mapping of everything that must be so.

use crate::diagnostic::{Diagnostic, Span};
use crate::gate::Decision;
use crate::schedule::decide::Successor;
use crate::spec::expect;
use crate::spec::node::{Node, Value, WithSpan};

/// The expectation of one test. What is `None` or empty is not compared.
#[derive(Default)]
pub struct Expectation {
    pub gate: Option<Decision>,
    /// The checkpoint that `select` takes.
    pub step: Option<WithSpan<u64>>,
    /// The decisions of the rules of `require`, in order.
    pub rules: Option<WithSpan<Vec<Decision>>>,
    /// Texts, each of which must occur in an explanation.
    pub explains: Vec<String>,
    pub carries: Option<Successor>,
}

const KEYS: &[&str] = &["gate", "step", "rules", "explains", "carries"];

/// `key` is the span of the word `expect`.
pub fn read(key: Span, node: &Node, mistakes: &mut Vec<Diagnostic>) -> Expectation {
    let mut expected = Expectation::default();
    let Value::Map(map) = &node.value else {
        expected.gate = says(node, mistakes);
        return expected;
    };
    if map.is_empty() {
        mistakes.push(Diagnostic::error(key, "this test expects nothing").help("expect: pass"));
    }
    expect::known_keys(map, "`expect`", KEYS, mistakes);
    for (key, value) in map {
        match key.value.as_str() {
            "gate" => expected.gate = says(value, mistakes),
            "step" => {
                expected.step =
                    expect::whole_number(value, mistakes).map(|step| WithSpan { value: step, span: value.span });
            }
            "rules" => {
                let rules = list(value).iter().filter_map(|rule| says(rule, mistakes)).collect();
                expected.rules = Some(WithSpan { value: rules, span: key.span });
            }
            "explains" => {
                let texts = list(value).iter().filter_map(|text| expect::text(text, mistakes));
                expected.explains = texts.map(|text| text.value).collect();
            }
            "carries" => {
                let successors = [Successor::Candidate, Successor::Incumbent, Successor::Nobody, Successor::Held];
                expected.carries = expect::word(value, &successors.map(|who| (who.word(), who)), mistakes);
            }
            _ => {}
        }
    }
    expected
}

/// The items of a list, or the one item that stands without a list.
fn list(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        _ => std::slice::from_ref(node),
    }
}

fn says(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Decision> {
    let decisions = [Decision::Pass, Decision::Fail, Decision::Unsure, Decision::Error];
    expect::word(node, &decisions.map(|says| (says.word(), says)), mistakes)
}
