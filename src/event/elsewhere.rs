//! Places beyond this machine, as events tell them: a cluster, and a remote that machines share.

use serde::{Deserialize, Serialize};

/// Where a cluster has work, for people: `lab: job 12 on n1`, `lab: job 12 waits (Resources)`.
pub fn place(executor: &str, id: &str, node: &str, waits: &str) -> String {
    match (id, node, waits) {
        ("", ..) => format!("{executor}: being submitted"),
        (id, "", "") => format!("{executor}: job {id} is in the queue"),
        (id, "", waits) => format!("{executor}: job {id} waits ({waits})"),
        (id, node, _) => format!("{executor}: job {id} on {node}"),
    }
}

/// A record that another machine made, as its telemetry tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteRecord {
    /// The address of the remote.
    pub remote: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The moment at which it was made, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<String>,
    /// The bytes of its files that were not here; fewer come, where not all are needed.
    pub bytes: u64,
}

impl RemoteRecord {
    /// Where it is from: `file:///shared, made on node7, 2026-11-30T10:00:00Z`.
    pub fn origin(&self) -> String {
        let host = self.host.as_ref().map_or(String::new(), |host| format!(", made on {host}"));
        let made = self.made.as_ref().map_or(String::new(), |made| format!(", {made}"));
        format!("{}{host}{made}", self.remote)
    }
}
