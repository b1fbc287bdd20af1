//! Tables of items: rows of JSON, two of them paired by the ids of their rows, and answers compared with answers.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

/// Everything that was measured of one artifact, item by item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Items {
    pub rows: Vec<Item>,
    /// One number for each row; `None` where it is not finite or the row lacks the field.
    pub fields: BTreeMap<String, Vec<Option<f64>>>,
    /// The reason why the table cannot be used: an error of every rule that reads it, and of nothing else.
    pub fault: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The field `id`, or else the row's number from 1.
    pub id: String,
    pub prompt: String,
    pub text: Option<String>,
    /// The field `prompt_group`. Rows of one group count as one piece of evidence, and so do rows of one prompt without
    /// a group.
    pub group: Option<String>,
    /// The field `subset`: rules may ask for the rows of one alone.
    pub subset: Option<String>,
}

impl Item {
    /// Whether no `prompt_group` was given. The tables of kinds that learn from preferences then repeat the id of the row
    /// of data, of which the id of the item is a part.
    fn is_without_group(&self) -> bool {
        let rest = self.group.as_deref().map(|group| self.id.strip_prefix(group));
        rest.is_none_or(|rest| rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    fn text(&self) -> Result<&str, String> {
        self.text.as_deref().ok_or_else(|| format!("item `{}` has no text", self.id))
    }
}

impl Items {
    /// Reads one JSON object per line. Booleans read as 0 and 1; fields that are neither text nor number are skipped.
    pub fn read(lines: &str) -> Result<Items, String> {
        let lines = lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let row = |(number, line): (usize, &str)| {
            let place = |error: serde_json::Error| {
                let message = error.to_string();
                // The parser was given this one line, so its own line number is always 1.
                let what = message.split(" at line ").next().unwrap_or_default();
                format!("line {}, column {}: {what}", number + 1, error.column())
            };
            serde_json::from_str(line).map_err(place)
        };
        Items::gathered(lines.map(row))
    }

    pub fn broken(reason: impl Into<String>) -> Items {
        Items { fault: Some(reason.into()), ..Items::default() }
    }

    pub fn of_rows(rows: Vec<Map<String, Value>>) -> Result<Items, String> {
        Items::gathered(rows.into_iter().map(Ok))
    }

    /// Takes the rows one by one: a row of answers holds all their tokens, of which nothing is kept.
    fn gathered(rows: impl Iterator<Item = Result<Map<String, Value>, String>>) -> Result<Items, String> {
        let mut items = Items::default();
        for (at, row) in rows.enumerate() {
            let row = row?;
            let text = |name: &str| match row.get(name) {
                Some(Value::String(text)) => Some(text.clone()),
                None | Some(Value::Null) => None,
                Some(other) => Some(other.to_string()),
            };
            let id = text("id").unwrap_or_else(|| (at + 1).to_string());
            let (prompt, group, subset) = (text("prompt").unwrap_or_default(), text("prompt_group"), text("subset"));
            items.rows.push(Item { id, prompt, text: text("text"), group, subset });
            for (name, value) in row.iter().filter(|(name, _)| !TEXTS.contains(&name.as_str())) {
                let number = match value {
                    Value::Number(number) => number.as_f64().filter(|number| number.is_finite()),
                    Value::Bool(is_so) => Some(f64::from(u8::from(*is_so))),
                    Value::Null => None,
                    _ => continue,
                };
                let numbers = items.fields.entry(name.clone()).or_default();
                numbers.resize(at, None);
                numbers.push(number);
            }
        }
        let count = items.rows.len();
        items.fields.values_mut().for_each(|numbers| numbers.resize(count, None));
        items.by_id()?;
        Ok(items)
    }

    /// Adds the fields of another table of the same artifact, and the texts, groups and subsets of its rows. `suffix` is added
    /// to the names: `score` by the second reward is `score_2`.
    pub fn join(&mut self, other: &Items, suffix: &str) -> Result<(), String> {
        let pairs = pair(self, other)?;
        for (name, theirs) in &other.fields {
            let mut numbers = vec![None; self.rows.len()];
            pairs.iter().for_each(|(mine, other)| numbers[*mine] = theirs[*other]);
            self.fields.insert(format!("{name}{suffix}"), numbers);
        }
        for (mine, theirs) in pairs {
            let (mine, theirs) = (&mut self.rows[mine], &other.rows[theirs]);
            mine.text = mine.text.take().or_else(|| theirs.text.clone());
            mine.group = mine.group.take().or_else(|| theirs.group.clone());
            mine.subset = mine.subset.take().or_else(|| theirs.subset.clone());
        }
        Ok(())
    }

    /// The rows of one subset.
    pub fn of_subset(&self, name: &str) -> Result<Items, String> {
        let rows: Vec<usize> =
            (0..self.rows.len()).filter(|row| self.rows[*row].subset.as_deref() == Some(name)).collect();
        if rows.is_empty() {
            let known: BTreeSet<&str> = self.rows.iter().filter_map(|row| row.subset.as_deref()).collect();
            return Err(match known.is_empty() {
                true => "the items have no `subset`: it is a field of the prompts".to_owned(),
                false => format!(
                    "no item is of the subset `{name}`; there are: {}",
                    known.into_iter().collect::<Vec<_>>().join(", ")
                ),
            });
        }
        let fields = self.fields.iter().map(|(field, numbers)| {
            (field.clone(), rows.iter().map(|row| numbers[*row]).collect::<Vec<Option<f64>>>())
        });
        Ok(Items {
            fields: fields.collect(),
            rows: rows.iter().map(|row| self.rows[*row].clone()).collect(),
            fault: None,
        })
    }

    /// The number of a row, or a message that names the row without one.
    pub fn number(&self, field: &str, row: usize) -> Result<f64, String> {
        let id = &self.rows[row].id;
        let Some(numbers) = self.fields.get(field) else { return Err(format!("the items have no field `{field}`")) };
        match numbers[row] {
            None => Err(format!("item `{id}` has no finite {field}")),
            Some(number) if !number.is_finite() => {
                Err(format!("the {field} of item `{id}` is {}", super::show::odd(number)))
            }
            Some(number) => Ok(number),
        }
    }

    /// The numbers of all rows.
    pub fn numbers(&self, field: &str) -> Result<Vec<f64>, String> {
        (0..self.rows.len()).map(|row| self.number(field, row)).collect()
    }

    /// The rows in the order of their ids.
    pub fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by(|one, other| self.rows[*one].id.cmp(&self.rows[*other].id));
        order
    }

    /// The group of each row of `order` as a number. Rows of one `prompt_group` are one group, and rows without one are
    /// grouped by their prompt: answers to the same prompt are no independent evidence. A row with neither is a group
    /// of its own.
    pub fn groups(&self, order: &[usize]) -> Vec<usize> {
        // The prompts of which some row has no group; rows with a group follow them, so that the two never part.
        let mut by_prompt: HashMap<&str, Option<usize>> = HashMap::new();
        let bare = self.rows.iter().filter(|row| row.is_without_group() && !row.prompt.is_empty());
        by_prompt.extend(bare.map(|row| (row.prompt.as_str(), None)));
        let mut by_group: HashMap<&str, usize> = HashMap::new();
        let mut union = Union::default();
        let members: Vec<usize> = order
            .iter()
            .map(|row| {
                let row = &self.rows[*row];
                let member = union.add();
                if let Some(group) = row.group.as_deref() {
                    union.join(*by_group.entry(group).or_insert(member), member);
                }
                if let Some(first) = by_prompt.get_mut(row.prompt.as_str()) {
                    union.join(*first.get_or_insert(member), member);
                }
                member
            })
            .collect();
        union.numbered(&members)
    }

    /// The row of this table with the same id, for every row of `base`.
    pub fn rows_like(&self, base: &Items) -> Result<Vec<usize>, String> {
        if std::ptr::eq(base, self) {
            return match base.rows.is_empty() {
                true => Err("there are no items to compare".to_owned()),
                false => Ok((0..base.rows.len()).collect()),
            };
        }
        Ok(pair(base, self)?.into_iter().map(|(_, row)| row).collect())
    }

    fn by_id(&self) -> Result<HashMap<&str, usize>, String> {
        let mut found = HashMap::with_capacity(self.rows.len());
        for (at, row) in self.rows.iter().enumerate() {
            if found.insert(row.id.as_str(), at).is_some() {
                return Err(format!("two items have the id `{}`", row.id));
            }
        }
        Ok(found)
    }
}

/// Sets that grow together: each member points to an earlier one of its set, or to itself.
#[derive(Default)]
struct Union {
    towards: Vec<usize>,
}

impl Union {
    fn add(&mut self) -> usize {
        self.towards.push(self.towards.len());
        self.towards.len() - 1
    }

