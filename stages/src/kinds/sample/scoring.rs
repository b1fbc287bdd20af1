//! `draw_scores`: the scores of one draw under the reward of a `sample`.

use crate::answers::AnswerReading;
use crate::io::Io;
use crate::reward::scoring;
use crate::rl;
use crate::stage::{Accepts, Call, Gives, Kind, Metric, Port, Work};
use anyhow::Result;

pub const KIND: Kind = Kind {
    name: "draw_scores",
    doc: "scores of drawn answers",
    ports: &[
        Port::one("answers", Accepts::Any, "what `draws` gave"),
        Port::one("reward", Accepts::Reward, "what scores them").many(),
    ],
    gives: Gives::Any,
    shares_worker: true,
    metrics: &[Metric::neutral("mean_score", "their mean")],
    ..Kind::of::<AnswerReading>(Work::Run(run))
};

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let scores = scoring::write(io, &call.parameters()?)?;
    io.candidate(0, &[("mean_score", rl::mean(&scores))])
}
