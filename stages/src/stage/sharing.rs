//! Kinds whose work several devices can share.

use super::Kind;
use serde_json::Value;

/// The parameter of kinds whose training several devices can share.
const SHARDS: &str = "shards";

impl Kind {
    /// The most devices that can share the work of these canonical parameters: as many as it has shards.
    pub fn most_devices(&self, parameters: &Value) -> u64 {
        parameters.get(SHARDS).and_then(Value::as_u64).filter(|_| self.can_be_shared()).unwrap_or(1)
    }

    /// Whether several devices can share its work.
    pub fn can_be_shared(&self) -> bool {
        (self.defaults)().get(SHARDS).is_some()
    }
}
