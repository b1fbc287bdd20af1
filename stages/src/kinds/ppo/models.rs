//! The models of a PPO run, loaded on one base.

use super::parameters::{Critic, KlReference, Ppo};
use crate::draw::Draw;
use crate::io::Io;
use crate::model::{Adapter, Artifact, Decoder, Reference};
use crate::train;
use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};

/// The models of a run. They share one base, on disk and in memory.
pub struct Models {
    pub policy: Artifact,
    pub start: Adapter,
    /// `None` if the reference is a moving average of the policy.
    pub reference: Option<Reference>,
    pub reward: (Decoder, Adapter),
    /// The critic's adapter on the base of the reward model. `None` if answers are compared with others to the same prompt.
    pub critic: Option<Adapter>,
    /// Number of bases in memory beside the policy's own.
    pub other_bases: usize,
}

impl Models {
    pub fn load(io: &mut Io, parameters: &Ppo, draw: Draw, device: &Device) -> Result<Models> {
        let Ppo { tuning, templating, .. } = parameters;
        let lora = &tuning.lora;
        let policy = train::model(io, "policy", tuning, templating, device)?;
        let start = policy.start_adapter(lora, draw)?;
        let reward = Artifact::load_beside(io.input("reward")?, &policy)?;
        let reference = match (io.optional_input("reference"), parameters.kl.reference) {
            (path, KlReference::Incoming) => Some(policy.reference(path)?),
            (Some(_), _) => bail!(
                "choose a reference: one is connected to `reference`, and `kl.reference` names another; take one of the two away"
            ),
            (None, KlReference::Base) => Some(Reference { adapter: None, ..policy.reference(None)? }),
            (None, KlReference::Ema) => None,
        };
        reward.takes_tokens_of(&policy).context("connect `reward`")?;
        let reward_adapter = reward.adapter.clone();
        let reward_adapter =
            reward_adapter.context("load the reward model: it has no adapter; connect a stage of kind rm")?;
        if reward_adapter.head.is_none() {
            bail!("load the reward model: it has no head; connect a stage of kind rm");
        }
        // The critic keeps the head's offset and spread, so that values start near the rewards they predict. If the reward
        // model has no LoRA pairs, the critic gets a new adapter.
        let of_critic = Draw { purpose: "critic", ..draw };
        let config = &reward.model.config;
        let critic = match (parameters.advantage.of_group(), parameters.critic) {
            (Some(_), _) => None,
            (None, Critic::Reward) if reward_adapter.has_no_pairs() => Some(reward.start_adapter(lora, of_critic)?),
            (None, Critic::Reward) => Some(reward_adapter.clone()),
            (None, Critic::Zero) => Some(Adapter {
                head: Some(Tensor::zeros([config.width, 1], device)),
                ..Adapter::new(config, lora, of_critic, device)
            }),
        };
        let other_bases = [reward.has_own_base, reference.as_ref().is_some_and(|reference| reference.has_own_base)];
        let other_bases = other_bases.into_iter().filter(|is_other| *is_other).count();
        Ok(Models { policy, start, reference, reward: (reward.model, reward_adapter), critic, other_bases })
    }

    /// Policy and critic as they begin.
    pub fn trained(&self) -> impl Iterator<Item = &Adapter> {
        [&self.start].into_iter().chain(&self.critic)
    }

    /// Policy and critic with these tensors.
    pub fn with(&self, tensors: &[Tensor<2>]) -> (Adapter, Option<Adapter>) {
        let (of_policy, of_critic) = tensors.split_at(self.start.tensors().len());
        (self.start.with_tensors(of_policy), self.critic.as_ref().map(|critic| critic.with_tensors(of_critic)))
    }
}
