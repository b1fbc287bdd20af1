//! Conversion of numbers to and from tensors on any device. All that goes up to a device and comes down from it passes
//! here and is counted: to a GPU, an upload and a read cost far more than a sum. A read makes the host wait until
//! everything before it is done; numbers that nobody needs at once are read [`later`], with the next read of anything.

use anyhow::{Result, anyhow};
use burn::tensor::{Device, Int, Tensor, TensorData, Transaction};
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

/// The f32 values of a tensor, tracked by autodiff or not.
///
/// # Errors
/// The device cannot be read.
pub fn values_of<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let mut all = values_of_all([tensor])?;
    Ok(all.pop().expect("one tensor was asked for"))
}

/// As [`values_of`], of several tensors in one read.
///
/// # Errors
/// As [`values_of`].
pub fn values_of_all<const D: usize>(tensors: impl IntoIterator<Item = Tensor<D>>) -> Result<Vec<Vec<f32>>> {
    let tensors: Vec<Tensor<D>> = tensors.into_iter().map(Tensor::inner).collect();
    let Some(first) = tensors.first() else { return Ok(Vec::new()) };
    let device = first.device();
    let ask = |transaction| tensors.into_iter().fold(transaction, Transaction::register);
    read(&device, ask)?.into_iter().map(numbers).collect()
}

/// A copy of a tensor on another device, in its precision.
///
/// # Errors
/// As [`values_of`].
pub fn copied(tensor: &Tensor<2>, device: &Device) -> Result<Tensor<2>> {
    let mut all = read(&tensor.device(), |transaction| transaction.register(tensor.clone().inner()))?;
    Ok(from_data(all.pop().expect("one tensor was asked for"), device))
}

/// The token ids of a tensor.
///
/// # Errors
/// As [`values_of`].
pub fn ids_of(ids: Tensor<1, Int>) -> Result<Vec<i32>> {
    let device = ids.device();
    let mut all = read(&device, |transaction| transaction.register(ids))?;
    let data = all.pop().expect("one tensor was asked for").convert::<i32>();
    data.try_into_vec().map_err(unread)
}

/// Numbers that are still on a device.
#[derive(Clone)]
pub struct Later(Rc<RefCell<Slot>>);

enum Slot {
    There(Tensor<1>),
    Read(Vec<f32>),
}

/// Reads numbers with the next read of anything on this thread, or when they are asked for.
pub fn later(tensor: Tensor<1>) -> Later {
    let later = Later(Rc::new(RefCell::new(Slot::There(tensor.inner()))));
    WAITING.with_borrow_mut(|waiting| {
        waiting.retain(|one| one.strong_count() > 0);
        waiting.push(Rc::downgrade(&later.0));
    });
    later
}

impl Later {
    /// The numbers, which are read now unless they have been.
    ///
    /// # Errors
    /// As [`values_of`].
    pub fn get(&self) -> Result<Vec<f32>> {
        let there = match &*self.0.borrow() {
            Slot::Read(values) => return Ok(values.clone()),
            Slot::There(tensor) => tensor.clone(),
        };
        // It is among those that wait, unless the read that took them has failed.
        read(&there.device(), |nothing_else| nothing_else)?;
        match &*self.0.borrow() {
            Slot::Read(values) => Ok(values.clone()),
            Slot::There(_) => values_of(there),
        }
    }
}

/// A tensor of these numbers, in the precision in which they are given.
pub fn from_data<const D: usize>(data: TensorData, device: &Device) -> Tensor<D> {
    let (bytes, dtype, now) = (data.bytes().len(), data.dtype(), TRAFFIC.get());
    TRAFFIC.set(Traffic { uploads: now.uploads + 1, uploaded_bytes: now.uploaded_bytes + bytes as u64, ..now });
    Tensor::from_data(data, (device, dtype))
}

pub fn from_values<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    from_data(TensorData::new(values, shape), device)
}

/// Token ids or row numbers as a tensor `[n]`.
pub fn from_ids(ids: &[u32], device: &Device) -> Tensor<1, Int> {
    let (ids, n): (Vec<i32>, usize) = (ids.iter().map(|id| *id as i32).collect(), ids.len());
    let (bytes, now) = (4 * n as u64, TRAFFIC.get());
    TRAFFIC.set(Traffic { uploads: now.uploads + 1, uploaded_bytes: now.uploaded_bytes + bytes, ..now });
    Tensor::from_data(TensorData::new(ids, [n]), device)
}

/// Numbers of uploads and reads of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub uploads: u64,
    pub uploaded_bytes: u64,
    /// Times that the host waited for the device.
    pub reads: u64,
    pub read_bytes: u64,
}

/// The uploads and reads of this thread so far.
pub fn traffic() -> Traffic {
    TRAFFIC.get()
}

thread_local! {
    static TRAFFIC: Cell<Traffic> = const { Cell::new(Traffic { uploads: 0, uploaded_bytes: 0, reads: 0, read_bytes: 0 }) };
    static WAITING: RefCell<Vec<Weak<RefCell<Slot>>>> = const { RefCell::new(Vec::new()) };
}

/// Reads the tensors that `ask` registers, and all that wait on the same device, at once.
fn read(device: &Device, ask: impl FnOnce(Transaction) -> Transaction) -> Result<Vec<TensorData>> {
    let waiting: Vec<Rc<RefCell<Slot>>> = WAITING.take().iter().filter_map(Weak::upgrade).collect();
    let mut transaction = ask(Transaction::default());
    let (mut slots, mut elsewhere) = (Vec::new(), Vec::new());
    for slot in waiting {
        let tensor = match &*slot.borrow() {
            Slot::There(tensor) => tensor.clone(),
            Slot::Read(_) => continue,
        };
        if tensor.device() == *device {
            transaction = transaction.register(tensor);
            slots.push(slot);
        } else {
            elsewhere.push(Rc::downgrade(&slot));
        }
    }
    WAITING.set(elsewhere);
    let mut data = transaction.try_execute().map_err(unread)?;
    let (bytes, now) = (data.iter().map(|data| data.bytes().len() as u64).sum::<u64>(), TRAFFIC.get());
    TRAFFIC.set(Traffic { reads: now.reads + 1, read_bytes: now.read_bytes + bytes, ..now });
    let rest = data.split_off(data.len() - slots.len());
    for (slot, data) in slots.into_iter().zip(rest) {
        *slot.borrow_mut() = Slot::Read(numbers(data)?);
    }
    Ok(data)
}

fn numbers(data: TensorData) -> Result<Vec<f32>> {
    data.convert::<f32>().try_into_vec().map_err(unread)
}

/// A backend's own backtrace says nothing, nor does its second cause that is the first one.
fn unread(error: impl std::fmt::Display) -> anyhow::Error {
    const EMPTY: [&str; 4] = ["", "Caused by:", "Backtrace:", "No backtrace available"];
    let error = error.to_string();
    let mut causes: Vec<&str> = Vec::new();
    for line in error.lines().map(str::trim).filter(|line| !EMPTY.contains(line)) {
        if !causes.contains(&line) {
            causes.push(line);
        }
    }
    anyhow!("read numbers from the device: {}", causes.join(": "))
}
