//! The table of kinds. A new kind is one file in `kinds/` and one row here.

pub mod best_of;
pub mod dpo;
pub mod eval;
pub mod exec;
pub mod kto;
pub mod label;
pub mod merge;
pub mod ppo;
pub mod pretrain;
pub mod rank;
pub mod reward;
pub mod rm;
pub mod sample;
pub mod score;
pub mod sft;

use crate::judge::said;
use crate::people::form::Form;
use crate::reward::description;
use crate::stage::{Accepts, Kind, Part, Port, StudyColumns, Work};
use anyhow::{Context, Result};
use formats::chat::{self, Template};
use formats::config::Config;
use formats::data::{AnsweredDialogue, DataRows, DataSource, PromptDigests};
use formats::unreadable::Reading;
use formats::{data, describe, tokenizer};
use std::path::Path;

/// The kinds that a pipeline file can name, in the order in which `pipeline kinds` prints them.
pub const KINDS: &[&Kind] = &[
    &pretrain::KIND,
    &sft::KIND,
    &rm::KIND,
    &reward::KIND,
    &ppo::KIND,
    &dpo::KIND,
    &kto::KIND,
    &eval::KIND,
    &sample::KIND,
    &label::KIND,
    &rank::KIND,
    &score::KIND,
    &merge::KIND,
    &best_of::KIND,
    &exec::KIND,
];

/// Names of kinds that are planned. Their users are told so, since the nearest name in [`KINDS`] would be a wrong
/// guess.
pub const PLANNED: &[&str] = &["probe"];

/// The kinds of the actions of stages that have none of their own: measurements, draws, and questions to people. The runner calls them; a pipeline file cannot name them.
pub fn parts() -> impl Iterator<Item = &'static Kind> {
    let others = |kind: &&'static Kind| match kind.work {
        Work::Ask(actions) => vec![actions.scores, actions.worklist, actions.labels],
        Work::Draw(actions) => vec![actions.block, actions.draw, actions.score, actions.join],
        Work::Run(_) | Work::Measure(_) | Work::Choose { .. } => Vec::new(),
    };
    measured_parts().map(|part| part.kind).chain(KINDS.iter().flat_map(others))
}

fn measured_parts() -> impl Iterator<Item = &'static Part> {
    let parts = |kind: &&'static Kind| match kind.work {
        Work::Measure(measure) => measure.parts,
        Work::Run(_) | Work::Ask(_) | Work::Draw(_) | Work::Choose { .. } => &[],
    };
    KINDS.iter().flat_map(parts)
}

/// The part of a measurement that is worked by the kind of this name.
pub fn part(name: &str) -> Option<&'static Part> {
    measured_parts().find(|part| part.kind.name == name)
}

pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

/// Looks up a kind for the worker, which also calls the parts of measurements.
pub fn kind_or_part(name: &str) -> Option<&'static Kind> {
    kind(name).or_else(|| parts().find(|kind| kind.name == name))
}

/// The columns of the study in which a model with these metrics is a row: those of the first measuring kind whose
/// headline is among them.
pub fn study_columns(has_metric: impl Fn(&str) -> bool) -> Option<&'static StudyColumns> {
    let columns = |kind: &&'static Kind| match kind.work {
        Work::Measure(measure) => measure.columns.as_ref(),
        Work::Run(_) | Work::Ask(_) | Work::Draw(_) | Work::Choose { .. } => None,
    };
    KINDS.iter().filter_map(columns).find(|columns| has_metric(columns.headline.metric))
}

/// Checks the data of a port before anything runs, as the stage would on reading it, and returns the digests of its
/// prompts. `may_skip` is the number of bad rows that are no mistake.
///
/// # Errors
/// Those of the stage.
pub fn check_data(rows: DataRows, sources: &[DataSource], may_skip: u64) -> Result<PromptDigests> {
    data::check(rows, sources, may_skip)
}

/// Checks a path before anything runs, as the stage would on reading it. Data is checked by [`check_data`].
///
/// # Errors
/// Those of the stage.
pub fn check_input(port: &Port, path: &Path) -> Result<()> {
    if matches!(port.accepts, Accepts::Reward | Accepts::Judge) && path.is_dir() {
        description::refuse(path).reading(path)?;
    }
    match (port.accepts, port.check_file) {
        (Accepts::Data(_) | Accepts::Criteria | Accepts::Evaluation | Accepts::ModelAnswers | Accepts::Any, _) => {
            Ok(())
        }
        (_, Some(check)) if path.is_file() => check(path),
        (Accepts::Model | Accepts::Judge, _) => describe::check(path),
        (Accepts::RewardModel | Accepts::Reward, _) => describe::check_reward(path),
        (Accepts::Tokenizer, _) => describe::check_tokenizer(path),
    }
}

