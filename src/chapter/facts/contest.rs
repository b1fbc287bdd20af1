//! Answers of two models to the same prompts: how many won, how sure that is, and those that changed most.

use crate::gate::statistics::{Glance, Sample, glance_mean, glance_win_rate};
use crate::gate::{Counts, Items, pair, pair_results};
use crate::plan::ArtifactName;
use crate::report::answers::{AnswerRow, row};

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
    pub pairs: Vec<AnswerRow>,
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
    Ok(AnswerContest {
        of: of.to_owned(),
        candidate: names[0].clone(),
        other: names[1].clone(),
        counts: Counts::of(&results),
        rate: glance_win_rate(&Sample::of_groups(&points, &of_changed), 0.5, TAIL),
        gain: Sample::of_groups(&gains, &groups).mean(),
        gain_within: mean_within(&gains, &groups),
        pairs: extremes(&changed, &gains, room, |at| row(candidate, rows[at].0, Some((other, rows[at].1)))),
    })
}

/// The 95 % interval of a mean difference.
pub fn mean_within(differences: &[f64], groups: &[usize]) -> Option<Glance> {
    glance_mean(&Sample::of_groups(differences, groups), 0.0, TAIL)
}

/// The same of two tables whose scores are not to be compared: only what changed counts, in the order of the candidate's.
///
/// # Errors
/// The tables do not pair, or an item lacks its text.
pub fn unscored_contest(
    of: &str,
    names: [&ArtifactName; 2],
    [candidate, other]: [&Items; 2],
    room: usize,
) -> Result<AnswerContest, String> {
    let results = pair_results(candidate, other, false)?;
    let mut left = room;
    let changed = pair(candidate, other)?.into_iter().zip(&results).filter(|(_, result)| result.is_changed());
    let shown = changed.map(|((mine, theirs), _)| row(candidate, mine, Some((other, theirs)))).map(|mut row| {
        row.against.iter_mut().for_each(|other| other.gain = None);
        row
    });
    let fits = |(at, row): &(usize, AnswerRow)| {
        let is_in = size(row) <= left || *at == 0;
        left = left.saturating_sub(size(row));
        is_in
    };
    Ok(AnswerContest {
        of: of.to_owned(),
        candidate: names[0].clone(),
        other: names[1].clone(),
        counts: Counts::of(&results),
        rate: None,
        gain: 0.0,
        gain_within: None,
        pairs: shown.enumerate().take_while(fits).map(|(_, row)| row).collect(),
    })
}

/// The bytes of a text that a page shows at most: the rest is counted.
const LONGEST: usize = 6_000;

/// The bytes that the texts of a pair take on a page.
fn size(pair: &AnswerRow) -> usize {
    let texts = [&pair.prompt, &pair.answer].into_iter().chain(pair.against.as_ref().map(|other| &other.answer));
    texts.map(|text| text.len().min(LONGEST)).sum()
}

/// The pairs at both ends, turn by turn, as long as there is room: gains from the largest on, then losses likewise.
fn extremes(changed: &[usize], gains: &[f64], room: usize, pair: impl Fn(usize) -> AnswerRow) -> Vec<AnswerRow> {
    let mut sorted = changed.to_vec();
    // Equal gains stay in the order of the table.
    sorted.sort_by(|one, other| gains[*other].total_cmp(&gains[*one]));
    let (mut first, mut last) = (0, sorted.len());
    let (mut best, mut worst, mut left) = (Vec::new(), Vec::new(), room);
    while first < last {
        let takes_best = best.len() <= worst.len();
        let at = if takes_best { first } else { last - 1 };
        let next = pair(sorted[at]);
        let size = size(&next);
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
        best.into_iter().chain(worst.into_iter().rev()).partition(|pair| pair.gain() >= Some(0.0));
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
        let gains: Vec<f64> = all.pairs.iter().filter_map(AnswerRow::gain).collect();
        assert_eq!(gains, [3.0, 1.0, -2.0, -1.0]);
        assert_eq!(all.counts, Counts { win: 2, loss: 2, tie_changed: 0, tie_unchanged: 1 });
        assert_eq!((all.gain, all.rate.map(|rate| rate.lower < 0.5 && rate.upper > 0.5)), (0.2, Some(true)));
        // With room for two of them, one of each.
        let few = contest("eval", [&one, &other], [&new, &old], 8).unwrap();
        assert_eq!(few.pairs.iter().filter_map(AnswerRow::gain).collect::<Vec<_>>(), [3.0, -2.0]);
        assert!(contest("eval", [&one, &other], [&new, &items(&[("a", 0.0)])], 8).is_err());
    }
}
