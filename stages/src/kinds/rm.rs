//! `rm`: a reward model from preferences: a LoRA adapter and a scalar head on the frozen base, trained by
//! Bradley–Terry on all pairs of a prompt together (Ouyang et al. 2022, eq. 1).

mod measure;

use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::{Adapter, Artifact, Demand, Load};
use crate::rl;
use crate::stage::{
    self, Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, TokenizerSource, Work,
};
use crate::train::{
    self, Adam, AnswerEnd, BatchLoss, Group, Learner, Metrics, PairBound, PreferenceReading, Sequence, Team,
    TrainState, TrainSteps, Trainee, Training,
};
use anyhow::{Result, bail};
use burn::tensor::Tensor;
use formats::data::{DataRows, RowFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const KIND: Kind = Kind {
    name: "rm",
    version: 7,
    doc: "train a reward model on preferences",
    ports: &[
        Port::one("model", Accepts::Model, "the model to start from; a reward model goes on with its head"),
        Port::one(
            "data",
            Accepts::Data(DataRows::Preferences { with_margins: true }),
            "preferences: pairs (`prompt`, `chosen`, `rejected`), rankings, ratings or labels",
        ),
        Port::heldout(DataRows::Preferences { with_margins: true }),
    ],
    gives: Gives::Reward,
    tokenizer: TokenizerSource::Port("model"),
    reads_rows: true,
    metrics: &[
        Metric::higher("accuracy", "share of held-out pairs whose chosen answer scores strictly higher")
            .mean_of("correct")
            .of_unit(),
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
        Metric::lower("brier", "mean (1 − σ(Δ))²").mean_of("brier").of_unit(),
        Metric::neutral("length_correlation", "correlation of score and answer length in tokens"),
        Metric::neutral("pairs", "held-out pairs"),
    ],
    draws: true,
    reliability: Some(RELIABILITY),
    memory: Some(memory),
    ..Kind::of::<Rm>(Work::Run(run))
};

/// The table of how sure a checkpoint is of held-out pairs, and how often it is right.
const RELIABILITY: &str = "reliability";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    None,
    Mean,
    Spread,
}

/// The loss on preferences; see [`rl::PairLoss`] and [`rl::plackett_luce`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RankingLoss {
    BradleyTerry,
    Hinge,
    PlackettLuce,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Rm {
    #[serde(flatten)]
    pub training: Training,
    /// bradley-terry or hinge on pairs, or plackett-luce on rankings, where ties are not compared
    #[schemars(extend("printed-after" = "shards"))]
    pub loss: RankingLoss,
    /// lead that a chosen answer should have, if its pair names no `margin`; null: 0, or 1 for the hinge
    pub margin: Option<f64>,
    /// share of the pairs assumed to be the wrong way round (bradley-terry)
    pub label_smoothing: f64,
    /// weight of (r_chosen + r_rejected)², which keeps rewards near 0 (Eisenstein et al. 2023); usually 0.01
    pub centring: f64,
    /// none, mean (the rewards of the training answers get mean 0) or spread (also standard deviation 1)
    #[schemars(extend("printed-after" = "checkpoint_every"))]
    pub normalize: Normalize,
    #[serde(flatten)]
    pub pair_bound: PairBound,
    #[serde(flatten)]
    pub answer_end: AnswerEnd,
}

impl Default for Rm {
    fn default() -> Rm {
        Rm {
            training: Training::default(),
            loss: RankingLoss::BradleyTerry,
            margin: None,
            label_smoothing: 0.0,
            centring: 0.0,
            normalize: Normalize::Mean,
            pair_bound: PairBound::default(),
            answer_end: AnswerEnd::default(),
        }
    }
}

impl Parameters for Rm {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = self.training.mistakes();
        mistakes.extend(stage::not_negative(&[("centring", self.centring), ("margin", self.margin.unwrap_or(0.0))]));
        mistakes.extend(train::smoothing_mistake(self.label_smoothing));
        mistakes.extend(self.pair_bound.mistakes());
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
        conflicts.extend(self.training.idle_stop_token(self.answer_end));
        conflicts
    }
}

