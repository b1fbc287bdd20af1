//! The promises of `statistics`, each one a sentence. `levels` takes nearly all of the time.

mod anytime;
mod betting;
mod degenerate;
mod levels;
mod paired;
mod power;
mod properties;
mod selection;
pub mod simulation;
mod spending;
mod values;

use super::*;
use stages::stage::Bounds;

/// Values made of whole numbers only: the same on every machine. About one in three is zero.
fn made_up(n: usize, salt: usize) -> Vec<f64> {
    let value = |i: usize| {
        let spread = (i * 37 + salt * 11) % 101;
        if (i + salt).is_multiple_of(3) { 0.0 } else { (spread as f64 - 47.0) / 16.0 }
    };
    (0..n).map(value).collect()
}

fn pairs(wins: usize, ties: usize, losses: usize) -> Sample {
    let of = |count: usize, value: f64| std::iter::repeat_n(value, count);
    Sample::of_items(&of(wins, 1.0).chain(of(ties, 0.5)).chain(of(losses, 0.0)).collect::<Vec<f64>>())
}

fn ones(ones: usize, of: usize) -> Sample {
    pairs(ones, 0, of - ones)
}

fn close(left: f64, right: f64, by: f64) {
    assert!((left - right).abs() <= by, "{left} is not within {by} of {right}");
}
