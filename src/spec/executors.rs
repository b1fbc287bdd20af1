//! `executors`: where stages run beside this machine. Never part of a key.

use crate::diagnostic::Diagnostic;
use crate::spec::expect;
use crate::spec::node::{Node, Value, WithSpan};
use crate::spec::template::is_identifier;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The name of the executor that is always there: this machine.
pub const LOCAL: &str = "local";

/// A Slurm cluster, and how it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct SlurmSettings {
    pub partition: Option<String>,
    pub account: Option<String>,
    pub qos: Option<String>,
    /// The word for GPUs: `gpu`, or `gpu:a100`.
    pub gres: String,
    /// The time limit of jobs that ask for none.
    pub time: Option<Duration>,
    /// Lines of shell before the work, such as `module load`.
    pub prelude: String,
    /// More arguments of `sbatch`.
    pub sbatch: Vec<String>,
    /// Whether Slurm may start a job again whose node was lost.
    pub requeue: bool,
    /// The shortest and the longest interval between two questions about the queue.
    pub poll: [Duration; 2],
    /// Submissions in a second, at most.
    pub submit_rate: u64,
    /// Jobs in the queue at a time, at most.
    pub max_in_queue: u64,
    /// The directory for work, if nodes do not see `.pipeline`.
    pub work_dir: Option<PathBuf>,
    /// The time in which what a node wrote is seen here.
    pub visibility_wait: Duration,
    /// The time that a job has between SIGTERM and its limit.
    pub term_grace: Duration,
    pub retries: LossRetries,
}

/// The number of times work is begun again for what is no fault of its own, by the kind of loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossRetries {
    pub infrastructure: u64,
    pub lost_output: u64,
    pub time_limit: u64,
}

impl Default for SlurmSettings {
    fn default() -> SlurmSettings {
        let seconds = Duration::from_secs;
        SlurmSettings {
            partition: None,
            account: None,
            qos: None,
            gres: "gpu".to_owned(),
            time: None,
            prelude: String::new(),
            sbatch: Vec::new(),
            requeue: true,
            poll: [seconds(10), seconds(60)],
            submit_rate: 5,
            max_in_queue: 200,
            work_dir: None,
            visibility_wait: seconds(60),
            term_grace: seconds(120),
            retries: LossRetries { infrastructure: 5, lost_output: 1, time_limit: 10 },
        }
    }
}

pub const KEYS: &[&str] = &[
    "type",
    "partition",
    "account",
    "qos",
    "gres",
    "time",
    "prelude",
    "sbatch",
    "requeue",
    "poll",
    "submit_rate",
    "max_in_queue",
    "work_dir",
    "visibility_wait",
    "term_grace",
    "retries",
];
pub const POLL: &[&str] = &["min", "max"];
pub const RETRIES: &[&str] = &["infrastructure", "lost_output", "time_limit"];

/// Options of `sbatch` that are set here, and would break what is built on them.
const OURS: [&str; 16] = [
    "--job-name",
    "-J",
    "--output",
    "-o",
    "--error",
    "-e",
    "--array",
    "-a",
    "--signal",
    "--open-mode",
    "--parsable",
    "--wrap",
    "--chdir",
    "-D",
    "--wait",
    "-W",
];

/// Reads `executors`: a mapping of names.
pub fn executors(node: &Node, mistakes: &mut Vec<Diagnostic>) -> BTreeMap<String, SlurmSettings> {
    let expected = "a mapping such as `{lab: {type: slurm, partition: gpu}}`";
    let mut read = BTreeMap::new();
    for (name, node) in expect::map(node, expected, mistakes).into_iter().flatten() {
        if name.value == LOCAL {
            let message = "`local` is this machine, and has no settings";
            mistakes.push(Diagnostic::error(name.span, message).help("give the cluster another name"));
        } else if !is_identifier(&name.value) {
            let message = format!("`{}` cannot name an executor", name.value);
            mistakes.push(Diagnostic::error(name.span, message).help("letters, digits and `_`"));
        }
        let settings = executor(name, node, mistakes);
        read.insert(name.value.clone(), settings);
    }
    read
}

fn executor(name: &WithSpan<String>, node: &Node, mistakes: &mut Vec<Diagnostic>) -> SlurmSettings {
    let mut settings = SlurmSettings::default();
    let Some(map) = expect::map(node, "a mapping such as `{type: slurm, partition: gpu}`", mistakes) else {
        return settings;
    };
    expect::known_keys(map, "an executor", KEYS, mistakes);
    match node.get("type") {
        Some(kind) => drop(expect::word(kind, &[("slurm", ())], mistakes)),
        None => {
            let message = format!("the executor `{}` has no `type`", name.value);
            mistakes.push(Diagnostic::error(name.span, message).help("type: slurm"));
        }
    }
    for (key, value) in map {
        let mistakes = &mut *mistakes;
        match key.value.as_str() {
            "partition" => settings.partition = text(value, mistakes),
            "account" => settings.account = text(value, mistakes),
            "qos" => settings.qos = text(value, mistakes),
            "gres" => settings.gres = text(value, mistakes).unwrap_or(settings.gres),
            "time" => settings.time = expect::duration(value, mistakes),
            "prelude" => settings.prelude = text(value, mistakes).unwrap_or_default(),
            "sbatch" => settings.sbatch = arguments(value, mistakes),
            "requeue" => settings.requeue = expect::boolean(value, mistakes).unwrap_or(true),
            "poll" => settings.poll = poll(value, settings.poll, mistakes),
            "submit_rate" => settings.submit_rate = at_least_one(value, mistakes).unwrap_or(settings.submit_rate),
            "max_in_queue" => settings.max_in_queue = at_least_one(value, mistakes).unwrap_or(settings.max_in_queue),
            "work_dir" => settings.work_dir = work_dir(value, mistakes),
            "visibility_wait" => {
                settings.visibility_wait = expect::duration(value, mistakes).unwrap_or(settings.visibility_wait);
            }
            "term_grace" => settings.term_grace = expect::duration(value, mistakes).unwrap_or(settings.term_grace),
            "retries" => settings.retries = retries(value, settings.retries, mistakes),
            _ => {}
        }
    }
    settings
}