/// Reads judgements before anything runs, as the stage would, and tells their form where they state it.
///
/// # Errors
/// Those of the stage.
pub fn check_judgements(path: &Path) -> Result<Option<Form>> {
    said::stated_form(path)
}

/// Tries a chat template on the first dialogues of data, as the stage would: what it refuses is known before
/// anything runs. `None`: the model has no template. `learns_all`: all answers of a dialogue are learned. `may_skip` is
/// the number of dialogues that may be refused.
///
/// # Errors
/// The reason why the template or the file cannot be used.
pub fn check_dialogues(
    template: Option<&Template>,
    sources: &[DataSource],
    learns_all: bool,
    may_skip: u64,
) -> Result<()> {
    let mut skipped = 0;
    for AnsweredDialogue { place, messages, answers } in data::first_dialogues(sources)? {
        let tried = || -> Result<()> {
            let template = template.context(tokenizer::NO_TEMPLATE)?;
            let asked = template.render(&messages, true)?;
            for answer in answers {
                template.answer(&messages, &asked, &answer)?;
                if learns_all {
                    template.answers(&chat::with_answer(&messages, &answer))?;
                }
            }
            Ok(())
        };
        match tried() {
            Err(_) if template.is_some() && skipped < may_skip => skipped += 1,
            tried => tried.with_context(|| place.to_string()).reading(Path::new(&data::names(sources)))?,
        }
    }
    Ok(())
}

/// Checks that the configuration of a model is understood, which is possible before its weights are there.
///
/// # Errors
/// The reason why it is not.
pub fn check_configuration(directory: &Path) -> Result<()> {
    Config::load(directory).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::{Gives, PartInput, TokenizerSource};

    #[test]
    fn ports_and_parameters_that_the_table_names_are_there() {
        for kind in KINDS {
            let name = kind.name;
            let accepts = |port: &str| kind.port(port).unwrap_or_else(|| panic!("{name} has no port `{port}`")).accepts;
            let pointer = |parameter: &str| format!("/{}", parameter.replace('.', "/"));
            let has = |parameter: &str| (kind.defaults)().pointer(&pointer(parameter)).is_some();
            for port in kind.ports {
                assert!(port.tokens_of.is_none_or(|of| accepts(of) == Accepts::Model), "{name}.{}", port.name);
                assert!(port.instead_of.is_none_or(has), "{name}.{}", port.name);
                let other = port.or.map(|other| kind.port(other).and_then(|other| other.or));
                assert!(other.is_none_or(|of_other| of_other == Some(port.name)), "{name}.{}", port.name);
            }
            match kind.tokenizer {
                TokenizerSource::Port(port) => {
                    let is_choice = matches!(kind.work, Work::Choose { port: of } if of == port);
                    assert!(is_choice || accepts(port) == Accepts::Model, "{name}");
                }
                TokenizerSource::New { unless, data, size } => {
                    assert!(
                        accepts(unless) == Accepts::Tokenizer && matches!(accepts(data), Accepts::Data(_)) && has(size)
                    );
                }
                TokenizerSource::Unknown => assert!(!matches!(kind.gives, Gives::Model | Gives::Reward), "{name}"),
            }
        }
    }

    #[test]
    fn the_parts_of_a_measurement_have_the_ports_parameters_and_metrics_of_their_kind() {
        for kind in KINDS {
            let Work::Measure(measure) = kind.work else { continue };
            let mut measured = Vec::new();
            for (index, part) in measure.parts.iter().enumerate() {
                let name = part.kind.name;
                assert!(
                    part.kind.ports.iter().map(|port| port.name).eq(part.inputs.iter().map(|(port, _)| *port)),
                    "{name}"
                );
                for (_, input) in part.inputs {
                    match input {
                        PartInput::Port(port) => assert!(kind.port(port).is_some(), "{name} reads `{port}`"),
                        PartInput::Part(earlier) => assert!(*earlier < index, "{name} reads part {earlier}"),
                    }
                }
                assert_eq!(part.parameters(&(kind.defaults)()), (part.kind.defaults)(), "{name}");
                measured.extend(part.kind.metrics().map(|metric| metric.name));
            }
            let mut reported: Vec<&str> = kind.metrics().map(|metric| metric.name).collect();
            measured.sort_unstable();
            // Parts that read the same rows say the same of them.
            measured.dedup();
            reported.sort_unstable();
            assert_eq!(measured, reported, "{}", kind.name);
        }
    }
}
