//! The words for where a cluster has work.

/// Where a cluster has work, for people: `lab: job 12 on n1`, `lab: job 12 waits (Resources)`.
pub fn place(executor: &str, id: &str, node: &str, waits: &str) -> String {
    match (id, node, waits) {
        ("", ..) => format!("{executor}: being submitted"),
        (id, "", "") => format!("{executor}: job {id} is in the queue"),
        (id, "", waits) => format!("{executor}: job {id} waits ({waits})"),
        (id, node, _) => format!("{executor}: job {id} on {node}"),
    }
}
