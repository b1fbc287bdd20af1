//! Looks at one table while it grows, up to a maximum that was declared beforehand: how much of the level may be spent by
//! now, and the level that this look alone is held to.
//!
//! The level is spent by the function of Lan & DeMets (1983, Biometrika 70:659) of O'Brien–Fleming type, one-sided:
//! a(t) = 2·P(Z > z(α/2)/√t), which spends next to nothing early and nearly all at the end. The level of one look follows
//! from the joint distribution of the looks, which is that of a Brownian motion at their numbers of items: its chance to
//! pass now, and not before, is what is newly spent. That chance is computed from look to look by numerical integration
//! (Armitage, McPherson & Rowe 1969, JRSS A 132:235).

use super::distributions::{normal_above, normal_quantile};
use libm::exp;

/// A table that is looked at again and again while it grows.
#[derive(Clone, Copy, Debug)]
pub struct GrowingTable<'a> {
    /// The numbers of items of the looks before this one, rising, all below `items`.
    pub earlier: &'a [usize],
    pub items: usize,
    /// The declared maximum. A look at more items has all that is left of the level.
    pub maximum: usize,
}

impl GrowingTable<'_> {
    /// The part of the level that may be spent by now.
    pub fn spent(&self, level: f64) -> f64 {
        spent(self.items, self.maximum, level)
    }

    /// The level that this look is held to, so that all looks together pass by luck at most at `level`.
    pub fn nominal_level(&self, level: f64) -> f64 {
        if level.is_nan() || level <= 0.0 {
            return 0.0;
        }
        let mut looks: Vec<EarlierLook> = Vec::new();
        let mut before = 0.0;
        for items in self.earlier {
            let (time, spent) = (*items as f64, spent(*items, self.maximum, level));
            if looks.last().is_none_or(|last| is_apart(last.time, time)) {
                looks.push(EarlierLook { time, newly: (spent - before).max(0.0) });
            }
            before = spent;
        }
        let time = self.items as f64;
        while looks.last().is_some_and(|last| !is_apart(last.time, time)) {
            looks.pop();
        }
        let mut continuing = Continuing::default();
        for (at, look) in looks.iter().enumerate() {
            continuing.look(look, looks.get(at + 1).map_or(time, |next| next.time));
        }
        continuing.level(time, (self.spent(level) - before).max(0.0))
    }

    /// The level of this look where nothing is known of how its p-values depend on each other: what is newly spent.
    pub fn newly_spent(&self, level: f64) -> f64 {
        let before = self.earlier.last().map_or(0.0, |items| spent(*items, self.maximum, level));
        (self.spent(level) - before).max(0.0)
    }
}

fn spent(items: usize, maximum: usize, level: f64) -> f64 {
    if items >= maximum {
        return level;
    }
    let time = items as f64 / maximum as f64;
    2.0 * normal_above(normal_quantile(0.5 * level) / time.sqrt())
}

/// An earlier look, which stops some of the paths.
struct EarlierLook {
    time: f64,
    /// The chance of a path to pass here, and not before.
    newly: f64,
}

/// Whether a look is far enough behind another one. What two stop that are nearer is much the same, and chances between
/// them are no smooth function. To leave one out of what follows makes the later levels smaller, so it breaks none.
fn is_apart(time: f64, next: f64) -> bool {
    next >= time * 1.002
}

/// The chances of all paths that passed at no look so far.
#[derive(Default)]
struct Continuing {
    /// The time of the last look that counts; 0 before the first.
    time: f64,
    /// Places below its bound, and the chance of each.
    places: Vec<f64>,
    chances: Vec<f64>,
}

/// A look with a smaller level stops next to nothing.
const LEAST_LEVEL: f64 = 1e-9;
/// Standard deviations, below which no chance is left that could still pass.
const LOWEST: f64 = -5.0;
/// The largest width of a panel of the quadrature, in standard deviations of the place ...
const PANEL: f64 = 1.0;
/// ... and in those of a step from one look to the next.
const PANEL_OF_STEP: f64 = 4.0;

