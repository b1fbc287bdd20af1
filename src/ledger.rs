//! The ledger of looks: which claims were put before which items, and how much of the allowed error each may spend. The
//! same prompts asked again and again let luck through in the end; a ledger that is kept counts how often they were
//! asked. Pure: [`file`] reads and writes it.
//!
//! A *look* is one gate with confident rules that judges one candidate. Of K declared looks each may spend α/K, of an
//! open number the k-th α/(k(k+1)), which sums to α. A look that promotes spent nothing that a later one could not use:
//! it hands its stake on to the next look of its own chain (Wiens & Dmitrienko 2005; Bretz et al. 2009; Tian & Ramdas
//! 2021). So the chance of any false promotion is at most α, whatever the looks have to do with each other.

pub mod file;
pub mod items;

use crate::gate::{Decision, DeclaredLooks};
use items::{ItemSet, Unions};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The key of a look, apart from its items.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LookKey {
    /// Digest of what is claimed: the candidate and the rules without their thresholds; with the numbers, unless the rules
    /// let their table grow.
    pub claim: String,
    /// Digest of the numbers: the tables that the rules read.
    pub numbers: String,
    /// `None`: the rules declare nothing, and spend the whole level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<DeclaredLooks>,
}

/// One look, as it was entered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    #[serde(flatten)]
    pub key: LookKey,
    /// The name of its items: a line of the ledger lists them.
    pub items: String,
    /// The number of its items.
    pub count: usize,
    /// For the reader: when (RFC 3339), in which run, by the gate of which stage, about which candidate, by which rules.
    pub at: String,
    pub run: String,
    pub stage: String,
    pub candidate: String,
    /// The content of the candidate.
    pub content: String,
    pub rules: Vec<String>,
    /// Its number among the looks at these items, counted from 1.
    pub number: u32,
    /// The part of the level that it may spend, in (0, 1].
    pub stake: f64,
    /// The claim of the look before it in its chain, if that one handed its stake on to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_by: Option<String>,
    /// The numbers of items of the looks of this claim before it, rising, where its rules let their table grow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<usize>,
    /// Whether its looks were declared after the claim had been weighed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_late: bool,
}

/// The words about a look for those who read the ledger, as in [`Look`].
#[derive(Clone, Debug, Default)]
pub struct LookNotes {
    pub at: String,
    pub run: String,
    pub stage: String,
    pub candidate: String,
    pub content: String,
    pub rules: Vec<String>,
}

impl Look {
    /// The look that a permission allows.
    pub fn of(question: &LookQuestion, permission: &Permission, notes: LookNotes) -> Look {
        let LookNotes { at, run, stage, candidate, content, rules } = notes;
        let Permission { number, stake, handed_by, earlier, is_late, .. } = permission.clone();
        let (key, items, count) = (question.key.clone(), question.items.name(), question.count);
        Look {
            key,
            items,
            count,
            at,
            run,
            stage,
            candidate,
            content,
            rules,
            number,
            stake,
            handed_by,
            earlier,
            is_late,
        }
    }
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// A set of items, under the digest of its members.
    Items {
        name: String,
        members: ItemSet,
    },
    Look(Box<Look>),
    /// The verdict that a look led to. The last one counts.
    Verdict(LookVerdict),
}

/// The verdict that a look led to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LookVerdict {
    pub claim: String,
    pub decision: Decision,
    /// Whether it hands its stake on: the gate passed, and by a rule that needs confidence.
    #[serde(default)]
    pub hands_on: bool,
    /// Whether nothing was weighed, since every confident rule was an error: then nothing is spent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_void: bool,
    /// For the reader: what each confident rule says, with its numbers.
    pub because: Vec<String>,
}

/// A claim that a gate is about to weigh.
#[derive(Clone, Debug, PartialEq)]
pub struct LookQuestion {
    pub key: LookKey,
    pub items: ItemSet,
    /// The number of rows of their table.
    pub count: usize,
    /// Whether looks at more items are looks of the same claim.
    pub is_growing: bool,
    /// The claim of the look before it in its chain: that of the stage whose promoted artifact it takes.
    pub after: Option<String>,
}

/// The permission of a look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Permission {
    /// Its number among the looks at these items.
    pub number: u32,
    pub over: Option<DeclaredLooks>,
    /// The part of the level that it may spend; 0 where the declared looks are spent.
    pub stake: f64,
    pub handed_by: Option<String>,
    /// The numbers of items of the looks of this claim before it, rising, where its rules let their table grow.
    pub earlier: Vec<usize>,
    /// Its looks were declared after the claim had been weighed: who declares for what turned out well has no level.
    pub is_late: bool,
    /// It stands in the ledger already, and costs nothing.
    pub is_known: bool,
    /// No ledger is kept: the looks of this run alone were counted.
    pub is_alone: bool,
}

impl Permission {
    fn new(number: u32, over: Option<DeclaredLooks>, stake: f64) -> Permission {
        let (handed_by, earlier) = (None, Vec::new());
        Permission { number, over, stake, handed_by, earlier, is_late: false, is_known: false, is_alone: false }
    }

