//! LoRA adapters (Hu et al. 2021): W + (α/r)·B·A, with A `[in, r]` and B `[r, out]` here, as they are multiplied.

mod parameters;

pub use parameters::LoraParameters;

use super::together::{AdapterGroup, Member, Together};
use crate::draw::Draw;
use crate::kernel;
use crate::tensor::{from_values, values_of_all};
use anyhow::Result;
use burn::tensor::{Device, Tensor};
use formats::config::Config;
use formats::peft::{self, Lora, Matrix, RewardScale};
use rayon::prelude::*;

/// One adapter, and the scalar head of a reward or value model when it has one.
#[derive(Clone)]
pub struct Adapter {
    pub rank: usize,
    pub alpha: f64,
    pub(crate) matrices: Matrices,
    /// `[d, 1]`.
    pub head: Option<Tensor<2>>,
    /// Subtracted from the head's value, so that rewards of reference answers have mean 0.
    pub offset: f64,
    /// Divisor of what is left.
    pub spread: f64,
}

/// Where the trained matrices lie.
#[derive(Clone)]
pub(crate) enum Matrices {
    /// Each for itself, by layer, then in the order of the layout's targets; `None` for a target without a pair.
    Apart(Vec<Vec<Option<Pair>>>),
    Together(Together),
}

#[derive(Clone)]
pub struct Pair {
    pub a: Tensor<2>,
    pub b: Tensor<2>,
}

impl Adapter {
    /// A is uniform in ±1/√in (Kaiming with a = √5, as PEFT does), B is 0: the model starts unchanged.
    pub fn new(config: &Config, lora: &LoraParameters, draw: Draw, device: &Device) -> Adapter {
        let targets = config.architecture.layout.targets;
        let pair = |layer: usize, place: usize| {
            let (inputs, outputs) = targets[place].0.shape(config);
            let mut stream = draw.stream(0, (layer * targets.len() + place) as u64);
            let bound = 1.0 / (inputs as f64).sqrt();
            let a: Vec<f32> =
                (0..inputs * lora.rank).map(|_| ((stream.uniform() * 2.0 - 1.0) * bound) as f32).collect();
            let b = vec![0.0; lora.rank * outputs];
            peft::Pair {
                a: Matrix { values: a, shape: [inputs, lora.rank] },
                b: Matrix { values: b, shape: [lora.rank, outputs] },
            }
        };
        let drawn = Lora {
            rank: lora.rank,
            alpha: lora.plain_alpha(),
            pairs: (0..config.layers)
                .map(|layer| (0..targets.len()).map(|place| Some(pair(layer, place))).collect())
                .collect(),
            head: None,
            scale: RewardScale { offset: 0.0, spread: 1.0 },
        };
        Adapter::of(drawn, config, device)
    }

    /// An adapter on a device.
    pub fn of(lora: Lora, config: &Config, device: &Device) -> Adapter {
        let Lora { rank, alpha, pairs, head, scale } = lora;
        let has_pairs = pairs.iter().flatten().any(Option::is_some);
        let tensor = |Matrix { values, shape }: Matrix| from_values(values, shape, device);
        let matrices = match kernel::of(device).together() {
            Some(_) if has_pairs => Matrices::Together(Together::of(pairs, alpha / rank as f64, config, device)),
            _ => {
                let pair = |pair: peft::Pair| Pair { a: tensor(pair.a), b: tensor(pair.b) };
                let block = |block: Vec<_>| block.into_iter().map(|target: Option<_>| target.map(pair)).collect();
                Matrices::Apart(pairs.into_iter().map(block).collect())
            }
        };
        Adapter {
            rank,
            alpha,
            matrices,
            head: head.map(|head| from_values(head.clone(), [head.len(), 1], device)),
            offset: scale.offset,
            spread: scale.spread,
        }
    }

