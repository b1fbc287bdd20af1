//! Hearings of a judge on this machine about items: by scores, or by odds.

use super::heard::{self, Heard, Showing};
use super::parameters::JudgeRanking;
use crate::io::Io;
use crate::judge::hearing::{Hearing, JudgeReply, ranked};
use crate::judge::models::{self, LocalJudge};
use crate::judge::prompt::Questioner;
use crate::model::Artifact;
use crate::people::aggregate::Comparisons;
use crate::people::form::Form;
use crate::people::label::{Judgement, PairChoice};
use crate::people::likeness::of_ranks;
use crate::people::worklist::WorkItem;
use crate::reward::{self, GivenAnswer, Reward};
use anyhow::Result;
use formats::dialogue::Prompt;
use formats::tokenizer::Tokenizer;
use rayon::prelude::*;

/// Hears a judge on this machine.
///
/// # Errors
/// The judge cannot be read, or fails.
pub fn hear<'a>(io: &mut Io, parameters: &JudgeRanking, items: &'a [WorkItem], shown: Showing) -> Result<Heard<'a>> {
    let by = io.identity("judge")?;
    let judge = models::open(io, "judge", parameters.dtype)?;
    let hearings = match &judge {
        LocalJudge::Language(artifact) => {
            by_odds(io, parameters, artifact, &heard::questioner(parameters)?.for_odds(), items, shown)?
        }
        LocalJudge::Scores(reward) => by_scores(io, parameters, reward, items)?,
    };
    Ok(Heard::All { by, hearings, first_lost: None })
}

/// A score has no order: an item is looked at once.
fn by_scores<'a>(
    io: &mut Io,
    parameters: &JudgeRanking,
    reward: &Reward,
    items: &'a [WorkItem],
) -> Result<Vec<Hearing<'a>>> {
    let answers: Vec<GivenAnswer> = items
        .iter()
        .flat_map(|item| {
            item.answers.iter().map(|text| GivenAnswer {
                id: item.row_id(),
                has_written_id: item.has_written_id,
                prompt: &item.prompt,
                text,
            })
        })
        .collect();
    let scored = reward.scores(io, &answers, parameters.batch, |artifact, load| reward::expect(io, artifact, load))?;
    if scored.cut > 0 {
        io.remark(format!("the prompts of {} answers were cut: the judge reads no longer texts", scored.cut));
    }
    let mut scores = scored.scores.into_iter();
    let hearing = |item: &'a WorkItem| {
        let scores: Vec<f64> = scores.by_ref().take(item.answers.len()).collect();
        let judgement = scores.iter().all(|score| score.is_finite()).then(|| of_scores(parameters.form, &scores));
        let raw = judgement.is_none().then(|| "a score is no number".to_owned());
        let reply = JudgeReply { order: Vec::new(), sample: 0, judgement, first: None, at: None, model: None, raw };
        Hearing { item, replies: vec![reply] }
    };
    Ok(items.iter().map(hearing).collect())
}

/// The judgement that scores are, the larger the better.
fn of_scores(form: Form, scores: &[f64]) -> Judgement {
    of_ranks(form, &scores.iter().map(|score| -score).collect::<Vec<_>>())
}

/// By the chances of the letters of two answers. A list is compared pair by pair, once with the earlier answer first and once
/// with the later one: these are its two orders.
fn by_odds<'a>(
    io: &mut Io,
    parameters: &JudgeRanking,
    artifact: &Artifact,
    questioner: &Questioner,
    items: &'a [WorkItem],
    shown: Showing,
) -> Result<Vec<Hearing<'a>>> {
    let pairs = |item: &WorkItem| {
        let order = item.drawn_order();
        let all = (0..order.len()).flat_map(|one| (one + 1..order.len()).map(move |other| (one, other)));
        all.map(|(one, other)| [order[one], order[other]]).collect::<Vec<_>>()
    };
    let turned = |[one, other]: [usize; 2], is_turned: bool| if is_turned { [other, one] } else { [one, other] };
    let of_item = |(place, item): (usize, &WorkItem)| -> Result<Vec<String>> {
        let quoted = quoted(item, &artifact.tokenizer)?;
        let sides = shown.sides(place).iter();
        let asked = sides.flat_map(|side| pairs(item).into_iter().map(|pair| turned(pair, *side)));
        asked.map(|order| questioner.text(&quoted, &order, None)).collect()
    };
    let texts: Vec<String> = items.par_iter().enumerate().map(of_item).collect::<Result<Vec<_>>>()?.concat();
    let odds = models::odds(io, artifact, &texts, parameters.batch)?;
    let mut odds = odds.into_iter();
    let mut hearings = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let all = pairs(item);
        let mut replies = Vec::new();
        for (side, order) in shown.sides(place).iter().zip(shown.orders(place, item)) {
            let chances: Option<Vec<f64>> = odds.by_ref().take(all.len()).collect();
            let chances = chances.filter(|chances| chances.iter().all(|chance| chance.is_finite()));
            let raw = chances.is_none().then(|| {
                format!("the question is longer than the judge's context of {} tokens", artifact.config().context)
            });
            let first = chances.as_ref().filter(|chances| chances.len() == 1).map(|chances| chances[0]);
            let judgement = chances.map(|chances| match (parameters.form, &chances[..]) {
                (Form::Pairs, [chance]) => Judgement::Pair(choice(*chance)).of_shown(&order),
                _ => {
                    let shown: Vec<[usize; 2]> = all.iter().map(|pair| turned(*pair, *side)).collect();
                    Judgement::Ranking(ranked(&strengths(item.answers.len(), &shown, &chances)))
                }
            });
            replies.push(JudgeReply { order, sample: 0, judgement, first, at: None, model: None, raw });
        }
        hearings.push(Hearing { item, replies });
    }
    Ok(hearings)
}

/// The item with texts in which the judge reads no token of its template: these are the words of others.
fn quoted(item: &WorkItem, tokenizer: &Tokenizer) -> Result<WorkItem> {
    let plain = |text: &str| Ok(tokenizer.plain(text)?.into_owned());
    let answers = item.answers.iter().map(|answer| plain(answer)).collect::<Result<_>>()?;
    Ok(WorkItem { prompt: Prompt::Text(plain(&item.prompt.to_string())?), answers, ..item.clone() })
}

fn choice(first: f64) -> PairChoice {
    match first.total_cmp(&0.5) {
        std::cmp::Ordering::Greater => PairChoice::First,
        std::cmp::Ordering::Less => PairChoice::Second,
        std::cmp::Ordering::Equal => PairChoice::Tie,
    }
}

/// The strengths of answers from their comparisons, to six digits.
fn strengths(answers: usize, shown: &[[usize; 2]], chances: &[f64]) -> Vec<f64> {
    let mut comparisons = Comparisons::new(answers);
    for ([one, other], chance) in shown.iter().zip(chances) {
        match choice(*chance) {
            PairChoice::First => comparisons.add_win(*one, *other),
            PairChoice::Second => comparisons.add_win(*other, *one),
            PairChoice::Tie | PairChoice::BothBad => comparisons.add_tie(*one, *other),
        }
    }
    comparisons.strengths(true).logs.iter().map(|log| (log / 1e-6).round()).collect()
}
