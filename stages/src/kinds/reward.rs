//! `reward`: a reward that is no model. A command scores answers, as tests and exact rules do. The stage tries it out once and
//! gives a description of it, with the files that it reads; a stage that has it on its port `reward` calls it.

use crate::command::UserCommand;
use crate::io::Io;
use crate::reward::description::RewardDescription;
use crate::reward::program::{self, RewardProgram};
use crate::stage::{self, Call, Gives, Kind, ParameterMistake, Parameters, Work};
use crate::work;
use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const KIND: Kind = Kind {
    name: "reward",
    doc: "a command that scores answers, in the place of a reward model",
    takes_any_port: true,
    computes: false,
    gives: Gives::Scorer,
    ..Kind::of::<CommandReward>(Work::Run(run))
};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CommandReward {
    #[serde(flatten)]
    pub command: UserCommand,
    /// answers in one call
    pub batch: usize,
    /// seconds that a call may take
    pub timeout: u64,
}

impl Default for CommandReward {
    fn default() -> CommandReward {
        CommandReward { command: UserCommand::default(), batch: 64, timeout: 60 }
    }
}

impl Parameters for CommandReward {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::at_least_one(&[("batch", self.batch as u64), ("timeout", self.timeout)]);
        if self.command.is_empty() {
            let mut mistake = ParameterMistake::new("command", "no command that scores");
            mistake.help = Some("write `command: [program, argument, …]`, or a text for the shell".to_owned());
            mistakes.push(mistake);
        }
        mistakes.extend(self.command.mistakes());
        mistakes
    }
}

/// Parameters that say how it is called, and not what.
const HOW: [&str; 2] = ["/parameters/batch", "/parameters/timeout"];

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let CommandReward { command, batch, timeout } = call.parameters()?;
    let description = RewardDescription::new(io.action_without(&HOW)?, command, batch, timeout);
    let directory = io.candidate_dir(0)?;
    description.write(&directory)?;
    let inputs = io.work().join(work::COMMAND).join(work::INPUTS);
    program::copy(&inputs, &directory.join(work::INPUTS))?;
    RewardProgram::open(io, &directory, 0, description)?.try_out(io)?;
    io.candidate(0, &[])
}
