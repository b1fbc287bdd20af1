//! Statistics of the updates since the last candidate, and the times of one update.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// Metrics that are means over the updates since the last candidate.
const UPDATE_METRICS: [&str; 5] = ["approx_kl", "clip_fraction", "ratio_max", "value_loss", "explained_variance"];

/// Sums over the updates since the last candidate, and counts that last longer.
#[derive(Default, Serialize, Deserialize)]
pub struct Tally {
    updates: u64,
    sums: BTreeMap<String, f64>,
    first_ratio_error: f64,
    /// Weight of the KL penalty in the next update.
    pub beta: f64,
    /// Number of rollouts in a row, up to the last, whose answers all had the same score.
    pub constant: u64,
    /// Number of rollouts of the whole stage in which no answer scored better than another it is compared with.
    pub idle: u64,
}

impl Tally {
    pub fn new(beta: f64) -> Tally {
        Tally { beta, ..Tally::default() }
    }

    pub fn add(&mut self, metrics: &[(&'static str, f64)], first_ratio_error: f64, is_idle: bool) {
        self.updates += 1;
        self.idle += u64::from(is_idle);
        self.first_ratio_error = self.first_ratio_error.max(first_ratio_error);
        for (name, value) in metrics {
            *self.sums.entry((*name).to_owned()).or_default() += value;
        }
    }

    /// Metrics of the updates. Without a critic, those of a critic are NaN, so that no gate passes on them.
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        let mean = |name| self.sums.get(name).map_or(f64::NAN, |sum| sum / self.updates as f64);
        let means = UPDATE_METRICS.map(|name| (name, mean(name)));
        [&means[..], &[("first_ratio_error", self.first_ratio_error), ("beta", self.beta)]].concat()
    }

    /// Starts over after a candidate.
    pub fn begin_anew(&mut self) {
        *self = Tally { beta: self.beta, constant: self.constant, idle: self.idle, ..Tally::default() };
    }
}

/// A stopwatch for the parts of an update.
pub struct Clock {
    last: Instant,
    /// `None` for an update that was resumed.
    generation: Option<f64>,
    scoring: Option<f64>,
    update: f64,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { last: Instant::now(), generation: None, scoring: None, update: 0.0 }
    }

    pub fn has_generated(&mut self) {
        self.generation = Some(self.lap());
    }

    pub fn has_scored(&mut self) {
        self.scoring = Some(self.lap());
    }

    pub fn learns(&mut self) {
        self.lap();
    }

    pub fn has_learned(&mut self) {
        self.update = self.lap();
    }

    /// Seconds of each part, and the speed, for `tokens` in the answers.
    pub fn seconds(&self, tokens: usize) -> Value {
        let Clock { generation, scoring, update, .. } = *self;
        let total = generation.zip(scoring).map(|(generation, scoring)| generation + scoring + update);
        let per_second = total.map(|total| tokens as f64 / total);
        json!({"generation": generation, "scoring": scoring, "update": update, "tokens_per_second": per_second})
    }

    fn lap(&mut self) -> f64 {
        let before = std::mem::replace(&mut self.last, Instant::now());
        self.last.duration_since(before).as_secs_f64()
    }
}
