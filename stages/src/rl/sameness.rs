//! Signs that a policy says one thing again and again: within an answer, and to whatever it is asked.

use std::collections::{BTreeMap, BTreeSet};

/// The share of the pairs of neighbouring tokens of an answer that repeat an earlier pair; 0 for a single token.
pub fn repetition(answer: &[u32]) -> f64 {
    let (pairs, distinct) = pairs(answer);
    (pairs - distinct) as f64 / pairs.max(1) as f64
}

/// The share of distinct pairs among all pairs of neighbouring tokens (distinct-2 of Li et al. 2016, but per answer); 1
/// for a single token.
pub fn distinct_pairs(answer: &[u32]) -> f64 {
    let (pairs, distinct) = pairs(answer);
    if pairs == 0 { 1.0 } else { distinct as f64 / pairs as f64 }
}

/// The numbers of all and of the distinct pairs of neighbouring tokens.
fn pairs(answer: &[u32]) -> (usize, usize) {
    (answer.len().saturating_sub(1), answer.windows(2).collect::<BTreeSet<_>>().len())
}

/// The largest share of the questions that got one and the same answer, of pairs of a question and its answer. A question
/// that was asked several times counts once. NaN without any.
pub fn same_answer_share<Q: Ord, A: Ord>(answered: impl IntoIterator<Item = (Q, A)>) -> f64 {
    let (mut questions, mut asked_of) = (BTreeMap::new(), BTreeMap::<A, BTreeSet<usize>>::new());
    for (question, answer) in answered {
        let new = questions.len();
        asked_of.entry(answer).or_default().insert(*questions.entry(question).or_insert(new));
    }
    let most = asked_of.values().map(BTreeSet::len).max().unwrap_or(0);
    most as f64 / questions.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetition_lowers_the_share_of_distinct_pairs() {
        for (answer, distinct) in
            [(&[1, 2, 3, 4][..], 1.0), (&[1, 2, 1, 2, 1], 0.5), (&[1], 1.0), (&[7, 7, 7, 7], 1.0 / 3.0)]
        {
            assert_eq!(distinct_pairs(answer), distinct, "{answer:?}");
            assert!((repetition(answer) - (1.0 - distinct)).abs() < 1e-15, "{answer:?}");
        }
    }

    #[test]
    fn one_answer_for_most_questions_shows_however_often_each_was_asked() {
        assert_eq!(same_answer_share([(1, "、、、、"), (2, "、、、、"), (3, "、、、、")]), 1.0);
        assert_eq!(same_answer_share([(1, "a"), (2, "b"), (3, "a"), (4, "c")]), 0.5);
        // Ten times the same question has the same greedy answer, which says nothing of other questions.
        let often = std::iter::repeat_n((1, "a"), 10).chain([(2, "b"), (3, "c"), (4, "d")]);
        assert_eq!(same_answer_share(often), 0.25);
        assert!(same_answer_share(std::iter::empty::<(u8, u8)>()).is_nan());
    }
}