    pub fn is_spent(&self) -> bool {
        self.stake == 0.0
    }

    /// The sentence of a verdict about this look at `prompts`, for rules that allow `level` as the chance of a false claim.
    pub fn note(&self, prompts: &str, level: f64) -> String {
        let alone = if self.is_alone { " (no ledger: the looks of this run alone are counted)" } else { "" };
        let late = match self.is_late && !self.is_spent() {
            true => ", declared after it was seen: together these looks promise nothing",
            false => "",
        };
        self.sentence(prompts, level) + late + alone
    }

    fn sentence(&self, prompts: &str, level: f64) -> String {
        let percent = |share: f64| format!("{} %", (1000.0 * share).round() / 10.0);
        let number = self.number;
        let handed = if self.handed_by.is_some() { ", with the stake of the promotion before it" } else { "" };
        let part = |of: String| format!("{of} at {prompts}: {} of the level{handed}", percent(self.stake));
        match self.over {
            _ if self.is_spent() && !self.earlier.is_empty() => {
                let last = self.earlier.last().copied().unwrap_or_default();
                format!(
                    "the table of {prompts} is not that of the look at {last} items with more behind it, and nothing else may be spent"
                )
            }
            Some(DeclaredLooks::Exactly(count)) if self.is_spent() && number > count => match count {
                1 => format!("the look at {prompts} is spent; name fresh prompts"),
                _ => format!("the {count} looks at {prompts} are spent; name fresh prompts"),
            },
            Some(_) if self.is_spent() => {
                format!(
                    "the {} looks before this one at {prompts} have spent the level; name fresh prompts",
                    number - 1
                )
            }
            Some(DeclaredLooks::Exactly(count)) => part(format!("look {number} of {count}")),
            Some(DeclaredLooks::Open) => part(format!("look {number}")),
            None if !self.earlier.is_empty() => String::new(),
            None if number == 1 => format!("the first look at {prompts}"),
            None => format!(
                "the {} look at {prompts}: at {} each, some false promotion in {} of such chains",
                ordinal(number),
                percent(1.0 - level),
                percent(1.0 - (1.0 - level).powi(number as i32))
            ),
        }
    }
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// Everything that was entered.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    looks: Vec<Look>,
    /// By claim: the places of its looks. Two branches of a repository may have entered one claim each.
    by_claim: HashMap<String, Vec<usize>>,
    verdicts: HashMap<String, (Decision, bool)>,
    /// Looks at which nothing was weighed.
    void: BTreeSet<usize>,
    unions: Unions,
}

impl Ledger {
    pub fn enter(&mut self, entry: Entry) {
        match entry {
            Entry::Items { name, members } => self.unions.add(&name, &members),
            Entry::Look(look) => {
                self.by_claim.entry(look.key.claim.clone()).or_default().push(self.looks.len());
                self.looks.push(*look);
            }
            Entry::Verdict(LookVerdict { claim, decision, hands_on, is_void, .. }) => {
                if is_void {
                    self.void.extend(self.by_claim.remove(&claim).unwrap_or_default());
                }
                // Another threshold is free, and a claim that once missed must not hand on what the miss has spent.
                let before = self.verdicts.get(&claim).filter(|_| !is_void).is_none_or(|(_, hands_on)| *hands_on);
                self.verdicts.insert(claim, (decision, hands_on && before));
            }
        }
    }

    /// The verdict on a claim; `None` before it.
    pub fn verdict(&self, claim: &str) -> Option<Decision> {
        self.verdicts.get(claim).map(|(decision, _)| *decision)
    }

    /// Whether these items are listed already.
    pub fn knows(&self, items: &ItemSet) -> bool {
        self.unions.knows(&items.name())
    }