    /// The adapter as files hold it, read at once.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn on_host(&self) -> Result<Lora> {
        let mut values = values_of_all(self.tensors())?.into_iter();
        let mut next = || values.next().expect("as many tensors as were asked for");
        let pairs = match &self.matrices {
            Matrices::Apart(pairs) => {
                let mut matrix = |tensor: &Tensor<2>| Matrix { shape: tensor.dims(), values: next() };
                let mut pair = |pair: &Pair| peft::Pair { a: matrix(&pair.a), b: matrix(&pair.b) };
                let mut block =
                    |block: &Vec<Option<Pair>>| block.iter().map(|target| target.as_ref().map(&mut pair)).collect();
                pairs.iter().map(&mut block).collect()
            }
            Matrices::Together(together) => together.apart(&next()),
        };
        Ok(Lora {
            rank: self.rank,
            alpha: self.alpha,
            pairs,
            head: self.head.is_some().then(next),
            scale: RewardScale { offset: self.offset, spread: self.spread },
        })
    }

    /// A copy on another device; the adapter itself where it is there already.
    ///
    /// # Errors
    /// Its device cannot be read.
    pub fn on(&self, config: &Config, device: &Device) -> Result<Adapter> {
        let here = self.tensors().first().map(Tensor::device);
        if here.is_none_or(|here| here == *device) {
            return Ok(self.clone());
        }
        Ok(Adapter::of(self.on_host()?, config, device))
    }

    /// A head drawn from N(0, 1/(d + 1)) (Stiennon et al. 2020, appendix B.1 in the form of N+).
    pub fn with_head(mut self, config: &Config, draw: Draw, device: &Device) -> Adapter {
        let mut stream = draw.stream(0, 0);
        let sd = 1.0 / ((config.width + 1) as f64).sqrt();
        let head: Vec<f32> = (0..config.width).map(|_| (stream.normal() * sd) as f32).collect();
        self.head = Some(from_values(head, [config.width, 1], device));
        self
    }

    /// α/r.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// It is a head alone.
    pub fn has_no_pairs(&self) -> bool {
        match &self.matrices {
            Matrices::Apart(pairs) => pairs.is_empty(),
            Matrices::Together(_) => false,
        }
    }

    /// All matrices lie in one tensor.
    pub(super) fn lies_together(&self) -> bool {
        matches!(self.matrices, Matrices::Together(_))
    }

    /// The pairs beside projections that read the same input as that at `place` of the layout's targets.
    pub(super) fn group(&self, layer: usize, place: usize) -> Option<AdapterGroup> {
        match &self.matrices {
            Matrices::Apart(pairs) => {
                let pair = pairs.get(layer)?.get(place)?.as_ref()?;
                let member = Member { place, b: pair.b.clone(), factor: self.scale(), place_of_b: 0 };
                Some(AdapterGroup { a: pair.a.clone(), members: vec![member], place_of_a: 0 })
            }
            Matrices::Together(together) => together.group(layer, place).cloned(),
        }
    }

    /// The change s·A·B of the matrix of a projection, `[in, out]`.
    pub(crate) fn change(&self, layer: usize, place: usize) -> Option<Tensor<2>> {
        let AdapterGroup { a, members, .. } = self.group(layer, place)?;
        let member = members.into_iter().find(|member| member.place == place)?;
        Some(a.matmul(member.b).mul_scalar(member.factor))
    }

    /// The distance of the weights from where training started: the Frobenius norm of s·(A·B − A₀·B₀) over all
    /// matrices. No product is formed: the difference is s·P·Q with P = [A − A₀, A₀] and Q = [B; B − B₀], and the
    /// square of its norm is Σ (PᵀP)∘(QQᵀ), 2r by 2r. Where nothing has moved it is 0 to the last bit.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn moved_from(&self, start: &Adapter) -> Result<f64> {
        let mut factors = Vec::new();
        let (now, then) = (self.on_host()?.pairs, start.on_host()?.pairs);
        for (now, then) in now.iter().flatten().zip(then.iter().flatten()) {
            let (Some(now), Some(then)) = (now, then) else { continue };
            let ([columns, first], [rows, first_rows]) =
                ([&now.a, &then.a].map(columns_of), [&now.b, &then.b].map(rows_of));
            let moved = apart(&rows, &first_rows);
            factors.push(([apart(&columns, &first), first].concat(), [rows, moved].concat()));
        }
        let of_matrix = |(p, q): &(Vec<Vec<f64>>, Vec<Vec<f64>>)| {
            let pairs = (0..p.len()).flat_map(|i| (0..=i).map(move |j| (i, j, if i == j { 1.0 } else { 2.0 })));
            pairs.map(|(i, j, times)| times * dot(&p[i], &p[j]) * dot(&q[i], &q[j])).sum()
        };
        // Added in their order, so that cores do not matter.
        let squares: Vec<f64> = factors.par_iter().map(of_matrix).collect();
        let square: f64 = squares.iter().sum();
        Ok(self.scale() * square.max(0.0).sqrt())
    }

    /// Every trained tensor, in a fixed order.
    pub fn tensors(&self) -> Vec<Tensor<2>> {
        let mut tensors: Vec<Tensor<2>> = match &self.matrices {
            Matrices::Apart(pairs) => {
                pairs.iter().flatten().flatten().flat_map(|pair| [pair.a.clone(), pair.b.clone()]).collect()
            }
            Matrices::Together(together) => vec![together.trained.clone()],
        };
        tensors.extend(self.head.clone());
        tensors
    }

    /// The same adapter with other tensors, in the order of [`Adapter::tensors`].
    pub fn with_tensors(&self, tensors: &[Tensor<2>]) -> Adapter {
        let mut rest = tensors.iter().cloned();
        let mut next = || rest.next().expect("as many tensors as `tensors` gave");
        let mut out = self.clone();
        match &mut out.matrices {
            Matrices::Apart(pairs) => {
                for pair in pairs.iter_mut().flatten().flatten() {
                    pair.a = next();
                    pair.b = next();
                }
            }
            Matrices::Together(together) => *together = together.with(next()),
        }
        if out.head.is_some() {
            out.head = Some(next());
        }
        out
    }

    /// A place for the gradients of the pairs.
    pub(super) fn gradient(&self) -> AdapterGradient {
        match &self.matrices {
            Matrices::Apart(pairs) => {
                AdapterGradient::Apart(pairs.iter().map(|block| vec![None; block.len()]).collect())
            }
            Matrices::Together(together) => AdapterGradient::Together(together.place_of_gradients()),
        }
    }

    /// The gradients of the pairs as those of the trained tensors, without that of a head.
    pub fn gradient_tensors(&self, gradient: AdapterGradient) -> Vec<Tensor<2>> {
        match (gradient, &self.matrices) {
            (AdapterGradient::Together(gradients), Matrices::Together(together)) => {
                vec![together.gathered(gradients)]
            }
            (AdapterGradient::Apart(pairs), _) => {
                pairs.into_iter().flatten().flatten().flat_map(|pair| [pair.a, pair.b]).collect()
            }
            (AdapterGradient::Together(_), Matrices::Apart(_)) => unreachable!("a gradient lies as its adapter does"),
        }
    }
}

