//! `rm`: a reward model from preferences: a LoRA adapter and a scalar head on the frozen base, trained by
//! Bradley–Terry on all pairs of a prompt together (Ouyang et al. 2022, eq. 1).

mod measure;

use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::{Adapter, Artifact, Dtype, LoraParameters, Trained};
use crate::rl;
use crate::stage::{self, Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use crate::train::{self, Adam, AdamSettings, Group, Pass, Schedule, Sequence, Valued};
use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub const KIND: Kind = Kind {
    name: "rm",
    version: 5,
    doc: "train a reward model on preferences",
    ports: &[
        Port::one("model", Accepts::Model, "the model to start from; a reward model goes on with its head"),
        Port::one(
            "data",
            Accepts::Data,
            "preferences: pairs (`prompt`, `chosen`, `rejected`), rankings, ratings or labels",
        ),
        Port::HELDOUT,
    ],
    gives: Gives::Reward,
    reads_rows: true,
    metrics: &[
        Metric::higher("accuracy", "share of held-out pairs whose chosen answer scores strictly higher")
            .mean_of("correct"),
        Metric::higher("accuracy_with_ties", "the same, where equal scores count one half"),
        Metric::neutral("score_chosen", "mean reward of the chosen answers"),
        Metric::neutral("score_chosen_sd", "its standard deviation"),
        Metric::neutral("score_rejected", "mean reward of the rejected answers"),
        Metric::neutral("score_rejected_sd", "its standard deviation"),
        Metric::neutral(
            "temperature",
            "what Δ must be divided by for the lowest held-out loss: above 1 the model is too sure",
        ),
        Metric::lower("loss", "mean training loss since the last checkpoint"),
        Metric::lower("heldout_loss", "mean −log σ(Δ) over held-out pairs, Δ = score(chosen) − score(rejected)")
            .mean_of("loss"),
        Metric::higher("margin", "mean difference of the final rewards, which `normalize` may have scaled")
            .mean_of("margin"),
        Metric::lower("ece", "expected calibration error of σ(|Δ|) as the chance to be right, 10 bins"),
        Metric::lower("brier", "mean (1 − σ(Δ))²").mean_of("brier"),
        Metric::neutral("length_correlation", "correlation of score and answer length in tokens"),
        Metric::neutral("pairs", "held-out pairs"),
    ],
    draws: true,
    ..Kind::of::<Rm>(Work::Run(run))
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    None,
    Mean,
    Spread,
}

/// What is learned from preferences; see [`rl::PairLoss`] and [`rl::plackett_luce`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RankingLoss {
    BradleyTerry,
    Hinge,
    PlackettLuce,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rm {
    /// passes over the training prompts; may be a fraction
    pub epochs: f64,
    /// prompts per step, each with all its answers
    pub batch: usize,
    /// rows that go through the model together; null: the whole batch. Fewer take less memory
    pub micro_batch: Option<usize>,
    /// run each block again on the way back instead of remembering it: less memory, a third more time, the same bytes
    pub recompute: bool,
    /// bradley-terry or hinge over pairs, or plackett-luce over rankings, in which ties are not compared
    pub loss: RankingLoss,
    /// what a chosen answer should lead by, where its pair names no `margin`; null: 0, and 1 for the hinge
    pub margin: Option<f64>,
    /// share of the pairs that are taken to be the wrong way round (bradley-terry)
    pub label_smoothing: f64,
    /// weight of (r_chosen + r_rejected)²: keeps rewards around 0 (Eisenstein et al. 2023); usual 0.01
    pub centring: f64,
    /// learning rate
    pub lr: f64,
    /// constant, or linear or cosine from `lr` at the first step down to 0 behind the last
    pub schedule: Schedule,
    /// longest row, prompt and answer together; longer ones are cut
    pub max_tokens: usize,
    /// share of the prompts measured on, when nothing is connected to `heldout`
    pub heldout: f64,
    /// steps between candidates; 0: only the last
    pub checkpoint_every: u64,
    /// none, mean (rewards of the training answers get mean 0) or spread (and standard deviation 1)
    pub normalize: Normalize,
    /// id put behind each answer; default: the model's eos token
    pub stop_token: Option<u32>,
    /// whether answers end by themselves: put the stop token behind them
    pub ends: bool,
    /// f32, f16 or bf16: what the matrices of the frozen base are kept and multiplied in
    pub dtype: Dtype,
    pub adam: AdamSettings,
    pub lora: LoraParameters,
}

impl Default for Rm {
    fn default() -> Rm {
        Rm {
            epochs: 1.0,
            batch: 16,
            micro_batch: None,
            recompute: false,
            loss: RankingLoss::BradleyTerry,
            margin: None,
            label_smoothing: 0.0,
            centring: 0.0,
            lr: 1e-3,
            schedule: Schedule::Cosine,
            adam: AdamSettings::default(),
            max_tokens: 256,
            heldout: 0.1,
            checkpoint_every: 0,
            normalize: Normalize::Mean,
            stop_token: None,
            ends: true,
            dtype: Dtype::F32,
            lora: LoraParameters::default(),
        }
    }
}

impl Parameters for Rm {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::at_least_one(&[
            ("batch", self.batch as u64),
            ("micro_batch", self.micro_batch.unwrap_or(1) as u64),
            ("max_tokens", self.max_tokens as u64),
        ]);
        mistakes.extend(stage::not_negative(&[("centring", self.centring), ("margin", self.margin.unwrap_or(0.0))]));
        if !(0.0..0.5).contains(&self.label_smoothing) {
            mistakes
                .push(ParameterMistake::new("label_smoothing", "`label_smoothing` is at least 0 and below one half"));
        }
        mistakes.extend(stage::above_zero(&[("epochs", self.epochs), ("lr", self.lr)]));
        mistakes.extend(stage::is_share("heldout", self.heldout));
        mistakes.extend(self.adam.mistakes());
        mistakes.extend(self.lora.mistakes());
        mistakes
    }

    fn conflicts(&self) -> Vec<ParameterMistake> {
        let mut conflicts = Vec::new();
        if self.label_smoothing > 0.0 && self.loss != RankingLoss::BradleyTerry {
            conflicts
                .push(ParameterMistake::new("label_smoothing", "only `loss: bradley-terry` knows label smoothing"));
        }
        if self.margin.is_some() && self.loss == RankingLoss::PlackettLuce {
            conflicts.push(ParameterMistake::new("margin", "`loss: plackett-luce` knows no margin"));
        }
        conflicts.extend(train::idle_stop_token(self.stop_token, self.ends));
        conflicts
    }
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Rm = call.parameters()?;
    let device = device::of(io)?;
    let draw = |purpose| Draw { seed: call.seed, kind: "rm", purpose };
    let artifact = Artifact::load(io.input("model")?, parameters.dtype, &device)?;

    // 1. Prompts with their answers as tokens; held-out prompts apart.
    let end = parameters.ends.then(|| artifact.end(parameters.stop_token)).transpose()?;
    let mut sieve = io.sieve();
    let (groups, heldout) = train::groups_apart(
        &artifact,
        io,
        end,
        parameters.max_tokens,
        (draw("split"), parameters.heldout),
        true,
        &mut sieve,
    )?;
    if parameters.loss == RankingLoss::PlackettLuce
        && groups.iter().any(|group| group.margins.iter().any(Option::is_some))
    {
        io.remark("the data names margins, which `loss: plackett-luce` does not know".to_owned());
    }
    let training: Vec<usize> = (0..groups.len()).collect();

    // 2. Adapter and head: the incoming ones, or new.
    let start = artifact.start_adapter(&parameters.lora, draw("adapter"))?;
    let start = match start.head {
        Some(_) => start,
        None => start.with_head(&artifact.model.config, draw("head"), &device),
    };
    // Trained on the plain scale of the head; what it was normalised by is found anew for each candidate.
    let start = Adapter { offset: 0.0, spread: 1.0, ..start };
    let mut adam = Adam::new(start.tensors(), parameters.adam);
    let size = train::batch_size(io, parameters.batch, groups.len());
    let total = train::steps(parameters.epochs, groups.len(), size);
    let load = train::load_of_groups(&groups, parameters.micro_batch, size, parameters.recompute, false);
    io.expects(
        artifact.memory(&parameters.lora, load),
        "`micro_batch` (null is the whole batch), `max_tokens` or `lora.rank`",
    )?;
    let (first, mut losses) = train::resume(io, &mut adam)?.unwrap_or((0, Vec::new()));
    for step in first..total {
        // 3. All answers of a prompt go forward once.
        let batch: Vec<&Group> =
            train::batch_of(draw("order"), step, size, &training).map(|group| &groups[group]).collect();
        let adapter = start.with_tensors(&adam.tensors);
        let pass = Pass {
            model: &artifact.model,
            adapter: Some(&adapter),
            trained: Trained::Adapter,
            recomputes: parameters.recompute,
        };
        let (mut loss, mut gradients) = (0.0, Vec::new());
        for part in train::parts_of_groups(&batch, parameters.micro_batch) {
            let part: Vec<&Group> = part.iter().map(|group| batch[*group]).collect();
            let rows: Vec<&Sequence> = part.iter().flat_map(|group| &group.rows).collect();
            let more = train::learn_values(pass, &rows, Valued::Last, |scores| {
                let (of_part, slopes) = objective(&parameters, &part, scores, batch.len());
                loss += of_part;
                Ok(slopes)
            })?;
            train::add(&mut gradients, more);
        }
        let rate = parameters.schedule.rate(parameters.lr, step, total);
        let norm = adam.step(rate, loss, gradients, || train::named(batch.iter().map(|group| group.id.as_str())))?;
        losses.push(loss);
        let done = step + 1;
        io.curve(&json!({"step": done, "loss": loss, "gradient_norm": norm, "lr": rate}))?;
        io.progress(done, total, "step", || format!("loss {loss:.3}"))?;
        let is_candidate = train::is_candidate(done, parameters.checkpoint_every, total);
        if is_candidate {
            let mut adapter = start.with_tensors(&adam.tensors);
            normalize(&artifact, &mut adapter, &groups, parameters.normalize, draw("normalize"), load.rows)?;
            let of_training = [&[("loss", rl::mean(&losses))][..], &sieve.metrics()].concat();
            measure::measure(io, &artifact, &adapter, &heldout, done, &of_training, load.rows)?;
            losses.clear();
        }
        train::checkpoint(io, (done, total), is_candidate, &adam, &losses)?;
    }
    Ok(())
}

