//! The numbers that a rule reads from the records of judges, what they mean, and whether it can pass without some of them.

use super::tree::{Leaf, Leaves, Meaning, Number, RecordOrigin, Rule, Test, Who};

/// A number that a judge measured. Known after `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgeReading<'a> {
    pub who: &'a Who,
    /// The index of the judge in the gate's list.
    pub judge: usize,
    /// The metric or field; `None` for the scores that wins and losses are counted by.
    pub what: Option<&'a str>,
}

impl Rule {
    pub fn judge_readings(&self) -> Vec<JudgeReading<'_>> {
        of_test(&self.test, &self.leaves)
    }

    /// Whether the rule passes only where a comparison holds of whose readings `counts` is true.
    pub fn needs(&self, counts: &dyn Fn(&[JudgeReading]) -> bool) -> bool {
        needs(&self.test, false, &|test| counts(&of_test(test, &self.leaves)))
    }

    /// Whether it passes only where a comparison with confidence holds.
    pub fn needs_confidence(&self) -> bool {
        needs(&self.test, false, &Test::is_confident)
    }

    /// The meanings of its names that its text does not tell: the direction of each metric, its field, its bounds.
    pub fn meanings(&self) -> Vec<String> {
        let all = self.leaves.names.iter().filter_map(|name| Some((name, name.meaning.as_ref()?)));
        all.map(|(name, meaning)| {
            let Meaning { direction, field, bounds, .. } = meaning;
            format!("{} {direction:?} {field:?} {:?}", name.metric, bounds.map(|bounds| (bounds.low, bounds.high)))
        })
        .collect()
    }
}

fn needs(test: &Test, is_negated: bool, counts: &dyn Fn(&Test) -> bool) -> bool {
    let part = |test: &Test| needs(test, is_negated, counts);
    match (test, is_negated) {
        (Test::And(tests), false) | (Test::Or(tests), true) => tests.iter().any(part),
        (Test::And(tests), true) | (Test::Or(tests), false) => tests.iter().all(part),
        (Test::Not(test), _) => needs(test, !is_negated, counts),
        (Test::Compare { .. } | Test::Between { .. } | Test::Improves { .. }, _) => counts(test),
    }
}

fn of_test<'a>(test: &Test, leaves: &'a Leaves) -> Vec<JudgeReading<'a>> {
    let numbers = |numbers: &[&Number]| numbers.iter().flat_map(|number| of_number(number, leaves)).collect();
    match test {
        Test::Compare { first, links, .. } => {
            let all: Vec<&Number> = [first].into_iter().chain(links.iter().map(|(_, number)| number)).collect();
            numbers(&all)
        }
        Test::Between { value, low, high, .. } => numbers(&[value, low, high]),
        Test::Improves { metric, over, .. } => {
            [*metric, *over].into_iter().flat_map(|name| of_leaf(Leaf::Name(name), leaves)).collect()
        }
        Test::And(tests) | Test::Or(tests) => tests.iter().flat_map(|test| of_test(test, leaves)).collect(),
        Test::Not(test) => of_test(test, leaves),
    }
}

fn of_number<'a>(number: &Number, leaves: &'a Leaves) -> Vec<JudgeReading<'a>> {
    let own = number.leaf().into_iter().flat_map(|leaf| of_leaf(leaf, leaves));
    own.chain(number.operands().into_iter().flat_map(|operand| of_number(operand, leaves))).collect()
}

fn of_leaf(leaf: Leaf, leaves: &Leaves) -> Vec<JudgeReading<'_>> {
    match leaf {
        Leaf::Name(at) => {
            let name = &leaves.names[at];
            let judge = match name.meaning.as_ref().map(|meaning| meaning.origin) {
                Some(RecordOrigin::Judge(judge)) => judge,
                Some(RecordOrigin::Own) | None => return Vec::new(),
            };
            vec![JudgeReading { who: &name.who, judge, what: Some(&name.metric) }]
        }
        Leaf::Other(at) => {
            let other = &leaves.others[at];
            let judge = other.judge.filter(|_| other.of.asks_scores);
            let sides =
                judge.map(|judge| [&Who::Candidate, &other.who].map(|who| JudgeReading { who, judge, what: None }));
            sides.into_iter().flatten().collect()
        }
    }
}
