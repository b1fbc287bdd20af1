//! Answers of two models to the same prompts: how many won, how sure that is, and those that changed most.

use crate::gate::statistics::{Glance, Sample, glance_mean, glance_win_rate};
use crate::gate::{Counts, Items, pair, pair_results};
use crate::plan::ArtifactName;

/// Two models before the same prompts.
#[derive(Clone, Debug)]
pub struct AnswerContest {
    /// The eval that compares with its baseline, or the stage whose gate compares with its incumbent.
    pub of: String,
    pub candidate: ArtifactName,
    pub other: ArtifactName,
    pub counts: Counts,
    /// The win rate over changed answers, with its 95 % interval.
    pub rate: Option<Glance>,
    /// The mean of the candidate's scores less the other's, with its 95 % interval.
    pub gain: f64,
    pub gain_within: Option<Glance>,
    /// The changed answers that the page shows: the largest gains, then the largest losses, each from the largest on.
    pub pairs: Vec<AnswerPair>,
}

/// Two answers to one prompt: the candidate's, then the other's.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerPair {
    pub prompt: String,
    pub texts: [String; 2],
    pub scores: [f64; 2],
}

impl AnswerPair {
    pub fn gain(&self) -> f64 {
        self.scores[0] - self.scores[1]
    }
}

/// The tail of a 95 % interval on each side.
const TAIL: f64 = 0.025;

/// Compares two tables of items with texts and scores. Of the changed answers at most `room` bytes are kept.
///
/// # Errors
/// The tables do not pair, or an item lacks its text or score.
pub fn contest(
    of: &str,
    names: [&ArtifactName; 2],
    [candidate, other]: [&Items; 2],
    room: usize,
) -> Result<AnswerContest, String> {
    let results = pair_results(candidate, other, true)?;
    let rows = pair(candidate, other)?;
    let score = |items: &Items, row: usize| items.number("score", row);
    let order: Vec<usize> = rows.iter().map(|(mine, _)| *mine).collect();
    let groups = candidate.groups(&order);
    let gains = rows.iter().map(|(mine, theirs)| Ok(score(candidate, *mine)? - score(other, *theirs)?));
    let gains = gains.collect::<Result<Vec<f64>, String>>()?;
    let is_changed = |at: &usize| results[*at].is_changed();
    let changed: Vec<usize> = (0..rows.len()).filter(is_changed).collect();
    let points: Vec<f64> = changed.iter().map(|at| results[*at].points()).collect();
    let of_changed: Vec<usize> = changed.iter().map(|at| groups[*at]).collect();
    let differences = Sample::of_groups(&gains, &groups);
    Ok(AnswerContest {
        of: of.to_owned(),
        candidate: names[0].clone(),
        other: names[1].clone(),
        counts: Counts::of(&results),
        rate: glance_win_rate(&Sample::of_groups(&points, &of_changed), 0.5, TAIL),
        gain: differences.mean(),
        gain_within: glance_mean(&differences, 0.0, TAIL),
        pairs: extremes(&changed, &gains, room, |at| {
            let (mine, theirs) = rows[at];
            let text = |items: &Items, row: usize| items.rows[row].text.clone().unwrap_or_default();
            let scores = [score(candidate, mine), score(other, theirs)].map(Result::unwrap_or_default);
            let prompt = candidate.rows[mine].prompt.clone();
            AnswerPair { prompt, texts: [text(candidate, mine), text(other, theirs)], scores }
        }),
    })
}

/// The pairs at both ends, turn by turn, as long as there is room: gains from the largest on, then losses likewise.
fn extremes(changed: &[usize], gains: &[f64], room: usize, pair: impl Fn(usize) -> AnswerPair) -> Vec<AnswerPair> {
    let mut sorted = changed.to_vec();
    // Equal gains stay in the order of the table.
    sorted.sort_by(|one, other| gains[*other].total_cmp(&gains[*one]));
    let (mut first, mut last) = (0, sorted.len());
    let (mut best, mut worst, mut left) = (Vec::new(), Vec::new(), room);
    while first < last {
        let takes_best = best.len() <= worst.len();
        let at = if takes_best { first } else { last - 1 };
        let next = pair(sorted[at]);
        let size = next.prompt.len() + next.texts.iter().map(String::len).sum::<usize>();
        if size > left && !(best.is_empty() && worst.is_empty()) {
            break;
        }
        left = left.saturating_sub(size);
        if takes_best {
            best.push(next);
            first += 1;
        } else {
            worst.push(next);
            last -= 1;
        }
    }
    // Where there are few, the middle is reached from both sides.
    let (gained, lost): (Vec<_>, Vec<_>) =
        best.into_iter().chain(worst.into_iter().rev()).partition(|pair| pair.gain() >= 0.0);
    gained.into_iter().chain(lost.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(rows: &[(&str, f64)]) -> Items {
        let line = |(n, (text, score)): (usize, &(&str, f64))| {
            serde_json::json!({"id": n, "prompt": format!("p{n}"), "text": text, "score": score}).to_string()
        };
        Items::read(&rows.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")).unwrap()
    }

    #[test]
    fn the_largest_gains_and_losses_come_first_and_unchanged_answers_not_at_all() {
        let old = items(&[("a", 0.0), ("b", 0.0), ("c", 0.0), ("d", 0.0), ("e", 1.0)]);
        let new = items(&[("A", 1.0), ("B", 3.0), ("C", -2.0), ("D", -1.0), ("e", 1.0)]);
        let [one, other] = ["ppo", "sft"].map(ArtifactName::open);
        let all = contest("eval", [&one, &other], [&new, &old], 10_000).unwrap();
        let gains: Vec<f64> = all.pairs.iter().map(AnswerPair::gain).collect();
        assert_eq!(gains, [3.0, 1.0, -2.0, -1.0]);
        assert_eq!(all.counts, Counts { win: 2, loss: 2, tie_changed: 0, tie_unchanged: 1 });
        assert_eq!((all.gain, all.rate.map(|rate| rate.lower < 0.5 && rate.upper > 0.5)), (0.2, Some(true)));
        // With room for two of them, one of each.
        let few = contest("eval", [&one, &other], [&new, &old], 8).unwrap();
        assert_eq!(few.pairs.iter().map(AnswerPair::gain).collect::<Vec<_>>(), [3.0, -2.0]);
        assert!(contest("eval", [&one, &other], [&new, &items(&[("a", 0.0)])], 8).is_err());
    }
}
