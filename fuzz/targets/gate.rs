//! The rules of gates, and the tables that they read.

use super::place::parts;
use crate::gate::{
    self, Items, JudgeScope, LookTerms, MetricName, Mistake, Readings, RuleScope, Select, Subject, Subjects,
};
use stages::stage::{Bounds, Direction};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

fn metric(name: &str, direction: Direction) -> MetricName {
    let bounds = (name == "b").then_some(Bounds { low: 0.0, high: 9.0 });
    MetricName { name: name.to_owned(), direction, field: Some(name.to_owned()), bounds, has_own_rows: false }
}

fn scope() -> RuleScope {
    let own = vec![metric("a", Direction::Higher), metric("b", Direction::Lower), metric("c", Direction::Neutral)];
    let score = || vec![metric("score", Direction::Higher)];
    let judge = |name: &str| JudgeScope { name: name.to_owned(), metrics: score(), has_items: true };
    let named = |name: &str| (name.to_owned(), own.clone());
    RuleScope {
        incumbent: Some(own.clone()),
        judges: vec![judge("eval"), judge("other")],
        stages: Arc::new(BTreeMap::from(["sft", "ppo_1", "ppo_2"].map(named))),
        measuring: Arc::new(BTreeMap::from([("probe".to_owned(), score())])),
        families: Arc::new(BTreeMap::from([("ppo".to_owned(), vec!["ppo_1".to_owned(), "ppo_2".to_owned()])])),
        own,
    }
}

/// An artifact with some rows, which find a panic as well as two thousand would.
fn subject(salt: usize) -> Subject {
    let row = |at: usize| {
        let (text, score, subset) = (at * salt % 7, (at * 3 + salt) % 5, ["ja", "en"][at % 2]);
        format!(r#"{{"id":{at},"text":"{text}","a":{at},"b":{salt},"c":0.5,"score":{score},"subset":"{subset}"}}"#)
    };
    let items = Items::read(&(0..9).map(row).collect::<Vec<_>>().join("\n")).expect("the rows are well formed");
    let mean = |field: &str| items.numbers(field).ok().map(|of| of.iter().sum::<f64>() / of.len() as f64);
    let metrics = ["a", "b", "c", "score"].map(|name| (name.to_owned(), mean(name))).into();
    let measured = Readings { metrics, items: Some(Arc::new(items)) };
    Subject { called: format!("step {salt}"), own: measured.clone(), judged: vec![measured.clone(), measured] }
}

/// Made once: to make them takes longer than most rules.
static SCOPE: LazyLock<RuleScope> = LazyLock::new(scope);
static STEPS: LazyLock<Vec<(u64, Subject)>> =
    LazyLock::new(|| (1..5).map(|step| (step as u64, subject(step))).collect());
static STAGES: LazyLock<BTreeMap<String, Subject>> = LazyLock::new(|| {
    ["sft", "ppo_1", "ppo_2"].iter().zip(3..).map(|(name, salt)| ((*name).to_owned(), subject(salt))).collect()
});

fn check_places(text: &str, mistakes: &[Mistake]) {
    for mistake in mistakes {
        assert!(text.get(mistake.range.clone()).is_some(), "{mistake:?} is no part of {text:?}");
    }
}

/// A rule is refused with places inside it, or it can be judged; checked twice it means the same.
pub fn rule(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut rule = match gate::parse(text) {
        Err(mistake) => return check_places(text, &[mistake]),
        Ok(rule) => rule,
    };
    let mistakes = gate::check(&mut rule, &SCOPE);
    check_places(text, &mistakes);
    check_places(text, &gate::warnings(&rule));
    assert_eq!(gate::check(&mut rule, &SCOPE), mistakes, "{text}");
    let look = LookTerms { stake: 0.5, note: "look 1".to_owned(), earlier: vec![4, 6] };
    let [(_, candidate), (_, other), ..] = &STEPS[..] else { unreachable!("there are four") };
    let subjects = Subjects { checkpoints: &STEPS[..2], ..Subjects::of(candidate, Some(other), &STAGES) };
    let judged = gate::evaluate(&rule, &subjects);
    assert_eq!(format!("{judged:?}"), format!("{:?}", gate::evaluate(&rule, &subjects)), "{text}");
    gate::evaluate(&rule, &Subjects { look: Some(&look), ..subjects });
    gate::evaluate(&rule, &Subjects::of(&Subject::default(), None, &BTreeMap::new()));
}

/// The choice of a checkpoint: `best`, then `where`.
pub fn select(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (best, where_) = text.split_once('\n').unwrap_or((text, ""));
    let is_within = best.len().is_multiple_of(2);
    let mut select = Select { within: is_within.then_some(1.0), ..Select::default() };
    match gate::parse_expression(best) {
        Err(mistake) => return check_places(best, &[mistake]),
        Ok(mut number) => {
            let mistakes = gate::check_best(&mut number, is_within, &SCOPE);
            check_places(best, &mistakes);
            if !mistakes.is_empty() {
                return;
            }
            select.best = Some(number);
        }
    }
    match gate::parse(where_) {
        Err(mistake) => check_places(where_, &[mistake]),
        Ok(mut rule) => {
            let mistakes = gate::check_where(&mut rule, &SCOPE);
            check_places(where_, &mistakes);
            select.where_ = mistakes.is_empty().then_some(rule);
        }
    }
    if let Ok(survivors) = gate::survivors(&select, &STEPS) {
        drop(survivors);
        gate::choose(&select, &STEPS);
        select.rivals(&STEPS);
    }
    select.text();
}

/// Tables: one against another.
pub fn items(bytes: &[u8]) {
    let tables: Vec<Items> =
        parts(bytes).iter().take(2).filter_map(|part| Items::read(str::from_utf8(part).ok()?).ok()).collect();
    for one in &tables {
        let order = one.order();
        one.groups(&order);
        let fields: Vec<String> = one.fields.keys().cloned().collect();
        for field in &fields {
            if let Ok(numbers) = one.numbers(field) {
                assert!(numbers.iter().all(|number| number.is_finite()), "{field}");
            }
        }
        for subset in ["ja", "a", ""] {
            let _ = one.of_subset(subset);
        }
        for other in &tables {
            if let Ok(pairs) = gate::pair(one, other) {
                assert!(pairs.iter().all(|(mine, theirs)| one.rows[*mine].id == other.rows[*theirs].id));
            }
            let _ = gate::pair_results(one, other, true);
        }
    }
}
