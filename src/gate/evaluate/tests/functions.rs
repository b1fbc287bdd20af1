//! Every row of the table of functions, through all its faces. The rules are made from what the rows say, so a new row
//! is tested as it stands.

use super::super::super::functions::{Asks, Body, FUNCTIONS, Function, NumberForm, Takes};
use super::super::super::tree::Test;
use super::super::super::{check, parse};
use super::super::*;
use super::confidence::{scope, subject};
use crate::gate::Mistake;

/// A call of the function with arguments of the kind that it takes.
fn call(function: &Function) -> String {
    let name = function.name;
    match &function.body {
        Body::Numbers(of) => match of.takes {
            Takes::One => format!("{name}(mean_score - sft.mean_score)"),
            Takes::Several | Takes::Metrics => format!("{name}(mean_score, sft.mean_score, incumbent.mean_score)"),
            Takes::MetricAndStage => format!("{name}(length, sft)"),
        },
        Body::Answers(of) => format!("{name}(sft{})", if of.is_over_changed { " over changed" } else { "" }),
        Body::Field(of) => match of.asks {
            Asks::Nothing => format!("{name}(score)"),
            Asks::Share => format!("{name}(score, 0.3)"),
            Asks::Condition => format!("{name}(score > 0.1)"),
        },
        Body::Checkpoints(_) => format!("{name}(accuracy)"),
        Body::Members(of) => format!("{name}(seeds.mean_score{})", if of.asks_condition { " > 0" } else { "" }),
    }
}

fn read(text: &str) -> Result<Rule, Vec<Mistake>> {
    let mut rule = parse(text).map_err(|mistake| vec![mistake])?;
    let mistakes = check(&mut rule, &scope());
    if mistakes.is_empty() { Ok(rule) } else { Err(mistakes) }
}

/// Runs a test on the artifacts that all rules here are about.
fn with_subjects(test: impl Fn(&Subjects)) {
    let (candidate, incumbent) = (subject(0.2, 5), subject(0.0, 6));
    let stages = [("sft", 0.18, 7), ("seed_1", 0.2, 9), ("seed_2", 0.21, 10), ("seed_3", 0.19, 11)];
    let stages = stages.into_iter().map(|(name, gain, salt)| (name.to_owned(), subject(gain, salt))).collect();
    let checkpoints = [(10, subject(0.1, 8)), (20, candidate.clone())];
    let subjects = Subjects::of(&candidate, Some(&incumbent), &stages);
    test(&Subjects { checkpoints: &checkpoints, ..subjects });
}

#[test]
fn every_function_has_a_number() {
    with_subjects(|subjects| {
        for function in FUNCTIONS {
            let text = format!("{} > -1000", call(function));
            let rule = read(&text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"));
            let Judgement { decision, explanation, .. } = evaluate(&rule, subjects);
            assert_eq!(decision, Decision::Pass, "{explanation}");
        }
    });
}

/// A function that picks the largest of several numbers says nothing for sure about "above", since any of them is
/// enough; one that picks the smallest says nothing about "below".
#[test]
fn every_function_is_weighed_as_its_row_says() {
    with_subjects(|subjects| {
        for function in FUNCTIONS {
            let sides = ["> -1000", "< 1000"].map(|side| format!("{} {side} with 95% confidence", call(function)));
            let weighed = sides.iter().filter_map(|text| read(text).ok()).map(|rule| evaluate(&rule, subjects));
            let weighed: Vec<Judgement> = weighed.collect();
            let expected = match &function.body {
                Body::Checkpoints(_) => 0,
                Body::Numbers(of) => match of.form {
                    Some(NumberForm::Refused { .. }) => 0,
                    Some(NumberForm::Pick(_)) => 1,
                    Some(NumberForm::Difference | NumberForm::Quotient) | None => 2,
                },
                Body::Members(of) => {
                    if of.is_mean {
                        2
                    } else {
                        0
                    }
                }
                Body::Answers(_) | Body::Field(_) => 2,
            };
            assert_eq!(weighed.len(), expected, "{}", sides[0]);
            for Judgement { decision, explanation, .. } in weighed {
                assert_eq!(decision, Decision::Pass, "{explanation}");
                assert!(
                    explanation.contains("at least") && explanation.contains("60 items")
                        || explanation.contains("45 changed answers")
                        || explanation.contains("t between 3 stages"),
                    "{explanation}"
                );
            }
        }
    });
}

#[test]
fn a_product_with_any_function_of_items_is_resampled() {
    with_subjects(|subjects| {
        for function in FUNCTIONS.iter().filter(|function| matches!(function.body, Body::Answers(_) | Body::Field(_))) {
            let text = format!("{} * mean_score > -1000 with 95% confidence", call(function));
            let rule = read(&text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"));
            let Judgement { decision, explanation, .. } = evaluate(&rule, subjects);
            assert_eq!(decision, Decision::Pass, "{explanation}");
            // Of medians and the like the jackknife says nothing; a count is no mean.
            let is_smooth = !["median", "quantile", "count"].contains(&function.name);
            let form = if is_smooth {
                "; jackknife with sign flips and skewed t, 60 items; harm"
            } else {
                "; percentile bootstrap, 60 items; the level"
            };
            assert!(explanation.contains(form), "{explanation}");
        }
    });
}

#[test]
fn the_linear_form_of_a_function_gives_its_number() {
    with_subjects(|subjects| {
        let mut count = 0;
        for function in FUNCTIONS {
            let rule = read(&format!("{} > -1000", call(function))).unwrap();
            let Test::Compare { first, .. } = &rule.test else { panic!("{} is compared", function.name) };
            let view = View { leaves: &rule.leaves, subjects };
            let Some(form) = linear::linear(first, view) else { continue };
            let Ok(values) = linear::values(&form, view) else { continue };
            let mean = values.numbers.iter().sum::<f64>() / values.numbers.len() as f64;
            let number = quantity::quantity(first, view).value.unwrap();
            assert!((form.constant + mean - number).abs() < 1e-9, "{}: {number} and {mean}", function.name);
            count += 1;
        }
        // Difference, mean, count, share and changed.
        assert!(count >= 5, "{count}");
    });
}