fn memory(context: usize) -> Demand {
    let Training { batch, max_tokens, tuning, .. } = Rm::default().training;
    let tokens = max_tokens.min(context);
    let load = Load { rows: 2 * batch, tokens, trained: 1, ..Load::default() };
    Demand { of: format!("{batch} pairs of {tokens} tokens"), lora: tuning.lora, load }
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Rm = call.parameters()?;
    let Rm { training, .. } = &parameters;
    let device = device::of(io, training.tuning.dtype)?;
    let draw = |purpose| call.draw(KIND.name, purpose);
    let artifact = train::model(io, "model", &training.tuning, &training.templating, &device)?;

    // 1. Tokenise prompts with their answers, and hold some out.
    let encoder = training.encoder(&artifact, parameters.answer_end)?;
    let mut filter = RowFilter::new(io.may_skip());
    let most = parameters.pair_bound.pairs_per_prompt;
    let reading = PreferenceReading { with_margins: true, most, draw: draw("pairs") };
    let (groups, heldout) = train::groups_apart(&encoder, io, training.heldout, draw("split"), reading, &mut filter)?;
    if parameters.loss == RankingLoss::PlackettLuce
        && groups.iter().any(|group| group.margins.iter().any(Option::is_some))
    {
        io.remark("the data names margins, which `loss: plackett-luce` does not know".to_owned());
    }

    // 2. Start from the incoming adapter and head, or from new ones.
    let rows = train::by_weight((0..groups.len()).collect(), |group| groups[group].weight, draw("weight"));
    let steps = TrainSteps::of(io, training, rows, draw("order"));
    let load = train::load_of_groups(&groups, &training.passes, steps.size, false);
    training.expect(io, &artifact, load, &[])?;
    let start = artifact.start_adapter(&training.tuning.lora, draw("adapter"))?;
    let start = match start.head {
        Some(_) => start,
        None => start.with_head(artifact.config(), draw("head"), &device),
    };
    // Training uses the plain scale of the head; each candidate is normalised anew.
    let start = Adapter { offset: 0.0, spread: 1.0, ..start };
    let adam = Adam::of_adapters([&start], training.tuning.adam);
    let beside = train::devices_beside(io, &device, training.tuning.dtype)?;
    let learner = RewardModel {
        parameters: &parameters,
        artifact: &artifact,
        team: Team::of(Trainee::of_adapter(artifact.model(), &start), beside, Trainee::on)?,
        start,
        groups,
        heldout,
        at_once: load.rows,
        sample: draw("normalize"),
        ends: encoder.ends.tokens().collect(),
    };
    train::learn(io, &steps, adam, &mut filter, &learner)
}

struct RewardModel<'a> {
    parameters: &'a Rm,
    artifact: &'a Artifact,
    team: Team<Trainee>,
    start: Adapter,
    groups: Vec<Group>,
    heldout: Vec<Group>,
    /// Number of rows that are scored together.
    at_once: usize,
    /// Draws the answers that rewards are normalised on.
    sample: Draw,
    /// Tokens with which answers end.
    ends: Vec<u32>,
}

impl Learner for RewardModel<'_> {
    /// Runs all answers of a prompt forward once.
    fn gradients(&self, tensors: &[Tensor<2>], batch: &[usize], _: &mut TrainState) -> Result<BatchLoss> {
        let passes = &self.parameters.training.passes;
        let batch: Vec<&Group> = batch.iter().map(|group| &self.groups[*group]).collect();
        let (loss, gradients) = self.team.learn(tensors, batch.len(), passes, |pass, shard| {
            let groups = &batch[shard];
            train::in_parts(&train::parts_of_groups(groups, passes.micro_batch), |part| {
                let part: Vec<&Group> = part.iter().map(|group| groups[*group]).collect();
                let rows: Vec<&Sequence> = part.iter().flat_map(|group| &group.rows).collect();
                train::learn_rewards(pass, &rows, passes.micro_batch, |scores| {
                    objective(self.parameters, &part, scores, batch.len())
                })
            })
        })?;
        Ok(BatchLoss { loss, gradients, columns: Vec::new() })
    }

    fn name(&self, row: usize) -> String {
        self.groups[row].id.clone()
    }

    fn candidate(&self, io: &mut Io, tensors: &[Tensor<2>], step: u64, state: &TrainState) -> Result<Metrics> {
        let mut adapter = self.start.with_tensors(tensors);
        self.normalize(&mut adapter)?;
        let measurement = measure::measure(self.artifact.model(), &adapter, &self.heldout, self.at_once)?;
        self.artifact.save_ended_by(&adapter, &self.ends, &io.candidate_dir(step)?)?;
        io.table(step, "items", &measurement.items)?;
        io.table(step, RELIABILITY, &measurement.reliability)?;
        Ok([&measurement.metrics[..], &[("loss", state.loss())]].concat())
    }
}

