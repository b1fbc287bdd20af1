//! AdamW: bias-corrected moments, decay apart from the gradient (Loshchilov & Hutter 2019, alg. 2).

use crate::kernel::{self, AdamStep};
use crate::model::{Adapter, Decoder, weights};
use crate::stage::{self, ParameterMistake};
use crate::tensor::Later;
use anyhow::{Result, bail};
use burn::tensor::Tensor;
use formats::layout;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The optimiser, together with the tensors it trains.
pub struct Adam {
    pub tensors: Vec<Tensor<2>>,
    /// Whether weight decay shrinks each of them: it leaves norms and biases alone.
    decays: Vec<bool>,
    pub(super) means: Vec<Tensor<2>>,
    pub(super) squares: Vec<Tensor<2>>,
    /// Moving averages of the trained tensors; empty until [`Adam::keep_averages`] is called.
    pub averages: Vec<Tensor<2>>,
    pub(super) steps: u64,
    settings: AdamSettings,
}

/// Gradients, and their norm on its way to the host: with the next read of anything, which may be that of the loss.
pub struct Gradients {
    gradients: Vec<Tensor<2>>,
    squares: Later,
}

impl Gradients {
    /// There is at least one gradient.
    pub fn of(gradients: Vec<Tensor<2>>) -> Gradients {
        let squares = kernel::of(&gradients[0].device()).squares(&gradients);
        Gradients { gradients, squares }
    }

    /// The norm of all gradients together.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn norm(&self) -> Result<f64> {
        Ok(self.squares.get()?.iter().map(|x| f64::from(*x)).sum::<f64>().sqrt())
    }
}

/// The place of ε, which decides how large the first steps are (Huang et al. 2024, detail 12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AdamForm {
    /// Behind the root of the corrected square, as in PyTorch (Kingma & Ba 2015, alg. 1).
    #[default]
    Torch,
    /// Behind the root of the plain square, as in TensorFlow (the same paper, end of section 2): gentler at first.
    Tensorflow,
}

/// The parameter `adam:` of the training kinds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdamSettings {
    /// place of ε, as in torch or as in tensorflow, which is gentler in the first steps
    pub form: AdamForm,
    /// share of the mean of the gradients that is kept at each step
    pub beta1: f64,
    /// share of the mean of their squares that is kept
    pub beta2: f64,
    /// ε
    pub epsilon: f64,
    /// share of the weights that is subtracted at each step, times the learning rate; norms and biases keep theirs
    pub weight_decay: f64,
    /// norm to which larger gradients are scaled down; null: no limit
    pub max_norm: Option<f64>,
}

impl Default for AdamSettings {
    fn default() -> AdamSettings {
        // ε as in RLHF practice (Huang et al. 2024, detail 12): a hundred times that of PyTorch.
        AdamSettings {
            form: AdamForm::Torch,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-5,
            weight_decay: 0.0,
            max_norm: Some(1.0),
        }
    }
}

impl AdamSettings {
    pub fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes =
            stage::above_zero(&[("adam.epsilon", self.epsilon), ("adam.max_norm", self.max_norm.unwrap_or(1.0))]);
        mistakes.extend(stage::not_negative(&[("adam.weight_decay", self.weight_decay)]));
        for (path, beta) in [("adam.beta1", self.beta1), ("adam.beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                mistakes.push(ParameterMistake::new(path, format!("`{path}` is at least 0 and below 1")));
            }
        }
        mistakes
    }
}

