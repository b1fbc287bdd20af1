//! `rank`: a judge compares, ranks or rates answers, and what it says becomes the rows that `label` makes of what people say.

mod asked;
mod hear;
mod heard;
mod models;
mod parameters;

use crate::io::{self, Io};
use crate::judge::endpoint;
use crate::judge::hearing::{Hearing, JudgeReply};
use crate::judge::injection;
use crate::judge::measures;
use crate::judge::quality::{self, SharedItem};
use crate::judge::said::SaidItem;
use crate::people::label::{EffectiveLabels, Judgement, Label};
use crate::people::rows::{self, OutputFile, RowsPer};
use crate::people::worklist::{Questionnaire, WorkItem, Worklist};
use crate::stage::{Accepts, Call, Gives, Kind, Metric, Port, Work};
use anyhow::{Result, bail};
use formats::data::{DataRows, RowFilter};
use heard::{Heard, Showing};
use parameters::JudgeRanking;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const KIND: Kind = Kind {
    name: "rank",
    version: 3,
    doc: "a judge compares, ranks or rates answers: a reward model, a language model, or an endpoint",
    ports: &[
        Port::one(
            "items",
            Accepts::Data(DataRows::Answers),
            "rows with a `prompt` and `answers: […]`, and whatever else `label` takes",
        ),
        Port::one(
            "judge",
            Accepts::Judge,
            "a reward model, whatever its tokenizer; a language model, by the odds of the two answers' letters; or a file that \
             scores; without it, `endpoint`",
        )
        .files_by(crate::reward::check_file)
        .optional(),
        Port::one("criteria", Accepts::Criteria, "a criteria sheet (.yaml): what to look at, as people see it")
            .instead_of("criteria")
            .optional(),
        Port::one(
            "people",
            Accepts::Any,
            "what people said of some of the items, as `merge` takes it: how far the judge agrees with them",
        )
        .of_judgements()
        .optional(),
    ],
    gives: Gives::Any,
    metrics: &METRICS,
    beside_key: &endpoint::BESIDE_KEY,
    asks_endpoint: true,
    foretells: Some(&asked::FORETELLING),
    is_all_asked: parameters::has_endpoint,
    files: Some(parameters::files),
    unconnected: parameters::unconnected,
    misjudged: parameters::misjudged,
    ..Kind::of::<JudgeRanking>(Work::Run(run))
};

/// The numbers of the judge, those about instructions, and those beside people.
const METRICS: [Metric; measures::METRICS.len() + injection::METRICS.len() + quality::METRICS.len()] = {
    let (own, told) = (measures::METRICS.len(), injection::METRICS.len());
    let mut all = [quality::METRICS[0]; measures::METRICS.len() + injection::METRICS.len() + quality::METRICS.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = match at {
            _ if at < own => measures::METRICS[at],
            _ if at < own + told => injection::METRICS[at - own],
            _ => quality::METRICS[at - own - told],
        };
        at += 1;
    }
    all
};

