//! `sample`: several answers of one or more models to each prompt. It has an action for each draw of each model from each block
//! of prompts, so that eight draws begin with the four that were made before, and more prompts with those that were there; and
//! one that puts them together.

mod blocks;
mod draws;
mod joining;
mod scoring;

use crate::stage::{Accepts, DrawActions, Gives, Kind, Port, TokenizerSource, Work};
use formats::data::DataRows;
use joining::SampleParameters;

pub const KIND: Kind = Kind {
    name: "sample",
    doc: "several answers of one or more models to each prompt, for people or a judge to compare",
    ports: &[
        Port::one("policy", Accepts::Model, "who answers; several models answer each prompt side by side").many(),
        Port::one("prompts", Accepts::Data(DataRows::Prompts), "rows with a `prompt`"),
        Port::one(
            "reward",
            Accepts::Reward,
            "what scores the answers, for `keep: best`; several are added up, each with its `weight`",
        )
        .many()
        .reads_tokens_of("policy")
        .files_by(crate::reward::check_file)
        .optional(),
    ],
    gives: Gives::Any,
    tokenizer: TokenizerSource::Port("policy"),
    metrics: joining::KIND.metrics,
    draws: true,
    files: Some(joining::files),
    unconnected: joining::unconnected,
    ..Kind::of::<SampleParameters>(Work::Draw(&ACTIONS))
};

const ACTIONS: DrawActions = DrawActions {
    port: "policy",
    prompts: "prompts",
    reward: "reward",
    count: "k",
    chained: "distinct",
    rows: "prompts",
    block: &blocks::KIND,
    draw: &draws::KIND,
    score: &scoring::KIND,
    join: &joining::KIND,
};