/// Loss of a part of a batch and its slopes by the scores of the part's rows, group after group. Each prompt weighs the
/// same, however many pairs it has; `prompts` are in the whole batch.
fn objective(parameters: &Rm, groups: &[&Group], scores: &[f64], prompts: usize) -> (f64, Vec<f64>) {
    let (mut loss, mut slopes, mut first) = (0.0, vec![0.0; scores.len()], 0);
    for group in groups {
        let of_prompt = 1.0 / prompts as f64;
        let scores = &scores[first..first + group.rows.len()];
        let slopes = &mut slopes[first..first + group.rows.len()];
        first += group.rows.len();
        let (chosen, rejected) = group.sides(scores);
        let mut of_pairs = rl::centring_penalty(&chosen, &rejected).weighted(&vec![parameters.centring; chosen.len()]);
        let pair_loss = match parameters.loss {
            RankingLoss::BradleyTerry => Some(rl::PairLoss::BradleyTerry),
            RankingLoss::Hinge => Some(rl::PairLoss::Hinge),
            RankingLoss::PlackettLuce => None,
        };
        match pair_loss {
            Some(pair_loss) => {
                let default = parameters.margin.unwrap_or(pair_loss.default_margin());
                let margins: Vec<f64> = group.margins.iter().map(|margin| margin.unwrap_or(default)).collect();
                let pairs = rl::preference_loss(pair_loss, &chosen, &rejected, &margins, parameters.label_smoothing);
                of_pairs = pairs.plus(1.0, &of_pairs);
            }
            None => {
                let (now, gradient) = rl::plackett_luce(scores, &group.pairs);
                loss += of_prompt * now;
                slopes.iter_mut().zip(gradient).for_each(|(slope, of_ranking)| *slope += of_prompt * of_ranking);
            }
        }
        let weight = of_prompt / group.pairs.len() as f64;
        loss += weight * of_pairs.losses.iter().sum::<f64>();
        group.spread(&of_pairs, weight, slopes);
    }
    (loss, slopes)
}

