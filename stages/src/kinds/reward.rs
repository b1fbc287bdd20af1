//! `reward`: a reward that is no model. A command scores answers, as tests and exact rules do, or a server. The stage tries it
//! out once and gives a description of it, with the files that it reads; a stage that has it on its port `reward` asks it.

use crate::io::{CalledReward, Io};
use crate::reward::asked::AskedReward;
use crate::reward::description::RewardDescription;
use crate::reward::parameters::{AskedRewardParameters, BESIDE_KEY};
use crate::reward::program;
use crate::stage::{self, Call, Gives, Kind, ParameterMistake, Work};
use crate::work;
use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

pub const KIND: Kind = Kind {
    name: "reward",
    doc: "a command or a server that scores answers, in the place of a reward model",
    takes_any_port: true,
    computes: false,
    gives: Gives::Scorer,
    beside_key: &BESIDE_KEY,
    unconnected,
    ..Kind::of::<AskedRewardParameters>(Work::Run(run))
};

/// A program that is not there is told before anything trains, and so are inputs that nobody reads.
fn unconnected(parameters: &Value, connected: &[&str]) -> Vec<ParameterMistake> {
    let Ok(typed) = AskedRewardParameters::deserialize(parameters) else { return Vec::new() };
    let unread = connected.first().filter(|_| typed.endpoint.is_some()).map(|port| {
        ParameterMistake::new(
            "endpoint",
            format!("a server reads no inputs, and `{port}` is one: `from` is for a command"),
        )
    });
    typed.command.missing_program().into_iter().chain(unread).collect()
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let mut parameters = call.parameters.clone();
    let beside_key = stage::take_out(&mut parameters, &BESIDE_KEY);
    let secrets = io.secrets().variables().map(|(name, _)| name.to_owned()).collect();
    let description = RewardDescription::new(io.action_name()?, parameters);
    let directory = io.candidate_dir(0)?;
    description.write(&directory)?;
    program::copy(&io.work().join(work::COMMAND).join(work::INPUTS), &directory.join(work::INPUTS))?;
    let told = CalledReward { content: String::new(), beside_key, secrets };
    AskedReward::open(io, &directory, 0, &description, &told)?.try_out(io)?;
    io.candidate(0, &[])
}
