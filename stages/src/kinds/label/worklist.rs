//! `worklist`: which items people are asked about, in which order. The first action of a `label` stage.

use super::parameters::{ItemOrder, Labelling, LeakChoice};
use super::scores::{self, AnswerScore};
use crate::draw::Draw;
use crate::io::{self, Io};
use crate::people::active::{self, ActivePick};
use crate::people::form::Form;
use crate::people::review;
use crate::people::worklist::{ITEMS, QUESTIONNAIRE, Questionnaire, WorkItem};
use crate::scored;
use crate::stage::{Accepts, Call, Gives, Kind, Metric, Port, Work};
use anyhow::{Context, Result, bail};
use formats::data::{self, AnsweredQuestion, DataRows, RowFilter};
use formats::dialogue::Prompt;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
        (item.is_gold, item.suggestion) = (true, None);
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    gold.retain(|item| seen.insert(item.digest.clone()));
    let mut items: Vec<WorkItem> =
        questions.into_iter().flat_map(|question| items_of(question, form, &suggested)).collect();
    let measured: Vec<PathBuf> = io.inputs_of("review").map(Path::to_owned).collect();
    if let [model, baseline] = &measured[..] {
        items = review::changed(scored::read(model)?, scored::read(baseline)?);
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

/// Judgements by prompt and answer.
struct Suggestions(BTreeMap<Prompt, HashMap<String, f64>>);

impl Suggestions {
    fn of(questions: Vec<AnsweredQuestion>) -> Suggestions {
        let mut all: BTreeMap<Prompt, HashMap<String, f64>> = BTreeMap::new();
        for question in questions {
            let ranks = question.ranks.into_iter().flatten();
            all.entry(question.prompt).or_default().extend(question.answers.into_iter().zip(ranks));
        }
        Suggestions(all)
    }

    fn ranks(&self, prompt: &Prompt, answers: &[String]) -> Option<Vec<f64>> {
        let known = self.0.get(prompt)?;
        answers.iter().map(|answer| known.get(answer).copied()).collect()
    }
}

/// The items of a question: of pairs each pair of its answers, else all of them together. Answers come in the order of
/// their texts, so that an item is the same whoever gave them.
fn items_of(question: AnsweredQuestion, form: Form, suggested: &Suggestions) -> Vec<WorkItem> {
    let AnsweredQuestion { id, group, prompt, answers, ranks } = question;
    let mut answers: Vec<(String, Option<f64>)> = match ranks {
        Some(ranks) => answers.into_iter().zip(ranks.into_iter().map(Some)).collect(),
        None => answers.into_iter().map(|answer| (answer, None)).collect(),
    };
    answers.sort_by(|one, other| one.0.cmp(&other.0));
    let fewest = if matches!(form, Form::Edit | Form::Ratings) { 1 } else { 2 };
    let chosen: Vec<Vec<usize>> = match (form, answers.len()) {
        (_, count) if count < fewest => Vec::new(),
        (Form::Pairs, count) => {
            (0..count).flat_map(|one| (one + 1..count).map(move |other| vec![one, other])).collect()
        }
        (_, count) => vec![(0..count).collect()],
    };
    let of = chosen.len();
    let item = |(number, places): (usize, Vec<usize>)| {
        let texts: Vec<String> = places.iter().map(|place| answers[*place].0.clone()).collect();
        let known: Option<Vec<f64>> = places.iter().map(|place| answers[*place].1).collect();
        WorkItem {
            id: if of == 1 { id.clone() } else { format!("{id}/{}", number + 1) },
            group: group.clone().or_else(|| (of > 1).then(|| id.clone())),
            suggestion: suggested.ranks(&prompt, &texts),
            known: known.filter(|ranks| ranks.iter().any(|rank| *rank != ranks[0])),
            ..WorkItem::of(prompt.clone(), texts)
        }
    };
    chosen.into_iter().enumerate().map(item).collect()
}