    fn first(&mut self, mut member: usize) -> usize {
        while self.towards[member] != member {
            self.towards[member] = self.towards[self.towards[member]];
            member = self.towards[member];
        }
        member
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.first(one), self.first(other));
        self.towards[one.max(other)] = one.min(other);
    }

    /// The set of each member, numbered in the order in which they come.
    fn numbered(&mut self, members: &[usize]) -> Vec<usize> {
        let (mut numbers, mut count) = (vec![None; self.towards.len()], 0);
        let mut number = |member: usize| {
            let first = self.first(member);
            *numbers[first].get_or_insert_with(|| {
                count += 1;
                count - 1
            })
        };
        members.iter().map(|member| number(*member)).collect()
    }
}

/// Fields that are never numbers, whatever stands in them.
const TEXTS: [&str; 5] = ["id", "prompt", "text", "prompt_group", "subset"];

/// Whether two tables are about the same questions, at least in part: a prompt occurs in both, or an id whose two rows
/// are not known to have different prompts.
pub fn overlap(one: &Items, other: &Items) -> bool {
    if std::ptr::eq(one, other) {
        return !one.rows.is_empty();
    }
    let prompts: HashSet<&str> =
        one.rows.iter().map(|row| row.prompt.as_str()).filter(|text| !text.is_empty()).collect();
    let ids: HashMap<&str, &str> = one.rows.iter().map(|row| (row.id.as_str(), row.prompt.as_str())).collect();
    other.rows.iter().any(|row| {
        let same_id = ids.get(row.id.as_str());
        prompts.contains(row.prompt.as_str())
            || same_id.is_some_and(|prompt| prompt.is_empty() || row.prompt.is_empty())
    })
}

