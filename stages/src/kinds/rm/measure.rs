//! Measures a reward model on held-out pairs: accuracy, calibration, and one row per pair.

use crate::model::{Adapter, Decoder};
use crate::rl::{self, ReliabilityRow};
use crate::train::{self, Group};
use anyhow::Result;
use serde::Serialize;

/// A row of the candidate's table `items`: one held-out pair.
#[derive(Serialize)]
pub struct Comparison<'a> {
    id: String,
    prompt: &'a str,
    /// The pairs of a prompt share its answers, so together they are one piece of evidence.
    prompt_group: &'a str,
    score_chosen: f64,
    score_rejected: f64,
    correct: bool,
    loss: f64,
    margin: f64,
    brier: f64,
}

pub struct Measurement<'a> {
    pub items: Vec<Comparison<'a>>,
    pub reliability: Vec<ReliabilityRow>,
    pub metrics: [(&'static str, f64); 13],
}

/// Scores the held-out answers.
pub fn measure<'a>(
    model: &Decoder,
    adapter: &Adapter,
    heldout: &'a [Group],
    at_once: usize,
) -> Result<Measurement<'a>> {
    let rows: Vec<&[u32]> = heldout.iter().flat_map(|group| group.rows.iter().map(|row| row.ids.as_slice())).collect();
    let scores = train::rewards(model, adapter, &rows, at_once)?;
    let lengths: Vec<f64> =
        heldout.iter().flat_map(|group| group.rows.iter().map(|row| row.completion().len() as f64)).collect();
    let (mut items, mut deltas) = (Vec::new(), Vec::new());
    for (group, scores) in heldout.iter().zip(rl::by_row(&scores, heldout.iter().map(|group| group.rows.len()))) {
        for (number, (better, worse)) in group.pairs.iter().enumerate() {
            let (score_chosen, score_rejected) = (scores[*better], scores[*worse]);
            // Calibration is measured on the scale of training: Δ before it is divided by the spread.
            let (margin, raw) = (score_chosen - score_rejected, (score_chosen - score_rejected) * adapter.spread);
            deltas.push(raw);
            items.push(Comparison {
                id: format!("{}/{}", group.id, number + 1),
                prompt: &group.prompt,
                prompt_group: &group.prompt_group,
                score_chosen,
                score_rejected,
                correct: raw > 0.0,
                loss: rl::PairLoss::BradleyTerry.of(raw, 0.0, 0.0).0,
                margin,
                brier: rl::brier(rl::sigmoid(raw), 1.0),
            });
        }
    }
    let (confident, right): (Vec<f64>, Vec<f64>) = deltas.iter().map(|delta| rl::confidence(*delta)).unzip();
    let reliability = rl::reliability(&confident, &right, 10);
    let column = |number: fn(&Comparison) -> f64| items.iter().map(number).collect::<Vec<f64>>();
    let (chosen, rejected) = (column(|row| row.score_chosen), column(|row| row.score_rejected));
    let accuracy = rl::accuracy(&deltas);
    let metrics = [
        ("accuracy", accuracy.strict),
        ("accuracy_with_ties", accuracy.with_ties),
        ("heldout_loss", rl::mean(&column(|row| row.loss))),
        ("margin", rl::mean(&column(|row| row.margin))),
        ("score_chosen", rl::mean(&chosen)),
        ("score_chosen_sd", rl::standard_deviation(&chosen)),
        ("score_rejected", rl::mean(&rejected)),
        ("score_rejected_sd", rl::standard_deviation(&rejected)),
        ("ece", rl::calibration_error(&reliability)),
        ("brier", rl::mean(&column(|row| row.brier))),
        // NaN if every pair is right: no finite temperature is best then.
        ("temperature", rl::temperature(&deltas).unwrap_or(f64::NAN)),
        ("length_correlation", rl::correlation(&scores, &lengths)),
        ("pairs", items.len() as f64),
    ];
    Ok(Measurement { items, reliability, metrics })
}
