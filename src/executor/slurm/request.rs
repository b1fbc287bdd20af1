//! The request for a job: the arguments of `sbatch`, and the script.

use super::array;
use super::book::{OUTPUT, SCRIPT};
use crate::executor::Job;
use crate::spec::executors::SlurmSettings;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

/// The option of a worker on a node, before its directory.
pub const NODE: &str = "--node";

/// The arguments of `sbatch` for what a job asks for: jobs that ask for the same may be tasks of one array. Those of the settings
/// come last, and win.
pub fn wanted(job: &Job, settings: &SlurmSettings) -> Vec<OsString> {
    let mut options: Vec<String> = Vec::new();
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
    options.iter().chain(&settings.sbatch).map(Into::into).collect()
}

/// The arguments of `sbatch` for a job of its own.
pub fn of_one(name: &str, about: &str, directory: &Path, wanted: &[OsString]) -> Vec<OsString> {
    arguments(name, about, directory, path(&directory.join(OUTPUT)), None, wanted)
}

/// The arguments of `sbatch` for tasks of an array, by their numbers.
pub fn of_tasks(array: &str, about: &str, folder: &Path, numbers: &str, wanted: &[OsString]) -> Vec<OsString> {
    let output = [&path(folder)[..], b"/%a/", OUTPUT.as_bytes()].concat();
    arguments(array, about, folder, output, Some(numbers), wanted)
}

fn arguments(
    name: &str,
    about: &str,
    directory: &Path,
    output: Vec<u8>,
    numbers: Option<&str>,
    wanted: &[OsString],
) -> Vec<OsString> {
    let mut options: Vec<String> =
        ["--parsable", "--nodes=1", "--ntasks=1", "--open-mode=append"].map(Into::into).to_vec();
    options.push(format!("--job-name={name}"));
    options.push(format!("--comment=pipeline: {about}"));
    options.extend(numbers.map(|numbers| format!("--array={numbers}")));
    let mut arguments: Vec<OsString> = options.into_iter().map(Into::into).collect();
    arguments.push(OsString::from_vec([b"--output=", &*output].concat()));
    arguments.push(OsString::from_vec([b"--chdir=", directory.as_os_str().as_bytes()].concat()));
    arguments.extend_from_slice(wanted);
    arguments.push(directory.join(if numbers.is_some() { array::SCRIPT } else { SCRIPT }).into());
    arguments
}

/// The path of an output, in which `%` begins a pattern.
fn path(path: &Path) -> Vec<u8> {
    let escaped = |byte: &u8| if *byte == b'%' { b"%%".to_vec() } else { vec![*byte] };
    path.as_os_str().as_bytes().iter().flat_map(escaped).collect()
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

/// The script of an array: goes to the directory of the task, and becomes its script.
pub fn array_script(folder: &Path) -> Vec<u8> {
    let folder = quoted(folder.as_os_str().as_bytes());
    let go = [b"#!/bin/sh\ncd -P ", &*folder, b"/\"$SLURM_ARRAY_TASK_ID\" && exec /bin/bash -l ./"].concat();
    [&go, SCRIPT.as_bytes(), b"\n"].concat()
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
            let words = of_one("pl-0badcafe-1-00000001", "rlhf/sft", &job.directory, &wanted(job, settings));
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join("\n")
        };
        expect![[r"
            --parsable
            --nodes=1
            --ntasks=1
            --open-mode=append
            --job-name=pl-0badcafe-1-00000001
            --comment=pipeline: rlhf/sft
            --output=/shared/a b/100%%/it's/1/slurm.txt
            --chdir=/shared/a b/100%/it's/1
            --partition=gpu
            --requeue
            --time=121
            --signal=B:TERM@120
            --gres=gpu:a100:2
            --cpus-per-task=8
            --mem=8193M
            --constraint=a100
            /shared/a b/100%/it's/1/script.sh"]]
        .assert_eq(&told(&job(), &settings));
        let short = Resources { time: Some(Duration::from_secs(60)), ..Resources::default() };
        let told = told(&Job { resources: short, gpus: 0, ..job() }, &SlurmSettings { requeue: false, ..settings });
        assert!(told.contains("\n--no-requeue\n--time=1\n--signal=B:TERM@15\n--constraint"), "{told}");
        let folder = Path::new("/shared/100%/arrays/pl-a");
        let words = of_tasks("pl-a", "rlhf/sft_1 and 2 more", folder, "0,2,5", &["--requeue".into()]);
        let told: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        assert_eq!(told[6], "--array=0,2,5");
        assert_eq!(told[7], "--output=/shared/100%%/arrays/pl-a/%a/slurm.txt");
        assert_eq!(told[10], "/shared/100%/arrays/pl-a/script.sh");
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

    #[test]
    fn the_script_of_an_array_becomes_that_of_the_task() {
        let directory = tempfile::tempdir().unwrap();
        let [folder, attempt] = ["it's/arrays/pl-a", "a/1"].map(|name| directory.path().join(name));
        std::fs::create_dir_all(&attempt).unwrap();
        std::fs::write(attempt.join(SCRIPT), "echo $SLURM_ARRAY_TASK_ID in $PWD > told\n").unwrap();
        array::make(&folder, &[("7", &attempt)], &array_script(&folder)).unwrap();
        let mut started = std::process::Command::new("/bin/sh");
        let status = started.arg(folder.join(array::SCRIPT)).env("SLURM_ARRAY_TASK_ID", "7").status().unwrap();
        assert!(status.success());
        let told = std::fs::read_to_string(attempt.join("told")).unwrap();
        assert_eq!(told.trim(), format!("7 in {}", std::fs::canonicalize(&attempt).unwrap().display()));
    }
}
