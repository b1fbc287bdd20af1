//! Items with what people said of them and what a judge said.

use crate::judge::said::SaidItem;
use crate::people::label::{Judgement, Label};
use crate::people::likeness::share_won;
use crate::people::worklist::WorkItem;
use crate::rl;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An item, and all that was said of it.
pub struct JoinedItem {
    pub item: WorkItem,
    people: Vec<Label>,
    ai: Vec<Label>,
    /// Whether it was picked for people for what it teaches: what they say of it tells nothing of the others.
    is_picked: bool,
}

/// The side whose word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Ai,
    Human,
    /// People, where the judge said something else.
    HumanOverAi,
}

/// Items of both, those of the judge first, in their order.
pub fn join(people: Vec<SaidItem>, ai: Vec<SaidItem>) -> Vec<JoinedItem> {
    let mut joined: Vec<JoinedItem> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut add = |said: SaidItem, is_of_people: bool| {
        let labels: Vec<Label> = said.spoken().cloned().collect();
        let place = *places.entry(said.item.digest.clone()).or_insert_with(|| {
            joined.push(JoinedItem { item: said.item, people: Vec::new(), ai: Vec::new(), is_picked: false });
            joined.len() - 1
        });
        let own = &mut joined[place];
        own.is_picked |= is_of_people && said.is_picked;
        if is_of_people { own.people.extend(labels) } else { own.ai.extend(labels) }
    };
    ai.into_iter().for_each(|said| add(said, false));
    people.into_iter().for_each(|said| add(said, true));
    joined
}

impl JoinedItem {
    /// The labels that count.
    pub fn counting(&self) -> impl Iterator<Item = &Label> {
        if self.people.is_empty() { self.ai.iter() } else { self.people.iter() }
    }

    /// Whether most of the people say something else than the judge; `None` unless both spoke.
    pub fn is_overridden(&self) -> Option<bool> {
        let judge = self.ai.first().filter(|_| !self.people.is_empty())?;
        let same = |label: &&Label| match (&label.judgement, &judge.judgement) {
            (Judgement::Pair(_), _) | (Judgement::Ranking(_), _) => {
                label.judgement.ranks(None) == judge.judgement.ranks(None)
            }
            (own, other) => own == other,
        };
        Some(2 * self.people.iter().filter(same).count() < self.people.len())
    }

    pub fn origin(&self) -> Origin {
        match (self.people.is_empty(), self.is_overridden()) {
            (true, _) => Origin::Ai,
            (false, Some(true)) => Origin::HumanOverAi,
            (false, _) => Origin::Human,
        }
    }

    /// A row that says who said what when, both sides kept.
    pub fn provenance(&self) -> Value {
        let source = match self.origin() {
            Origin::Ai => "ai",
            Origin::Human => "human",
            Origin::HumanOverAi => "human_over_ai",
        };
        let said = |labels: &[Label]| {
            let one = |label: &Label| json!({"by": label.by, "at": label.at, "judgement": label.judgement});
            labels.iter().map(one).collect::<Vec<Value>>()
        };
        let by: Vec<&str> = self.counting().map(|label| label.by.as_str()).collect();
        let at = self.counting().map(|label| label.at.as_str()).max().unwrap_or_default();
        json!({"id": self.item.id, "prompt": self.item.prompt, "answers": self.item.answers, "source": source, "by": by,
               "at": at, "human": said(&self.people), "ai": said(&self.ai)})
    }

    pub fn is_picked(&self) -> bool {
        self.is_picked
    }

    /// The share of a win of the answer at this place by the judge, a tie half.
    pub fn win_by_ai(&self, place: usize) -> Option<f64> {
        wins(&self.ai, place)
    }

    /// The same by people, of an item that tells of all others.
    pub fn win_by_people(&self, place: usize) -> Option<f64> {
        if self.is_picked { None } else { wins(&self.people, place) }
    }
}

fn wins(labels: &[Label], place: usize) -> Option<f64> {
    let of = |label: &Label| Some(share_won(&label.judgement.ranks(None)?, place));
    let wins: Vec<f64> = labels.iter().filter_map(of).collect();
    (!wins.is_empty()).then(|| rl::mean(&wins))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::label::PairChoice;
    use formats::dialogue::Prompt;

    #[test]
    fn an_item_that_was_picked_tells_of_itself_alone() {
        let item = || WorkItem::of(Prompt::Text("p".to_owned()), vec!["a".to_owned(), "b".to_owned()]);
        let said = |choice, is_picked| {
            let label = SaidItem::labelled(item(), Judgement::Pair(choice));
            SaidItem { is_picked, ..label }
        };
        let joined = |is_picked| {
            let people = vec![said(PairChoice::Second, is_picked)];
            join(people, vec![said(PairChoice::First, false)]).remove(0)
        };
        let [sampled, picked] = [joined(false), joined(true)];
        assert_eq!((sampled.win_by_people(0), sampled.win_by_ai(0)), (Some(0.0), Some(1.0)));
        assert_eq!((picked.win_by_people(0), picked.win_by_ai(0)), (None, Some(1.0)));
        // Its row is what people say all the same.
        assert_eq!((picked.origin(), picked.counting().count()), (Origin::HumanOverAi, 1));
    }
}
