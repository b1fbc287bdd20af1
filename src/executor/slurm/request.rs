//! The request for a job: the arguments of `sbatch`, and the script.

use super::book::{OUTPUT, SCRIPT};
use crate::executor::Job;
use crate::spec::executors::SlurmSettings;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

/// The option of a worker on a node, before its directory.
pub const NODE: &str = "--node";

/// The arguments of `sbatch`. Those of the settings come last, and win.
pub fn arguments(job: &Job, name: &str, settings: &SlurmSettings) -> Vec<OsString> {
    let mut options: Vec<String> =
        ["--parsable", "--nodes=1", "--ntasks=1", "--open-mode=append"].map(Into::into).to_vec();
    options.push(format!("--job-name={name}"));
    options.push(format!("--comment=pipeline: {}/{}", job.pipeline, job.title));
    let asked = [("--partition", &settings.partition), ("--account", &settings.account), ("--qos", &settings.qos)];
    options.extend(asked.iter().filter_map(|(option, value)| Some(format!("{option}={}", value.as_ref()?))));
    options.push(if settings.requeue { "--requeue" } else { "--no-requeue" }.to_owned());
    let limit = job.resources.time.or(settings.time);
    options.extend(limit.map(|limit| format!("--time={}", minutes(limit))));
    // Slurm may send it up to a minute early, and a short job would not begin.
    let grace = limit.map_or(settings.term_grace, |limit| settings.term_grace.min(limit / 4));
    let has_grace = grace >= Duration::from_secs(1);
    options.extend(has_grace.then(|| format!("--signal=B:TERM@{}", grace.as_secs())));
    options.extend((job.gpus > 0).then(|| format!("--gres={}:{}", settings.gres, job.gpus)));
    options.extend(job.resources.cpu.map(|cpu| format!("--cpus-per-task={cpu}")));
    let memory = job.resources.memory.div_ceil(1 << 20);
    options.extend((memory > 0).then(|| format!("--mem={memory}M")));
    let mut arguments: Vec<OsString> = options.into_iter().map(Into::into).collect();
    arguments.push(path("--output=", &job.directory.join(OUTPUT)));
    arguments.push(OsString::from_vec([b"--chdir=", job.directory.as_os_str().as_bytes()].concat()));
    arguments.extend(settings.sbatch.iter().map(Into::into));
    arguments.push(job.directory.join(SCRIPT).into());
    arguments
}

/// The path of an output, in which `%` begins a pattern.
fn path(option: &str, path: &Path) -> OsString {
    let mut bytes = option.as_bytes().to_vec();
    for byte in path.as_os_str().as_bytes() {
        bytes.extend(if *byte == b'%' { &b"%%"[..] } else { std::slice::from_ref(byte) });
    }
    OsString::from_vec(bytes)
}

/// A time limit in whole minutes, which is all that Slurm counts.
fn minutes(limit: Duration) -> u64 {
    limit.as_secs().div_ceil(60).max(1)
}

/// The script: the prelude, and then the worker in the place of the shell, so that it gets the signal.
pub fn script(job: &Job, settings: &SlurmSettings) -> Vec<u8> {
    let mut script = b"#!/bin/bash -l\n".to_vec();
    if !settings.prelude.is_empty() {
        script.extend(settings.prelude.trim_end().as_bytes());
        script.push(b'\n');
    }
    let node = OsString::from(NODE);
    let words = job.command.iter().chain([&node]).map(|word| word.as_os_str()).chain([job.directory.as_os_str()]);
    let words: Vec<Vec<u8>> = words.map(|word| quoted(word.as_bytes())).collect();
    script.extend([b"exec ", &*words.join(&b' '), b"\n"].concat());
    script
}

/// A word for a shell.
pub fn quoted(word: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@".contains(byte);
    if !word.is_empty() && word.iter().all(is_plain) {
        return word.to_vec();
    }
    let mut quoted = vec![b'\''];
    for byte in word {
        quoted.extend(if *byte == b'\'' { &b"'\\''"[..] } else { std::slice::from_ref(byte) });
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Resources;
    use expect_test::expect;

    fn job() -> Job {
        Job {
            directory: "/shared/a b/100%/it's/1".into(),
            command: ["/opt/pipeline", "worker"].map(Into::into).to_vec(),
            pipeline: "rlhf".to_owned(),
            title: "sft".to_owned(),
            gpus: 2,
            resources: Resources {
                cpu: Some(8),
                memory: (8 << 30) + 1,
                time: Some(Duration::from_secs(7201)),
                ..Resources::default()
            },
            ..Job::default()
        }
    }

    #[test]
    fn what_is_asked_for_is_what_resources_and_settings_say() {
        let settings = SlurmSettings {
            partition: Some("gpu".to_owned()),
            gres: "gpu:a100".to_owned(),
            sbatch: vec!["--constraint=a100".to_owned()],
            ..SlurmSettings::default()
        };
        let told = |job: &Job, settings: &SlurmSettings| {
            let words = arguments(job, "pl-0badcafe-1-00000001", settings);
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join("\n")
        };
        expect![[r"
            --parsable
            --nodes=1
            --ntasks=1
            --open-mode=append
            --job-name=pl-0badcafe-1-00000001
            --comment=pipeline: rlhf/sft
            --partition=gpu
            --requeue
            --time=121
            --signal=B:TERM@120
            --gres=gpu:a100:2
            --cpus-per-task=8
            --mem=8193M
            --output=/shared/a b/100%%/it's/1/slurm.txt
            --chdir=/shared/a b/100%/it's/1
            --constraint=a100
            /shared/a b/100%/it's/1/script.sh"]]
        .assert_eq(&told(&job(), &settings));
        let short = Resources { time: Some(Duration::from_secs(60)), ..Resources::default() };
        let told = told(&Job { resources: short, gpus: 0, ..job() }, &SlurmSettings { requeue: false, ..settings });
        assert!(told.contains("\n--no-requeue\n--time=1\n--signal=B:TERM@15\n--output"), "{told}");
    }

    #[test]
    fn the_script_ends_as_the_worker_whatever_its_path() {
        let settings = SlurmSettings { prelude: "module load cuda/12.4\n".to_owned(), ..SlurmSettings::default() };
        expect![[r"
            #!/bin/bash -l
            module load cuda/12.4
            exec /opt/pipeline worker --node '/shared/a b/100%/it'\''s/1'
        "]]
        .assert_eq(&String::from_utf8(script(&job(), &settings)).unwrap());
    }
}
