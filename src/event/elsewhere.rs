//! Places beyond this machine, as events tell them: a cluster, and a remote that machines share.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most characters of a host or a time that somebody else wrote.
const LONGEST: usize = 200;

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
    /// Reads the origin of a record, which somebody else wrote.
    pub fn of(remote: String, telemetry: &Value, bytes: u64) -> RemoteRecord {
        let text = |name: &str| {
            let text = telemetry.get(name).and_then(Value::as_str)?;
            Some(text.chars().filter(|character| !character.is_control()).take(LONGEST).collect())
        };
        RemoteRecord { remote, host: text("host"), made: text("at"), bytes }
    }

    /// Where it is from: `file:///shared, made on node7, 2026-11-30T10:00:00Z`.
    pub fn origin(&self) -> String {
        let host = self.host.as_ref().map_or(String::new(), |host| format!(", made on {host}"));
        let made = self.made.as_ref().map_or(String::new(), |made| format!(", {made}"));
        format!("{}{host}{made}", self.remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_origin_that_somebody_else_wrote_is_one_short_line() {
        let telemetry = json!({"host": "node7\nWARN all is lost\u{1b}[2J", "at": "x".repeat(300)});
        let origin = RemoteRecord::of("file:///shared".to_owned(), &telemetry, 1).origin();
        assert!(origin.starts_with("file:///shared, made on node7WARN all is lost[2J, xxx"), "{origin}");
        assert!(!origin.contains(char::is_control) && origin.len() < 300, "{origin}");
    }
}
