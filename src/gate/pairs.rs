//! Per-item tables: pairing two of them, and the four counts of the comparison.
//! It knows nothing of rules, nor of how texts and scores came about.

use std::collections::BTreeMap;
use std::fmt;

/// One answer: a row of the table of scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The row's `id`, or its number.
    pub id: String,
    pub prompt: String,
    pub text: String,
    pub score: Option<f64>,
}

/// Two answers to one prompt.
pub struct Pair<'a> {
    candidate: &'a Item,
    other: &'a Item,
}

impl Pair<'_> {
    pub fn is_changed(&self) -> bool {
        self.candidate.text != self.other.text
    }
}

/// How the candidate's answers compare with another's on the same prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub win: u64,
    pub loss: u64,
    /// The text differs, the score is equal.
    pub tie_changed: u64,
    /// The same text.
    pub tie_unchanged: u64,
}

impl Counts {
    pub fn total(&self) -> u64 {
        self.win + self.loss + self.tie_changed + self.tie_unchanged
    }

    /// Over changed texts, a tie as one half; `None` when no text changed.
    pub fn win_rate(&self) -> Option<f64> {
        let changed = self.win + self.loss + self.tie_changed;
        (changed > 0).then(|| (self.win as f64 + 0.5 * self.tie_changed as f64) / changed as f64)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { win, loss, tie_changed, tie_unchanged } = self;
        write!(f, "{win} win, {loss} loss, {tie_changed} tie changed, {tie_unchanged} tie unchanged")
    }
}

pub fn fold(candidate: &[Item], other: &[Item]) -> Result<Counts, String> {
    count(&pair(candidate, other)?)
}

/// Every item of one table with the item of the same id in the other, in the candidate's order.
pub fn pair<'a>(candidate: &'a [Item], other: &'a [Item]) -> Result<Vec<Pair<'a>>, String> {
    if candidate.is_empty() || other.is_empty() {
        return Err("there are no items to compare".to_owned());
    }
    let mut unpaired = by_id(other)?;
    by_id(candidate)?;
    let mut pairs = Vec::with_capacity(candidate.len());
    for item in candidate {
        let Some(partner) = unpaired.remove(item.id.as_str()) else {
            return Err(format!(
                "item `{}` has no partner ({} items against {})",
                item.id,
                candidate.len(),
                other.len()
            ));
        };
        if item.prompt != partner.prompt {
            return Err(format!("item `{}` has two different prompts, so the answers do not compare", item.id));
        }
        pairs.push(Pair { candidate: item, other: partner });
    }
    match unpaired.keys().next() {
        None => Ok(pairs),
        Some(id) => Err(format!("item `{id}` has no partner ({} items against {})", candidate.len(), other.len())),
    }
}

fn by_id(items: &[Item]) -> Result<BTreeMap<&str, &Item>, String> {
    let mut found = BTreeMap::new();
    for item in items {
        if found.insert(item.id.as_str(), item).is_some() {
            return Err(format!("two items have the id `{}`", item.id));
        }
    }
    Ok(found)
}

pub fn count(pairs: &[Pair]) -> Result<Counts, String> {
    let mut counts = Counts::default();
    for pair in pairs {
        let (mine, theirs) = (score(pair.candidate)?, score(pair.other)?);
        // The same text is a tie whatever its scores: scored in another batch, the last bit may differ.
        let count = match () {
            () if !pair.is_changed() => &mut counts.tie_unchanged,
            () if mine > theirs => &mut counts.win,
            () if mine < theirs => &mut counts.loss,
            () => &mut counts.tie_changed,
        };
        *count += 1;
    }
    Ok(counts)
}

fn score(item: &Item) -> Result<f64, String> {
    match item.score {
        None => Err(format!("item `{}` has no score", item.id)),
        Some(score) if !score.is_finite() => {
            Err(format!("the score of item `{}` is {}", item.id, super::show::odd(score)))
        }
        Some(score) => Ok(score),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn item(id: &str, prompt: &str, text: &str, score: Option<f64>) -> Item {
        Item { id: id.to_owned(), prompt: prompt.to_owned(), text: text.to_owned(), score }
    }

    fn check(candidate: &[Item], other: &[Item], expected: Expect) {
        expected.assert_eq(&match fold(candidate, other) {
            Ok(counts) => counts.to_string(),
            Err(reason) => reason,
        });
    }

    #[test]
    fn items_are_paired_by_id_in_any_order() {
        let candidate =
            [item("1", "a", "x", Some(1.0)), item("2", "b", "y", Some(2.0)), item("3", "c", "z", Some(3.0))];
        let other = [item("3", "c", "Z", Some(3.0)), item("1", "a", "X", Some(2.0)), item("2", "b", "Y", Some(1.0))];
        check(&candidate, &other, expect!["1 win, 1 loss, 1 tie changed, 0 tie unchanged"]);
    }

    #[test]
    fn the_same_text_is_an_unchanged_tie_even_when_the_last_bit_of_its_score_differs() {
        let candidate = [item("1", "a", "x", Some(0.1 + 0.2))];
        check(&candidate, &[item("1", "a", "x", Some(0.3))], expect!["0 win, 0 loss, 0 tie changed, 1 tie unchanged"]);
    }

    #[test]
    fn tables_that_do_not_pair_are_refused_with_the_reason() {
        let one = [item("1", "a", "x", Some(1.0))];
        let two = [item("1", "a", "y", Some(1.0)), item("2", "b", "y", Some(1.0))];
        check(&[], &one, expect!["there are no items to compare"]);
        check(&one, &two, expect!["item `2` has no partner (1 items against 2)"]);
        check(&two, &one, expect!["item `2` has no partner (2 items against 1)"]);
        check(&one, &[two[0].clone(), two[0].clone()], expect!["two items have the id `1`"]);
        let moved = [item("1", "b", "y", Some(1.0))];
        check(&one, &moved, expect!["item `1` has two different prompts, so the answers do not compare"]);
        check(&one, &[item("1", "a", "y", None)], expect!["item `1` has no score"]);
        check(&one, &[item("1", "a", "y", Some(f64::NAN))], expect!["the score of item `1` is NaN"]);
    }

    #[test]
    fn nothing_changed_has_no_win_rate() {
        assert_eq!(Counts { tie_unchanged: 7, ..Counts::default() }.win_rate(), None);
    }
}
