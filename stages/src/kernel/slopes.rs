//! Predictions of tokens, and the slopes of losses by them: on the host, or on a device that need not wait for it.

use crate::rl::KlEstimate;
use crate::tensor::{Later, from_values};
use anyhow::Result;
use burn::tensor::{Device, Tensor};

/// Predictions of the tokens `[n]` that come next, nats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    pub log_probs: Vec<f64>,
    pub entropies: Vec<f64>,
}

/// Predictions on the host or on their way there.
#[derive(Clone)]
pub enum LatePredictions {
    Known(Predictions),
    /// `[n, 2]`: log-probabilities and entropies.
    Coming {
        numbers: Tensor<2>,
        later: Later,
    },
}

impl LatePredictions {
    /// # Errors
    /// The device cannot be read.
    pub fn get(&self) -> Result<Predictions> {
        let later = match self {
            LatePredictions::Known(known) => return Ok(known.clone()),
            LatePredictions::Coming { later, .. } => later,
        };
        let both = later.get()?;
        let column = |at: usize| both.iter().skip(at).step_by(2).map(|x| f64::from(*x)).collect();
        Ok(Predictions { log_probs: column(0), entropies: column(1) })
    }
}

/// A number for each of some rows.
#[derive(Clone)]
pub enum ByRow {
    Host(Vec<f32>),
    /// `[n, 1]`.
    Device(Tensor<2>),
}

impl ByRow {
    pub(super) fn column(&self, device: &Device) -> Tensor<2> {
        match self {
            ByRow::Host(values) => from_values(values.clone(), [values.len(), 1], device),
            ByRow::Device(values) => values.clone(),
        }
    }

    /// The numbers on the host, which is given no others.
    pub(super) fn values(&self) -> &[f32] {
        match self {
            ByRow::Host(values) => values,
            ByRow::Device(_) => unreachable!("what is computed on the host begins there"),
        }
    }
}

/// The slopes of the losses of PPO on a device, as `rl` has them on the host.
pub trait LossKernel {
    /// The gradient `[n, 1]` of [`PolicyTerms`] by the log-probabilities in `numbers`, `[n, 2]`.
    fn policy_slopes(&self, numbers: &Tensor<2>, terms: &PolicyTerms) -> Tensor<2>;

    /// The gradient `[n, 1]` of [`ValueTerms`] by `values`, `[n, 1]`.
    fn value_slopes(&self, values: &Tensor<2>, terms: &ValueTerms) -> Tensor<2>;
}

/// The weighted sum of `rl::policy_loss` and β times `rl::kl_loss` over tokens.
pub struct PolicyTerms<'a> {
    pub old: &'a [f64],
    pub advantages: &'a [f64],
    pub weights: &'a [f64],
    pub clip: f64,
    pub dual_clip: Option<f64>,
    /// β, and log-probabilities of the reference, where the KL is in the loss.
    pub kl: Option<(KlEstimate, f64, &'a [f64])>,
}

/// The weighted sum of `rl::value_loss` over tokens.
pub struct ValueTerms<'a> {
    pub old: &'a [f64],
    pub returns: &'a [f64],
    pub weights: &'a [f64],
    pub clip: Option<f64>,
    /// Values of a head are less its offset, divided by its spread.
    pub offset: f64,
    pub spread: f64,
}

/// The gradients of a loss with respect to [`Predictions`], `[n]` each.
#[derive(Clone, Debug, Default)]
pub struct TokenGradients {
    pub log_probs: Vec<f64>,
    /// Empty where the loss does not depend on them.
    pub entropies: Vec<f64>,
}

/// The same, where those of the log-probabilities may be on the device already.
pub enum Slopes {
    Host(TokenGradients),
    /// `[n, 1]`, and those of the entropies.
    Device(Tensor<2>, Vec<f64>),
}

impl From<TokenGradients> for Slopes {
    fn from(gradients: TokenGradients) -> Slopes {
        Slopes::Host(gradients)
    }
}
