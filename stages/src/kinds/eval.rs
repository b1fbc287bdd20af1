//! `eval`: measures how good a policy is on held-out prompts. It has no action of its own: the runner measures every
//! model in the parts listed here, each of which is cached. So every model is measured once, and all in the same way.

pub mod answers;
pub mod divergence;
pub mod drawn;
pub mod scores;

use crate::answers as rows;
use crate::reward::{self, scoring};
use crate::stage::{
    Accepts, Gives, Kind, Measure, ModelComparison, Part, PartInput, Port, StudyColumn, StudyColumns, TokenizerSource,
    Work,
};
use formats::data::DataRows;

pub const KIND: Kind = Kind {
    name: "eval",
    version: 1,
    doc: "measure a policy: greedy answers, their scores, its distance from a baseline",
    ports: &[
        Port::one("policy", Accepts::Model, "the model to measure; the candidate, when this stage judges"),
        Port::one(
            "reward",
            Accepts::Reward,
            "what scores the answers: reward models, whatever their tokenizers; stages of kind `reward`; or files: words (.txt, \
             .tsv: `word<tab>valence`); right answers, or patterns that are found in them, which score 1 or 0 (.jsonl: `{id \
             or prompt, answer}`, `{…, regex}`, of all prompts without either). The first one judges; those with a `weight` \
             are added up to one",
        )
        .many()
        .files_by(reward::check_file),
        Port::one("prompts", Accepts::Data(DataRows::Prompts), "held-out rows with a `prompt`").measured(),
        Port::one("baseline", Accepts::Model, "what wins, losses and KL are counted against")
            .reads_tokens_of("policy")
            .optional(),
    ],
    gives: Gives::Nothing,
    tokenizer: TokenizerSource::Port("policy"),
    reads_rows: true,
    metrics: &[
        scores::KIND.metrics[0],
        scores::KIND.metrics[1],
        answers::KIND.metrics[0],
        answers::KIND.metrics[1],
        answers::KIND.metrics[2],
        answers::KIND.metrics[3],
        answers::KIND.metrics[4],
        divergence::KIND.metrics[0],
        drawn::SCORES.metrics[0],
        drawn::SCORES.metrics[1],
        drawn::SCORES.metrics[2],
        drawn::SCORES.metrics[3],
        drawn::SCORES.metrics[4],
        drawn::SCORES.metrics[5],
        drawn::SCORES.metrics[6],
    ],
    draws: true,
    ..Kind::of::<drawn::EvalParameters>(Work::Measure(&MEASURE))
};

/// Answers, their scores, and the distance from a baseline. No part depends on a model that the measured one will be
/// compared with.
const MEASURE: Measure = Measure {
    port: "policy",
    parts: &[
        Part {
            kind: &answers::KIND,
            inputs: &[("model", PartInput::Port("policy")), ("prompts", PartInput::Port("prompts"))],
            table: rows::TABLE,
            unless_empty: None,
        },
        Part {
            kind: &scores::KIND,
            inputs: &[("answers", PartInput::Part(0)), ("reward", PartInput::Port("reward"))],
            table: scoring::TABLE,
            unless_empty: None,
        },
        Part {
            kind: &divergence::KIND,
            inputs: &[
                ("answers", PartInput::Part(0)),
                ("model", PartInput::Port("policy")),
                ("baseline", PartInput::Port("baseline")),
            ],
            table: divergence::TABLE,
            unless_empty: None,
        },
        Part {
            kind: &drawn::DRAWS,
            inputs: &[("model", PartInput::Port("policy")), ("prompts", PartInput::Port("prompts"))],
            table: drawn::DRAWN_TABLE,
            unless_empty: Some("best_of"),
        },
        Part {
            kind: &drawn::SCORES,
            inputs: &[("answers", PartInput::Part(3)), ("reward", PartInput::Port("reward"))],
            table: drawn::BEST_TABLE,
            unless_empty: Some("best_of"),
        },
    ],
    answers: Some(0),
    comparison: Some(ModelComparison { part: 1, port: "baseline" }),
    columns: Some(StudyColumns {
        headline: StudyColumn { metric: scores::KIND.metrics[0].name, decimals: 3 },
        others: &[
            StudyColumn { metric: divergence::KIND.metrics[0].name, decimals: 3 },
            StudyColumn { metric: answers::KIND.metrics[0].name, decimals: 1 },
        ],
    }),
};
