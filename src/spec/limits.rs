//! `resources` and `retry`: never part of a key.

use crate::diagnostic::Diagnostic;
use crate::spec::expect;
use crate::spec::node::{Node, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// The resources a stage uses while it runs, or those that all running stages share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// `None`: `auto`. All there are, or for a stage one if it computes through wgpu.
    pub gpu: Option<u64>,
    /// Cores; `None`: they are not counted.
    pub cpu: Option<u64>,
    /// In bytes.
    pub memory: u64,
    /// The longest time that a job of a cluster may take; on this machine `timeout` ends a stage.
    pub time: Option<Duration>,
}

/// The number of times a failed stage is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    pub times: u32,
    /// The pause before the first retry; it doubles for each further one.
    pub wait: Duration,
}

impl Retry {
    pub const NEVER: Retry = Retry { times: 0, wait: Duration::from_secs(1) };
    /// The longest pause that doubling reaches.
    const LONGEST: Duration = Duration::from_secs(600);

    /// The pause after this number of failed attempts; `None`: no further attempt.
    pub fn pause(&self, failed: u32) -> Option<Duration> {
        let doubled = self.wait.saturating_mul(1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX));
        (failed <= self.times).then(|| doubled.min(Retry::LONGEST.max(self.wait)))
    }
}

/// The word for a number of GPUs that follows from what there is.
pub const AUTO: &str = "auto";
pub const RESOURCES: &[&str] = &["gpu", "cpu", "memory", "time"];
pub const RETRY: &[&str] = &["times", "wait"];

pub fn resources(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Resources {
    let mut resources = Resources::default();
    let Some(map) = expect::map(node, "a mapping such as `{gpu: 1, memory: 8G}`", mistakes) else { return resources };
    expect::known_keys(map, "`resources`", RESOURCES, mistakes);
    for (key, value) in map {
        match key.value.as_str() {
            "gpu" if value.value == Value::String(AUTO.to_owned()) => resources.gpu = None,
            "gpu" => resources.gpu = expect::whole_number(value, mistakes),
            "cpu" => resources.cpu = expect::whole_number(value, mistakes),
            "memory" => resources.memory = memory(value, mistakes),
            "time" => resources.time = expect::duration(value, mistakes),
            _ => {}
        }
    }
    resources
}

pub fn memory(node: &Node, mistakes: &mut Vec<Diagnostic>) -> u64 {
    let bytes = match &node.value {
        Value::Int(value) => u64::try_from(*value).ok(),
        Value::String(text) => size(text),
        _ => None,
    };
    if bytes.is_none() && node.value != Value::Broken {
        let message = format!("expected an amount of memory, found {}", node.what());
        mistakes.push(Diagnostic::error(node.span, message).help("8G, 512M, or a number of bytes"));
    }
    bytes.unwrap_or_default()
}

/// The bytes of `8G`, `1.5GiB`, `512M` or `4096`; units are powers of 1024.
pub fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let power = ["", "k", "m", "g", "t"].iter().position(|known| *known == unit.strip_suffix('i').unwrap_or(unit))?;
    let count = digits.trim().parse::<f64>().ok().filter(|count| count.is_finite() && *count >= 0.0)?;
    Some((count * 1024_f64.powi(i32::try_from(power).ok()?)) as u64)
}

/// The value of `--resources`, `gpu=2,memory=64G`; what it leaves out is taken from `known`.
pub fn capacity(text: &str, known: Resources) -> Result<Resources, String> {
    let mut capacity = known;
    for part in text.split(',') {
        let wrong = || format!("`{part}`: expected `gpu=2`, `gpu=auto`, `cpu=8` or `memory=64G`");
        let (name, value) = part.split_once('=').ok_or_else(wrong)?;
        match name.trim() {
            "gpu" if value.trim() == AUTO => capacity.gpu = None,
            "gpu" => capacity.gpu = Some(value.trim().parse().map_err(|_| wrong())?),
            "cpu" => capacity.cpu = Some(value.trim().parse().map_err(|_| wrong())?),
            "memory" => capacity.memory = size(value.trim()).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        }
    }
    Ok(capacity)
}

/// Reads `retry`: `3`, or `{times: 3, wait: 10s}`.
pub fn retry(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Retry {
    let keys: BTreeMap<&str, &Node> = match &node.value {
        Value::Map(map) => {
            expect::known_keys(map, "`retry`", RETRY, mistakes);
            map.iter().map(|(key, value)| (key.value.as_str(), value)).collect()
        }
        _ => BTreeMap::from([("times", node)]),
    };
    let Some(times) = keys.get("times") else {
        mistakes.push(Diagnostic::error(node.span, "`retry` does not say how many `times`"));
        return Retry::NEVER;
    };
    let count = expect::whole_number(times, mistakes).unwrap_or(0);
    if count > 100 {
        mistakes.push(Diagnostic::error(times.span, "more than 100 retries"));
    }
    let wait = keys.get("wait").and_then(|wait| expect::duration(wait, mistakes));
    Retry { times: u32::try_from(count).unwrap_or(0), wait: wait.unwrap_or(Retry::NEVER.wait) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        let sizes = ["4096", "1K", "512M", "8G", "1.5GiB", "2tb", "0"].map(size);
        let expected = [4096, 1 << 10, 512 << 20, 8 << 30, 3 << 29, 2 << 40, 0];
        assert_eq!(sizes, expected.map(Some));
        assert_eq!(["", "G", "8X", "-1G", "nan", "8 G B"].map(size), [None; 6]);
    }

    #[test]
    fn a_capacity_says_what_is_other_than_known() {
        let known = Resources { gpu: Some(1), memory: 1 << 30, ..Resources::default() };
        assert_eq!(capacity("gpu=2", known), Ok(Resources { gpu: Some(2), ..known }));
        let other = Resources { gpu: Some(0), cpu: Some(4), memory: 8 << 30, ..known };
        assert_eq!(capacity("memory=8G, gpu=0,cpu=4", known), Ok(other));
        assert_eq!(capacity("gpu=auto", known), Ok(Resources { gpu: None, ..known }));
        for wrong in ["", "gpu", "gpu=many", "disk=1", "memory=8X"] {
            assert!(capacity(wrong, known).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pauses_double_up_to_ten_minutes_and_end_with_the_last_retry() {
        let retry = Retry { times: 4, wait: Duration::from_secs(200) };
        let pauses: Vec<Option<u64>> = (1..=5).map(|failed| retry.pause(failed).map(|pause| pause.as_secs())).collect();
        assert_eq!(pauses, [Some(200), Some(400), Some(600), Some(600), None]);
        assert_eq!(Retry::NEVER.pause(1), None);
        let patient = Retry { times: 60, wait: Duration::from_secs(3600) };
        assert_eq!(patient.pause(60), Some(Duration::from_secs(3600)));
    }
}
