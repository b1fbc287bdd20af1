//! The models of a PPO run.

use super::parameters::{Critic, KlReference, Ppo};
use crate::draw::Draw;
use crate::generate::Answer;
use crate::io::Io;
use crate::model::{Adapter, Artifact, Base, Reference};
use crate::reward::{self, GivenAnswer, WeightedReward};
use crate::train;
use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};
use formats::data::Question;
use formats::dialogue::Prompt;

/// The models of a run. They may share one base, on disk and in memory.
pub struct Models {
    pub policy: Base,
    pub start: Adapter,
    /// `None` if the reference is a moving average of the policy.
    pub reference: Option<Reference>,
    /// Reward models that read the very tokens of the policy.
    pub rewards: Vec<TokenReward>,
    /// Rewards that read answers as texts.
    pub readers: Vec<WeightedReward>,
    /// `None` if answers are compared with others to the same prompt.
    pub critic: Option<ValueModel>,
}

/// A reward model that reads the tokens of the policy.
pub struct TokenReward {
    pub weight: f64,
    pub base: Base,
    pub adapter: Adapter,
}

/// A critic: an adapter with a head, on the base of the reward model that it starts from, or on that of the policy.
pub struct ValueModel {
    pub base: Base,
    pub adapter: Adapter,
}

impl Models {
    /// Opens them, and the files of the policy.
    ///
    /// # Errors
    /// One is no such model, or they do not go together.
    pub fn open(io: &mut Io, parameters: &Ppo, draw: Draw, device: &Device) -> Result<(Artifact, Models)> {
        let Ppo { tuning, templating, .. } = parameters;
        let lora = &tuning.lora;
        let policy = train::model(io, "policy", tuning, templating, device)?;
        let start = policy.start_adapter(lora, draw)?;
        let all = reward::open(io, "reward", |_, path| Artifact::open_beside(path, &policy))?;
        let reference = match (io.optional_input("reference"), parameters.kl.reference) {
            (path, KlReference::Incoming) => Some(policy.reference(path)?),
            (Some(_), _) => bail!(
                "choose a reference: one is connected to `reference`, and `kl.reference` names another; take one of the two away"
            ),
            (None, KlReference::Base) => Some(Reference { adapter: None, ..policy.reference(None)? }),
            (None, KlReference::Ema) => None,
        };
        // The critic starts from the first reward model, and keeps the head's offset and spread, so that values start near the
        // rewards they predict. If that has no LoRA pairs, the critic gets a new adapter.
        let of_critic = Draw { purpose: "critic", ..draw };
        let first = all.iter().find_map(|weighted| weighted.reward.model());
        let critic = match (parameters.advantage.of_group(), parameters.critic) {
            (Some(_), _) => None,
            (None, Critic::Reward) => {
                let model = first.context("none of the rewards is a reward model");
                let model = model.and_then(|model| model.takes_tokens_of(&policy).map(|()| model)).with_context(|| {
                    "start the critic from a reward model; `critic: zero` takes one of zeros on the policy's own base"
                })?;
                let adapter = with_head(model)?;
                let adapter =
                    if adapter.has_no_pairs() { model.start_adapter(lora, of_critic)? } else { adapter.clone() };
                Some(ValueModel { base: model.base.clone(), adapter })
            }
            (None, Critic::Zero) => {
                let of_policy = first.filter(|model| model.takes_tokens_of(&policy).is_ok());
                let base = of_policy.map_or(&policy.base, |model| &model.base).clone();
                let config = base.config();
                let head = Some(Tensor::zeros([config.width, 1], device));
                let adapter = Adapter { head, ..Adapter::new(config, lora, of_critic, device) };
                Some(ValueModel { base, adapter })
            }
        };
        let (mut rewards, mut readers) = (Vec::new(), Vec::new());
        for weighted in all {
            let reads_tokens = |model: &&Artifact| {
                model.takes_tokens_of(&policy).is_ok()
                    && model.tokenizer.template_digest() == policy.tokenizer.template_digest()
            };
            match weighted.reward.model().filter(reads_tokens) {
                Some(model) => {
                    let (base, adapter) = (model.base.clone(), with_head(model)?.clone());
                    rewards.push(TokenReward { weight: weighted.weight, base, adapter });
                }
                None => readers.push(weighted),
            }
        }
        let models = Models { policy: policy.base.clone(), start, reference, rewards, readers, critic };
        Ok((policy, models))
    }

