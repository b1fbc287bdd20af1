//! A step of fine-tuning and an iteration of PPO on a model in memory, by the parts of the kinds themselves.

use super::model::{DRAW, LORA};
use anyhow::Result;
use serde_json::json;
use stages::kinds::ppo::models::{Models, TokenReward, ValueModel};
use stages::kinds::ppo::update::{Update, UpdateProgress};
use stages::kinds::ppo::{Ppo, rollout};
use stages::model::{Adapter, Base, Decoder, Reference, Trainable, weights};
use stages::train::{self, Adam, AdamSettings, Gradients, Late, Pass, Sequence, Team};

/// The optimiser of a model or of its adapter, before the first step.
pub fn adam_of(model: &Decoder, adapter: &Adapter, trained: Trainable) -> Adam {
    match trained {
        Trainable::Adapter => Adam::of_adapters([adapter], AdamSettings::default()),
        Trainable::Weights => Adam::of_weights(model, AdamSettings::default()),
    }
}

/// The way to the loss of some rows and back.
pub fn way(
    model: &Decoder,
    adapter: &Adapter,
    adam: &Adam,
    trained: Trainable,
    rows: &[&Sequence],
    recomputes: bool,
) -> Result<(Late<'static, f64>, Gradients)> {
    let (model, adapter) = match trained {
        Trainable::Adapter => (model.clone(), Some(adapter.with_tensors(&adam.tensors))),
        Trainable::Weights => (weights::with_tensors(model, &adam.tensors), None),
    };
    let pass = Pass { model: &model, adapter: adapter.as_ref(), trained, recomputes };
    let (loss, gradients) = train::likelihood(pass, rows, None, train::learned_tokens(rows))?;
    Ok((loss, Gradients::of(gradients)))
}

/// The step of Adam behind it.
pub fn step(adam: &mut Adam, loss: Late<'static, f64>, gradients: Gradients) -> Result<f64> {
    adam.step(1e-3, loss.get()?, gradients, String::new)
}

/// The parameters of PPO that matter for its time.
pub fn ppo_parameters(rows: usize, new: usize, epochs: u64, recomputes: bool) -> Ppo {
    let with = json!({
        "steps": 5, "batch": rows, "epochs": epochs, "minibatches": 1, "max_new_tokens": new, "temperature": 1.0,
        "missing_eos_score": null, "lr": 1e-5, "recompute": recomputes,
    });
    serde_json::from_value(with).expect("the parameters are good")
}

/// Policy, reference, critic and reward model over one base.
pub fn ppo_models(base: &Decoder) -> Team<Models> {
    let (config, device) = (&base.config, base.device());
    let start = Adapter::new(config, &LORA, DRAW, &device);
    let reward = start.clone().with_head(config, DRAW, &device);
    // The policy came without an adapter.
    let base = Base::of(base);
    let reference = Reference { base: base.clone(), adapter: None };
    Team::alone(Models {
        policy: base.clone(),
        start,
        reference: Some(reference),
        critic: Some(ValueModel { base: base.clone(), adapter: reward.clone() }),
        rewards: vec![TokenReward { weight: 1.0, base, adapter: reward }],
        readers: Vec::new(),
    })
}

/// The parts of an iteration, in their order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Generation,
    Scoring,
    Update,
}

/// Answers, their scores, and the epochs of an update, as the kind does them; `done` is told the end of each part.
/// Returns the largest |ρ − 1| in the first minibatch, which is 0 unless sampling and training disagree.
pub fn ppo_iteration(
    parameters: &Ppo,
    team: &Team<Models>,
    adam: &mut Adam,
    prompts: &[&[u32]],
    step: u64,
    mut done: impl FnMut(Part),
) -> Result<f64> {
    let (draw, beta) = (DRAW, parameters.kl.coef);
    let answers = rollout::sample(parameters, team, adam, prompts, &[], draw, step)?;
    done(Part::Generation);
    let (rollout, forward) = rollout::score(parameters, team, adam, prompts, answers, vec![0.0; prompts.len()], true)?;
    done(Part::Scoring);
    let estimates = &rollout::advantages(parameters, &rollout, beta);
    let (rate, order, names) = (parameters.rate.lr, draw, &|_: &[usize]| String::new());
    let update = Update { parameters, team, rollout: &rollout, estimates, beta, step, rate, order, names };
    let outcome = update.run(adam, UpdateProgress::default(), forward, |_, _| Ok(()))?;
    done(Part::Update);
    Ok(outcome.first_ratio_error)
}