impl RewardModel<'_> {
    /// Sets offset and spread so that the rewards of the training answers have mean 0 (and standard deviation 1).
    fn normalize(&self, adapter: &mut Adapter) -> Result<()> {
        (adapter.offset, adapter.spread) = (0.0, 1.0);
        if self.parameters.normalize == Normalize::None {
            return Ok(());
        }
        // A few hundred answers fix the mean to a few hundredths of the standard deviation. They are drawn, since files are
        // sorted: every eighth answer of a file of pairs would be a chosen one.
        let rows: Vec<&[u32]> =
            self.groups.iter().flat_map(|group| group.rows.iter().map(|row| row.ids.as_slice())).collect();
        let drawn = self.sample.order(0, rows.len());
        let rows: Vec<&[u32]> = drawn.iter().take(256).map(|row| rows[*row]).collect();
        let rewards = train::rewards(self.artifact.model(), adapter, &rows, self.at_once)?;
        adapter.offset = rl::mean(&rewards);
        if self.parameters.normalize == Normalize::Spread {
            let spread = rl::standard_deviation(&rewards);
            if spread <= 0.0 {
                bail!("normalize rewards: all training answers score the same; train longer, or set `normalize: mean`");
            }
            adapter.spread = spread;
        }
        Ok(())
    }
}

/// The loss of a part of a batch, and its gradients by the scores of the part's rows, group after group. Every prompt has
/// the same weight, however many pairs it has; `prompts` counts those of the whole batch.
fn objective(parameters: &Rm, groups: &[&Group], scores: &[f64], prompts: usize) -> (f64, Vec<f64>) {
    let (mut loss, mut gradients) = (0.0, Vec::with_capacity(scores.len()));
    for (group, scores) in groups.iter().zip(rl::by_row(scores, groups.iter().map(|group| group.rows.len()))) {
        let of_prompt = 1.0 / prompts as f64;
        let mut of_answers = vec![0.0; scores.len()];
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
                of_answers = gradient.iter().map(|of_ranking| of_prompt * of_ranking).collect();
            }
        }
        let weight = of_prompt / group.pairs.len() as f64;
        loss += weight * of_pairs.losses.iter().sum::<f64>();
        group.spread(&of_pairs, weight, &mut of_answers);
        gradients.extend(of_answers);
    }
    (loss, gradients)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::groups_of_a_test;

    #[test]
    fn the_gradients_of_every_loss_are_its_derivatives_and_prompts_weigh_the_same() {
        let groups = groups_of_a_test();
        let groups: Vec<&Group> = groups.iter().collect();
        let scores = [0.3, -0.8, 1.4, 0.2, 0.9, -1.1];
        use RankingLoss::{BradleyTerry, Hinge, PlackettLuce};
        for (loss, label_smoothing, margin) in
            [(BradleyTerry, 0.0, None), (BradleyTerry, 0.2, Some(0.3)), (Hinge, 0.0, None), (PlackettLuce, 0.0, None)]
        {
            for centring in [0.0, 0.05] {
                let parameters = Rm { loss, label_smoothing, margin, centring, ..Rm::default() };
                train::has_gradients(&scores, |scores| objective(&parameters, &groups, scores, 2));
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
