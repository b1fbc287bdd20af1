//! The keys of `executors`.

use super::forms::{Key, joined, mapping, one_of, templated, whole_number};
use crate::settings;
use serde_json::json;

pub fn executor_keys() -> Vec<Key> {
    let duration = || json!({"$ref": "#/$defs/duration"});
    let text = || json!({"type": "string"});
    let from_one = || templated(json!({"type": "integer", "minimum": 1}));
    vec![
        ("type", "the kind of cluster", one_of(&["slurm"])),
        ("partition", "where jobs go; default: that of the cluster", text()),
        ("account", "who pays for them", text()),
        ("qos", "their quality of service", text()),
        ("gres", "the word for GPUs there: `gpu` (default), `gpu:a100`", text()),
        ("time", "the time limit of stages that ask for none", duration()),
        ("prelude", "lines of shell before the work, as `module load cuda`", text()),
        ("sbatch", "more arguments of `sbatch`: `[--constraint=a100]`", json!({"type": "array", "items": text()})),
        (
            "requeue",
            "whether a job may start again whose node was lost; default: true",
            templated(json!({"type": "boolean"})),
        ),
        ("poll", "the interval between two questions about the queue", mapping(poll_keys())),
        ("submit_rate", "submissions a second, at most; default: 5", from_one()),
        ("max_in_queue", "jobs in the queue at a time, at most; default: 200", from_one()),
        ("work_dir", "a directory that nodes see, if they do not see `.pipeline`", text()),
        ("visibility_wait", "how late a file of a node may be seen here; default: 60s", duration()),
        ("term_grace", "the time between SIGTERM and the time limit; default: 120s", duration()),
        ("retries", "how often lost work is begun again, by the kind of loss", mapping(loss_keys())),
    ]
}

pub fn poll_keys() -> Vec<Key> {
    let duration = || json!({"$ref": "#/$defs/duration"});
    vec![
        ("min", "after something happened; default: 10s", duration()),
        ("max", "while nothing does; default: 60s", duration()),
    ]
}

pub fn loss_keys() -> Vec<Key> {
    let count = || templated(whole_number());
    vec![
        ("infrastructure", "a node failed, or the scheduler; default: 5", count()),
        ("lost_output", "it ended well, and its output is not seen; default: 1", count()),
        ("time_limit", "it goes on from a checkpoint; default: 10", count()),
    ]
}

pub fn executor() -> Key {
    let what = "where stages run that name no other: a name of `executors`; default: this machine";
    (settings::EXECUTOR, what, json!({"type": "string"}))
}

/// The clusters on which stages may run, by name.
pub fn executors() -> Key {
    let executor = joined(mapping(executor_keys()), json!({"required": ["type"]}));
    let executors = json!({"type": "object", "additionalProperties": executor});
    (settings::EXECUTORS, "name → a cluster on which stages may run", executors)
}
