//! The model that a stage trains.

use super::parameters::Tuning;
use crate::io::Io;
use crate::model::{Artifact, Templating};
use anyhow::Result;
use burn::tensor::Device;
use formats::dropout;

/// Opens the model of a port, to train it. Says which dropout it asks for that is not applied.
///
/// # Errors
/// As [`Artifact::open`], or a template is no Jinja.
pub fn model(io: &mut Io, port: &str, tuning: &Tuning, templating: &Templating, device: &Device) -> Result<Artifact> {
    let directory = io.input(port)?.to_owned();
    let artifact = Artifact::open(&directory, tuning.dtype, device)?;
    if let Some(fields) = dropout::of_model(&directory, &artifact.config().source)? {
        io.remark(format!(
            "the model of `{port}` asks for dropout in training ({fields}), which is not applied: nothing is dropped, so that the \
             same step gives the same result"
        ));
    }
    artifact.with_templating(templating)
}
