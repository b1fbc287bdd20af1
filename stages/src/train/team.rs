//! The devices that train one stage together, so that their number never shows in a result: a batch is cut into shards, a
//! parameter; the gradient of each is computed by itself, on whichever device; and the sums are made on the first device, in
//! the order of the shards.

use super::late::{Late, ShardGradients};
use super::parts::add;
use crate::device::{self, asked};
use crate::io::Io;
use crate::tensor::{from_values, values_of_all};
use anyhow::Result;
use burn::tensor::{Device, Tensor};
use formats::dtype::Dtype;
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread::scope;

/// The devices of a stage, each with the models that it computes with.
pub struct Team<R> {
    own: R,
    beside: Vec<(Device, R)>,
}

/// The result of a shard and its gradients on the host.
type ReadShard<T> = (T, Vec<Vec<f32>>);

/// The places of the shards among the rows of a batch. Their sizes differ by one at most; of more shards than rows, some are
/// left out.
pub fn shards(rows: usize, number: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let number = number.min(rows);
    (0..number).map(move |at| at * rows / number..(at + 1) * rows / number)
}

/// The devices beside a stage's own that it may compute on. One of another class would give other last bits, so it is left
/// alone, with a remark.
///
/// # Errors
/// One does not open.
pub fn devices_beside(io: &mut Io, own: &Device, dtype: Dtype) -> Result<Vec<Device>> {
    let told = io.beside().to_vec();
    let (mut beside, mut others) = (Vec::new(), Vec::new());
    for choice in &told {
        let device = device::open(choice)?;
        let is_alike =
            device::class(&device) == device::class(own) && device::kept(dtype, &device) == device::kept(dtype, own);
        if is_alike { beside.push(device) } else { others.push(choice.to_string()) }
    }
    if !others.is_empty() {
        io.remark(format!(
            "{} stays idle: its kind is another one than that of the first device, and the same work there ends in other last bits",
            others.join(", ")
        ));
    }
    Ok(beside)
}

impl<R: Sync> Team<R> {
    /// One device.
    pub fn alone(own: R) -> Team<R> {
        Team { own, beside: Vec::new() }
    }

    /// `own` computes on the device of the stage; `on` makes what computes on another one.
    ///
    /// # Errors
    /// Those of `on`.
    pub fn of(own: R, beside: Vec<Device>, on: impl Fn(&R, &Device) -> Result<R>) -> Result<Team<R>> {
        let beside = beside.into_iter().map(|device| Ok((device.clone(), on(&own, &device)?)));
        let beside = beside.collect::<Result<_>>()?;
        Ok(Team { own, beside })
    }

    /// The models on the device of the stage.
    pub fn own(&self) -> &R {
        &self.own
    }

    /// The results of the shards of work that is read at once, in their order. `one` gets the models of a device, the trained
    /// tensors there, and the number of a shard.
    ///
    /// # Errors
    /// The first of `one`, or a device cannot be read.
    pub fn share<T: Send>(
        &self,
        tensors: &[Tensor<2>],
        number: usize,
        one: impl Fn(&R, &[Tensor<2>], usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let mut results = Vec::with_capacity(number);
        self.spread(tensors, number, &one, &one, |done| {
            let (Done::Own(result) | Done::Beside(result)) = done;
            results.push(result);
        })?;
        Ok(results)
    }

    /// The sums of the gradients of the shards, and what each gives beside them, as [`Team::share`]. With one device alone,
    /// nothing is read before it is asked for.
    ///
    /// # Errors
    /// As [`Team::share`].
    pub fn gradients<'a, T: Send>(
        &self,
        tensors: &[Tensor<2>],
        number: usize,
        one: impl Fn(&R, &[Tensor<2>], usize) -> Result<ShardGradients<'a, T>> + Sync,
    ) -> Result<(Vec<Late<'a, T>>, Vec<Tensor<2>>)> {
        let read = |models: &R, tensors: &[Tensor<2>], shard: usize| -> Result<ReadShard<T>> {
            let (told, gradients) = one(models, tensors, shard)?;
            Ok((told.get()?, values_of_all(gradients)?))
        };
        let (mut told, mut sums) = (Vec::with_capacity(number), Vec::new());
        self.spread(tensors, number, &one, read, |done| {
            let (of_shard, gradients) = match done {
                Done::Own(done) => done,
                Done::Beside((of_shard, values)) => {
                    let sent = values.into_iter().zip(tensors);
                    let sent = sent.map(|(values, like)| from_values(values, like.dims(), &like.device()));
                    (Late::Known(of_shard), sent.collect())
                }
            };
            told.push(of_shard);
            add(&mut sums, gradients);
        })?;
        Ok((told, sums))
    }

    /// Gives each device its shards. `take` gets what comes of them, in the order of the shards.
    fn spread<A, B: Send>(
        &self,
        tensors: &[Tensor<2>],
        number: usize,
        own: impl Fn(&R, &[Tensor<2>], usize) -> Result<A>,
        beside: impl Fn(&R, &[Tensor<2>], usize) -> Result<B> + Sync,
        mut take: impl FnMut(Done<A, B>),
    ) -> Result<()> {
        let devices = 1 + self.beside.len();
        let shards_of = |device: usize| (device..number).step_by(devices);
        let mut waiting: Vec<Option<Done<A, B>>> = (0..number).map(|_| None).collect();
        let mut next = 0;
        let mut put = |shard: usize, done: Done<A, B>| {
            waiting[shard] = Some(done);
            while let Some(done) = waiting.get_mut(next).and_then(Option::take) {
                take(done);
                next += 1;
            }
        };
        let helpers = self.beside.iter().take(number.saturating_sub(1));
        let values: Vec<(Vec<f32>, [usize; 2])> = match helpers.len() {
            0 => Vec::new(),
            _ => values_of_all(tensors.iter().cloned())?.into_iter().zip(tensors.iter().map(Tensor::dims)).collect(),
        };
        let (values, beside) = (&values, &beside);
        let work = |at: usize, device: &Device, models: &R| -> Result<Vec<(usize, B)>> {
            let sent = values.iter().map(|(values, shape)| from_values(values.clone(), *shape, device));
            let sent: Vec<Tensor<2>> = sent.collect();
            shards_of(at + 1).map(|shard| Ok((shard, beside(models, &sent, shard)?))).collect()
        };
        scope(|scope| {
            let working = helpers
                .enumerate()
                .map(|(at, (device, models))| (device, scope.spawn(move || work(at, device, models))));
            let working: Vec<_> = working.collect();
            for shard in shards_of(0) {
                put(shard, Done::Own(own(&self.own, tensors, shard)?));
            }
            for (device, helper) in working {
                let done = helper.join().unwrap_or_else(|panic| {
                    asked::note(|| {
                        format!("a share of the batch on a device beside its own ({})", device::class(device))
                    });
                    resume_unwind(panic)
                });
                done?.into_iter().for_each(|(shard, done)| put(shard, Done::Beside(done)));
            }
            Ok(())
        })
    }
}

/// The result of a shard, by where it was computed.
enum Done<A, B> {
    Own(A),
    Beside(B),
}