/// Nodes and weights of Gauss–Legendre quadrature with 8 points on -1..1 (Abramowitz & Stegun, table 25.4).
const NODES: [[f64; 2]; 4] = [
    [0.183_434_642_495_649_8, 0.362_683_783_378_362],
    [0.525_532_409_916_329, 0.313_706_645_877_887_3],
    [0.796_666_477_413_626_7, 0.222_381_034_453_374_5],
    [0.960_289_856_497_536_3, 0.101_228_536_290_376_3],
];

impl Continuing {
    /// The level of a look at `time` that passes, for the first time, with the chance `newly`.
    fn level(&self, time: f64, newly: f64) -> f64 {
        if self.time == 0.0 || newly <= 0.0 {
            return newly;
        }
        normal_above(self.bound(time, newly))
    }

    /// The z beyond which paths end at `time` with the chance `newly`. By Newton's method on the logarithm of the chance,
    /// which falls ever more steeply, from a z that is too small.
    fn bound(&self, time: f64, newly: f64) -> f64 {
        const STEPS: usize = 60;
        let (deviation, root) = ((time - self.time).sqrt(), time.sqrt());
        let beyond = |z: f64| {
            let far = self.places.iter().zip(&self.chances).map(|(place, chance)| {
                let distance = (z * root - place) / deviation;
                (chance * normal_above(distance), chance * density(distance) * root / deviation)
            });
            far.fold((0.0, 0.0), |(chance, slope), (more, steeper)| (chance + more, slope + steeper))
        };
        // All paths, stopped or not, are more than those that continue: the bound without any stop is too large.
        let (mut low, mut high) = (LOWEST, normal_quantile(newly.min(0.5)).max(0.0) + 1e-9);
        let mut z = high;
        for _ in 0..STEPS {
            let (chance, slope) = beyond(z);
            if chance > newly {
                low = z
            } else {
                high = z
            }
            let step = chance / slope * libm::log(chance / newly);
            let next =
                if step.is_finite() && (low..=high).contains(&(z + step)) { z + step } else { 0.5 * (low + high) };
            if (next - z).abs() < 1e-10 {
                return next;
            }
            z = next;
        }
        z
    }

    /// Goes on to a look, which stops paths. The time of the one after it says how fine the quadrature must be.
    fn look(&mut self, look: &EarlierLook, next: f64) {
        let EarlierLook { time, newly } = *look;
        if newly <= 0.0 {
            return;
        }
        let bound = if self.time == 0.0 { normal_quantile(newly.min(0.5)) } else { self.bound(time, newly) };
        if normal_above(bound) < LEAST_LEVEL {
            return;
        }
        let step = if self.time == 0.0 { next - time } else { (next - time).min(time - self.time) };
        let width = PANEL.min(PANEL_OF_STEP * (step / time).sqrt());
        let root = time.sqrt();
        let panels = ((bound - LOWEST) / width).ceil().max(1.0);
        let half = 0.5 * (bound - LOWEST) / panels;
        let (mut places, mut chances) = (Vec::new(), Vec::new());
        for panel in 0..panels as usize {
            let middle = LOWEST + half * (2 * panel + 1) as f64;
            for [node, weight] in NODES {
                for side in [-node, node] {
                    let place = (middle + half * side) * root;
                    places.push(place);
                    chances.push(weight * half * root * self.density(place, time));
                }
            }
        }
        *self = Continuing { time, places, chances };
    }

    /// The density of paths at a place.
    fn density(&self, place: f64, time: f64) -> f64 {
        if self.time == 0.0 {
            return density(place / time.sqrt()) / time.sqrt();
        }
        let deviation = (time - self.time).sqrt();
        let near = self.places.iter().zip(&self.chances).filter(|(from, _)| (place - **from).abs() < 9.0 * deviation);
        near.map(|(from, chance)| chance * density((place - from) / deviation)).sum::<f64>() / deviation
    }
}

/// The density of a standard normal.
fn density(z: f64) -> f64 {
    exp(-0.5 * z * z) / (2.0 * std::f64::consts::PI).sqrt()
}
