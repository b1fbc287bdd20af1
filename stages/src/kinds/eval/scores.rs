//! `scores`: scores answers by a reward model or by a file. The second part of an `eval`.

use crate::answers::AnswerReading;
use crate::io::Io;
use crate::reward::scoring;
use crate::rl;
use crate::stage::{Accepts, Call, Gives, Kind, Metric, Port, Work};
use anyhow::Result;

pub const KIND: Kind = Kind {
    name: "scores",
    version: 3,
    doc: "scores of answers under one reward",
    ports: &[
        Port::one("answers", Accepts::Any, "what `answers` gave"),
        Port::one("reward", Accepts::Reward, "what scores them"),
    ],
    gives: Gives::Any,
    shares_worker: true,
    metrics: &[
        Metric::higher("mean_score", "mean score of the greedy answers under the first reward").mean_of("score"),
        Metric::neutral("score_sd", "their standard deviation"),
    ],
    ..Kind::of::<AnswerReading>(Work::Run(run))
};

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let scores = scoring::write(io, &call.parameters()?)?;
    io.candidate(0, &[("mean_score", rl::mean(&scores)), ("score_sd", rl::standard_deviation(&scores))])
}