/// Pairs every row of one table with the row of the same id in the other; indices, in the order of the first.
pub fn pair(one: &Items, other: &Items) -> Result<Vec<(usize, usize)>, String> {
    if one.rows.is_empty() || other.rows.is_empty() {
        return Err("there are no items to compare".to_owned());
    }
    let lacks =
        |id: &str| format!("item `{id}` has no partner ({} items against {})", one.rows.len(), other.rows.len());
    let mut unpaired = other.by_id()?;
    one.by_id()?;
    let mut pairs = Vec::with_capacity(one.rows.len());
    for (at, row) in one.rows.iter().enumerate() {
        let partner = unpaired.remove(row.id.as_str()).ok_or_else(|| lacks(&row.id))?;
        let theirs = &other.rows[partner].prompt;
        // A table of numbers alone may have no prompts.
        if row.prompt != *theirs && !row.prompt.is_empty() && !theirs.is_empty() {
            return Err(format!("item `{}` has two different prompts, so the two do not compare", row.id));
        }
        pairs.push((at, partner));
    }
    match other.rows.iter().find(|row| unpaired.contains_key(row.id.as_str())) {
        None => Ok(pairs),
        Some(row) => Err(lacks(&row.id)),
    }
}

/// The result of an answer against another to the same prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairResult {
    Win,
    Loss,
    /// The text differs, the score is equal.
    TieChanged,
    /// The same text.
    TieUnchanged,
}

