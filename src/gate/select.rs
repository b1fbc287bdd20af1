//! Which checkpoint becomes the candidate: `where` filters, `best` compares, ties go to the earlier step.
//! It knows nothing of directories: a checkpoint is a step and its measurements.

use super::evaluate::{self, Facts, Judgement, Outcome, Subject, evaluate};
use super::show;
use super::tree::{Expression, Number, Rule, Who};
use stages::stage::Direction;
use std::collections::BTreeMap;

/// Both parts checked (`check_best`, `check_where`).
#[derive(Clone, Debug, Default)]
pub struct Select {
    pub best: Option<Expression>,
    pub where_: Option<Rule>,
}

impl Select {
    /// Whether every survivor must be judged before one can be chosen.
    pub fn names_judge(&self) -> bool {
        self.best.as_ref().is_some_and(|best| best.leaves.judged().contains(&Who::Candidate))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Pass: one is chosen. Fail: `where` left none. Error: a number that had to be compared is none.
    pub outcome: Outcome,
    /// The steps `where` left.
    pub steps: Vec<u64>,
    /// Into the candidates given.
    pub index: Option<usize>,
    pub explanation: String,
}

/// Indices of the candidates that pass `where`, which looks at their own records alone; or why it cannot tell.
pub fn survivors(select: &Select, candidates: &[(u64, Subject)]) -> Result<Vec<usize>, String> {
    let Some(rule) = &select.where_ else { return Ok((0..candidates.len()).collect()) };
    let mut survivors = Vec::new();
    for (at, (step, subject)) in candidates.iter().enumerate() {
        let Judgement { outcome, explanation } = evaluate(rule, &facts(subject));
        match outcome {
            Outcome::Pass => survivors.push(at),
            Outcome::Fail => {}
            Outcome::Unsure | Outcome::Error => return Err(format!("step {step}: {explanation}")),
        }
    }
    Ok(survivors)
}

/// Candidates are in step order. Without `best` the last survivor is chosen.
pub fn choose(select: &Select, candidates: &[(u64, Subject)]) -> Chosen {
    let chosen = |outcome, survivors: &[usize], index, explanation| {
        let steps = survivors.iter().map(|at| candidates[*at].0).collect();
        Chosen { outcome, steps, index, explanation }
    };
    if candidates.is_empty() {
        return chosen(Outcome::Error, &[], None, "there are no checkpoints".to_owned());
    }
    let survivors = match survivors(select, candidates) {
        Ok(survivors) => survivors,
        Err(reason) => return chosen(Outcome::Error, &[], None, reason),
    };
    let kept = match &select.where_ {
        Some(rule) => format!("{} keeps {} of {}; ", rule.text, survivors.len(), candidates.len()),
        None => String::new(),
    };
    let Some(last) = survivors.last() else {
        return chosen(Outcome::Fail, &[], None, none_left(select, candidates));
    };
    let Some(best) = &select.best else {
        return chosen(
            Outcome::Pass,
            &survivors,
            Some(*last),
            format!("{kept}the last is step {}", candidates[*last].0),
        );
    };
    let mut values = Vec::with_capacity(survivors.len());
    for at in &survivors {
        let (step, subject) = &candidates[*at];
        match evaluate::value(best, &facts(subject)) {
            Ok(value) => values.push(value),
            Err(gap) => return chosen(Outcome::Error, &survivors, None, format!("step {step}: {}", gap.reason())),
        }
    }
    let is_lower = is_lower_better(best);
    let is_better = |value: f64, than: f64| if is_lower { value < than } else { value > than };
    let mut first = 0;
    for at in 1..values.len() {
        if is_better(values[at], values[first]) {
            first = at;
        }
    }
    let digits = show::digits(&values);
    let seen = |at: usize| format!("step {} {}", candidates[survivors[at]].0, show::number(values[at], digits));
    let side = if is_lower { "lowest" } else { "highest" };
    let others: Vec<String> = (0..values.len()).filter(|at| *at != first).map(seen).collect();
    let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
    let explanation = format!("{kept}{side} {}: {}{others}", best.text, seen(first));
    chosen(Outcome::Pass, &survivors, Some(survivors[first]), explanation)
}

fn facts(subject: &Subject) -> Facts<'_> {
    static NONE: BTreeMap<String, Subject> = BTreeMap::new();
    Facts { candidate: subject, incumbent: None, stages: &NONE }
}

/// `best` of an expression maximises; of a metric alone it follows the metric.
fn is_lower_better(best: &Expression) -> bool {
    let Number::Name(name) = best.number else { return false };
    best.leaves.names[name].meaning.is_some_and(|meaning| meaning.direction == Direction::Lower)
}

