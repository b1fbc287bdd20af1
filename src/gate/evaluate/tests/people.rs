//! The rule by which a review is a gate: how often it passes, exactly, by how often people truly agree.

use super::super::super::items::Items;
use super::super::super::{MetricName, RuleScope, check, parse};
use super::super::*;
use crate::gate::Decision;
use stages::stage::{Bounds, Direction};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The items that are enough for an agreement of 0.75 to be shown above 0.6, with a chance of 80 %.
const ITEMS: usize = 71;

/// Whether the rule passes where people agree on this many of the items.
fn passes(agreed: usize) -> bool {
    let name = "human_agreement".to_owned();
    let row = |at: usize| {
        let value = u8::from(at < agreed);
        format!(
            "{{\"id\": {at}, \"prompt\": \"p{at}\", \"subset\": \"human_agreement\", \"human_agreement\": {value}}}\n"
        )
    };
    let items = Items::read(&(0..ITEMS).map(row).collect::<String>()).unwrap();
    let metrics = BTreeMap::from([(name.clone(), Some(agreed as f64 / ITEMS as f64))]);
    let candidate = Subject { own: Readings { metrics, items: Some(Arc::new(items)) }, ..Subject::default() };
    let metric = MetricName {
        field: Some(name.clone()),
        name,
        direction: Direction::Higher,
        bounds: Some(Bounds { low: 0.0, high: 1.0 }),
        has_own_rows: true,
    };
    let scope = RuleScope { own: vec![metric], ..RuleScope::default() };
    let mut rule = parse("human_agreement > 0.6 with 95% confidence").unwrap();
    assert_eq!(check(&mut rule, &scope), []);
    evaluate(&rule, &Subjects::of(&candidate, None, &BTreeMap::new())).decision == Decision::Pass
}

/// The chance that the rule passes where people truly agree this often.
fn chance(share: f64) -> f64 {
    let mut term = (1.0 - share).powi(ITEMS as i32);
    let mut sum = 0.0;
    for agreed in 0..=ITEMS {
        if passes(agreed) {
            sum += term;
        }
        term *= (ITEMS - agreed) as f64 / (agreed + 1) as f64 * share / (1.0 - share);
    }
    sum
}

#[test]
fn a_review_passes_where_people_agree_and_seldom_where_they_do_not() {
    assert!(!passes(49) && passes(50) && passes(ITEMS));
    let (truly, barely) = (chance(0.75), chance(0.6));
    assert!((truly - 0.848).abs() < 1e-3 && (barely - 0.0455).abs() < 1e-4, "{truly} {barely}");
}
