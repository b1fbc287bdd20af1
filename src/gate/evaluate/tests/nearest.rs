//! The nearest rule that would have passed does pass, whatever the form of the rule, and noise is told as such.

use super::super::super::{check, parse};
use super::super::*;
use super::confidence::{scope, subject};
use expect_test::expect;
use std::collections::BTreeMap;

/// The judgement of a rule about a candidate that is better than the incumbent by 0.2, and than `sft` by 0.02.
fn said(text: &str) -> Judgement {
    let (candidate, incumbent) = (subject(0.2, 5), subject(0.0, 6));
    let stages = BTreeMap::from([("sft".to_owned(), subject(0.18, 7)), ("other".to_owned(), subject(-0.3, 8))]);
    let mut rule = parse(text).unwrap_or_else(|mistake| panic!("{text}: {mistake:?}"));
    assert_eq!(check(&mut rule, &scope()), [], "{text}");
    evaluate(&rule, &Subjects::of(&candidate, Some(&incumbent), &stages))
}

#[test]
fn the_nearest_rule_passes_and_none_is_named_where_none_is_known() {
    let rules = [
        "accuracy > 0.95",
        "accuracy > 0.95 with 95% confidence",
        "accuracy >= 1",
        "mean_score > incumbent.mean_score by 0.5",
        "mean_score > incumbent.mean_score by 900%",
        "mean_score > sft.mean_score",
        "mean_score > sft.mean_score with 95% confidence",
        "mean_score > incumbent.mean_score by 0.17 with 99% confidence",
        "mean_score < other.mean_score",
        "length < 20 with 95% confidence",
        "mean_score improves over sft with 95% confidence",
        "mean_score improves over incumbent by 0.4",
        "win_rate(sft over changed) > 0.5 with 95% confidence",
        "accuracy > 0.95 and mean_score > incumbent.mean_score",
        "accuracy > 0.95 and mean_score > sft.mean_score by 0.1",
        "delta(mean_score, sft) > 0.1",
        "2 * mean_score - 0.1 > 0.9 * incumbent.mean_score + 0.8",
        // Of these it is not said.
        "accuracy > 0.95 or mean_score < 0",
        "not mean_score > 0",
        "accuracy between 0.95 and 1",
        "mean_score / incumbent.mean_score > 100 with 95% confidence",
        "mean_score > incumbent.mean_score by 900% with 95% confidence",
        "accuracy = 0.9",
    ];
    let lines = rules.map(|text| {
        let judgement = said(text);
        assert!(matches!(judgement.decision, Decision::Fail | Decision::Unsure), "{text}: {judgement:?}");
        if let Some(nearest) = &judgement.nearest {
            let moved = said(nearest);
            assert_eq!(
                (moved.decision, moved.nearest),
                (Decision::Pass, None),
                "{text}: {nearest}: {}",
                moved.explanation
            );
        }
        format!("{text}\n    {}", judgement.nearest.as_deref().unwrap_or("–"))
    });
    expect![[r#"
        accuracy > 0.95
            accuracy > 0.916
        accuracy > 0.95 with 95% confidence
            accuracy > 0.832 with 95% confidence
        accuracy >= 1
            accuracy >= 0.916
        mean_score > incumbent.mean_score by 0.5
            mean_score > incumbent.mean_score by 0.176
        mean_score > incumbent.mean_score by 900%
            mean_score > incumbent.mean_score by 0.176
        mean_score > sft.mean_score
            mean_score > sft.mean_score - 0.0265
        mean_score > sft.mean_score with 95% confidence
            mean_score > sft.mean_score - 0.0593 with 95% confidence
        mean_score > incumbent.mean_score by 0.17 with 99% confidence
            mean_score > incumbent.mean_score by 0.132 with 99% confidence
        mean_score < other.mean_score
            mean_score < other.mean_score + 0.445
        length < 20 with 95% confidence
            length < 20.9 with 95% confidence
        mean_score improves over sft with 95% confidence
            mean_score > sft.mean_score - 0.0593 with 95% confidence
        mean_score improves over incumbent by 0.4
            mean_score > incumbent.mean_score by 0.176
        win_rate(sft over changed) > 0.5 with 95% confidence
            win_rate(sft over changed) > 0.337 with 95% confidence
        accuracy > 0.95 and mean_score > incumbent.mean_score
            accuracy > 0.916 and mean_score > incumbent.mean_score
        accuracy > 0.95 and mean_score > sft.mean_score by 0.1
            accuracy > 0.916 and mean_score > sft.mean_score - 0.0265
        delta(mean_score, sft) > 0.1
            delta(mean_score, sft) > -0.0265
        2 * mean_score - 0.1 > 0.9 * incumbent.mean_score + 0.8
            (2 * mean_score) - 0.1 > (0.9 * incumbent.mean_score) + 0.8 - 0.505
        accuracy > 0.95 or mean_score < 0
            –
        not mean_score > 0
            –
        accuracy between 0.95 and 1
            –
        mean_score / incumbent.mean_score > 100 with 95% confidence
            –
        mean_score > incumbent.mean_score by 900% with 95% confidence
            –
        accuracy = 0.9
            –"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn what_may_be_noise_is_told_for_rules_that_ask_for_no_confidence() {
    let noise = |text: &str| said(text).is_within_noise;
    assert!(noise("mean_score < sft.mean_score") && noise("mean_score > sft.mean_score"));
    assert!(!noise("mean_score > incumbent.mean_score"));
    // With confidence nothing passes by noise, and where one of two is enough it takes noise in both.
    assert!(!noise("mean_score > sft.mean_score with 95% confidence"));
    assert!(noise("mean_score < sft.mean_score and mean_score > incumbent.mean_score"));
    assert!(!noise("mean_score < sft.mean_score or mean_score > incumbent.mean_score"));
}
