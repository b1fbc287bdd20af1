//! `worklist`: which items people are asked about, in which order. The first action of a `label` stage.

use super::parameters::{ItemOrder, Labelling, LeakChoice};
use super::scores::{self, AnswerScore};
use crate::draw::Draw;
use crate::io::{self, Io};
use crate::people::active::{self, ActivePick};
use crate::people::form::Form;
use crate::people::items::{Suggestions, items_of};
use crate::people::review;
use crate::people::worklist::{ITEMS, QUESTIONNAIRE, Questionnaire, WorkItem};
use crate::reward::scoring;
use crate::stage::{Accepts, Call, Gives, Kind, Metric, Port, Work};
use anyhow::{Context, Result, bail};
use formats::data::{self, AnsweredQuestion, DataRows, RowFilter};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

pub const KIND: Kind = Kind {
    name: "worklist",
    version: 2,
    doc: "which items people are asked about",
    ports: &[
        Port::one("items", Accepts::Data(DataRows::Answers), "answers to judge").optional(),
        Port::one("review", Accepts::Evaluation, "what was measured").optional(),
        Port::one("gold", Accepts::Data(DataRows::Answers), "answers whose judgement is known").optional(),
        Port::one("suggest", Accepts::Data(DataRows::Answers), "judgements to show").optional(),
        Port::one("scores", Accepts::Any, "what `answer_scores` gave").optional(),
    ],
    gives: Gives::Any,
    metrics: &[Metric::neutral("items", "items that people may be asked about")],
    draws: true,
    computes: false,
    ..Kind::of::<Labelling>(Work::Run(run))
};

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Labelling = call.parameters()?;
    let mut filter = RowFilter::new(io.may_skip());
    let read = |port: &str, filter: &mut RowFilter| -> Result<Vec<AnsweredQuestion>> {
        io.optional_data(port).map_or(Ok(Vec::new()), |sources| data::answered(sources, filter))
    };
    let (questions, gold) = (read("items", &mut filter)?, read("gold", &mut filter)?);
    let suggested = Suggestions::of(read("suggest", &mut filter)?);
    let form = parameters.form;
    let mut gold: Vec<WorkItem> = gold.into_iter().flat_map(|known| items_of(known, form, &suggested)).collect();
    for item in &mut gold {
        if item.known.is_none() {
            bail!("read gold: row `{}` does not say which of its answers is better", item.id);
        }
        item.is_gold = true;
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    gold.retain(|item| seen.insert(item.digest.clone()));
    let mut items: Vec<WorkItem> =
        questions.into_iter().flat_map(|question| items_of(question, form, &suggested)).collect();
    let measured: Vec<PathBuf> = io.inputs_of("review").map(Path::to_owned).collect();
    if let [model, baseline] = &measured[..] {
        items = review::changed(scoring::read(model)?, scoring::read(baseline)?);
    }
    items.retain(|item| seen.insert(item.digest.clone()));
    let leaks = items.iter().filter(|item| item.leaks_identity).count();
    if parameters.leaks == LeakChoice::LeaveOut {
        items.retain(|item| !item.leaks_identity);
    }
    if leaks > 0 {
        let done = if parameters.leaks == LeakChoice::LeaveOut { "left out" } else { "marked" };
        io.remark(format!("{leaks} items with an answer that names its model are {done}"));
    }
    if items.is_empty() {
        match (measured.is_empty(), form) {
            _ if leaks > 0 => {
                bail!("make a worklist: in every item an answer names its model (`leaks: keep` asks about them)")
            }
            (false, _) => bail!("make a worklist: the model changed no answer of its baseline"),
            (true, Form::Edit) => bail!("make a worklist: no row has an answer"),
            (true, _) => bail!("make a worklist: no row has two answers"),
        }
    }
    let place = |purpose: &str, item: &WorkItem| {
        let name = format!("{purpose} {} {}", call.seed, item.digest);
        blake3::hash(name.as_bytes()).to_hex().to_string()
    };
    if parameters.order == ItemOrder::Random {
        // By the item itself: where one changes, the others keep their order.
        items.sort_by_cached_key(|item| place("order", item));
    }
    if !measured.is_empty() {
        items = review::balance(items);
    }
    let is_active = parameters.order == ItemOrder::Active;
    let needed = parameters.need.items.map_or(items.len(), |items| items.try_into().unwrap_or(usize::MAX));
    if needed > items.len() {
        bail!("make a worklist: `need.items` is {needed}, and the rows make {} items", items.len());
    }
    if is_active {
        items = picked(items, io.optional_input("scores"), needed, call.draw(KIND.name, "active"))?;
    }
    // People are measured on what was drawn at random.
    let sample = items[..needed].iter().enumerate().filter(|(_, item)| !is_active || item.propensity.is_some());
    let mut drawn: Vec<(String, usize)> = sample.map(|(at, item)| (place("overlap", item), at)).collect();
    let overlapped = ((parameters.need.overlap * needed as f64).round() as usize).min(drawn.len());
    drawn.sort();
    drawn.iter().take(overlapped).for_each(|(_, at)| items[*at].is_overlapped = true);
    let count = items.len();
    items.extend(gold);
    let asked = Questionnaire {
        form,
        items: needed,
        overlapped,
        gold_share: parameters.gold_share,
        repeats: parameters.repeats,
        seed: call.seed,
        is_active,
        criteria: parameters.criteria,
    };
    let directory = io.candidate_dir(0)?;
    let text = serde_json::to_string_pretty(&asked).context("write the worklist")?;
    fs::write(directory.join(QUESTIONNAIRE), text).context("write the worklist")?;
    io::write_rows(&directory.join(ITEMS), &items)?;
    io.candidate(0, &[("items", count as f64)])
}

/// The items in the order in which they teach a reward model most. One that has no score is asked as if nobody could tell.
fn picked(items: Vec<WorkItem>, scores: Option<&Path>, needed: usize, draw: Draw) -> Result<Vec<WorkItem>> {
    let Some(scores) = scores else {
        bail!("make a worklist: `order: active` needs a reward model on the port `reward`")
    };
    let scores: HashMap<String, f64> =
        scores::read(scores)?.into_iter().map(|AnswerScore { digest, score }| (digest, score)).collect();
    let unsure = |item: &WorkItem| {
        let score =
            |answer: &String| scores.get(&WorkItem::digest(&item.prompt, std::slice::from_ref(answer))).copied();
        let scores: Option<Vec<f64>> = item.answers.iter().map(score).collect();
        scores.map_or(active::uncertainty(&[0.0, 0.0]), |scores| active::uncertainty(&scores))
    };
    let unsure: Vec<f64> = items.iter().map(unsure).collect();
    let picks = active::picks(&items, &unsure, needed, draw);
    let of = |pick: ActivePick| WorkItem { propensity: pick.propensity, ..items[pick.item].clone() };
    Ok(picks.into_iter().map(of).collect())
}
