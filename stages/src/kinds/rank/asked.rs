//! Hearings of a judge behind an endpoint, and what it will be asked before anything runs.

use super::heard::{self, Heard, Showing};
use super::parameters::JudgeRanking;
use crate::io::{Interruption, Io};
use crate::judge::asking::{self, Asker, HeardReply, JudgeQuestion};
use crate::judge::endpoint::Endpoint;
use crate::judge::hearing::{Hearing, JudgeReply};
use crate::judge::injection;
use crate::judge::prompt::Questioner;
use crate::judge::reading::{Reading, ReplyForm};
use crate::people::criteria::Criterion;
use crate::people::form::Form;
use crate::people::label::Judgement;
use crate::people::worklist::WorkItem;
use crate::server;
use crate::stage::{AskedTotals, Call, Foretelling, ForetoldServer};
use anyhow::{Context, Result, bail};
use formats::data::RowFilter;
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A question of an item.
struct ItemQuestion {
    item: usize,
    order: Vec<usize>,
    sample: u32,
    /// The place of the criterion that a rating is asked by.
    criterion: Option<usize>,
}

/// The questions about all items, with the texts that are sent.
#[derive(Default)]
struct ItemQuestions<'a> {
    of_items: Vec<ItemQuestion>,
    texts: Vec<JudgeQuestion<'a>>,
}

fn questions<'a>(
    parameters: &'a JudgeRanking,
    endpoint: &Endpoint,
    questioner: &Questioner,
    items: &'a [WorkItem],
    shown: Showing,
) -> Result<ItemQuestions<'a>> {
    let criteria = criteria(parameters);
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
        Ok(JudgeQuestion { row: item.row_id(), text, form, sample: asked.sample })
    };
    let texts = asked.par_iter().map(question).collect::<Result<_>>()?;
    Ok(ItemQuestions { of_items: asked, texts })
}

fn criteria(parameters: &JudgeRanking) -> &[Criterion] {
    parameters.criteria.as_ref().map_or(&[][..], |sheet| &sheet.criteria)
}

/// Requests that `rank` will send to an endpoint, as far as they are known before it runs.
pub const FORETELLING: Foretelling = Foretelling { items: "items", asked, of_row, all };

fn asked(parameters: &Value) -> Option<ForetoldServer> {
    let endpoint = JudgeRanking::deserialize(parameters).ok()?.endpoint?;
    Some(ForetoldServer {
        name: format!("{} at {}", endpoint.model, server::host(&endpoint.url)),
        budget: endpoint.budget.unwrap_or_default(),
        is_offline: endpoint.offline,
    })
}

/// Requests about a row with so many answers, if none is asked about twice.
fn of_row(parameters: &Value, answers: usize) -> u64 {
    let Ok(parameters) = JudgeRanking::deserialize(parameters) else { return 0 };
    let samples = parameters.endpoint.as_ref().map_or(0, |endpoint| u64::from(endpoint.samples));
    // One more for each that may be asked about with an instruction in it.
    let orders = if parameters.both_orders { 2 } else { 1 } + u64::from(parameters.probe_injections > 0);
    let answers = answers as u64;
    match parameters.form {
        Form::Ratings => answers * criteria(&parameters).len() as u64,
        Form::Pairs => answers * answers.saturating_sub(1) / 2 * orders * samples,
        Form::Ranking | Form::Edit => u64::from(answers > 1) * orders * samples,
    }
}

fn all(call: &Call, io: &Io) -> Result<AskedTotals> {
    let parameters: JudgeRanking = call.parameters()?;
    let endpoint = parameters.endpoint.as_ref().context("find the endpoint: there is none")?;
    let mut items = heard::items(&parameters, io, &mut RowFilter::new(io.may_skip()))?;
    let shown = Showing { both_orders: parameters.both_orders, once_from: items.len() };
    let probes = injection::poisoned(&items, parameters.form, parameters.probe_injections);
    items.extend(probes.into_iter().map(|probe| probe.item));
    let questions = questions(&parameters, endpoint, &heard::questioner(&parameters)?, &items, shown)?;
    asking::totals(endpoint, io.replies()?, &questions.texts)
}

/// Asks an endpoint about all items.
///
/// # Errors
/// It refuses, or a file cannot be written.
pub fn hear<'a>(
    io: &mut Io,
    parameters: &JudgeRanking,
    endpoint: &Endpoint,
    items: &'a [WorkItem],
    shown: Showing,
) -> Result<Heard<'a>> {
    let criteria = criteria(parameters);
    let questioner = heard::questioner(parameters)?;
    let ItemQuestions { of_items: asked, texts: questions } =
        questions(parameters, endpoint, &questioner, items, shown)?;
    let total = questions.len();
    let folder = io.replies()?.to_owned();
    let asker = Asker::open(endpoint, io.secrets(), &folder, &questions)?.forced(io.is_forced());
    // Whatever comes then, more items are without a judgement than may be.
    let most_lost = (parameters.max_unparsed * items.len() as f64) as usize * total.div_ceil(items.len());
    let most_lost = if endpoint.samples == 1 { most_lost } else { total };
    // What is on its way is paid for: it is waited for, and kept.
    io.defer_sigterm();
    let heard = asker.ask(&questions, |done| {
        if io.is_to_stop() {
            return Err(Interruption { step: None }.into());
        }
        if asker.lost() > most_lost {
            let how_many = format!("of the first {done} of {total} questions {} have", asker.lost());
            bail!(heard::too_many_lost(parameters, asker.first_lost(), &how_many));
        }
        io.progress(done as u64, total as u64, "reply", || format!("{} at {}", endpoint.model, asker.host()))
    })?;
    let done = heard.iter().flatten().count();
    if done < total {
        return Ok(Heard::Spent { done, needed: total });
    }
    let heard: Vec<HeardReply> = heard.into_iter().flatten().collect();
    io.remark("the replies of an endpoint may not come again as they are: those that were kept count".to_owned());
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
    let by = format!("{}@{}", endpoint.model, asker.host());
    Ok(Heard::All { by, hearings, first_lost: asker.first_lost() })
}

fn compared(asked: &ItemQuestion, reply: HeardReply) -> JudgeReply {
    let (judgement, raw) = match reply.reading {
        Ok(Reading::Judgement(judgement)) => (Some(judgement.of_shown(&asked.order)), None),
        Ok(Reading::Rating(_)) => (None, None),
        Err(raw) => (None, Some(raw)),
    };
    JudgeReply {
        order: asked.order.clone(),
        sample: asked.sample,
        judgement,
        first: None,
        at: Some(reply.at),
        model: reply.model,
        raw,
    }
}

/// The ratings of all answers of an item as one reply.
fn rated(item: &WorkItem, criteria: Vec<&str>, said: Vec<(&ItemQuestion, HeardReply)>) -> JudgeReply {
    let mut ratings: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let (mut raw, mut at, mut models) = (None, None, BTreeSet::new());
    for (asked, reply) in said {
        at = at.max(Some(reply.at));
        models.extend(reply.model);
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
        model: (!models.is_empty()).then(|| models.into_iter().collect::<Vec<_>>().join(", ")),
        raw,
    }
}
