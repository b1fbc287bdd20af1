//! Rewards: whatever gives answers a number. A file of rules, a reward model, a command, or a server. Each reads answers as
//! texts, so that it may have another tokenizer and template than whoever wrote them; a reward model that has both in common
//! with the writer reads the very tokens. Several are added up by their weights.

mod answer;
pub mod asked;
pub mod book;
pub mod description;
pub mod files;
pub mod parameters;
pub mod program;
pub mod remote;
pub mod scoring;

use crate::device;
use crate::io::Io;
use crate::model::{Artifact, Expectation, Load, LoraParameters};
use crate::train::{self, Ends, Fit, RowEncoder, Truncate};
pub use answer::GivenAnswer;
use anyhow::{Context, Result, bail};
use asked::AskedReward;
use description::RewardDescription;
use files::FileReward;
use formats::data::{self, DataRows, DataSource, RowFilter};
use formats::dialogue::Prompt;
use formats::dtype::Dtype;
use rayon::prelude::*;
use std::path::Path;

/// A reward, and how much it counts.
pub struct WeightedReward {
    pub weight: f64,
    /// Its place on the port, from 1, by which messages name it.
    pub place: usize,
    pub reward: Reward,
}

/// The place of a reward: its port, and from 0 its place on that.
#[derive(Clone, Copy)]
pub struct OnPort<'a> {
    pub port: &'a str,
    pub nth: usize,
}

/// Something that scores answers.
pub enum Reward {
    File(FileReward),
    Model(Box<Artifact>),
    /// A command or a server.
    Asked(Box<AskedReward>),
}

/// Scores, and the number of answers whose prompts were cut, since the reward reads no longer texts.
pub struct TextScores {
    pub scores: Vec<f64>,
    pub cut: usize,
}

/// Opens everything on a port; `model` opens a directory with a model. Where there is none, no device is needed.
///
/// # Errors
/// One of them is no reward.
pub fn open(
    io: &mut Io,
    port: &str,
    model: impl Fn(&mut Io, &Path) -> Result<Artifact>,
) -> Result<Vec<WeightedReward>> {
    let sources = io.data(port)?.to_vec();
    let mut rewards = Vec::with_capacity(sources.len());
    for source in sources {
        for path in &source.files {
            let reward = Reward::open(io, path, OnPort { port, nth: rewards.len() }, &model)?;
            rewards.push(WeightedReward { weight: source.options.weight, place: rewards.len() + 1, reward });
        }
    }
    Ok(rewards)
}

/// The first prompt, with its row, of which a file with right answers or patterns says nothing; `None` of other files.
///
/// # Errors
/// The file, or the data, cannot be read.
pub fn first_unknown(file: &Path, rows: DataRows, sources: &[DataSource], may_skip: u64) -> Result<Option<String>> {
    let FileReward::Rows(tests) = files::read(file)? else { return Ok(None) };
    let mut filter = RowFilter::new(may_skip);
    let unknown = |id: &str, has_written_id: bool, prompt: &Prompt| {
        let prompt = prompt.to_string();
        let is_known = tests.has(Some(id).filter(|_| has_written_id), &prompt);
        (!is_known).then(|| format!("row `{id}` ({:?})", files::beginning(&prompt)))
    };
    Ok(match rows {
        DataRows::Prompts => {
            let asked = data::prompts(sources, &mut filter)?;
            asked.iter().find_map(|row| unknown(&row.id, row.has_written_id, &row.prompt))
        }
        DataRows::Answers => {
            let asked = data::answered(sources, &mut filter)?;
            asked.iter().find_map(|row| unknown(&row.id, row.has_written_id, &row.prompt))
        }
        _ => None,
    })
}

/// Checks a file as a reward.
///
/// # Errors
/// It scores no answers.
pub fn check_file(path: &Path) -> Result<()> {
    files::read(path).map(drop)
}

impl Reward {
    /// Opens what lies at a path.
    ///
    /// # Errors
    /// It is no reward.
    pub fn open(
        io: &mut Io,
        path: &Path,
        at: OnPort,
        model: impl Fn(&mut Io, &Path) -> Result<Artifact>,
    ) -> Result<Reward> {
        if !::files::is_directory(path)? {
            return Ok(Reward::File(files::read(path)?));
        }
        let Some(description) = RewardDescription::find(path)? else {
            return Ok(Reward::Model(Box::new(model(io, path)?)));
        };
        let content = io.contents(at.port)?.into_iter().nth(at.nth).unwrap_or_default();
        let told = io.called().iter().find(|called| called.content == content).cloned();
        let told = told.with_context(|| {
            format!("open the reward in {}: it would be asked, and no stage of kind `reward` made it", path.display())
        })?;
        // Scores that are on their way are waited for, and kept.
        io.defer_sigterm();
        io.remark(
            "a reward that is a command or a server may not give the same again: the scores that were kept count"
                .to_owned(),
        );
        Ok(Reward::Asked(Box::new(AskedReward::open(io, path, at.nth, &description, &told)?)))
    }

