//! The bases that this process has loaded to measure models: the next action in the same process finds them in the memory
//! of the device. Adapters come and go; the base under all candidates of a run is mostly one.

use super::{Decoder, sizes};
use crate::device;
use anyhow::Result;
use burn::tensor::Device;
use formats::config::Config;
use formats::dtype::Dtype;
use formats::unreadable::Reading;
use formats::weights::{Bytes, files_of, mapped};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The bytes of all bases that are kept, the one in use among them. Without this memory an action holds one or two, so the
/// bound must be small beside the memory of a GPU: it is a quarter of it at most. A base that is larger is kept until
/// another one is loaded: the parts of a measurement of one model still read it once, and no action holds more than without.
const BOUND: u64 = 4 << 30;

/// The weights of a model on disk. The files stay mapped, even when their names are gone: until then no other file gets
/// their inode, and equal numbers are equal files.
pub struct BaseFiles {
    pub config: Config,
    files: Vec<BaseFile>,
}

struct BaseFile {
    name: String,
    device: u64,
    inode: u64,
    bytes: Bytes,
}

struct ResidentBase {
    files: Arc<BaseFiles>,
    dtype: Dtype,
    bytes: u64,
    model: Decoder,
}

/// Those last used come last.
static KEPT: Mutex<Vec<ResidentBase>> = Mutex::new(Vec::new());

/// The kept base of these files, or what `read` gives, which is kept from now on.
pub fn base(
    files: &Arc<BaseFiles>,
    dtype: Dtype,
    device: &Device,
    read: impl FnOnce() -> Result<Decoder>,
) -> Result<Decoder> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let is_it =
        |kept: &ResidentBase| kept.dtype == dtype && kept.model.device() == *device && kept.files.is_same(files);
    let found = match kept.iter().position(is_it) {
        Some(at) => kept.remove(at),
        None => {
            let bytes = sizes::bytes_of_weights(&files.config, device::kept(dtype, device));
            let bound = device::limits(device).memory.map_or(BOUND, |memory| BOUND.min(memory / 4));
            let surplus = surplus(&kept.iter().map(|kept| kept.bytes).collect::<Vec<_>>(), bytes, bound);
            kept.drain(..surplus);
            ResidentBase { files: Arc::clone(files), dtype, bytes, model: read()? }
        }
    };
    let model = found.model.clone();
    kept.push(found);
    Ok(model)
}

/// The number of bases to drop, from the first, so that the rest and one of `more` bytes are within `bound`.
fn surplus(kept: &[u64], more: u64, bound: u64) -> usize {
    let mut total = kept.iter().fold(more, |sum, bytes| sum.saturating_add(*bytes));
    let needless = kept.iter().take_while(|bytes| {
        let is_too_much = total > bound;
        total -= **bytes;
        is_too_much
    });
    needless.count()
}

impl BaseFiles {
    /// Opens the files of a model directory.
    ///
    /// # Errors
    /// The configuration is not understood, or there are no weights.
    pub fn open(directory: &Path) -> Result<BaseFiles> {
        let config = Config::load(directory)?;
        let open = |name: String| {
            let path = directory.join(&name);
            let bytes = mapped(&path)?;
            let metadata = fs::metadata(&path).reading(&path)?;
            Ok(BaseFile { name, device: metadata.dev(), inode: metadata.ino(), bytes })
        };
        Ok(BaseFiles { config, files: files_of(directory)?.into_iter().map(open).collect::<Result<_>>()? })
    }

    /// No files, of a model that is made in memory.
    pub fn none(config: Config) -> BaseFiles {
        BaseFiles { config, files: Vec::new() }
    }

    /// Whether they hold the same weights. Equal files placed from the store are one file; others are compared byte by
    /// byte. The names of a classifier's labels do not matter.
    pub fn is_same(&self, other: &BaseFiles) -> bool {
        let config = |files: &BaseFiles| Config { source: Value::Null, ..files.config.clone() };
        self.files.len() == other.files.len()
            && config(self) == config(other)
            && self.files.iter().zip(&other.files).all(|(one, other)| one.is_same(other))
    }
}

impl BaseFile {
    fn is_same(&self, other: &BaseFile) -> bool {
        let is_one_file = (self.device, self.inode) == (other.device, other.inode);
        self.name == other.name && (is_one_file || self.bytes == other.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_make_room_oldest_first() {
        let gib = 1 << 30;
        assert_eq!(surplus(&[], 27 * gib, BOUND), 0);
        assert_eq!(surplus(&[gib, gib], 2 * gib, BOUND), 0);
        assert_eq!(surplus(&[gib, gib], 3 * gib, BOUND), 1);
        assert_eq!(surplus(&[27 * gib, gib], gib, BOUND), 1);
        // One that does not fit has no other beside it.
        assert_eq!(surplus(&[gib, gib], 27 * gib, BOUND), 2);
    }
}
