//! Takes any text as a rule: it is refused with a place inside it, or it can be checked and judged, without a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::gate::{self, Items, JudgeScope, MetricName, Readings, RuleScope, Subject, Subjects};
use stages::stage::Direction;
use std::collections::BTreeMap;
use std::sync::Arc;

fn metric(name: &str) -> MetricName {
    MetricName { name: name.to_owned(), direction: Direction::Higher, field: Some(name.to_owned()) }
}

fn scope() -> RuleScope {
    let own = vec![metric("a"), metric("b")];
    let judge = |name: &str| JudgeScope { name: name.to_owned(), metrics: vec![metric("score")], has_items: true };
    let stages = BTreeMap::from([("sft".to_owned(), own.clone())]);
    RuleScope { incumbent: Some(own.clone()), own, judges: vec![judge("eval"), judge("other")], stages: stages.into() }
}

/// An artifact with five rows, which find a panic as well as two thousand would.
fn subject(salt: usize) -> Subject {
    let rows: Vec<String> = (0..5)
        .map(|at| format!(r#"{{"id":{at},"text":"{}","a":{at},"b":{salt},"score":{}}}"#, at * salt, at + salt))
        .collect();
    let items = Items::read(&rows.join("\n")).expect("the rows are well formed");
    let mean = |field: &str| items.fields[field].iter().flatten().sum::<f64>() / 5.0;
    let metrics = ["a", "b", "score"].map(|name| (name.to_owned(), Some(mean(name)))).into();
    let measured = Readings { metrics, items: Some(Arc::new(items)) };
    Subject { own: measured.clone(), judged: vec![measured.clone(), measured] }
}

fuzz_target!(|text: &str| {
    match gate::parse(text) {
        Err(mistake) => assert!(text.get(mistake.range).is_some()),
        Ok(mut rule) => {
            let mistakes = gate::check(&mut rule, &scope());
            mistakes.iter().for_each(|mistake| assert!(text.get(mistake.range.clone()).is_some()));
            let (candidate, other) = (subject(1), subject(2));
            let stages = BTreeMap::from([("sft".to_owned(), subject(3))]);
            let subjects = Subjects::of(&candidate, Some(&other), &stages);
            gate::evaluate(&rule, &subjects);
        }
    }
    if let Err(mistake) = gate::parse_expression(text) {
        assert!(text.get(mistake.range).is_some());
    }
});
