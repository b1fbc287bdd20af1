//! Hearings of a judge about items: by scores, by odds, or by replies of an endpoint.

use super::parameters::JudgeRanking;
use crate::io::Io;
use crate::judge::asking::{self, Asker, HeardReply, JudgeQuestion};
use crate::judge::endpoint::Endpoint;
use crate::judge::hearing::{Hearing, JudgeReply, ranked};
use crate::judge::models::{self, LocalJudge};
use crate::judge::prompt::Questioner;
use crate::judge::reading::{Reading, ReplyForm};
use crate::model::Artifact;
use crate::people::aggregate::Comparisons;
use crate::people::form::Form;
use crate::people::label::{Judgement, PairChoice};
use crate::people::likeness::of_ranks;
use crate::people::worklist::WorkItem;
use crate::reward::GivenAnswer;
use anyhow::{Context, Result};
use formats::dialogue::Prompt;
use formats::tokenizer::Tokenizer;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Everything that was said of the items, or how far it is until the budget was spent.
pub enum Heard<'a> {
    All { by: String, hearings: Vec<Hearing<'a>> },
    Spent { done: usize, needed: usize },
}

/// `probes`: the last so many items are shown in their first order alone.
pub fn hear<'a>(io: &mut Io, parameters: &JudgeRanking, items: &'a [WorkItem], probes: usize) -> Result<Heard<'a>> {
    let shown = Showing { both_orders: parameters.both_orders, once_from: items.len() - probes };
    let questioner = Questioner::new(
        parameters.template.as_deref(),
        parameters.language,
        parameters.form,
        parameters.criteria.as_ref(),
    )
    .context("read `template`")?;
    if let Some(endpoint) = &parameters.endpoint {
        return by_endpoint(io, parameters, endpoint, &questioner, items, shown);
    }
    let by = io.identity("judge")?;
    let judge = models::open(io, "judge", parameters.dtype)?;
    let hearings = match &judge {
        LocalJudge::Language(artifact) => by_odds(io, parameters, artifact, &questioner.for_odds(), items, shown)?,
        LocalJudge::Scores(_) => by_scores(io, parameters, &judge, items)?,
    };
    Ok(Heard::All { by, hearings })
}

/// The orders in which items are shown.
#[derive(Clone, Copy)]
struct Showing {
    both_orders: bool,
    /// The first of the items that are shown once.
    once_from: usize,
}

impl Showing {
    /// Whether the item at this place is shown in the reverse order, too; beside that it is not.
    fn sides(self, place: usize) -> &'static [bool] {
        if self.both_orders && place < self.once_from { &[false, true] } else { &[false] }
    }

    /// The orders of the item at this place: one that it draws, and its reverse.
    fn orders(self, place: usize, item: &WorkItem) -> Vec<Vec<usize>> {
        let order = item.drawn_order();
        let of_side = |is_reverse: &bool| match is_reverse {
            true => order.iter().rev().copied().collect(),
            false => order.clone(),
        };
        self.sides(place).iter().map(of_side).collect()
    }
}

/// A score has no order: an item is looked at once.
fn by_scores<'a>(
    io: &mut Io,
    parameters: &JudgeRanking,
    judge: &LocalJudge,
    items: &'a [WorkItem],
) -> Result<Vec<Hearing<'a>>> {
    let answers: Vec<GivenAnswer> = items
        .iter()
        .flat_map(|item| item.answers.iter().map(|text| GivenAnswer { id: &item.id, prompt: &item.prompt, text }))
        .collect();
    let scored = models::scores(judge, io, &answers, parameters.batch)?;
    if scored.cut > 0 {
        io.remark(format!("the prompts of {} answers were cut: the judge reads no longer texts", scored.cut));
    }
    let mut scores = scored.scores.into_iter();
    let hearing = |item: &'a WorkItem| {
        let scores: Vec<f64> = scores.by_ref().take(item.answers.len()).collect();
        let judgement = scores.iter().all(|score| score.is_finite()).then(|| of_scores(parameters.form, &scores));
        let raw = judgement.is_none().then(|| "a score is no number".to_owned());
        let reply = JudgeReply { order: Vec::new(), sample: 0, judgement, first: None, at: None, raw };
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
            replies.push(JudgeReply { order, sample: 0, judgement, first, at: None, raw });
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

/// A question of an item.
struct ItemQuestion {
    item: usize,
    order: Vec<usize>,
    sample: u32,
    /// The place of the criterion that a rating is asked by.
    criterion: Option<usize>,
}