    /// The models that compute, on another device. What reads texts stays where it is.
    ///
    /// # Errors
    /// A device cannot be read.
    pub fn on(&self, device: &Device) -> Result<Models> {
        let mut copies = Copies { device, bases: Vec::new() };
        let (policy, start) = (copies.base(&self.policy)?, copies.adapter(&self.policy, &self.start)?);
        let mut rewards = Vec::with_capacity(self.rewards.len());
        for TokenReward { weight, base, adapter } in &self.rewards {
            let (weight, adapter) = (*weight, copies.adapter(base, adapter)?);
            rewards.push(TokenReward { weight, base: copies.base(base)?, adapter });
        }
        let reference = match &self.reference {
            Some(Reference { base, adapter }) => {
                let adapter = adapter.as_ref().map(|adapter| copies.adapter(base, adapter)).transpose()?;
                Some(Reference { base: copies.base(base)?, adapter })
            }
            None => None,
        };
        let critic = match &self.critic {
            Some(ValueModel { base, adapter }) => {
                Some(ValueModel { base: copies.base(base)?, adapter: copies.adapter(base, adapter)? })
            }
            None => None,
        };
        Ok(Models { policy, start, reference, rewards, readers: Vec::new(), critic })
    }

    /// The bases of all models beside the policy.
    pub fn bases_beside_the_policy(&self) -> Vec<&Base> {
        let reference = self.reference.iter().map(|reference| &reference.base);
        let readers = self.readers.iter().filter_map(|reader| reader.reward.model()).map(|model| &model.base);
        let rewards = self.rewards.iter().map(|reward| &reward.base);
        reference.chain(rewards).chain(readers).chain(self.critic.iter().map(|critic| &critic.base)).collect()
    }

    /// The sums of the scores by the rewards that read texts, by answer.
    ///
    /// # Errors
    /// One of them fails, or gives something else than a number.
    pub fn scores_of_texts(&self, io: &mut Io, written: &WrittenAnswers) -> Result<Vec<f64>> {
        let WrittenAnswers { policy, questions, prompts, answers, at_once } = *written;
        let mut sums = vec![0.0; answers.len()];
        if self.readers.is_empty() {
            return Ok(sums);
        }
        let decode = |(prompt, answer): (&&[u32], &Answer)| policy.tokenizer.decode_answer(prompt, &answer.ids);
        let texts: Vec<String> = prompts.iter().zip(answers).map(decode).collect::<Result<_>>()?;
        let given: Vec<GivenAnswer> = questions
            .iter()
            .zip(&texts)
            .map(|(Question { id, has_written_id, prompt, .. }, text)| GivenAnswer {
                id,
                has_written_id: *has_written_id,
                prompt,
                text,
            })
            .collect();
        for WeightedReward { weight, place, reward } in &self.readers {
            // What it takes was said with the rest, and its weights are on the device.
            let scored = reward.scores(io, &given, at_once, |_, _| Ok(()))?;
            if let Some(odd) = scored.scores.iter().position(|score| !score.is_finite()) {
                bail!("score answers: reward {place} gives no number to an answer of row `{}`", given[odd].id);
            }
            sums.iter_mut().zip(scored.scores).for_each(|(sum, score)| *sum += weight * score);
            let is_text = |question: &&&Question| matches!(question.prompt, Prompt::Text(_));
            let has_texts = questions.iter().any(|question| is_text(&question));
            let said = reward.remarks(*place, scored.cut > 0, has_texts);
            said.into_iter().for_each(|said| io.remark(said));
        }
        Ok(sums)
    }

    /// Policy and critic as they begin.
    pub fn trained(&self) -> impl Iterator<Item = &Adapter> {
        [&self.start].into_iter().chain(self.critic.iter().map(|critic| &critic.adapter))
    }

    /// Policy and critic with these tensors.
    pub fn with(&self, tensors: &[Tensor<2>]) -> (Adapter, Option<Adapter>) {
        let (of_policy, of_critic) = tensors.split_at(self.start.tensors().len());
        let critic = self.critic.as_ref().map(|critic| critic.adapter.with_tensors(of_critic));
        (self.start.with_tensors(of_policy), critic)
    }
}

/// Copies of models on a device. Those that share a base share it there.
struct Copies<'a> {
    device: &'a Device,
    bases: Vec<(Base, Base)>,
}

impl Copies<'_> {
    fn base(&mut self, base: &Base) -> Result<Base> {
        if let Some((_, copy)) = self.bases.iter().find(|(from, _)| from.is(base)) {
            return Ok(copy.clone());
        }
        let copy = base.on(self.device)?;
        self.bases.push((base.clone(), copy.clone()));
        Ok(copy)
    }

    fn adapter(&self, base: &Base, adapter: &Adapter) -> Result<Adapter> {
        adapter.on(base.config(), self.device)
    }
}

/// The adapter of a reward model.
fn with_head(model: &Artifact) -> Result<&Adapter> {
    let adapter = model.adapter.as_ref().filter(|adapter| adapter.head.is_some());
    adapter.context("load the reward model: it has no head; connect a stage of kind rm")
}

/// Answers of the policy, and what they answer.
pub struct WrittenAnswers<'a> {
    pub policy: &'a Artifact,
    pub questions: &'a [&'a Question],
    /// The tokens of each prompt.
    pub prompts: &'a [&'a [u32]],
    pub answers: &'a [Answer],
    /// The most answers that a model reads at once.
    pub at_once: usize,
}
