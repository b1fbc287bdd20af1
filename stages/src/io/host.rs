//! The things that a stage is told of the machine it runs on.

use super::{CalledReward, DeviceChoice, Io};
use std::collections::BTreeMap;

impl Io {
    pub fn device(&self) -> &DeviceChoice {
        &self.host.device
    }

    /// More devices that are its own.
    pub fn beside(&self) -> &[DeviceChoice] {
        &self.host.beside
    }

    /// Variables that tell a command which GPUs are its own.
    pub fn gpus(&self) -> &BTreeMap<String, String> {
        &self.host.gpus
    }

    /// The rewards that the stage asks, and how.
    pub fn called(&self) -> &[CalledReward] {
        &self.host.called
    }
}
