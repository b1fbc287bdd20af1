//! The numbers that all predictions stand on: what a kernel, a submission and a read cost, how fast memory is, and what
//! products, sums and norms take by their shapes.

use super::line::{attempt, dropped, failed, number};
use super::model::DRAW;
use super::options::Options;
use super::predict::{self, Product};
use super::{sections, sizes};
use anyhow::{Context, Result};
use burn::tensor::{Device, Distribution, Tensor};
use formats::dtype::Dtype;
use stages::device;
use stages::kernel::{self, Keep, Normalization, Sampling, Start, term};
use stages::model::weights::of_burn;
use stages::tensor::{from_values, values_of};
use std::time::Instant;

pub fn run(options: &Options) {
    let device = match device::open(&options.device) {
        Ok(device) => device,
        Err(error) => return failed("device", format!("{error:#}")).tell(),
    };
    device.seed(DRAW.seed);
    attempt("launches", || launches(options, &device));
    attempt("memory", || memory(options, &device));
    rows(options, &device);
    products(options, &device);
}

/// Seconds of the device for one call: a warm one, one to see how long it takes, and then as many as are worth the time.
fn seconds_of(device: &Device, most: usize, mut work: impl FnMut()) -> Result<f64> {
    let mut turns = |n: usize| -> Result<f64> {
        let start = Instant::now();
        (0..n).for_each(|_| work());
        device.sync().context("wait for the device")?;
        Ok(start.elapsed().as_secs_f64() / n as f64)
    };
    turns(1)?;
    let one = turns(1)?;
    let n = ((0.02 / one) as usize).clamp(1, most);
    // The faster of two: what else the machine does only adds.
    Ok(turns(n)?.min(turns(n)?))
}

fn drawn<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

fn launches(options: &Options, device: &Device) -> Result<()> {
    let n = if options.is_tiny { 500 } else { 10_000 };
    let mut x = drawn([256], device);
    let mut chain = |n: usize, at_once: usize| -> Result<f64> {
        device.sync()?;
        let start = Instant::now();
        for number in 1..=n {
            x = x.clone().mul_scalar(0.999);
            if number % at_once == 0 {
                device.flush()?;
            }
        }
        device.sync()?;
        Ok(start.elapsed().as_secs_f64())
    };
    chain(64, usize::MAX)?;
    let all = chain(n, usize::MAX)?;
    let (kernels, micro) = (n as f64, 1e6);
    let host = "12 µs of the host where everything is optimised, 25 where it is not";
    number("a kernel", all / kernels * micro, "µs")
        .beside(predict::HOST * micro, host)
        .noting(format!("{n} tiny ones"))
        .tell();
    let often = chain(n / 10, 1)? - all / 10.0;
    let submit = "tens of microseconds, as others report";
    number("a submission", often / (kernels / 10.0) * micro, "µs").beside(predict::SUBMIT * micro, submit).tell();
    let at_32 = chain(n, 32)? / kernels * micro;
    let with_32 = (predict::HOST + predict::SUBMIT / 32.0) * micro;
    number("a kernel, 32 a submission", at_32, "µs").beside(with_32, "a kernel and a share of a submission").tell();
    let reads = n / 50;
    let start = Instant::now();
    for _ in 0..reads {
        x = x.mul_scalar(0.999);
        values_of(x.clone().narrow(0, 0, 1))?;
    }
    let read = start.elapsed().as_secs_f64() / reads as f64 * micro;
    number("a kernel, and a read of one number", read, "µs")
        .beside(predict::READ * micro, "a guess: the driver is polled")
        .tell();
    Ok(())
}

fn memory(options: &Options, device: &Device) -> Result<()> {
    let n = if options.is_tiny { 1 << 20 } else { 64 << 20 };
    let (bytes, giga) = (4.0 * n as f64, 1e9);
    let source = "a guess: by way of a staging buffer";
    let numbers = vec![1.0_f32; n];
    let mut upload = f64::INFINITY;
    for _ in 0..3 {
        let numbers = numbers.clone();
        let start = Instant::now();
        let sent: Tensor<1> = from_values(numbers, [n], device);
        values_of(sent.narrow(0, n - 1, 1))?;
        upload = upload.min(start.elapsed().as_secs_f64());
    }
    number("upload", bytes / upload / giga, "GB/s").beside(predict::UPLOAD / giga, source).tell();
    let there = drawn([n], device);
    device.sync()?;
    let start = Instant::now();
    values_of(there.clone())?;
    number("download", bytes / start.elapsed().as_secs_f64() / giga, "GB/s")
        .beside(predict::UPLOAD / giga, source)
        .tell();
    let copy = seconds_of(device, 50, || drop(there.clone().mul_scalar(1.5)))?;
    number("a kernel that reads and writes", 2.0 * bytes / copy / giga, "GB/s")
        .beside(predict::BANDWIDTH / giga, "as PyTorch was measured to reach on this card")
        .tell();
    Ok(())
}

