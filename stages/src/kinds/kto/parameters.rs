//! The parameters of `kto`.

use crate::stage::{self, ParameterMistake, Parameters};
use crate::train::{AnswerEnd, Rate, Schedule, Training};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Kto {
    #[serde(flatten)]
    pub training: Training,
    /// pull towards the reference; with a smaller β the policy moves further away
    #[schemars(extend("printed-after" = "schedule"))]
    pub beta: f64,
    /// weight of a wanted answer
    pub desirable_weight: f64,
    /// weight of an unwanted answer; times their numbers, wanted to unwanted should be between 1:1 and 4:3
    pub undesirable_weight: f64,
    #[serde(flatten)]
    pub answer_end: AnswerEnd,
}

impl Default for Kto {
    fn default() -> Kto {
        let rate = Rate { lr: 3e-4, schedule: Schedule::Linear };
        Kto {
            training: Training { batch: 32, rate, ..Training::default() },
            beta: 0.1,
            desirable_weight: 1.0,
            undesirable_weight: 1.0,
            answer_end: AnswerEnd::default(),
        }
    }
}

impl Parameters for Kto {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = self.training.mistakes();
        if self.training.batch < 2 {
            mistakes.retain(|mistake| mistake.path != "batch");
            mistakes.push(ParameterMistake::new("batch", "z₀ is a mean over the batch: at least 2"));
        }
        mistakes.extend(stage::above_zero(&[
            ("beta", self.beta),
            ("desirable_weight", self.desirable_weight),
            ("undesirable_weight", self.undesirable_weight),
        ]));
        mistakes
    }

    fn conflicts(&self) -> Vec<ParameterMistake> {
        self.training.idle_stop_token(self.answer_end).into_iter().collect()
    }
}
