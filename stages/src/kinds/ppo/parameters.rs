//! The parameters of `ppo`.

use crate::model::Templating;
use crate::rl::{Average, GroupBaseline, KlEstimate, MissingEos};
use crate::stage::{self, ParameterMistake, Parameters};
use crate::train::{Passes, Rate, Schedule, Truncate, Tuning};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Ppo {
    /// number of updates, each with one rollout
    pub steps: u64,
    /// answers sampled per update
    pub batch: usize,
    /// how many of these answer one prompt; at least 2 if they are compared with each other
    pub answers_per_prompt: usize,
    /// gae: with a critic; rloo, grpo or dr-grpo: by comparison with the other answers to the same prompt
    pub advantage: Advantage,
    /// reward: it starts from the reward model; zero: from a head of zeros on a new adapter
    pub critic: Critic,
    /// passes over a rollout
    pub epochs: u64,
    /// optimiser steps per pass
    pub minibatches: usize,
    #[serde(flatten)]
    pub passes: Passes,
    #[serde(flatten)]
    pub rate: Rate,
    /// longest answer
    pub max_new_tokens: usize,
    /// temperature of sampling, and of the log-probabilities in training
    pub temperature: f64,
    /// sample from this many of the most likely tokens; null: all
    pub top_k: Option<usize>,
    /// sample from the fewest most likely tokens that together have this probability; null: all
    pub top_p: Option<f64>,
    /// score of an answer that did not end; null: the score it gets from the reward model
    pub missing_eos_score: Option<f64>,
    /// subtracted from the score of an answer that did not end, if `missing_eos_score` is null
    pub missing_eos_penalty: f64,
    pub kl: KlParameters,
    /// ratios are clipped to 1 ± clip
    pub clip: f64,
    /// a token of negative advantage costs at most this many times its advantage (Ye et al. 2020), usually 3; null: no
    /// limit
    pub dual_clip: Option<f64>,
    /// values are clipped to this distance from the old value; null: not clipped
    pub value_clip: Option<f64>,
    /// weight of the value loss
    pub value_coef: f64,
    /// weight of the entropy bonus
    pub entropy_coef: f64,
    /// average that makes the loss: tokens, answers, answer-sums or {constant: LENGTH}
    pub average: Average,
    /// discount factor
    pub gamma: f64,
    /// λ of generalised advantage estimation
    pub lambda: f64,
    /// scale rewards to variance 1 before the advantages
    pub whiten_rewards: bool,
    pub abort_if: AbortIf,
    /// updates between candidates; 0: one candidate, at the end
    pub checkpoint_every: u64,
    /// what becomes of prompts that leave no room for an answer. end or drop: they are left out; start: they lose their
    /// beginning, dialogues their first turns after the system's text; middle: texts keep both ends
    #[schemars(extend("printed-after" = "max_new_tokens"))]
    pub truncate: Truncate,
    /// id of the token that ends an answer; default: the model's eos tokens, and that with which the chat template ends one
    #[schemars(extend("printed-after" = "checkpoint_every"))]
    pub stop_token: Option<u32>,
    #[serde(flatten)]
    pub templating: Templating,
    #[serde(flatten)]
    pub tuning: Tuning,
}

/// The source of advantages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Advantage {
    /// A critic, by generalised advantage estimation (Schulman et al. 2016).
    Gae,
    /// The other answers to the same prompt: see [`GroupBaseline`].
    Rloo,
    Grpo,
    DrGrpo,
}

/// The start of the critic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Critic {
    /// The reward model (Huang et al. 2024, detail 1).
    Reward,
    /// A head of zeros on a new adapter.
    Zero,
}