fn by_endpoint<'a>(
    io: &mut Io,
    parameters: &JudgeRanking,
    endpoint: &Endpoint,
    questioner: &Questioner,
    items: &'a [WorkItem],
    shown: Showing,
) -> Result<Heard<'a>> {
    let criteria = parameters.criteria.as_ref().map_or(&[][..], |sheet| &sheet.criteria);
    let mut asked = Vec::new();
    for (item, work) in items.iter().enumerate() {
        if parameters.form == Form::Ratings {
            let all = (0..work.answers.len()).flat_map(|answer| (0..criteria.len()).map(move |place| (answer, place)));
            asked.extend(all.map(|(answer, place)| ItemQuestion {
                item,
                order: vec![answer],
                sample: 0,
                criterion: Some(place),
            }));
            continue;
        }
        for order in shown.orders(item, work) {
            let of = |sample: u32| ItemQuestion { item, order: order.clone(), sample, criterion: None };
            asked.extend((0..endpoint.samples).map(of));
        }
    }
    let question = |asked: &ItemQuestion| {
        let item = &items[asked.item];
        let form = match asked.criterion {
            Some(place) => ReplyForm::Rating(&criteria[place]),
            None if parameters.form == Form::Ranking => ReplyForm::Order(item.answers.len()),
            None => ReplyForm::Better,
        };
        let text = questioner.text(item, &asked.order, asked.criterion)?;
        Ok(JudgeQuestion { text, form, sample: asked.sample })
    };
    let questions: Vec<JudgeQuestion> = asked.par_iter().map(question).collect::<Result<_>>()?;
    let total = questions.len();
    let folder = io.replies()?.to_owned();
    let asker = Asker::open(endpoint, io.secrets(), &folder, &questions)?;
    let heard = asker.ask(&questions, |done| {
        io.progress(done as u64, total as u64, "reply", || format!("{} at {}", endpoint.model, asker.host()))
    })?;
    let done = heard.iter().flatten().count();
    if done < total {
        return Ok(Heard::Spent { done, needed: total });
    }
    let heard: Vec<HeardReply> = heard.into_iter().flatten().collect();
    io.remark("the replies of an endpoint may not come again as they are: those that were kept count".to_owned());
    let models = asking::models(heard.iter());
    if models.len() > 1 {
        let named: Vec<String> = models.iter().map(|(model, count)| format!("{model} ({count})")).collect();
        io.remark(format!("the server named several models: {}", named.join(", ")));
    }
    let mut by_item: BTreeMap<usize, Vec<(&ItemQuestion, HeardReply)>> = BTreeMap::new();
    asked.iter().zip(heard).for_each(|(asked, reply)| by_item.entry(asked.item).or_default().push((asked, reply)));
    let hearing = |(item, said): (usize, Vec<(&ItemQuestion, HeardReply)>)| {
        let item = &items[item];
        let replies = match parameters.form {
            Form::Ratings => vec![rated(item, criteria.iter().map(|one| one.name.as_str()).collect(), said)],
            _ => said.into_iter().map(|(asked, reply)| compared(asked, reply)).collect(),
        };
        Hearing { item, replies }
    };
    let hearings = by_item.into_iter().map(hearing).collect();
    Ok(Heard::All { by: format!("{}@{}", endpoint.model, asker.host()), hearings })
}

fn compared(asked: &ItemQuestion, reply: HeardReply) -> JudgeReply {
    let (judgement, raw) = match reply.reading {
        Ok(Reading::Judgement(judgement)) => (Some(judgement.of_shown(&asked.order)), None),
        Ok(Reading::Rating(_)) => (None, None),
        Err(raw) => (None, Some(raw)),
    };
    JudgeReply { order: asked.order.clone(), sample: asked.sample, judgement, first: None, at: Some(reply.at), raw }
}

/// The ratings of all answers of an item as one reply.
fn rated(item: &WorkItem, criteria: Vec<&str>, said: Vec<(&ItemQuestion, HeardReply)>) -> JudgeReply {
    let mut ratings: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let (mut raw, mut at) = (None, None);
    for (asked, reply) in said {
        at = at.max(Some(reply.at));
        match reply.reading {
            // Answers come one after the other, so that each criterion has theirs in their order.
            Ok(Reading::Rating(rating)) => {
                let name = asked.criterion.map_or("", |place| criteria[place]);
                ratings.entry(name.to_owned()).or_default().push(rating);
            }
            Ok(Reading::Judgement(_)) => {}
            Err(written) => raw = raw.or(Some(written)),
        }
    }
    let is_whole = raw.is_none() && ratings.values().all(|ratings| ratings.len() == item.answers.len());
    JudgeReply {
        order: Vec::new(),
        sample: 0,
        judgement: is_whole.then_some(Judgement::Ratings(ratings)),
        first: None,
        at,
        raw,
    }
}
