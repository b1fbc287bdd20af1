//! The header of a file of safetensors, and what it says of a file that is cut.

use crate::unreadable::Reading;
use crate::whole;
use anyhow::{Result, anyhow};
use safetensors::SafeTensorError;
use safetensors::tensor::{Metadata, SafeTensors};
use serde::Deserialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

/// The tensors of a file.
///
/// # Errors
/// It is cut, damaged or something else.
pub fn tensors<'a>(bytes: &'a [u8], path: &Path) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes).map_err(|error| fault(bytes, path, error)).reading(path)
}

/// The length of the header, and what it says.
///
/// # Errors
/// As [`tensors`].
pub fn metadata(bytes: &[u8], path: &Path) -> Result<(usize, Metadata)> {
    SafeTensors::read_metadata(bytes).map_err(|error| fault(bytes, path, error)).reading(path)
}

/// The reason why a file holds no tensors: its length and the lengths that it tells of itself.
fn fault(bytes: &[u8], path: &Path, error: SafeTensorError) -> anyhow::Error {
    #[derive(Deserialize)]
    struct Extent {
        data_offsets: Option<(usize, usize)>,
    }
    let length = bytes.len();
    let Some((start, rest)) = bytes.split_first_chunk::<8>() else {
        return whole::cut(path, " within the length of its header", length, None);
    };
    let header = usize::try_from(u64::from_le_bytes(*start)).unwrap_or(usize::MAX);
    if matches!(error, SafeTensorError::HeaderTooLarge) {
        return anyhow!("it is no safetensors file: it does not begin with the length of a header");
    }
    let Some(header_bytes) = rest.get(..header) else {
        return whole::cut(path, " within its header", length, Some(header.saturating_add(8)));
    };
    let Ok(extents) = serde_json::from_slice::<BTreeMap<String, Extent>>(header_bytes) else { return error.into() };
    let data = extents.values().filter_map(|extent| Some(extent.data_offsets?.1)).max().unwrap_or(0);
    let expected = header.saturating_add(8).saturating_add(data);
    match expected.cmp(&length) {
        Ordering::Greater => whole::cut(path, " within its tensors", length, Some(expected)),
        Ordering::Less => anyhow!(
            "it has {length} bytes, and {expected} by its header: what lies behind them is not of it; fetch it again"
        ),
        Ordering::Equal => error.into(),
    }
}
