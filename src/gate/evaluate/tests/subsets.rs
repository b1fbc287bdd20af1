//! Functions over the items of one subset.

use super::super::super::items::Items;
use super::super::super::{JudgeScope, MetricName, RuleScope, check, parse};
use super::super::*;
use expect_test::{Expect, expect};
use stages::stage::Direction;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Forty answers, of which those to the Japanese prompts, every second one, score by this much more.
fn subject(gain: f64) -> Subject {
    let row = |at: usize| {
        let (subset, gain) = if at.is_multiple_of(2) { ("ja", gain) } else { ("en", 0.0) };
        let score = ((at * 7919) % 97) as f64 / 97.0 + gain * (1.0 + (at % 3) as f64);
        format!("{{\"id\": {at}, \"prompt\": \"p{at}\", \"subset\": \"{subset}\", \"score\": {score}}}\n")
    };
    let items = Items::read(&(0..80).map(row).collect::<String>()).unwrap();
    Subject { judged: vec![Readings { metrics: BTreeMap::new(), items: Some(Arc::new(items)) }], ..Subject::default() }
}

fn said(text: &str, expected: Expect) {
    let metric = MetricName {
        name: "mean_score".to_owned(),
        direction: Direction::Higher,
        field: Some("score".to_owned()),
        bounds: None,
        has_own_rows: false,
    };
    let judge = JudgeScope { name: "eval".to_owned(), metrics: vec![metric], has_items: true };
    let scope = RuleScope { judges: vec![judge], incumbent: Some(Vec::new()), ..RuleScope::default() };
    let mut rule = parse(text).unwrap_or_else(|mistake| panic!("{text}: {mistake:?}"));
    assert_eq!(check(&mut rule, &scope), [], "{text}");
    let (candidate, incumbent, stages) = (subject(0.25), subject(0.0), BTreeMap::new());
    let Judgement { decision, explanation, .. } = evaluate(&rule, &Subjects::of(&candidate, Some(&incumbent), &stages));
    expected.assert_eq(&format!("{}: {explanation}", format!("{decision:?}").to_lowercase()));
}

#[test]
fn a_rule_asks_for_the_items_of_a_subset_alone() {
    said(
        r#"mean(score where subset = "ja") > 0.9"#,
        expect![[
            r#"pass: mean(score where subset = "ja") 0.9716 [40 items] > 0.9 (by 0.07159; 95 % interval -0.051 to 0.19: within noise; two-sided p 0.24)"#
        ]],
    );
    said(
        r#"mean(score where subset = "en") > 0.9"#,
        expect![[
            r#"fail: mean(score where subset = "en") 0.517 [40 items] is not > 0.9 (short by 0.383; 95 % interval -0.48 to -0.29; two-sided p < 0.0001)"#
        ]],
    );
    said(
        r#"count(score > 0.5 where subset = "ja") = 40"#,
        expect![[r#"fail: count(score > 0.5 where subset = "ja") 35 [40 items] is not = 40 (off by 5)"#]],
    );
    said(
        r#"quantile(score, 0.1 where subset = "ja") > 0.3"#,
        expect![[
            r#"pass: quantile(score, 0.1 where subset = "ja") 0.4345 [40 items] > 0.3 (by 0.1345; 95 % interval anything to 0.43: within noise; two-sided p 0.85)"#
        ]],
    );
}

#[test]
fn both_sides_are_paired_within_the_subset_and_weighed_by_its_items() {
    said(
        r#"mean(score where subset = "ja") > mean(incumbent.score where subset = "ja") with 95% confidence"#,
        expect![[
            r#"pass: mean(score where subset = "ja") 0.9716 [40 items] > mean(incumbent.score where subset = "ja") 0.4778 [40 items] with 95% confidence (by 0.4937; at least 0.437 at 95 %; p < 0.0001; sign flips and skewed t, 40 items; harm to less than 7.2 % of the items may not show (3 % takes 99))"#
        ]],
    );
    said(
        r#"mean(score where subset = "en") > mean(incumbent.score where subset = "en") with 95% confidence"#,
        expect![[
            r#"unsure: mean(score where subset = "en") 0.517 [40 items] is not surely > mean(incumbent.score where subset = "en") 0.517 [40 items] with 95% confidence (equal; above 0 and below 0, each at 95 %; p 1; sign flips and skewed t, 40 items; harm to less than 7.2 % of the items may not show (3 % takes 99))"#
        ]],
    );
    said(
        r#"share(score > 0.5 where subset = "ja") > 0.6 with 95% confidence"#,
        expect![[
            r#"pass: share(score > 0.5 where subset = "ja") 0.875 [40 items] > 0.6 with 95% confidence (by 0.275; at least 0.155 at 95 %; p 0.00014; Clopper-Pearson, 40 items)"#
        ]],
    );
}

#[test]
fn a_subset_that_nothing_belongs_to_is_an_error() {
    said(
        r#"mean(score where subset = "de") > 0"#,
        expect![[
            r#"error: mean(score where subset = "de") ? > 0 (mean(score where subset = "de"): no item is of the subset `de`; there are: en, ja)"#
        ]],
    );
}
