//! `merge`: what people say of items where they spoke, and what a judge says elsewhere, as the rows of either.

mod joined;

use crate::io::{self, Io};
use crate::judge::calibrated::{self, KnownWins};
use crate::judge::said;
use crate::people::criteria::Sheet;
use crate::people::form::Form;
use crate::people::label::EffectiveLabels;
use crate::people::rows::{self, OutputFile, PER_ITEM, RowsPer};
use crate::people::worklist::{Questionnaire, WorkItem, Worklist};
use crate::rl;
use crate::stage::{
    Accepts, Call, ExpectedJudgements, Gives, Kind, Metric, ParameterMistake, Parameters, Port, PortMistake, Work,
};
use anyhow::{Result, bail};
use formats::data::{self, DataRows, RowFilter};
use joined::{JoinedItem, Origin};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub const KIND: Kind = Kind {
    name: "merge",
    version: 2,
    doc: "people where they spoke, a judge elsewhere, item by item",
    ports: &[
        Port::one(
            "people",
            Accepts::Any,
            "what people said: a stage of kind `label`, or a file of rows that judge answers, as pairs or rankings",
        )
        .of_judgements(),
        Port::one("ai", Accepts::Any, "what a judge said: a stage of kind `rank`, or such a file").of_judgements(),
        Port::one(
            "of",
            Accepts::Data(DataRows::Answers),
            "answers of the one whose wins are counted, as `answers.jsonl` of a stage of kind sample: for \
             `win_rate_calibrated`",
        )
        .optional(),
        Port::one("criteria", Accepts::Criteria, "the criteria sheet of the ratings, where these are ratings")
            .instead_of("criteria")
            .optional(),
    ],
    gives: Gives::Any,
    metrics: &[
        Metric::neutral("items", "items that somebody judged"),
        Metric::neutral("share_human", "share of them of which people spoke"),
        Metric::neutral("overridden_share", "of items that both judged: share in which people say something else")
            .mean_of("overridden_share")
            .of_unit()
            .of_own_rows(),
        Metric::higher(
            "win_rate_calibrated",
            "share of pairs that the answers of `of` win, ties half, by PPI++: the judge of all, corrected by people, who have \
             to have judged a random part",
        )
        .mean_of("win_rate_calibrated")
        .of_own_rows()
        .needs("of"),
        Metric::neutral("win_rate_people", "the same by people alone").needs("of"),
        Metric::neutral("win_rate_ai", "the same by the judge alone, of all items").needs("of"),
    ],
    computes: false,
    misjudged,
    ..Kind::of::<Merging>(Work::Run(run))
};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Merging {
    /// the criteria sheet in the file itself, in the place of the input
    pub criteria: Option<Sheet>,
}

impl Parameters for Merging {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let of_sheet = self.criteria.iter().flat_map(Sheet::mistakes);
        of_sheet.map(|(path, message)| ParameterMistake::new(&format!("criteria.{path}"), message)).collect()
    }
}

/// Both sides have one form, ratings their sheet, and wins are counted among two.
fn misjudged(
    parameters: &Value,
    expected: &[ExpectedJudgements],
    is_connected: &dyn Fn(&str) -> bool,
) -> Vec<PortMistake> {
    let mut mistakes = Vec::new();
    let mut refuse = |port, message: String, help: &str| {
        mistakes.push(PortMistake { port, message, help: help.to_owned() });
    };
    let Some(first) = expected.first() else { return mistakes };
    if let Some(other) = expected.iter().find(|other| other.form != first.form) {
        let message =
            format!("`{}` gives {}, and `{}` gives {}", first.port, first.form.name(), other.port, other.form.name());
        refuse(other.port, message, "both are to have the same `form`");
        return mistakes;
    }
    if first.form == Form::Ratings && parameters["criteria"].is_null() {
        let message = "ratings are shares of the scales of their criteria sheet".to_owned();
        refuse(first.port, message, "connect the sheet by which they were given: `criteria`");
    }
    let lists = expected.iter().filter(|one| one.form == Form::Ranking).filter_map(|one| one.answers).max();
    if let (Some(answers @ 3..), true) = (lists, is_connected("of")) {
        let message = format!("wins of `of` are counted among two answers, and these are lists of up to {answers}");
        refuse("of", message, "take `form: pairs`, or leave `of` out");
    } else if let (Form::Ratings | Form::Edit, true) = (first.form, is_connected("of")) {
        let message = format!("wins of `of` are counted among two answers, and these are {}", first.form.name());
        refuse("of", message, "take `form: pairs`, or leave `of` out");
    }
    mistakes
}

