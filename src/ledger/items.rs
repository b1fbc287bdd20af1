//! Sets of items, told apart by their prompts: two sets that share one are one set of evidence. Ids do not count: a row
//! without one has its number, which a line more in the file changes.

use cache::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeSet, HashMap};

/// The members of a set, each by eight bytes of the digest of its prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemSet(BTreeSet<u64>);

impl ItemSet {
    /// Rows as `(id, prompt)`. Where a table has no prompts, ids and `owner`, the name of what measured it, stand in their
    /// place.
    pub fn of<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>, owner: &str) -> ItemSet {
        let member = |(id, prompt): (&str, &str)| {
            let text = if prompt.is_empty() { format!("{id}\0{owner}") } else { format!("\0{prompt}") };
            Digest::of(text.as_bytes()).word()
        };
        ItemSet(rows.map(member).collect())
    }

    pub fn join(&mut self, other: ItemSet) {
        self.0.extend(other.0);
    }

    pub fn is_within(&self, other: &ItemSet) -> bool {
        self.0.is_subset(&other.0)
    }

    /// The digest of its members, by which lines of a ledger name it.
    pub fn name(&self) -> String {
        Digest::of(self.written().as_bytes()).to_string()[..16].to_owned()
    }

    /// Sixteen hexadecimal digits a member, in rising order.
    fn written(&self) -> String {
        self.0.iter().map(|member| format!("{member:016x}")).collect()
    }
}

impl Serialize for ItemSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written())
    }
}

impl<'de> Deserialize<'de> for ItemSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ItemSet, D::Error> {
        let text = String::deserialize(deserializer)?;
        let member = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 16)?;
            u64::from_str_radix(digits, 16).ok()
        };
        let members: Option<BTreeSet<u64>> = text.as_bytes().chunks(16).map(member).collect();
        members.map(ItemSet).ok_or_else(|| serde::de::Error::custom("members of a set are 16 hexadecimal digits each"))
    }
}

/// Sets by what they have in common: those that share a member, directly or through others, are one.
#[derive(Clone, Debug, Default)]
pub struct Unions {
    /// The number of each set and its members, by name.
    sets: HashMap<String, (usize, ItemSet)>,
    /// The set with which each set was joined; its own number at the root.
    joined: Vec<usize>,
    /// One set that each member belongs to.
    members: HashMap<u64, usize>,
}

impl Unions {
    pub fn add(&mut self, name: &str, items: &ItemSet) {
        if self.knows(name) {
            return;
        }
        let new = self.joined.len();
        self.sets.insert(name.to_owned(), (new, items.clone()));
        self.joined.push(new);
        for member in &items.0 {
            match self.members.get(member) {
                None => _ = self.members.insert(*member, new),
                Some(other) => {
                    let (one, other) = (self.root(new), self.root(*other));
                    self.joined[one.max(other)] = one.min(other);
                }
            }
        }
    }

    pub fn knows(&self, name: &str) -> bool {
        self.sets.contains_key(name)
    }

    /// The union that a set belongs to; `None` for a set that is not listed.
    pub fn of(&self, name: &str) -> Option<usize> {
        self.sets.get(name).map(|(set, _)| self.root(*set))
    }

    pub fn members_of(&self, name: &str) -> Option<&ItemSet> {
        self.sets.get(name).map(|(_, members)| members)
    }

    /// The unions that share a member with these items.
    pub fn touched_by(&self, items: &ItemSet) -> BTreeSet<Option<usize>> {
        items.0.iter().filter_map(|member| self.members.get(member)).map(|set| Some(self.root(*set))).collect()
    }

    fn root(&self, mut set: usize) -> usize {
        while self.joined[set] != set {
            set = self.joined[set];
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rows: &[(&str, &str)]) -> ItemSet {
        ItemSet::of(rows.iter().copied(), "eval")
    }

    #[test]
    fn sets_that_share_an_item_are_one_even_through_a_third() {
        let (one, two) = (set(&[("1", "a"), ("2", "b")]), set(&[("3", "c"), ("4", "d")]));
        let (same_id, bridge) = (set(&[("1", "another prompt")]), set(&[("8", "b"), ("9", "c")]));
        let mut unions = Unions::default();
        [&one, &two, &same_id].into_iter().for_each(|items| unions.add(&items.name(), items));
        assert_ne!(unions.of(&one.name()), unions.of(&two.name()));
        assert_ne!(unions.of(&one.name()), unions.of(&same_id.name()), "ids alone say nothing");
        assert_eq!(unions.touched_by(&bridge).len(), 2);
        unions.add(&bridge.name(), &bridge);
        assert_eq!(unions.of(&one.name()), unions.of(&two.name()));
        assert_eq!(unions.touched_by(&set(&[("9", "z")])).len(), 0);
    }

    #[test]
    fn a_table_without_prompts_is_told_by_what_measured_it() {
        let numbers = |owner: &str| ItemSet::of([("1", ""), ("2", "")].into_iter(), owner);
        assert_eq!(numbers("judge"), numbers("judge"));
        assert_ne!(numbers("judge"), numbers("gold"));
    }

    #[test]
    fn members_come_back_as_they_were_written() {
        let items = set(&[("1", "a"), ("2", "b")]);
        let text = serde_json::to_string(&items).unwrap();
        assert_eq!(text.len(), 34);
        assert_eq!(serde_json::from_str::<ItemSet>(&text).unwrap(), items);
        assert!(serde_json::from_str::<ItemSet>("\"12\"").is_err());
        assert!(serde_json::from_str::<ItemSet>("\"zz00000000000000\"").is_err());
    }
}
