//! A reward that is asked for scores: a command or a server. What it gave is kept by the content of the answer, so that nothing
//! is asked twice.

use super::answer::{AskedAnswerLine, GivenAnswer};
use super::book::ScoreBook;
use super::description::RewardDescription;
use super::parameters::AskedRewardParameters;
use super::program::RewardProgram;
use super::remote::RemoteReward;
use crate::io::{CalledReward, Interruption, Io};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;

pub struct AskedReward {
    parameters: AskedRewardParameters,
    book: ScoreBook,
    by: RewardCaller,
}

/// The way in which it is asked.
enum RewardCaller {
    Command(RewardProgram),
    Server(RemoteReward),
}

impl AskedReward {
    /// Opens what a stage of kind `reward` gave, as the `nth` reward of this stage.
    ///
    /// # Errors
    /// Its files cannot be copied, or the book of scores cannot be read.
    pub fn open(
        io: &Io,
        given: &Path,
        nth: usize,
        description: &RewardDescription,
        told: &CalledReward,
    ) -> Result<AskedReward> {
        let parameters = description.parameters(told)?;
        let secrets = io.secrets().only(&told.secrets);
        let book = ScoreBook::open(io.replies()?, &description.identity)?;
        let by = match &parameters.endpoint {
            Some(endpoint) => {
                let settings = parameters.settings(endpoint);
                RewardCaller::Server(RemoteReward::open(io, endpoint, &settings, secrets, &description.identity)?)
            }
            None => RewardCaller::Command(RewardProgram::open(io, given, nth, secrets)?),
        };
        Ok(AskedReward { parameters, book, by })
    }

    /// The scores of answers. Those that are not kept are asked for, so many in a call.
    ///
    /// # Errors
    /// A call fails, takes too long, or gives something else than a score for each.
    pub fn scores(&self, io: &Io, answers: &[GivenAnswer]) -> Result<Vec<f64>> {
        // A server is not told the ids of rows.
        let has_ids = matches!(self.by, RewardCaller::Command(_));
        let asked: Vec<AskedAnswerLine> = answers.iter().map(|answer| AskedAnswerLine::new(answer, has_ids)).collect();
        if asked.iter().all(|asked| self.book.find(&asked.of).is_some()) {
            return self.kept(&asked);
        }
        // Others who ask the same reward wait until these are kept.
        let Some(_claim) = self.book.claim(&|| io.is_to_stop())? else {
            return Err(Interruption { step: None }.into());
        };
        let mut seen = BTreeSet::new();
        let is_new = |asked: &&AskedAnswerLine| self.book.find(&asked.of).is_none() && seen.insert(asked.of.clone());
        let missing: Vec<&AskedAnswerLine> = asked.iter().filter(is_new).collect();
        let calls: Vec<&[&AskedAnswerLine]> = missing.chunks(self.parameters.batch).collect();
        let keep = |call: &[&AskedAnswerLine], scores: Vec<f64>| {
            self.book.keep(call.iter().map(|asked| asked.of.clone()).zip(scores))
        };
        match &self.by {
            RewardCaller::Command(program) => {
                for call in calls {
                    if io.is_to_stop() {
                        return Err(Interruption { step: None }.into());
                    }
                    keep(call, program.call(io, &self.parameters, call)?)?;
                }
            }
            RewardCaller::Server(server) => server.call_all(io, &calls, keep)?,
        }
        self.kept(&asked)
    }

    fn kept(&self, asked: &[AskedAnswerLine]) -> Result<Vec<f64>> {
        asked.iter().map(|asked| self.book.find(&asked.of).context("find a score: it was not kept")).collect()
    }

    /// Tries whether it answers at all: a command is started with nothing to score, a server is given one text.
    ///
    /// # Errors
    /// It does not.
    pub fn try_out(&self, io: &Io) -> Result<()> {
        match &self.by {
            RewardCaller::Command(program) => program.call(io, &self.parameters, &[]).map(drop),
            RewardCaller::Server(server) => {
                let prompt = formats::dialogue::Prompt::Text("1 + 1 =".to_owned());
                let answer = GivenAnswer { id: "trial", has_written_id: false, prompt: &prompt, text: " 2" };
                let trial = AskedAnswerLine::new(&answer, false);
                server.call_all(io, &[&[&trial]], |_, _| Ok(()))
            }
        }
    }
}