impl Advantage {
    /// The baseline of a method without a critic; `None` for `gae`.
    pub fn of_group(self) -> Option<GroupBaseline> {
        match self {
            Advantage::Gae => None,
            Advantage::Rloo => Some(GroupBaseline::Rloo),
            Advantage::Grpo => Some(GroupBaseline::Grpo),
            Advantage::DrGrpo => Some(GroupBaseline::DrGrpo),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KlParameters {
    /// weight β of the KL penalty
    pub coef: f64,
    /// estimate of the KL (Schulman 2020): OPTIONS
    pub estimate: KlEstimate,
    /// reward: the penalty is part of each token's reward; loss: part of the loss (take k2 or k3)
    #[serde(rename = "in")]
    pub place: KlPlace,
    /// the reference if nothing is connected to `reference`: OPTIONS
    pub reference: KlReference,
    /// share of the moving average that is kept at each update
    pub ema_decay: f64,
    /// KL in nats per answer that an adaptive β aims at (Ziegler et al. 2019); null: β is constant
    pub target: Option<f64>,
    /// number of answers over which an adaptive β moves
    pub horizon: f64,
}

/// The place of the KL penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KlPlace {
    /// In the reward of each token (Ouyang et al. 2022, eq. 2).
    Reward,
    /// In the loss (Shao et al. 2024, eq. 3).
    Loss,
}

/// The reference of the KL penalty, if nothing is connected to the port `reference`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KlReference {
    /// The policy as it came.
    Incoming,
    /// Its base, without any adapter.
    Base,
    /// A moving average of the policy (Ramé et al. 2024, section 3.1).
    Ema,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AbortIf {
    /// KL in nats per answer above which the stage fails; null: never
    pub kl_above: Option<f64>,
    /// entropy in nats per token below which the stage fails; null: never
    pub entropy_below: Option<f64>,
}

impl Default for KlParameters {
    fn default() -> KlParameters {
        KlParameters {
            coef: 0.05,
            estimate: KlEstimate::K1,
            place: KlPlace::Reward,
            reference: KlReference::Incoming,
            ema_decay: 0.99,
            target: None,
            horizon: 10_000.0,
        }
    }
}

impl Default for Ppo {
    fn default() -> Ppo {
        Ppo {
            steps: 50,
            batch: 64,
            answers_per_prompt: 1,
            advantage: Advantage::Gae,
            critic: Critic::Reward,
            epochs: 4,
            minibatches: 1,
            passes: Passes::default(),
            rate: Rate { lr: 3e-4, schedule: Schedule::Linear },
            max_new_tokens: 48,
            temperature: 0.7,
            top_k: None,
            top_p: None,
            missing_eos_score: Some(-1.0),
            missing_eos_penalty: 0.0,
            kl: KlParameters::default(),
            clip: 0.2,
            dual_clip: None,
            value_clip: Some(0.2),
            value_coef: 0.1,
            entropy_coef: 0.0,
            average: Average::Tokens,
            gamma: 1.0,
            lambda: 0.95,
            whiten_rewards: false,
            abort_if: AbortIf::default(),
            checkpoint_every: 0,
            truncate: Truncate::End,
            stop_token: None,
            templating: Templating::default(),
            tuning: Tuning::default(),
        }
    }
}

impl Ppo {
    pub fn missing_eos(&self) -> MissingEos {
        match self.missing_eos_score {
            Some(score) => MissingEos::Score(score),
            None if self.missing_eos_penalty > 0.0 => MissingEos::Penalty(self.missing_eos_penalty),
            None => MissingEos::Scored,
        }
    }

    /// Parameters that were set and would never be read: their author expects an effect.
    fn without_effect(&self) -> Vec<ParameterMistake> {
        let default = Ppo::default();
        let of_critic = [
            ("critic", self.critic != default.critic),
            ("gamma", self.gamma != default.gamma),
            ("lambda", self.lambda != default.lambda),
            ("value_clip", self.value_clip != default.value_clip),
            ("value_coef", self.value_coef != default.value_coef),
            ("whiten_rewards", self.whiten_rewards != default.whiten_rewards),
        ];
        let of_critic =
            of_critic.map(|(path, is_set)| (path, is_set && self.advantage != Advantage::Gae, "`advantage: gae`"));
        let others = [
            (
                "missing_eos_penalty",
                self.missing_eos_penalty > 0.0 && self.missing_eos_score.is_some(),
                "`missing_eos_score: null`",
            ),
            (
                "kl.ema_decay",
                self.kl.ema_decay != default.kl.ema_decay && self.kl.reference != KlReference::Ema,
                "`kl.reference: ema`",
            ),
            (
                "kl.target",
                self.kl.target.is_some() && self.kl.coef == 0.0,
                "a `kl.coef` above 0, from which β sets out",
            ),
            ("kl.horizon", self.kl.horizon != default.kl.horizon && self.kl.target.is_none(), "a `kl.target`"),
        ];
        let all = of_critic.into_iter().chain(others).filter(|(_, is_idle, _)| *is_idle);
        all.map(|(path, _, with)| ParameterMistake::new(path, format!("`{path}` has an effect only with {with}")))
            .collect()
    }
}

impl Parameters for Ppo {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::at_least_one(&[
            ("steps", self.steps),
            ("batch", self.batch as u64),
            ("answers_per_prompt", self.answers_per_prompt as u64),
            ("epochs", self.epochs),
            ("minibatches", self.minibatches as u64),
            ("max_new_tokens", self.max_new_tokens as u64),
            ("top_k", self.top_k.unwrap_or(1) as u64),
        ]);
        mistakes.extend(self.passes.mistakes());
        mistakes.extend(self.rate.mistakes());
        mistakes.extend(stage::above_zero(&[
            ("temperature", self.temperature),
            ("top_p", self.top_p.unwrap_or(1.0)),
            ("clip", self.clip),
            ("value_clip", self.value_clip.unwrap_or(1.0)),
            ("kl.horizon", self.kl.horizon),
            ("kl.target", self.kl.target.unwrap_or(1.0)),
            ("abort_if.kl_above", self.abort_if.kl_above.unwrap_or(1.0)),
        ]));
        mistakes.extend(stage::not_negative(&[
            ("kl.coef", self.kl.coef),
            ("value_coef", self.value_coef),
            ("entropy_coef", self.entropy_coef),
            ("missing_eos_penalty", self.missing_eos_penalty),
        ]));
        let mut refuse = |is_wrong: bool, path: &str, why: &str| {
            if is_wrong {
                mistakes.push(ParameterMistake::new(path, why));
            }
        };
        for (path, value) in [("gamma", self.gamma), ("lambda", self.lambda), ("kl.ema_decay", self.kl.ema_decay)] {
            refuse(!(0.0..=1.0).contains(&value), path, &format!("`{path}` lies between 0 and 1"));
        }
        refuse(self.top_p.is_some_and(|p| p > 1.0), "top_p", "`top_p` is a probability: at most 1");
        refuse(self.dual_clip.is_some_and(|c| c.is_nan() || c <= 1.0), "dual_clip", "`dual_clip` must be above 1");
        mistakes.extend(self.templating.mistakes());
        mistakes.extend(self.tuning.mistakes());
        mistakes
    }

    fn conflicts(&self) -> Vec<ParameterMistake> {
        let mut conflicts = self.without_effect();
        let mut refuse = |is_wrong: bool, path: &str, why: &str| {
            if is_wrong {
                conflicts.push(ParameterMistake::new(path, why));
            }
        };
        let per_prompt = self.answers_per_prompt;
        refuse(self.minibatches > self.batch, "minibatches", "there are more minibatches than answers in `batch`");
        refuse(
            per_prompt > 0 && !self.batch.is_multiple_of(per_prompt),
            "answers_per_prompt",
            &format!("`batch` {} is no multiple of `answers_per_prompt` {per_prompt}", self.batch),
        );
        refuse(
            self.advantage != Advantage::Gae && per_prompt < 2,
            "answers_per_prompt",
            "this `advantage` compares answers with others to the same prompt: `answers_per_prompt` is at least 2",
        );
        refuse(
            self.kl.place == KlPlace::Loss && self.kl.estimate == KlEstimate::K1,
            "kl.estimate",
            "k1 in the loss pulls nowhere (its slope is 1 everywhere); take k2 or k3",
        );
        conflicts
    }
}

/// Whether the critic starts from a reward model, by canonical parameters: that one reads the tokens of the policy.
pub fn starts_from_the_reward(parameters: &Value) -> bool {
    let typed = Ppo::deserialize(parameters);
    typed.is_ok_and(|ppo| ppo.advantage == Advantage::Gae && ppo.critic == Critic::Reward)
}