/// The file that says where each row comes from. It is apart from the rows, so that who says a thing anew trains nothing anew.
const PROVENANCE: &str = "provenance.jsonl";

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let Merging { criteria } = call.parameters()?;
    let [people, ai] = [io.input("people")?, io.input("ai")?];
    // Rows that judge their answers are read as the other side says it.
    let form =
        [ai, people].into_iter().map(said::stated_form).collect::<Result<Vec<_>>>()?.into_iter().flatten().next();
    let [people, ai] = [said::read(people, form)?, said::read(ai, form)?];
    let form = match (said::form(&ai), said::form(&people)) {
        (Some(ai), Some(people)) if ai != people => {
            bail!("merge judgements: people give {}, and the judge {}", people.name(), ai.name())
        }
        (Some(form), _) | (None, Some(form)) => form,
        (None, None) => bail!("merge judgements: nobody judged anything"),
    };
    if form == Form::Ratings && criteria.is_none() {
        bail!("merge judgements: ratings are shares of the scales of their criteria sheet: connect `criteria`");
    }
    let items = joined::join(people, ai);
    let mut labels = EffectiveLabels::default();
    items.iter().flat_map(JoinedItem::counting).for_each(|label| labels.add(label.clone()));
    let asked = Questionnaire {
        form,
        items: items.len(),
        overlapped: 0,
        gold_share: 0.0,
        repeats: 0.0,
        seed: call.seed,
        criteria,
        is_active: false,
    };
    let work: Vec<WorkItem> = items.iter().map(|item| item.item.clone()).collect();
    let worklist = Worklist::new(String::new(), asked, work);
    let directory = io.candidate_dir(0)?;
    for OutputFile { name, rows } in rows::rows(&worklist, &labels, RowsPer::Opinion) {
        io::write_rows(&directory.join(name), &rows)?;
    }
    io::write_rows(&directory.join(PER_ITEM), &rows::per_item(&worklist, &labels))?;
    let spoken: Vec<&JoinedItem> = items.iter().filter(|item| item.counting().next().is_some()).collect();
    io::write_rows(&directory.join(PROVENANCE), &spoken.iter().map(|item| item.provenance()).collect::<Vec<Value>>())?;
    let by_people = spoken.iter().filter(|item| item.origin() != Origin::Ai).count();
    let mut metrics =
        vec![("items", spoken.len() as f64), ("share_human", by_people as f64 / spoken.len().max(1) as f64)];
    let overridden: Vec<(&JoinedItem, f64)> =
        spoken.iter().filter_map(|item| Some((*item, f64::from(u8::from(item.is_overridden()?))))).collect();
    if !overridden.is_empty() {
        metrics.push(("overridden_share", rl::mean(&overridden.iter().map(|(_, share)| *share).collect::<Vec<_>>())));
    }
    let row = |metric: &str, (item, value): (&JoinedItem, f64)| {
        json!({"id": format!("{metric}/{}", item.item.digest), "prompt": item.item.prompt.to_string(), "subset": metric,
               metric: value})
    };
    let mut table: Vec<Value> = overridden.into_iter().map(|pair| row("overridden_share", pair)).collect();
    if let Some(sources) = io.optional_data("of") {
        let answers = data::answered(sources, &mut RowFilter::new(io.may_skip()))?;
        let own: BTreeSet<(String, String)> = answers
            .into_iter()
            .flat_map(|question| {
                let prompt = question.prompt.to_string();
                question.answers.into_iter().map(move |answer| (prompt.clone(), answer))
            })
            .collect();
        let wins = Wins::of(&spoken, |item| {
            let is_own = |place: usize| own.contains(&(item.prompt.to_string(), item.answers[place].clone()));
            match [is_own(0), is_own(1)] {
                [true, false] => Some(0),
                [false, true] => Some(1),
                _ => None,
            }
        });
        let known = KnownWins { people: &wins.people, same: &wins.same, others: &wins.others };
        if !wins.people.is_empty() {
            metrics.push(("win_rate_people", rl::mean(&wins.people)));
        }
        let all = [&wins.same[..], &wins.others[..]].concat();
        if !all.is_empty() {
            metrics.push(("win_rate_ai", rl::mean(&all)));
        }
        if let Some(calibrated) = calibrated::mean(known) {
            metrics.push(("win_rate_calibrated", calibrated.mean));
            let shares = calibrated.shares.into_iter().flatten();
            table.extend(wins.items.into_iter().zip(shares).map(|pair| row("win_rate_calibrated", pair)));
        } else {
            io.remark(format!("`win_rate_calibrated` was not measured: {}", uncalibrated(&spoken, known)));
        }
    }
    io.table(0, "items", &table)?;
    io.candidate(0, &metrics)
}

/// The reason why wins cannot be calibrated.
fn uncalibrated(items: &[&JoinedItem], known: KnownWins) -> &'static str {
    match (known.people.len(), known.others.len()) {
        _ if items.iter().all(|item| item.item.answers.len() != 2) => {
            "wins are counted among two answers, and no item has just two"
        }
        (0, 0) => "the judge judged no pair of which just one answer is one of `of`",
        (0 | 1, _) if items.iter().any(|item| item.is_picked()) => {
            "people judged fewer than two pairs of the random part: what was picked for what it teaches tells nothing of the others"
        }
        (0 | 1, _) => "people judged fewer than two pairs of which just one answer is one of `of`",
        _ => "people judged all pairs, and the judge no others: `win_rate_people` is the share",
    }
}

/// The wins of one side, as people and the judge have them.
struct Wins<'a> {
    people: Vec<f64>,
    same: Vec<f64>,
    others: Vec<f64>,
    /// Those that people judged, then the others.
    items: Vec<&'a JoinedItem>,
}

impl<'a> Wins<'a> {
    /// `own` tells the place of the answer whose wins are counted, where one of the two is.
    fn of(items: &[&'a JoinedItem], own: impl Fn(&WorkItem) -> Option<usize>) -> Wins<'a> {
        let mut wins = Wins { people: Vec::new(), same: Vec::new(), others: Vec::new(), items: Vec::new() };
        let mut rest = Vec::new();
        for item in items.iter().filter(|item| item.item.answers.len() == 2) {
            let Some(place) = own(&item.item) else { continue };
            let Some(judged) = item.win_by_ai(place) else { continue };
            match item.win_by_people(place) {
                Some(said) => {
                    wins.people.push(said);
                    wins.same.push(judged);
                    wins.items.push(item);
                }
                None => {
                    wins.others.push(judged);
                    rest.push(*item);
                }
            }
        }
        wins.items.extend(rest);
        wins
    }
}