/// The gradients of the pairs of an adapter, as the backward pass fills them in.
pub enum AdapterGradient {
    Apart(Vec<Vec<Option<Pair>>>),
    /// All of them in one buffer.
    Together(Tensor<1>),
}

fn columns_of(Matrix { values, shape: [rows, columns] }: &Matrix) -> Vec<Vec<f64>> {
    (0..*columns).map(|at| (0..*rows).map(|row| f64::from(values[row * columns + at])).collect()).collect()
}

fn rows_of(Matrix { values, shape: [_, columns] }: &Matrix) -> Vec<Vec<f64>> {
    values.chunks(*columns).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
}

fn apart(one: &[Vec<f64>], other: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let line = |(one, other): (&Vec<f64>, &Vec<f64>)| one.iter().zip(other).map(|(x, y)| x - y).collect();
    one.iter().zip(other).map(line).collect()
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::values_of;
    use formats::config::Llama;

    fn golden() -> serde_json::Value {
        serde_json::from_str(include_str!("../../tests/golden/rlhf-golden.json")).unwrap()
    }

    const DRAW: Draw = Draw { seed: 7, kind: "test", purpose: "head" };

    fn config(width: usize) -> Config {
        let (vocabulary, inner, layers, heads, kv_heads, context) = (64, 8, 1, 1, 1, 16);
        let (is_tied, pad, bos, eos) = (true, None, 1, 2);
        let llama = Llama { vocabulary, width, inner, layers, heads, kv_heads, context, is_tied, pad, bos, eos };
        Config::of(llama.source()).unwrap()
    }

    #[test]
    fn a_reward_head_is_drawn_with_the_golden_spread() {
        for row in golden()["rm_head_std"].as_array().unwrap() {
            let width = row["d"].as_u64().unwrap() as usize;
            let config = config(width);
            let adapter =
                Adapter::new(&config, &LoraParameters { rank: 1, ..LoraParameters::default() }, DRAW, &Device::flex());
            let head = values_of(adapter.with_head(&config, DRAW, &Device::flex()).head.unwrap()).unwrap();
            let square = head.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
            let expected = row["1/sqrt(d+1)"].as_f64().unwrap();
            // The mean square of d normal draws varies by √(2/d); four of those.
            assert!((square / expected.powi(2) - 1.0).abs() < 4.0 * (2.0 / width as f64).sqrt(), "{width}: {square}");
        }
    }

    #[test]
    fn what_training_has_moved_is_what_its_products_differ_by() {
        let config = config(8);
        let of = |seed| {
            let draw = Draw { seed, ..DRAW };
            let lora = LoraParameters { rank: 2, alpha: 3.0, rslora: false };
            let adapter = Adapter::new(&config, &lora, draw, &Device::flex());
            // B begins at 0, and would show nothing.
            let number = |tensor: &Tensor<2>| tensor.clone().add_scalar(0.1 * seed as f64);
            adapter.with_tensors(&adapter.tensors().iter().map(number).collect::<Vec<_>>())
        };
        let (one, other) = (of(1), of(2));
        let mut square = 0.0;
        for place in 0..config.architecture.layout.targets.len() {
            let difference = one.change(0, place).unwrap() - other.change(0, place).unwrap();
            square += values_of(difference).unwrap().iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        }
        let moved = one.moved_from(&other).unwrap();
        assert!((moved / square.sqrt() - 1.0).abs() < 1e-6, "{moved} is not {}", square.sqrt());
        assert_eq!(one.moved_from(&one).unwrap(), 0.0);
    }

    #[test]
    fn an_adapter_begins_as_peft_begins_it() {
        let config = config(64);
        let adapter = Adapter::new(&config, &LoraParameters::default(), DRAW, &Device::flex());
        assert_eq!(adapter.scale(), 2.0);
        let rslora = LoraParameters { rank: 4, alpha: 3.0, rslora: true };
        assert_eq!(Adapter::new(&config, &rslora, DRAW, &Device::flex()).scale(), 1.5);
        for (target, pair) in config.architecture.layout.targets.iter().zip(&adapter.on_host().unwrap().pairs[0]) {
            let (inputs, _) = target.0.shape(&config);
            let (bound, pair) = (1.0 / (inputs as f32).sqrt(), pair.as_ref().unwrap());
            let most = pair.a.values.iter().map(|x| x.abs()).fold(0.0, f32::max);
            assert!(most <= bound && most > 0.8 * bound, "{most} of {bound}");
            assert!(pair.b.values.iter().all(|x| *x == 0.0));
        }
    }
}