/// The field that says who judged, in each row.
const SOURCE: &str = "ai";

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: JudgeRanking = call.parameters()?;
    let items = heard::items(&parameters, io, &mut RowFilter::new(io.may_skip()))?;
    // Before anybody is asked: what was paid for is not to be lost by what people gave.
    let people = heard::people(&parameters, io, &items)?;
    let probes = injection::poisoned(&items, parameters.form, parameters.probe_injections);
    let asked: Vec<WorkItem> = items.iter().chain(probes.iter().map(|probe| &probe.item)).cloned().collect();
    let shown = Showing { both_orders: parameters.both_orders, once_from: items.len() };
    let heard = match &parameters.endpoint {
        Some(endpoint) => asked::hear(io, &parameters, endpoint, &asked, shown)?,
        None => hear::hear(io, &parameters, &asked, shown)?,
    };
    let (by, mut hearings, first_lost) = match heard {
        Heard::All { by, hearings, first_lost } => (by, hearings, first_lost),
        Heard::Spent { done, needed } => return io.wait(done, needed),
    };
    let probed = hearings.split_off(items.len());
    let lost: Vec<&Hearing> = hearings.iter().filter(|hearing| hearing.judgement().is_none()).collect();
    let share = lost.len() as f64 / hearings.len() as f64;
    if share > parameters.max_unparsed {
        bail!(heard::too_many_lost(
            &parameters,
            first_lost,
            &format!("{} of {} items have", lost.len(), hearings.len())
        ));
    }
    let mut labels = EffectiveLabels::default();
    hearings.iter().filter_map(|hearing| label(hearing, &by, &parameters)).for_each(|label| labels.add(label));
    let questionnaire = Questionnaire {
        form: parameters.form,
        items: hearings.len(),
        overlapped: 0,
        gold_share: 0.0,
        repeats: 0.0,
        seed: 0,
        criteria: parameters.criteria.clone(),
        is_active: false,
    };
    let worklist = Worklist::new(String::new(), questionnaire, items);
    let directory = io.candidate_dir(0)?;
    for OutputFile { name, mut rows } in rows::rows(&worklist, &labels, RowsPer::Label) {
        rows.iter_mut().for_each(|row| {
            row["by"] = json!(by);
            row["source"] = json!(SOURCE);
        });
        io::write_rows(&directory.join(name), &rows)?;
    }
    let mut by_item = rows::per_item(&worklist, &labels);
    by_item.iter_mut().for_each(|row| row["source"] = json!(SOURCE));
    io::write_rows(&directory.join(rows::PER_ITEM), &by_item)?;
    io::write_rows(&directory.join(parameters::REPLIES), &hearings.iter().map(replies).collect::<Vec<_>>())?;
    let (mut table, mut measured) = (measures::table(&hearings), measures::measures(&hearings));
    let gains = injection::gains(&hearings, &probes, &probed);
    table.extend(injection::table(&gains));
    measured.extend(injection::measures(&gains));
    if let Some(people) = people {
        let people: BTreeMap<&str, &SaidItem> = people.iter().map(|said| (said.item.digest.as_str(), said)).collect();
        let of = |hearing: &Hearing| hearing.judgement();
        let judged: Vec<Option<Judgement>> = hearings.iter().map(of).collect();
        let both: Vec<SharedItem> = hearings
            .iter()
            .zip(&judged)
            .filter_map(|(hearing, judge)| {
                let people = people.get(hearing.item.digest.as_str())?.spoken().collect();
                Some(SharedItem { item: hearing.item, judge: judge.as_ref()?, people, first: hearing.first_chance() })
            })
            .collect();
        // Of what people judged, the judge may have given no reply that can be read.
        if !both.is_empty() {
            table.extend(quality::table(&both));
            measured.extend(quality::measures(&both));
        }
    }
    if let Some(split) = models::split(&hearings) {
        table.extend(split.rows);
        io.remark(split.remark);
    }
    io.table(0, "items", &table)?;
    io.candidate_with(0, measured.into_iter().map(|(name, value)| (name.to_owned(), Some(value))).collect())
}

/// The one judgement of an item as a label.
fn label(hearing: &Hearing, by: &str, parameters: &JudgeRanking) -> Option<Label> {
    let at = hearing.replies.iter().filter_map(|reply| reply.at.clone()).max();
    Some(Label {
        item: hearing.item.digest.clone(),
        criteria: parameters.criteria.as_ref().map_or_else(String::new, |sheet| sheet.digest()),
        by: by.to_owned(),
        round: 0,
        order: Vec::new(),
        judgement: hearing.judgement()?,
        before_hint: None,
        seconds: 0.0,
        at: at.unwrap_or_default(),
        client: String::new(),
        note: None,
    })
}

/// Everything that was said of an item.
fn replies(hearing: &Hearing) -> Value {
    let replies: &Vec<JudgeReply> = &hearing.replies;
    json!({"id": hearing.item.id, "prompt": hearing.item.prompt, "answers": hearing.item.answers,
           "judgement": hearing.judgement(), "replies": replies})
}
