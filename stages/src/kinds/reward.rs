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
    unconnected: missing_program,
    ..Kind::of::<AskedRewardParameters>(Work::Run(run))
};

/// A program that is not there is told before anything trains.
fn missing_program(parameters: &Value, _: &dyn Fn(&str) -> bool) -> Vec<ParameterMistake> {
    let typed = AskedRewardParameters::deserialize(parameters);
    typed.ok().and_then(|typed| typed.command.missing_program()).into_iter().collect()
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
