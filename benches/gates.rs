//! The cost of judging: `cargo bench --bench gates`. One rule of each kind that the pipelines contain, over 2,000 items
//! with 10,000 resamples where a form resamples, beside the same rules without confidence.

use criterion::{Criterion, criterion_group, criterion_main};
use pipeline::gate::{
    Items, JudgeScope, MetricName, Readings, Rule, RuleScope, Subject, Subjects, check, evaluate, parse,
};
use serde_json::{Map, json};
use stages::stage::Direction;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const ITEMS: usize = 2_000;

/// Numbers that look like noise and are the same everywhere.
fn noise(at: usize, salt: usize) -> f64 {
    let mixed = (at * 7919 + salt * 104_729) % 99_991;
    (mixed * mixed % 99_991) as f64 / 50_000.0 - 1.0
}

/// The answers of one model. One in five is the same for every model.
fn subject(salt: usize, gain: f64) -> Subject {
    let score = |at: usize| noise(at, 1) + gain + if at.is_multiple_of(5) { 0.0 } else { 0.3 * noise(at, salt) };
    let row = |at: usize| -> Map<String, serde_json::Value> {
        let text = if at.is_multiple_of(5) { "same".to_owned() } else { format!("{salt} {at}") };
        let row = json!({
            "id": at, "prompt": format!("prompt {at}"), "text": text, "score": score(at), "length": 20 + at % 7,
            "correct": noise(at, salt) < 0.5,
        });
        row.as_object().cloned().unwrap_or_default()
    };
    let items = Items::of_rows((0..ITEMS).map(row).collect()).expect("the ids differ");
    let mean = |field: &str| Some(items.fields[field].iter().flatten().sum::<f64>() / ITEMS as f64);
    let metrics = [("mean_score", "score"), ("length", "length"), ("accuracy", "correct")];
    let metrics = metrics.map(|(metric, field)| (metric.to_owned(), mean(field))).into();
    Subject { judged: vec![Readings { metrics, items: Some(Arc::new(items)) }], ..Subject::default() }
}

fn rule(text: &str) -> Rule {
    let metric = |(name, field): (&str, &str)| MetricName {
        name: name.to_owned(),
        direction: Direction::Higher,
        field: Some(field.to_owned()),
        bounds: None,
        has_own_rows: false,
    };
    let metrics = [("mean_score", "score"), ("length", "length"), ("accuracy", "correct")].map(metric).to_vec();
    let judges = vec![JudgeScope { name: "eval".to_owned(), metrics, has_items: true }];
    let stages = BTreeMap::from([("sft".to_owned(), Vec::new())]);
    let scope = RuleScope { judges, incumbent: Some(Vec::new()), stages: stages.into(), ..RuleScope::default() };
    let mut rule = parse(text).expect("the rule is well formed");
    assert_eq!(check(&mut rule, &scope), []);
    rule
}

fn gates(criterion: &mut Criterion) {
    let (candidate, incumbent) = (subject(3, 0.01), subject(5, 0.0));
    let stages = BTreeMap::from([("sft".to_owned(), subject(7, -0.01))]);
    let subjects = Subjects::of(&candidate, Some(&incumbent), &stages);
    let mut group = criterion.benchmark_group("one gate over 2,000 items");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    for (name, plain) in [
        ("mean difference", "mean_score > incumbent.mean_score"),
        ("share", "accuracy > 0.7"),
        ("win rate", "win_rate(sft over changed) > 0.5"),
        ("ratio", "ratio(length, sft) < 1.5"),
        ("median", "median(length) < 1.5 * median(sft.length)"),
    ] {
        let (sure, plain) = (rule(&format!("{plain} with 95% confidence")), rule(plain));
        group.bench_function(format!("{name}, with confidence"), |bencher| {
            bencher.iter(|| black_box(evaluate(black_box(&sure), &subjects)));
        });
        group.bench_function(format!("{name}, without"), |bencher| {
            bencher.iter(|| black_box(evaluate(black_box(&plain), &subjects)));
        });
    }
    group.finish();
    // Every rule of the eight stages of a staged study, one after the other.
    let promotion = [
        "mean_score > incumbent.mean_score with 95% confidence",
        "win_rate(sft over changed) > 0.5 with 95% confidence",
        "ratio(length, sft) < 1.5 with 95% confidence",
    ];
    let rules: Vec<Rule> = (0..8).flat_map(|_| promotion.iter().map(|text| rule(text))).collect();
    let mut group = criterion.benchmark_group("eight stages");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
    group.bench_function("three rules with confidence each", |bencher| {
        bencher.iter(|| rules.iter().map(|rule| evaluate(rule, &subjects).decision).collect::<Vec<_>>());
    });
    group.finish();
}

criterion_group!(benches, gates);
criterion_main!(benches);