fn none_left(select: &Select, candidates: &[(u64, Subject)]) -> String {
    let Some(rule) = &select.where_ else { return "there are no checkpoints".to_owned() };
    let seen = candidates
        .iter()
        .map(|(step, subject)| format!("step {step}: {}", evaluate(rule, &facts(subject)).explanation));
    format!("{} keeps none of {}: {}", rule.text, candidates.len(), seen.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::super::{JudgeScope, MetricName, Scope, check_best, check_where, parse, parse_expression};
    use super::*;
    use expect_test::{Expect, expect};

    fn select(best: &str, where_: &str) -> Select {
        let metric = |name: &str, direction| MetricName { name: name.to_owned(), direction };
        let judge = vec![metric("mean_score", Direction::Higher)];
        let scope = Scope {
            own: vec![metric("accuracy", Direction::Higher), metric("ece", Direction::Lower)],
            judge: Some(JudgeScope { name: "eval".to_owned(), metrics: judge, has_items: true }),
            ..Scope::default()
        };
        let best = (!best.is_empty()).then(|| {
            let mut best = parse_expression(best).unwrap();
            assert_eq!(check_best(&mut best, &scope), []);
            best
        });
        let where_ = (!where_.is_empty()).then(|| {
            let mut rule = parse(where_).unwrap();
            assert_eq!(check_where(&mut rule, &scope), []);
            rule
        });
        Select { best, where_ }
    }

    fn candidates(rows: &[(u64, f64, f64)]) -> Vec<(u64, Subject)> {
        let subject = |accuracy, ece| {
            let metrics = [("accuracy".to_owned(), Some(accuracy)), ("ece".to_owned(), Some(ece))].into();
            Subject { metrics, ..Subject::default() }
        };
        rows.iter().map(|(step, accuracy, ece)| (*step, subject(*accuracy, *ece))).collect()
    }

    fn check(best: &str, where_: &str, rows: &[(u64, f64, f64)], expected: Expect) {
        let Chosen { outcome, steps, index, explanation } = choose(&select(best, where_), &candidates(rows));
        let step = index.map(|index| rows[index].0);
        expected.assert_eq(&format!("{outcome:?} {step:?} of {steps:?}: {explanation}"));
    }

    const ROWS: &[(u64, f64, f64)] = &[(50, 0.61, 0.1), (100, 0.72, 0.3), (150, 0.7, 0.2), (200, 0.7, 0.05)];

    #[test]
    fn where_filters_and_best_follows_the_direction_of_its_metric() {
        check(
            "accuracy",
            "ece < 0.25",
            ROWS,
            expect![
                "Pass Some(150) of [50, 150, 200]: ece < 0.25 keeps 3 of 4; highest accuracy: step 150 0.7 (step 50 0.61, step 200 0.7)"
            ],
        );
        check(
            "ece",
            "",
            ROWS,
            expect![
                "Pass Some(200) of [50, 100, 150, 200]: lowest ece: step 200 0.05 (step 50 0.1, step 100 0.3, step 150 0.2)"
            ],
        );
        check(
            "accuracy - ece",
            "",
            ROWS,
            expect![
                "Pass Some(200) of [50, 100, 150, 200]: highest accuracy - ece: step 200 0.65 (step 50 0.51, step 100 0.42, step 150 0.5)"
            ],
        );
        check(
            "",
            "accuracy > 0.71",
            ROWS,
            expect!["Pass Some(100) of [100]: accuracy > 0.71 keeps 1 of 4; the last is step 100"],
        );
        check("", "", ROWS, expect!["Pass Some(200) of [50, 100, 150, 200]: the last is step 200"]);
    }

    #[test]
    fn a_tie_goes_to_the_earlier_step() {
        check(
            "accuracy",
            "",
            &ROWS[2..],
            expect!["Pass Some(150) of [150, 200]: highest accuracy: step 150 0.7 (step 200 0.7)"],
        );
    }

    #[test]
    fn none_left_is_a_fail_that_shows_every_number() {
        check(
            "accuracy",
            "ece < 0.01",
            &ROWS[..2],
            expect![
                "Fail None of []: ece < 0.01 keeps none of 2: step 50: ece 0.1 is not < 0.01 (over by 0.09); step 100: ece 0.3 is not < 0.01 (over by 0.29)"
            ],
        );
    }

    #[test]
    fn a_checkpoint_without_a_number_is_an_error() {
        check(
            "accuracy",
            "",
            &[(50, 0.6, 0.1), (100, f64::NAN, 0.1)],
            expect!["Error None of [50, 100]: step 100: `accuracy` is NaN"],
        );
        check(
            "accuracy",
            "ece < 1",
            &[(50, 0.6, f64::NAN), (100, 0.7, 0.1)],
            expect!["Error None of []: step 50: ece NaN < 1 (`ece` is NaN)"],
        );
        check(
            "mean_score",
            "",
            ROWS,
            expect!["Error None of [50, 100, 150, 200]: step 50: `mean_score` was not measured"],
        );
        check("accuracy", "", &[], expect!["Error None of []: there are no checkpoints"]);
    }

    #[test]
    fn only_survivors_need_a_judge() {
        let select = select("mean_score", "ece < 0.25");
        assert!(select.names_judge());
        let mut candidates = candidates(ROWS);
        let survivors = survivors(&select, &candidates).unwrap();
        assert_eq!(survivors, [0, 2, 3]);
        for at in survivors {
            candidates[at].1.judged.insert("mean_score".to_owned(), Some(at as f64 / 8.0));
        }
        expect!["ece < 0.25 keeps 3 of 4; highest mean_score: step 200 0.375 (step 50 0, step 150 0.25)"]
            .assert_eq(&choose(&select, &candidates).explanation);
    }
}
