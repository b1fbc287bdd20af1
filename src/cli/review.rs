//! `review`: the page on which people compare the answers that an evaluation's model changed. It is that of the stage of kind
//! `label` that has the evaluation on its port.

use super::asking;
use super::check::understand;
use super::label::LabelPlace;
use super::labelling;
use super::options::FileArguments;
use super::refusal::refused;
use super::web::PageArguments;
use crate::plan::Source;
use anyhow::Result;
use clap::Args;
use stages::stage::Accepts;

#[derive(Args)]
pub struct ReviewArguments {
    #[command(flatten)]
    asked: FileArguments,
    /// The name of the evaluation
    evaluation: String,
    /// The pseudonym of the person who reviews; without it each types one
    #[arg(long = "as", value_name = "NAME", id = "person")]
    person: Option<String>,
    /// Ask the person of `--as` in this terminal, by the keys of the page
    #[arg(long, requires = "person")]
    terminal: bool,
    #[command(flatten)]
    page: PageArguments,
}

pub fn review(arguments: ReviewArguments) -> Result<u8> {
    let ReviewArguments { asked, evaluation, person, terminal, page } = arguments;
    let plan = understand(&asked.file, &asked.changes.all(), None)?;
    if !plan.stages.iter().any(|stage| stage.name == evaluation) {
        return Err(refused(format!("there is no stage `{evaluation}`")));
    }
    let is_meant = |source: &Source| source.stage().is_some_and(|stage| plan.stages[stage].name == evaluation);
    let mut reviewing = plan.stages.iter().filter(|stage| {
        stage.inputs.iter().any(|input| {
            let is_reviewed = stage.kind.port(&input.port).is_some_and(|port| port.accepts == Accepts::Evaluation);
            is_reviewed && input.sources.iter().any(is_meant)
        })
    });
    let Some(stage) = reviewing.next() else { return Err(refused(unasked(&evaluation))) };
    if let Some(other) = reviewing.next() {
        return Err(refused(format!(
            "`{}` and `{}` both review `{evaluation}`: name one, `pipeline label {} {} --ui`",
            stage.name,
            other.name,
            asked.file.display(),
            stage.name
        )));
    }
    let place = LabelPlace::of(&asked);
    match person {
        Some(person) if terminal => asking::ask(&place, &stage.name, &person, page.language()),
        person => labelling::serve(place, &stage.name, person, &page),
    }
}

/// The refusal where nobody is asked, with what to add.
fn unasked(evaluation: &str) -> String {
    format!(
        "no stage reviews `{evaluation}`. To ask people about it, add to `stages:`, then `pipeline run`:\n\n  \
         review_{evaluation}:\n    kind: label\n    from: {{review: {evaluation}}}\n    with: {{need: {{items: 71}}}}\n    \
         gate: {{require: human_agreement > 0.6 with 95% confidence, on_fail: hold}}\n"
    )
}
