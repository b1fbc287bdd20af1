//! `labels`: what people said as rows that other stages learn from, with the numbers of how far they agree. The second
//! action of a `label` stage.

use crate::io::{self, Io};
use crate::people::label::EffectiveLabels;
use crate::people::measure::{self, People};
use crate::people::rows::{self, OutputFile, RowsPer};
use crate::people::worklist::{ITEMS, QUESTIONNAIRE, Worklist};
use crate::stage::{Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const KIND: Kind = Kind {
    name: "labels",
    version: 5,
    doc: "what people said of the items of a worklist",
    ports: &[
        Port::one("worklist", Accepts::Any, "what `worklist` gave"),
        Port::one("labels", Accepts::Any, "the labels that count"),
    ],
    gives: Gives::Any,
    metrics: METRICS,
    draws: true,
    computes: false,
    ..Kind::of::<LabelReading>(Work::Run(run))
};

/// There are none.
#[derive(Serialize, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelReading {}

impl Parameters for LabelReading {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        Vec::new()
    }
}

/// The numbers of people's labels. A rule that asks for confidence looks at the rows that the number is the mean of
/// alone.
pub const METRICS: &[Metric] = &[
    Metric::neutral("items", "items with a judgement that is no skip"),
    Metric::neutral("labels", "labels of them, repeats and gold left out"),
    Metric::neutral("annotators", "people who labelled"),
    Metric::higher(
        "human_agreement",
        "share of items whose own ranking, which their rows had, people agree with; ties count one half",
    )
    .mean_of("human_agreement")
    .of_unit()
    .of_own_rows(),
    Metric::higher(
        "human_win_rate",
        "of the answers that the reviewed model changed: share that people prefer to those of the baseline; ties count one half, \
         and wins, losses and ties of the reward as often as there are of all",
    )
    .mean_of("human_win_rate")
    .needs("review")
    .of_own_rows(),
    Metric::higher("agreement", "share of pairs of people who say the same of an item")
        .mean_of("agreement")
        .of_unit()
        .of_own_rows(),
    Metric::higher(
        "alpha",
        "Krippendorff's α: nominal for pairs and edits, Kendall's distance for rankings, interval for ratings",
    )
    .mean_of("alpha")
    .of_own_rows(),
    Metric::neutral("alpha_low", "the 2.5th percentile of α over 10,000 resamples of the items"),
    Metric::neutral("alpha_high", "the 97.5th percentile"),
    Metric::higher("alpha_ordinal", "α of pairs with a tie between first and second"),
    Metric::higher("ac1", "Gwet's AC1, for where nearly everybody says the same"),
    Metric::higher("kappa", "Cohen's κ, where exactly two people labelled items in common"),
    Metric::higher("concordance", "mean of Kendall's W over ranked items"),
    Metric::higher("gold_accuracy", "share of gold that people judge as is known")
        .mean_of("gold_accuracy")
        .of_unit()
        .of_own_rows(),
    Metric::higher("self_agreement", "share of repeats that a person judges as before")
        .mean_of("self_agreement")
        .of_unit()
        .of_own_rows(),
    Metric::neutral("left_share", "of pairs that are no tie: share in which the answer on the left was chosen")
        .mean_of("left_share")
        .of_unit()
        .of_own_rows(),
    Metric::neutral("left_share_low", "lower end of its exact 95 % interval (Clopper–Pearson)"),
    Metric::neutral("left_share_high", "its upper end"),
    Metric::neutral("longer_share", "of pairs that are no tie: share in which the longer answer was chosen"),
    Metric::lower(
        "disconnected",
        "of pairs: prompts whose comparisons fall apart into parts, between which nothing says what is better",
    ),
    Metric::lower(
        "drift",
        "share of gold, repeats and overlaps that is right in the first third of each person's labels, less that in the last third",
    ),
    Metric::lower("leaks_identity", "items with a judgement of which an answer names its model"),
    Metric::neutral("equal_answers", "items with a judgement of which two answers are the same text"),
    Metric::neutral("tie_share", "share of the labels that prefer nothing"),
    Metric::neutral("skip_share", "share of items that a person would not judge"),
    Metric::neutral("changed_share", "share of the choices that people changed after a suggestion"),
    Metric::neutral("seconds_median", "median of the seconds that a label took"),
    Metric::lower("too_fast_share", "share of labels made faster than their texts can be read"),
];

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let LabelReading {} = call.parameters()?;
    let directory = io.input("worklist")?.to_owned();
    let read = |path: &std::path::Path| {
        let bytes = files::read(path, u64::MAX);
        bytes.with_context(|| format!("read {}", path.display()))
    };
    let worklist =
        Worklist::read(String::new(), &read(&directory.join(QUESTIONNAIRE))?, &read(&directory.join(ITEMS))?[..])?;
    let lines = String::from_utf8(read(io.input("labels")?)?).context("read the labels")?;
    let labels = EffectiveLabels::read(&lines).context("read the labels")?;
    let people = People::of(&worklist, &labels);
    let output = io.candidate_dir(0)?;
    for OutputFile { name, rows } in rows::rows(&worklist, &labels, RowsPer::Label) {
        io::write_rows(&output.join(name), &rows)?;
    }
    io::write_rows(&output.join(rows::PER_ITEM), &rows::per_item(&worklist, &labels))?;
    io.table(0, "items", &people.table())?;
    let measured = people.measures(call.draw(KIND.name, "bootstrap"));
    for remark in measure::remarks(&measured) {
        io.remark(remark);
    }
    // What is undefined has no number: a rule about it is an error, and no value is made up.
    let defined = measured.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Some(value.ok()?))));
    io.candidate_with(0, defined.collect())
}