impl PairResult {
    /// The same text is a tie whatever its scores: in another batch the last bit of a score may differ.
    pub fn of(is_changed: bool, mine: f64, theirs: f64) -> PairResult {
        match () {
            () if !is_changed => PairResult::TieUnchanged,
            () if mine > theirs => PairResult::Win,
            () if mine < theirs => PairResult::Loss,
            () => PairResult::TieChanged,
        }
    }

    pub fn name(self) -> &'static str {
        Counts::NAMES[self as usize]
    }

    pub fn is_changed(self) -> bool {
        self != PairResult::TieUnchanged
    }

    /// The points that it adds to a win rate.
    pub fn points(self) -> f64 {
        match self {
            PairResult::Win => 1.0,
            PairResult::Loss => 0.0,
            PairResult::TieChanged | PairResult::TieUnchanged => 0.5,
        }
    }
}

/// The results of the candidate's answers against another's to the same prompts, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub win: u64,
    pub loss: u64,
    pub tie_changed: u64,
    pub tie_unchanged: u64,
}

impl Counts {
    /// The names of the four counts, wherever people write or read them.
    pub const NAMES: [&str; 4] = ["win", "loss", "tie_changed", "tie_unchanged"];

    /// The counts in the order of their names.
    pub fn named([win, loss, tie_changed, tie_unchanged]: [u64; 4]) -> Counts {
        Counts { win, loss, tie_changed, tie_unchanged }
    }

    pub fn of(results: &[PairResult]) -> Counts {
        let mut counts = Counts::default();
        for result in results {
            *match result {
                PairResult::Win => &mut counts.win,
                PairResult::Loss => &mut counts.loss,
                PairResult::TieChanged => &mut counts.tie_changed,
                PairResult::TieUnchanged => &mut counts.tie_unchanged,
            } += 1;
        }
        counts
    }

    /// Compares all answers of two tables.
    pub fn between(candidate: &Items, other: &Items) -> Result<Counts, String> {
        Ok(Counts::of(&pair_results(candidate, other, true)?))
    }

    pub fn total(&self) -> u64 {
        self.changed() + self.tie_unchanged
    }

    pub fn changed(&self) -> u64 {
        self.win + self.loss + self.tie_changed
    }

    /// The win rate over changed texts, with a tie as one half; `None` when no text changed.
    pub fn win_rate(&self) -> Option<f64> {
        (self.changed() > 0).then(|| (self.win as f64 + 0.5 * self.tie_changed as f64) / self.changed() as f64)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { win, loss, tie_changed, tie_unchanged } = self;
        write!(f, "{win} win, {loss} loss, {tie_changed} tie changed, {tie_unchanged} tie unchanged")
    }
}

/// Compares answer with answer, in the order of the candidate's rows. Without `asks_scores` only the texts are
/// compared, and an answer whose text differs is a tie.
pub fn pair_results(candidate: &Items, other: &Items, asks_scores: bool) -> Result<Vec<PairResult>, String> {
    let results = pair(candidate, other)?.into_iter().map(|(mine, theirs)| {
        let is_changed = is_changed(candidate, other, mine, theirs)?;
        if !asks_scores {
            return Ok(if is_changed { PairResult::TieChanged } else { PairResult::TieUnchanged });
        }
        let (mine, theirs) = (candidate.number("score", mine)?, other.number("score", theirs)?);
        Ok(PairResult::of(is_changed, mine, theirs))
    });
    results.collect()
}