impl Adam {
    /// Trains the matrices and heads of adapters, in the order of [`Adapter::tensors`]. All of them decay.
    pub fn of_adapters<'a>(adapters: impl IntoIterator<Item = &'a Adapter>, settings: AdamSettings) -> Adam {
        let tensors: Vec<Tensor<2>> = adapters.into_iter().flat_map(Adapter::tensors).collect();
        let decays = vec![true; tensors.len()];
        Adam::new(tensors, decays, settings)
    }

    /// Trains the weights of a model, in the order of [`weights::tensors`]. Norms and biases do not decay: nothing is gained
    /// by a smaller one (as the trainer of `transformers` has it).
    pub fn of_weights(model: &Decoder, settings: AdamSettings) -> Adam {
        let decays = layout::weights(&model.config).iter().map(|weight| !weight.sort.is_vector()).collect();
        Adam::new(weights::tensors(model), decays, settings)
    }

    pub(super) fn new(tensors: Vec<Tensor<2>>, decays: Vec<bool>, settings: AdamSettings) -> Adam {
        assert_eq!(tensors.len(), decays.len(), "each tensor decays or not");
        let zeros = |tensor: &Tensor<2>| tensor.zeros_like();
        Adam {
            means: tensors.iter().map(zeros).collect(),
            squares: tensors.iter().map(zeros).collect(),
            tensors,
            decays,
            averages: Vec::new(),
            steps: 0,
            settings,
        }
    }

    /// Starts the moving averages, with the present tensors as their first value.
    pub fn keep_averages(&mut self) {
        self.averages = self.tensors.clone();
    }

    /// θ̄ ← decay·θ̄ + (1 − decay)·θ.
    pub fn average(&mut self, decay: f64) {
        for (average, tensor) in self.averages.iter_mut().zip(&self.tensors) {
            *average = average.clone().mul_scalar(decay) + tensor.clone().mul_scalar(1.0 - decay);
        }
    }

    /// All lists of tensors, by name.
    pub(super) fn lists(&self) -> [(&'static str, &Vec<Tensor<2>>); 4] {
        [("tensor", &self.tensors), ("mean", &self.means), ("square", &self.squares), ("average", &self.averages)]
    }

    /// Takes one step down the gradients of a loss of this value. Returns their norm before clipping.
    ///
    /// # Errors
    /// The loss or the norm is not finite; then nothing has changed. `rows` names the rows of data behind it.
    pub fn step(&mut self, rate: f64, loss: f64, measured: Gradients, rows: impl FnOnce() -> String) -> Result<f64> {
        let number = self.steps + 1;
        if !loss.is_finite() {
            bail!(
                "train: the loss is {loss} at optimiser step {number}, on {}; lower `lr`, or look at these rows. Weights \
                 and the last checkpoint are as they were before it",
                rows()
            );
        }
        let norm = measured.norm()?;
        let gradients = measured.gradients;
        let kernel = kernel::of(&gradients[0].device());
        if !norm.is_finite() {
            bail!(
                "train: the gradient's norm is {norm} at optimiser step {number}, on {}; lower `lr`. Weights and the last \
                 checkpoint are as they were before it",
                rows()
            );
        }
        self.steps = number;
        let AdamSettings { form, beta1, beta2, epsilon, weight_decay, max_norm } = self.settings;
        let correction = |beta: f64| 1.0 - beta.powi(number.min(i32::MAX as u64) as i32);
        let (correction1, correction2) = (correction(beta1), correction(beta2));
        let (rate_now, correction) = match form {
            AdamForm::Torch => (rate / correction1, correction2),
            AdamForm::Tensorflow => (rate * correction2.sqrt() / correction1, 1.0),
        };
        let decayed = AdamStep {
            beta1,
            beta2,
            shrink: max_norm.filter(|most| norm > *most).map_or(1.0, |most| most / norm),
            rate: rate_now,
            correction,
            epsilon,
            retain: 1.0 - rate * weight_decay,
        };
        let whole = AdamStep { retain: 1.0, ..decayed };
        let take = |list: &mut Vec<Tensor<2>>| std::mem::take(list);
        let old = take(&mut self.tensors).into_iter().zip(take(&mut self.means)).zip(take(&mut self.squares));
        for ((((tensor, mean), square), gradient), decays) in old.zip(gradients).zip(&self.decays) {
            let [tensor, mean, square] =
                kernel.adam(if *decays { &decayed } else { &whole }, [tensor, mean, square, gradient]);
            self.tensors.push(tensor);
            self.means.push(mean);
            self.squares.push(square);
        }
        Ok(norm)
    }
}