fn text(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<String> {
    expect::text(node, mistakes).map(|text| text.value)
}

fn at_least_one(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<u64> {
    let number = expect::whole_number(node, mistakes)?;
    if number == 0 {
        mistakes.push(Diagnostic::error(node.span, "expected a whole number from 1, found 0"));
    }
    Some(number.max(1))
}

fn work_dir(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<PathBuf> {
    let path = PathBuf::from(text(node, mistakes)?);
    if !path.is_absolute() {
        let message = "expected an absolute path, which is the same on every node";
        mistakes.push(Diagnostic::error(node.span, message));
    }
    Some(path)
}

fn arguments(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Vec<String> {
    let Value::List(words) = &node.value else {
        expect::wrong(node, "a list of arguments such as `[--constraint=a100]`", mistakes);
        return Vec::new();
    };
    let mut arguments = Vec::new();
    for word in words {
        let Some(argument) = expect::text(word, mistakes) else { continue };
        let option = argument.value.split('=').next().unwrap_or_default();
        if OURS.contains(&option) {
            let message = format!("`{option}` of sbatch is set by the program itself");
            mistakes.push(Diagnostic::error(argument.span, message));
        }
        arguments.push(argument.value);
    }
    arguments
}

fn poll(node: &Node, known: [Duration; 2], mistakes: &mut Vec<Diagnostic>) -> [Duration; 2] {
    let [mut shortest, mut longest] = known;
    let Some(map) = expect::map(node, "a mapping such as `{min: 10s, max: 60s}`", mistakes) else { return known };
    expect::known_keys(map, "`poll`", POLL, mistakes);
    for (key, value) in map {
        match key.value.as_str() {
            "min" => shortest = expect::duration(value, mistakes).unwrap_or(shortest),
            "max" => longest = expect::duration(value, mistakes).unwrap_or(longest),
            _ => {}
        }
    }
    [shortest, longest.max(shortest)]
}

fn retries(node: &Node, known: LossRetries, mistakes: &mut Vec<Diagnostic>) -> LossRetries {
    let mut retries = known;
    let Some(map) = expect::map(node, "a mapping such as `{infrastructure: 5}`", mistakes) else { return known };
    expect::known_keys(map, "`retries`", RETRIES, mistakes);
    for (key, value) in map {
        let Some(count) = expect::whole_number(value, mistakes) else { continue };
        match key.value.as_str() {
            "infrastructure" => retries.infrastructure = count,
            "lost_output" => retries.lost_output = count,
            "time_limit" => retries.time_limit = count,
            _ => {}
        }
    }
    retries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::yaml;
    use expect_test::expect;

    fn read(text: &str) -> (BTreeMap<String, SlurmSettings>, Vec<String>) {
        let mut mistakes = Vec::new();
        let node = yaml::parse(text, 0, &mut mistakes).unwrap();
        let read = executors(&node, &mut mistakes);
        (read, mistakes.into_iter().map(|mistake| mistake.message).collect())
    }

    #[test]
    fn an_executor_says_what_is_other_than_usual() {
        let (read, mistakes) = read(
            "lab: {type: slurm, partition: gpu, time: 2h, sbatch: [--constraint=a100], poll: {min: 1s}, retries: {time_limit: 2}}",
        );
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let usual = SlurmSettings::default();
        let expected = SlurmSettings {
            partition: Some("gpu".to_owned()),
            time: Some(Duration::from_secs(7200)),
            sbatch: vec!["--constraint=a100".to_owned()],
            poll: [Duration::from_secs(1), usual.poll[1]],
            retries: LossRetries { time_limit: 2, ..usual.retries },
            ..usual
        };
        assert_eq!(read["lab"], expected);
    }

    #[test]
    fn what_cannot_be_meant_is_a_mistake_where_it_stands() {
        let (_, mistakes) = read(
            "{local: {type: slurm}, a-b: {type: sge}, lab: {partition: 3, sbatch: [--array=1-3, -J, x], work_dir: here, \
             max_in_queue: 0, colour: red}, far: 3}",
        );
        expect![[r"
            `local` is this machine, and has no settings
            `a-b` cannot name an executor
            expected slurm, found `sge`
            unknown key `colour` of an executor
            the executor `lab` has no `type`
            expected a text, found a whole number
            `--array` of sbatch is set by the program itself
            `-J` of sbatch is set by the program itself
            expected an absolute path, which is the same on every node
            expected a whole number from 1, found 0
            expected a mapping such as `{type: slurm, partition: gpu}`, found a whole number"]]
        .assert_eq(&mistakes.join("\n"));
    }
}