fn is_changed(candidate: &Items, other: &Items, mine: usize, theirs: usize) -> Result<bool, String> {
    Ok(candidate.rows[mine].text()? != other.rows[theirs].text()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn table(rows: &[(&str, &str, &str, Option<f64>)]) -> Items {
        let row = |(id, prompt, text, _): &(&str, &str, &str, Option<f64>)| Item {
            id: (*id).to_owned(),
            prompt: (*prompt).to_owned(),
            text: Some((*text).to_owned()),
            group: None,
            subset: None,
        };
        let scores = rows.iter().map(|(.., score)| *score).collect();
        Items {
            rows: rows.iter().map(row).collect(),
            fields: BTreeMap::from([("score".to_owned(), scores)]),
            fault: None,
        }
    }

    fn check(candidate: &Items, other: &Items, expected: Expect) {
        expected.assert_eq(&match Counts::between(candidate, other) {
            Ok(counts) => counts.to_string(),
            Err(reason) => reason,
        });
    }

    #[test]
    fn items_are_paired_by_id_in_any_order() {
        let candidate = table(&[("1", "a", "x", Some(1.0)), ("2", "b", "y", Some(2.0)), ("3", "c", "z", Some(3.0))]);
        let other = table(&[("3", "c", "Z", Some(3.0)), ("1", "a", "X", Some(2.0)), ("2", "b", "Y", Some(1.0))]);
        check(&candidate, &other, expect!["1 win, 1 loss, 1 tie changed, 0 tie unchanged"]);
    }

    #[test]
    fn the_same_text_is_an_unchanged_tie_even_when_the_last_bit_of_its_score_differs() {
        let candidate = table(&[("1", "a", "x", Some(0.1 + 0.2))]);
        check(
            &candidate,
            &table(&[("1", "a", "x", Some(0.3))]),
            expect!["0 win, 0 loss, 0 tie changed, 1 tie unchanged"],
        );
    }

    #[test]
    fn tables_that_do_not_pair_are_refused_with_the_reason() {
        let one = table(&[("1", "a", "x", Some(1.0))]);
        let two = table(&[("1", "a", "y", Some(1.0)), ("2", "b", "y", Some(1.0))]);
        check(&Items::default(), &one, expect!["there are no items to compare"]);
        check(&one, &two, expect!["item `2` has no partner (1 items against 2)"]);
        check(&two, &one, expect!["item `2` has no partner (2 items against 1)"]);
        let twice = table(&[("1", "a", "y", Some(1.0)), ("1", "a", "y", Some(1.0))]);
        check(&one, &twice, expect!["two items have the id `1`"]);
        check(
            &one,
            &table(&[("1", "b", "y", Some(1.0))]),
            expect!["item `1` has two different prompts, so the two do not compare"],
        );
        check(&one, &table(&[("1", "a", "y", None)]), expect!["item `1` has no finite score"]);
        check(&one, &table(&[("1", "a", "y", Some(f64::NAN))]), expect!["the score of item `1` is NaN"]);
    }

    #[test]
    fn nothing_changed_has_no_win_rate() {
        assert_eq!(Counts { tie_unchanged: 7, ..Counts::default() }.win_rate(), None);
    }

    #[test]
    fn a_row_is_known_by_its_id_or_else_by_its_number() {
        let items = Items::read(concat!(
            "{\"id\":\"a\",\"prompt\":\"p\",\"text\":\"t\",\"score\":1.5,\"ended\":true,\"ids\":[1,2]}\n",
            "{\"id\":7,\"prompt_group\":9,\"score\":null}\n",
            "\n{\"score\":1}\n",
        ))
        .unwrap();
        let rows: Vec<String> =
            items.rows.iter().map(|row| format!("{} {:?} {:?}", row.id, row.text, row.group)).collect();
        assert_eq!(rows, [r#"a Some("t") None"#, r#"7 None Some("9")"#, "3 None None"]);
        assert_eq!(items.fields["score"], [Some(1.5), None, Some(1.0)]);
        assert_eq!(items.fields["ended"], [Some(1.0), None, None]);
        assert!(!items.fields.contains_key("ids"));
        assert_eq!(Items::read("{\"id\":1}\n{\"id\":1}").unwrap_err(), "two items have the id `1`");
        assert!(Items::read("{\"id\":1}\n{").unwrap_err().starts_with("line 2, column 1: "));
    }

    /// The groups of rows of (id, prompt, group), in their order.
    fn groups(rows: &[(&str, &str, &str)]) -> Vec<usize> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let row = |(id, prompt, group): &(&str, &str, &str)| Item {
            id: (*id).to_owned(),
            prompt: (*prompt).to_owned(),
            text: None,
            group: text(group),
            subset: None,
        };
        let items = Items { rows: rows.iter().map(row).collect(), ..Items::default() };
        items.groups(&(0..rows.len()).collect::<Vec<_>>())
    }

    #[test]
    fn rows_of_one_prompt_are_one_group() {
        assert_eq!(
            groups(&[("1", "p", ""), ("2", "q", ""), ("3", "p", ""), ("4", "", ""), ("5", "", "")]),
            [0, 1, 0, 2, 3]
        );
        // A group that was given says more than the prompt: one template, or answers that are independent all the same.
        assert_eq!(groups(&[("1", "p", "a"), ("2", "q", "a"), ("3", "p", "b")]), [0, 0, 1]);
        // A row without a group goes with the rows of its prompt, whatever theirs is.
        assert_eq!(groups(&[("1", "p", "a"), ("2", "p", ""), ("3", "q", "a"), ("4", "r", "b")]), [0, 0, 0, 1]);
        // In the tables of kinds that learn from preferences the id of the row of data stands in for a group.
        assert_eq!(groups(&[("7/1", "p", "7"), ("7/2", "p", "7"), ("8/1", "p", "8"), ("9", "p", "9")]), [0, 0, 0, 0]);
        assert_eq!(groups(&[("1", "", "1"), ("2", "", "1"), ("3", "", "3")]), [0, 0, 1]);
    }

    #[test]
    fn the_rows_of_a_subset_are_a_table_of_their_own() {
        let rows = "{\"id\":1,\"subset\":\"ja\",\"score\":1}\n{\"id\":2,\"score\":2}\n{\"id\":3,\"subset\":\"en\",\"score\":3}\n{\"id\":4,\"subset\":\"ja\",\"score\":4}";
        let items = Items::read(rows).unwrap();
        let japanese = items.of_subset("ja").unwrap();
        assert_eq!(japanese.fields["score"], [Some(1.0), Some(4.0)]);
        assert_eq!(japanese.rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["1", "4"]);
        assert_eq!(items.of_subset("de").unwrap_err(), "no item is of the subset `de`; there are: en, ja");
        let none = Items::read("{\"score\":1}").unwrap().of_subset("ja").unwrap_err();
        assert_eq!(none, "the items have no `subset`: it is a field of the prompts");
        // The table of answers has it; that of scores, which is joined to it, need not.
        let mut scores =
            Items::read("{\"id\":1,\"kl\":1}\n{\"id\":2,\"kl\":1}\n{\"id\":3,\"kl\":1}\n{\"id\":4,\"kl\":5}").unwrap();
        scores.join(&items, "").unwrap();
        assert_eq!(scores.of_subset("ja").unwrap().fields["kl"], [Some(1.0), Some(5.0)]);
    }

    #[test]
    fn tables_of_one_artifact_become_one() {
        let mut items = Items::read("{\"id\":1,\"prompt\":\"p\",\"text\":\"t\"}\n{\"id\":2}").unwrap();
        let scores = Items::read("{\"id\":2,\"score\":0.5}\n{\"id\":1,\"score\":1,\"prompt_group\":\"g\"}").unwrap();
        items.join(&scores, "_2").unwrap();
        assert_eq!(items.fields["score_2"], [Some(1.0), Some(0.5)]);
        assert_eq!(items.rows[0].group.as_deref(), Some("g"));
        assert!(items.join(&Items::read("{\"id\":1}").unwrap(), "").is_err());
    }
}