/// Sets offset and spread so that rewards of the training answers have mean 0 (and standard deviation 1).
fn normalize(
    artifact: &Artifact,
    adapter: &mut Adapter,
    groups: &[Group],
    how: Normalize,
    draw: Draw,
    at_once: usize,
) -> Result<()> {
    (adapter.offset, adapter.spread) = (0.0, 1.0);
    if how == Normalize::None {
        return Ok(());
    }
    // A few hundred answers fix a mean to a few hundredths of their spread. Drawn, since files are sorted: every eighth
    // answer would be a chosen one where all are pairs.
    let rows: Vec<&[u32]> = groups.iter().flat_map(|group| group.rows.iter().map(|row| row.ids.as_slice())).collect();
    let drawn = draw.order(0, rows.len());
    let rows: Vec<&[u32]> = drawn.iter().take(256).map(|row| rows[*row]).collect();
    let rewards = train::rewards(&artifact.model, adapter, &rows, at_once)?;
    adapter.offset = rl::mean(&rewards);
    if how == Normalize::Spread {
        let spread = rl::standard_deviation(&rewards);
        if spread <= 0.0 {
            bail!("normalize rewards: all training answers score the same; train longer, or set `normalize: mean`");
        }
        adapter.spread = spread;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::groups_of_a_test;

    #[test]
    fn the_slopes_of_every_loss_are_its_derivatives_and_prompts_weigh_the_same() {
        let groups = groups_of_a_test();
        let groups: Vec<&Group> = groups.iter().collect();
        let scores = [0.3, -0.8, 1.4, 0.2, 0.9, -1.1];
        use RankingLoss::{BradleyTerry, Hinge, PlackettLuce};
        for (loss, label_smoothing, margin) in
            [(BradleyTerry, 0.0, None), (BradleyTerry, 0.2, Some(0.3)), (Hinge, 0.0, None), (PlackettLuce, 0.0, None)]
        {
            for centring in [0.0, 0.05] {
                let parameters = Rm { loss, label_smoothing, margin, centring, ..Rm::default() };
                train::has_slopes(&scores, |scores| objective(&parameters, &groups, scores, 2));
                let (both, _) = objective(&parameters, &groups, &scores, 2);
                let alone = [(0, 0..4), (1, 4..6)]
                    .map(|(group, place)| objective(&parameters, &groups[group..=group], &scores[place], 1).0);
                assert!((both - (alone[0] + alone[1]) / 2.0).abs() < 1e-12, "{loss:?}");
            }
        }
    }

    /// A margin that the data names goes before the parameter.
    #[test]
    fn a_pair_that_names_its_margin_has_that_one() {
        let mut groups = groups_of_a_test();
        let parameters = Rm { margin: Some(0.5), ..Rm::default() };
        let loss = |group: &Group| objective(&parameters, &[group], &[0.7, 0.1], 1).0;
        assert!((loss(&groups[1]) - rl::PairLoss::BradleyTerry.of(-0.6, 0.5, 0.0).0).abs() < 1e-15);
        groups[1].margins = vec![Some(2.0)];
        assert!((loss(&groups[1]) - rl::PairLoss::BradleyTerry.of(-0.6, 2.0, 0.0).0).abs() < 1e-15);
    }
}