/// Sums, norms, running sums and choices of tokens, whose work is rows.
fn rows(options: &Options, device: &Device) {
    let (width, vocabularies) = if options.is_tiny { (256, vec![512]) } else { (4096, vec![32_000, 152_000]) };
    let micro = 1e6;
    let tell = |name: String, predicted: f64, source: &str, work: &mut dyn FnMut()| {
        if options.left() < 1.0 {
            return dropped(name, "its time is over").tell();
        }
        if let Some(seconds) = attempt(&name, || seconds_of(device, 200, work)) {
            number(name, seconds * micro, "µs").beside(predicted * micro, source).tell();
        }
    };
    let of_thread = "one thread a row, in a chain of loads";
    let weight = Tensor::ones([1, width], device);
    for m in [1, 64] {
        let x = drawn([m, width], device);
        tell(format!("sum of {m} × {width}"), predict::reduce(width), of_thread, &mut || drop(x.clone().sum_dim(1)));
        let norm = || Normalization { weight: weight.clone(), bias: None, epsilon: 1e-5, is_centred: false };
        let source = "128 threads a row, in one kernel";
        tell(format!("RMSNorm of {m} × {width}"), predict::norm(width), source, &mut || {
            drop(kernel::of(device).norm(x.clone(), norm()));
        });
    }
    for v in vocabularies {
        let m = 64;
        let draws = kernel::of(device).draws(vec![0.5; m], device);
        let logits = drawn([m, v], device);
        let sampling = Sampling { temperature: 1.0, keep: Keep::default(), draws: &draws, token: 0 };
        tell(
            format!("choice of a token, {m} × {v}"),
            predict::choice(v),
            "a workgroup a row, ten passes",
            &mut || {
                drop(kernel::of(device).choose(logits.clone(), Some(sampling)));
            },
        );
        let source = "burn's own, which nothing here uses any more: as many sums as pairs";
        tell(format!("running sum of {m} × {v}"), predict::running_sum(m, v), source, &mut || {
            drop(logits.clone().cumsum(1))
        });
    }
}

fn products(options: &Options, device: &Device) {
    let models = if options.is_tiny { vec!["tiny"] } else { vec!["1.3B", "7B"] };
    let rows = if options.is_tiny { vec![1, 16] } else { vec![1, 16, 64, 4096] };
    let source = match sections::build() {
        "wgsl" => "our products, by their loads and steps",
        _ => "our products, by their loads and steps; this build may use tensor cores for f16",
    };
    for dtype in [Dtype::F32, Dtype::F16] {
        let kept = device::kept(dtype, device);
        if kept != dtype || !device.supports_dtype(of_burn(dtype)) {
            dropped(format!("products in {}", dtype.name()), "the device does not compute in it").tell();
            continue;
        }
        for m in &rows {
            for sizes in models.iter().map(|name| sizes::of(name)) {
                let (d, inner) = (sizes.width, sizes.inner);
                let shapes = [[d, d], [d, inner], [inner, d], [d, 8]];
                // What an adapter multiplies is f32 always.
                for [k, n] in shapes.into_iter().take(if dtype == Dtype::F32 { 4 } else { 3 }) {
                    one_product(options, device, Product { m: *m, k, n }, dtype, source);
                }
            }
        }
    }
}

fn one_product(options: &Options, device: &Device, product: Product, dtype: Dtype, source: &str) {
    let Product { m, k, n } = product;
    let (name, predicted) = (format!("{} product {m} × {k} × {n}", dtype.name()), predict::product(product, dtype));
    if options.left() < 1.0 {
        return dropped(name, "its time is over").tell();
    }
    let seconds = attempt(&name, || {
        let x = drawn([m, k], device);
        let weight: Tensor<2> = drawn([k, n], device);
        let weight = if dtype == Dtype::F32 { weight } else { weight.cast(of_burn(dtype)) };
        seconds_of(device, 200, || {
            drop(kernel::of(device).products(Start::Zero, vec![term(&x, weight.clone())]));
        })
    });
    if let Some(seconds) = seconds {
        let (micro, mk_n) = (1e6, 2.0 * m as f64 * k as f64 * n as f64);
        let reached = format!(
            "{:.2} TFLOP/s, {:.0} GB/s of the matrix",
            mk_n / seconds / 1e12,
            (dtype.size() * k * n) as f64 / seconds / 1e9
        );
        number(name, seconds * micro, "µs").beside(predicted * micro, source).noting(reached).tell();
    }
}