    /// The looks at items of which some are among these.
    pub fn looks_at<'a>(&'a self, items: &ItemSet) -> impl Iterator<Item = &'a Look> {
        let unions = self.unions.touched_by(items);
        self.valid().filter(move |look| unions.contains(&self.unions.of(&look.items)))
    }

    /// The looks that the gate of a stage took.
    pub fn looks_of<'a>(&'a self, stage: &'a str) -> impl Iterator<Item = &'a Look> {
        self.valid().filter(move |look| look.stage == stage)
    }

    /// The number of claims that were put before the items of a look.
    pub fn taken_with(&self, look: &Look) -> usize {
        let union = self.unions.of(&look.items);
        let with = self.valid().filter(|other| self.unions.of(&other.items) == union);
        with.map(|look| look.key.claim.as_str()).collect::<BTreeSet<_>>().len()
    }

    /// The permission of a look that stands in the ledger.
    pub fn known(&self, key: &LookKey) -> Option<Permission> {
        let look = self.same(&key.claim).find(|look| look.key == *key)?.clone();
        let Look { number, stake, handed_by, earlier, is_late, .. } = look;
        Some(Permission { number, over: key.over, stake, handed_by, earlier, is_late, is_known: true, is_alone: false })
    }

    /// The permission for a claim. One that stands in the ledger has the one that it had, under the same declaration.
    pub fn permission(&self, question: &LookQuestion) -> Permission {
        let LookQuestion { key, items, is_growing, after, .. } = question;
        if let Some(known) = self.known(key) {
            return known;
        }
        if *is_growing && let Some(grown) = self.grown(question) {
            return grown;
        }
        let others = || self.looks_at(items).filter(|look| look.key.claim != key.claim);
        let number = self.number(key, items);
        let is_late = key.over.is_some() && self.same(&key.claim).next().is_some();
        let new = |stake: f64| Permission { is_late, ..Permission::new(number, key.over, stake) };
        let Some(declared) = key.over else { return new(1.0) };
        let spent = new(0.0);
        if matches!(declared, DeclaredLooks::Exactly(count) if number > count) {
            return spent;
        }
        // Whoever declares more looks later has less left, since the parts of all declared looks sum to one at most.
        let mut parts: BTreeMap<&str, f64> = BTreeMap::new();
        for look in others() {
            if let Some(over) = look.key.over {
                let part = parts.entry(&look.key.claim).or_default();
                *part = part.max(over.part(look.number));
            }
        }
        let left = 1.0 - parts.values().sum::<f64>();
        let own = declared.part(number);
        let own = if own <= left + ROUNDING { own } else { left };
        if own <= ROUNDING {
            return spent;
        }
        let handed = after.as_ref().and_then(|before| Some((before, self.stake_of(before, question)?)));
        let stake = (own + handed.map_or(0.0, |(_, stake)| stake)).min(1.0);
        Permission { handed_by: handed.map(|(before, _)| before.clone()), ..new(stake) }
    }

    /// The number of a new look: the next one. A claim that was weighed before under a declaration that gave it as much or
    /// more keeps its number; under one that gave it less, it is asked once more.
    fn number(&self, key: &LookKey, items: &ItemSet) -> u32 {
        let part = |over: Option<DeclaredLooks>, number: u32| over.map_or(1.0, |over| over.part(number));
        let first = self.same(&key.claim).min_by_key(|look| look.number);
        let keeps = first.filter(|first| {
            let mut before = self.same(&key.claim);
            before.all(|look| part(look.key.over, first.number) + ROUNDING >= part(key.over, first.number))
        });
        let claims: BTreeSet<&str> = self.looks_at(items).map(|look| look.key.claim.as_str()).collect();
        keeps.map_or(claims.len() as u32 + 1, |first| first.number)
    }

    /// The permission of a further look at a table that grows: it has all items of the looks before it, and more. Another
    /// declaration gives it no more than they had.
    fn grown(&self, question: &LookQuestion) -> Option<Permission> {
        let LookQuestion { key, items, count, .. } = question;
        let before = || self.same(&key.claim);
        let Look { number, handed_by, .. } = before().next()?.clone();
        let mut earlier: Vec<usize> = before().map(|look| look.count).collect();
        earlier.sort_unstable();
        earlier.dedup();
        let is_grown = earlier.last().is_some_and(|last| last < count)
            && before().all(|look| self.unions.members_of(&look.items).is_some_and(|known| known.is_within(items)));
        let is_same = before().all(|look| look.key.over == key.over);
        let least = before().map(|look| look.stake).fold(f64::INFINITY, f64::min);
        let part = key.over.map_or(1.0, |over| over.part(number));
        let stake = match (is_grown, is_same) {
            (false, _) => 0.0,
            (true, true) => least,
            (true, false) => least.min(part),
        };
        let handed_by = handed_by.filter(|_| is_same);
        Some(Permission { handed_by, earlier, is_late: !is_same, ..Permission::new(number, key.over, stake) })
    }

    /// A look that cannot have been entered as it stands: its items are not listed, or its number or stake are none.
    pub fn unfounded(&self) -> Option<&Look> {
        let is_sound = |look: &&Look| look.number > 0 && look.stake > 0.0 && look.stake <= 1.0;
        self.looks.iter().find(|look| !is_sound(look) || self.unions.of(&look.items).is_none())
    }

    /// The looks at which something was weighed.
    fn valid(&self) -> impl Iterator<Item = &Look> {
        self.looks.iter().enumerate().filter(|(at, _)| !self.void.contains(at)).map(|(_, look)| look)
    }

    /// The looks of a claim.
    fn same(&self, claim: &str) -> impl Iterator<Item = &Look> {
        self.by_claim.get(claim).into_iter().flatten().map(|at| &self.looks[*at])
    }

    /// The stake that a look hands on: it promoted, looked at these items, and has not handed it on to another claim.
    fn stake_of(&self, before: &str, to: &LookQuestion) -> Option<f64> {
        let takes = |look: &&Look| look.handed_by.as_deref() == Some(before) && look.key.claim != to.key.claim;
        let unions = self.unions.touched_by(&to.items);
        let look = self.same(before).find(|look| look.key.over == to.key.over)?;
        let hands_on = self.verdicts.get(before).is_some_and(|(_, hands_on)| *hands_on)
            && unions.contains(&self.unions.of(&look.items));
        (hands_on && !self.valid().any(|look| takes(&look))).then_some(look.stake)
    }
}

/// Parts such as 1/7 do not sum to 1 exactly.
const ROUNDING: f64 = 1e-9;

#[cfg(test)]
mod tests;