    /// The reward model, where it is one.
    pub fn model(&self) -> Option<&Artifact> {
        match self {
            Reward::Model(artifact) => Some(artifact),
            Reward::File(_) | Reward::Asked(_) => None,
        }
    }

    /// Scores of answers as texts. `ready` is told what a model will do before it does it.
    ///
    /// # Errors
    /// It scores nothing, or one of the answers has no room in its context.
    pub fn scores(
        &self,
        io: &Io,
        answers: &[GivenAnswer],
        batch: usize,
        ready: impl FnOnce(&Artifact, Load) -> Result<()>,
    ) -> Result<TextScores> {
        match self {
            Reward::File(file) => {
                let score = |answer: &GivenAnswer| file.score(answer, &answer.prompt.to_string());
                Ok(TextScores { scores: answers.iter().map(score).collect::<Result<_>>()?, cut: 0 })
            }
            Reward::Asked(asked) => Ok(TextScores { scores: asked.scores(io, answers)?, cut: 0 }),
            Reward::Model(artifact) => {
                let adapter = artifact.adapter.as_ref().filter(|adapter| adapter.head.is_some()).context(
                    "score answers: a language model gives no scores; connect a reward model, or compare by `rank`",
                )?;
                let ends = Ends::of(artifact.config(), &artifact.tokenizer, None, true)?;
                let known: Vec<String> = ends.tokens().map(|end| artifact.tokenizer.token(end)).collect();
                let encoder = encoder(artifact, ends);
                let is_of_others = artifact.is_reward_of_others();
                let one = |answer: &GivenAnswer| {
                    let text = artifact.tokenizer.plain(without_end(answer.text, &known))?;
                    let read = match answer.prompt {
                        Prompt::Chat(messages) if is_of_others => encoder.rendered(messages, &text)?,
                        prompt => match encoder.sequence(prompt, &text)? {
                            Fit::Fits(row, is_cut) => Fit::Fits(row.ids, is_cut),
                            Fit::TooLong(why) => Fit::TooLong(why),
                        },
                    };
                    match read {
                        Fit::Fits(ids, is_cut) => Ok((ids, is_cut)),
                        Fit::TooLong(why) => bail!("row `{}`: {why}", answer.id),
                    }
                };
                let rows: Vec<(Vec<u32>, bool)> = answers.par_iter().map(one).collect::<Result<_>>()?;
                let cut = rows.iter().filter(|(_, is_cut)| *is_cut).count();
                let rows: Vec<&[u32]> = rows.iter().map(|(ids, _)| ids.as_slice()).collect();
                let tokens = rows.iter().map(|row| row.len()).max().unwrap_or(0);
                ready(artifact, Load { rows: batch.min(rows.len()), tokens, read: 1, ..Load::default() })?;
                Ok(TextScores { scores: train::rewards(artifact.model(), adapter, &rows, batch)?, cut })
            }
        }
    }

    /// Remarks for the record on a reward model that read answers as texts. `place` is its place on the port, from 1.
    pub fn remarks(&self, place: usize, has_cut: bool, has_prompts_that_are_texts: bool) -> Vec<String> {
        let Some(artifact) = self.model() else { return Vec::new() };
        let has_template = artifact.tokenizer.chat_template().is_some();
        let all = [
            (
                true,
                "has a tokenizer or chat template of its own: answers were decoded, put into its template, and encoded again",
            ),
            (has_cut, "reads no longer texts: prompts were cut for it"),
            (
                has_prompts_that_are_texts && has_template,
                "has a chat template, and prompts that are texts and no dialogues are read without it",
            ),
        ];
        all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, said)| format!("reward {place} {said}")).collect()
    }
}

/// The answer without the end that its row may hold: whoever reads it puts one there.
fn without_end<'a>(answer: &'a str, ends: &[String]) -> &'a str {
    ends.iter().find_map(|end| answer.strip_suffix(end.as_str())).unwrap_or(answer)
}

/// Opens a model with a base that this process keeps, on the device of the stage, which is not needed before.
pub fn resident(dtype: Dtype) -> impl Fn(&mut Io, &Path) -> Result<Artifact> {
    move |io, path| {
        let device = device::of(io, dtype)?;
        Artifact::open_resident(path, dtype, &device)
    }
}

/// Says what a model that only reads will do, as [`Artifact::expect`].
///
/// # Errors
/// As there.
pub fn expect(io: &Io, artifact: &Artifact, load: Load) -> Result<()> {
    let lora = &LoraParameters::default();
    artifact.expect(io, Expectation { lora, load, others: &[], lower: "`batch`" })
}

/// Encodes texts for a model that judges: up to its whole context, and of a prompt that is too long the end.
pub fn encoder(artifact: &Artifact, ends: Ends) -> RowEncoder<'_> {
    RowEncoder { artifact, ends, max_tokens: artifact.config().context, truncate: Truncate::Start }
}
