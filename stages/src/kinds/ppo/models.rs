//! The models of a PPO run.

use super::parameters::{Critic, KlReference, Ppo};
use crate::draw::Draw;
use crate::io::Io;
use crate::model::{Adapter, Artifact, Base, Reference};
use crate::train;
use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};

/// The models of a run. They may share one base, on disk and in memory.
pub struct Models {
    pub policy: Base,
    pub start: Adapter,
    /// `None` if the reference is a moving average of the policy.
    pub reference: Option<Reference>,
    pub reward: (Base, Adapter),
    /// The critic's adapter on the base of the reward model. `None` if answers are compared with others to the same prompt.
    pub critic: Option<Adapter>,
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
        let reward = Artifact::open_beside(io.input("reward")?, &policy)?;
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
        let config = reward.config();
        let critic = match (parameters.advantage.of_group(), parameters.critic) {
            (Some(_), _) => None,
            (None, Critic::Reward) if reward_adapter.has_no_pairs() => Some(reward.start_adapter(lora, of_critic)?),
            (None, Critic::Reward) => Some(reward_adapter.clone()),
            (None, Critic::Zero) => Some(Adapter {
                head: Some(Tensor::zeros([config.width, 1], device)),
                ..Adapter::new(config, lora, of_critic, device)
            }),
        };
        let reward = (reward.base, reward_adapter);
        let models = Models { policy: policy.base.clone(), start, reference, reward, critic };
        Ok((policy, models))
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
