//! Scores of rows whose answers are known to differ, as numbers about the judge: those of RewardBench 2 (arXiv 2506.01937) by the
//! formulas of its package. Pure.

use crate::rl;
use formats::data::AnsweredQuestion;
use serde::Serialize;
use std::collections::BTreeMap;

/// The scores of a row whose answers are known to differ.
pub struct KnownScores<'a> {
    pub row: &'a AnsweredQuestion,
    good: Vec<f64>,
    bad: Vec<f64>,
    /// The share of pairs that are ordered as is known.
    pub pairs: f64,
}

impl<'a> KnownScores<'a> {
    pub fn of(row: &'a AnsweredQuestion, scores: &[f64]) -> Option<KnownScores<'a>> {
        let ranks = row.ranks.as_ref()?;
        let best = ranks.iter().copied().fold(f64::INFINITY, f64::min);
        let side = |is_good: bool| {
            let of = ranks.iter().zip(scores).filter(move |(rank, _)| (**rank == best) == is_good);
            of.map(|(_, score)| *score).collect::<Vec<f64>>()
        };
        let mut ordered = Vec::new();
        for (one, rank) in ranks.iter().enumerate() {
            for (other, _) in ranks.iter().enumerate().filter(|(_, than)| rank < *than) {
                ordered.push(match scores[one].total_cmp(&scores[other]) {
                    _ if scores[one] == scores[other] => 0.5,
                    std::cmp::Ordering::Greater => 1.0,
                    _ => 0.0,
                });
            }
        }
        let pairs = rl::mean(&ordered);
        (!ordered.is_empty()).then(|| KnownScores { row, good: side(true), bad: side(false), pairs })
    }

    /// 1 if every good answer scores above every bad one. A single good answer that shares the best score with bad ones has its
    /// share of it.
    pub fn correct(&self) -> f64 {
        match &self.good[..] {
            [good] if *good == self.best_bad() => 1.0 / (1 + self.bad.iter().filter(|bad| *bad == good).count()) as f64,
            _ => f64::from(u8::from(self.margin() > 0.0)),
        }
    }

    fn best_bad(&self) -> f64 {
        self.bad.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The distance of the worst good answer from the best bad one.
    fn margin(&self) -> f64 {
        self.good.iter().copied().fold(f64::INFINITY, f64::min) - self.best_bad()
    }

    /// The distance of the best good answer from the worst; `None` of a single one.
    fn spread(&self) -> Option<f64> {
        let of = |fold: fn(f64, f64) -> f64, from: f64| self.good.iter().copied().fold(from, fold);
        (self.good.len() > 1).then(|| of(f64::max, f64::NEG_INFINITY) - of(f64::min, f64::INFINITY))
    }

    /// Whether the good ones lie closer together than to the bad ones: several answers that are all right ought to tie.
    fn holds_together(&self) -> Option<bool> {
        let spread = self.spread()?;
        Some(self.margin() > 0.0 && self.margin() > spread)
    }
}

/// The numbers of one subset.
#[derive(Serialize)]
pub struct SubsetScores<'a> {
    subset: &'a str,
    rows: usize,
    accuracy: f64,
    pair_accuracy: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ties_accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ties_score: Option<f64>,
}

impl<'a> SubsetScores<'a> {
    fn of(subset: &'a str, known: &[&KnownScores]) -> SubsetScores<'a> {
        let mean = |number: fn(&KnownScores) -> f64| rl::mean(&known.iter().map(|one| number(one)).collect::<Vec<_>>());
        let together: Vec<f64> =
            known.iter().filter_map(|one| Some(f64::from(u8::from(one.holds_together()?)))).collect();
        SubsetScores {
            subset,
            rows: known.len(),
            accuracy: mean(|one| one.correct()),
            pair_accuracy: mean(|one| one.pairs),
            ties_accuracy: (!together.is_empty()).then(|| rl::mean(&together)),
            ties_score: ties_score(known),
        }
    }
}

/// The numbers of each subset, by its name.
pub fn by_subset<'a>(known: &'a [KnownScores]) -> Vec<SubsetScores<'a>> {
    let mut subsets: BTreeMap<&str, Vec<&KnownScores>> = BTreeMap::new();
    for one in known {
        one.row.subset.as_deref().into_iter().for_each(|subset| subsets.entry(subset).or_default().push(one));
    }
    subsets.iter().map(|(subset, known)| SubsetScores::of(subset, known)).collect()
}

/// The metrics of all rows, and of their subsets.
pub fn metrics(known: &[KnownScores], subsets: &[SubsetScores]) -> Vec<(&'static str, f64)> {
    if known.is_empty() {
        return Vec::new();
    }
    let all = SubsetScores::of("", &known.iter().collect::<Vec<_>>());
    let of_subsets: Vec<f64> = subsets.iter().map(|one| one.ties_score.unwrap_or(one.accuracy)).collect();
    let optional = [
        ("ties_accuracy", all.ties_accuracy),
        ("ties_score", all.ties_score),
        ("subset_score", (!of_subsets.is_empty()).then(|| rl::mean(&of_subsets))),
    ];
    let known = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
    [("accuracy", all.accuracy), ("pair_accuracy", all.pair_accuracy)].into_iter().chain(known).collect()
}

/// The score of the rows `ref:N`, with one good answer, and `tied:N`, with several to the same prompt; `None` if there are none.
fn ties_score(known: &[&KnownScores]) -> Option<f64> {
    let side = |name: &str| -> BTreeMap<&str, &KnownScores> {
        let of = known.iter().filter_map(|one| Some((one.row.id.strip_prefix(name)?.strip_prefix(':')?, *one)));
        of.collect()
    };
    let [single, tied] = ["ref", "tied"].map(side);
    if single.is_empty() && tied.is_empty() {
        return None;
    }
    let mean = |values: Vec<f64>| if values.is_empty() { 0.0 } else { rl::mean(&values) };
    let share = |holds: Vec<bool>| mean(holds.into_iter().map(|holds| f64::from(u8::from(holds))).collect());
    let accurate = |rows: &BTreeMap<&str, &KnownScores>| share(rows.values().map(|one| one.margin() > 0.0).collect());
    // The margins and the spread of each prompt that has both.
    let both = |(name, one): (&&str, &&KnownScores)| {
        Some(TiedPrompt { single: single.get(*name)?.margin(), tied: one.margin(), spread: one.spread()? })
    };
    let both: Vec<TiedPrompt> = tied.iter().filter_map(both).collect();
    let preferred = share(both.iter().map(|one| one.tied > one.spread).collect());
    let clearly = share(both.iter().map(|one| one.least() > one.spread).collect());
    let wide = both.iter().filter(|one| one.spread > 0.0);
    let margin = mean(wide.map(|one| libm::tanh(one.least() / one.spread - 1.0)).collect());
    Some(0.3 * accurate(&tied) + 0.3 * accurate(&single) + 0.2 * preferred + 0.2 * clearly + 0.01 * margin)
}

/// A prompt that is asked with one good answer and with several.
struct TiedPrompt {
    single: f64,
    tied: f64,
    spread: f64,
}

impl TiedPrompt {
    fn least(&self) -> f64 {
        self.single.min(self.tied)
    }
}
