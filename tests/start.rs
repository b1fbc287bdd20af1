//! A user's first steps: a pipeline of their own, a shell that completes, a look at the machine.

#[path = "support/program.rs"]
mod program;

use program::{Place, files, place};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn a_shell_takes_its_completions() {
    let place = place();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = place.run(&["completions", shell]).expect_exit(0).stdout;
        assert!(script.contains("what-if") && script.contains("dry-run"), "{shell}: {script}");
        assert!(!script.contains("worker"), "{shell} offers a hidden verb");
        // Where the shell is installed, it checks its completions itself.
        if ["bash", "zsh"].contains(&shell)
            && let Ok(mut child) = Command::new(shell).arg("-n").stdin(Stdio::piped()).spawn()
        {
            child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{shell} cannot read its completions");
        }
    }
    place.run(&["completions", "csh"]).expect_exit(2);
}

#[test]
fn every_verb_says_what_it_does() {
    let command = pipeline::command();
    for verb in command.get_subcommands() {
        for verb in std::iter::once(verb).chain(verb.get_subcommands()) {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
        }
    }
}

/// Runs the steps that `init` prints.
fn next_steps(place: &Place, printed: &str) -> Vec<i32> {
    let steps =
        printed.split("next\n").nth(1).unwrap().lines().map(|line| line.trim().strip_prefix("pipeline ").unwrap());
    let run = |step: &str| {
        let arguments: Vec<&str> = step.split(' ').collect();
        let device: &[&str] = if arguments[0] == "run" { &["--device", "cpu"] } else { &[] };
        place.run(&[&arguments, device].concat()).exit.unwrap()
    };
    steps.map(run).collect()
}

#[test]
fn a_pipeline_for_own_data_runs_as_it_was_written() {
    let place = place();
    let printed = place.run(&["init", "mine"]).expect_exit(0).stdout;
    assert_eq!(next_steps(&place, &printed), [0, 0, 0], "{printed}");
    let report = place.run(&["status", "mine/rlhf.yaml"]).expect_exit(0).stdout;
    assert!(report.contains("eval") && report.contains("done in"), "{report}");
    // The schema is where the file says, and git ignores the results.
    let text = place.read("mine/rlhf.yaml");
    let schema = text.lines().next().unwrap().split_once("$schema=").unwrap().1.to_owned();
    assert_eq!(place.read(&format!("mine/{schema}")), place.run(&["schema"]).stdout);
    assert_eq!(place.read("mine/.gitignore"), ".pipeline/\n");
}

#[test]
fn nothing_is_written_over() {
    let place = place();
    fs::create_dir(place.at("data")).unwrap();
    place.write("data/sft.jsonl", "mine");
    place.write("rlhf.yaml", "mine");
    let before = place.snapshot();
    let refused = place.run(&["init"]).expect_exit(2);
    assert!(refused.stderr.contains("already there: rlhf.yaml, data/sft.jsonl"), "{}", refused.stderr);
    assert_eq!((refused.stdout.as_str(), place.snapshot()), ("", before));
    // Nor is anything written into a file or below one.
    assert!(place.run(&["init", "rlhf.yaml"]).expect_exit(2).stderr.contains("already there: rlhf.yaml"));
    fs::create_dir(place.at("other")).unwrap();
    place.write("other/data", "a file");
    assert!(place.run(&["init", "other"]).expect_exit(2).stderr.contains("already there: other/data"));
    assert_eq!(files(&place.at("other")), [place.at("other/data")]);
}

#[test]
fn what_git_ignores_already_stays_and_is_written_once() {
    let place = place();
    place.write(".gitignore", "target");
    place.run(&["init"]).expect_exit(0);
    assert_eq!(place.read(".gitignore"), "target\n.pipeline/\n");
    fs::remove_file(place.at("rlhf.yaml")).unwrap();
    fs::remove_file(place.at("pipeline.schema.json")).unwrap();
    fs::remove_dir_all(place.at("data")).unwrap();
    place.run(&["init"]).expect_exit(0);
    assert_eq!(place.read(".gitignore"), "target\n.pipeline/\n");
}

#[test]
fn a_model_of_ones_own_takes_the_place_of_the_toy_model() {
    let place = place();
    // A name that YAML would split if it were not quoted.
    let model = "my models, all/base: ${x}";
    fs::create_dir_all(place.at(model)).unwrap();
    let small = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("stages/tests/parity/llama");
    for name in ["config.json", "model.safetensors"] {
        fs::copy(small.join(name), place.at(model).join(name)).unwrap();
    }
    place.write(&format!("{model}/tokenizer.json"), "");
    for directory in [".", "below/here", "my models, all"] {
        let printed = place.run(&["init", directory, "--model", model]).expect_exit(0).stdout;
        let file = place.at(directory).join("rlhf.yaml");
        let checked = place.run(&["check", file.to_str().unwrap()]);
        assert_eq!(checked.exit, Some(0), "{}{}", printed, checked.stderr);
        assert!(checked.stdout.contains("no mistakes; 5 stages, 5 gates"), "{}", checked.stdout);
        assert!(!fs::read_to_string(file).unwrap().contains("base`"), "it speaks of the toy model");
        assert!(!place.at(directory).join("data/corpus.jsonl").exists());
    }
    let refused = place.run(&["init", "elsewhere", "--model", "nowhere"]).expect_exit(2).stderr;
    assert!(refused.contains("there is no directory nowhere") && !place.at("elsewhere").exists(), "{refused}");
}

#[test]
fn doctor_names_the_disk_and_leaves_nothing_behind() {
    let place = place();
    let said = place.run(&["doctor"]).expect_exit(0).stdout;
    for what in ["program", "processor", "space", "fsync", "reflink", "locks", "auto"] {
        let mut lines = said.lines();
        assert!(lines.any(|line| line.split_whitespace().nth(1) == Some(what)), "nothing on {what}:\n{said}");
    }
    assert_eq!(files(place.path()), Vec::<std::path::PathBuf>::new());
    // The same for a store that exists, as JSON.
    fs::create_dir(place.at("store")).unwrap();
    let said = place.run(&["doctor", "--json", "--store", "store"]).expect_exit(0).stdout;
    let findings: serde_json::Value = serde_json::from_str(&said).unwrap();
    let found = |what: &str| findings.as_array().unwrap().iter().find(|finding| finding["what"] == what).cloned();
    assert_eq!(found("store").unwrap()["level"], "ok");
    if cfg!(target_os = "linux") {
        // The kernel's name.
        let kinds = fs::read_to_string("/proc/filesystems").unwrap();
        let disk = found("disk").unwrap()["text"].as_str().unwrap().to_owned();
        let kind = disk.split(' ').next().unwrap();
        assert!(kinds.split_whitespace().any(|known| known == kind), "`{kind}` is no file system");
    }
    assert_eq!(files(place.path()), [place.at("store")]);
}

#[test]
fn a_store_that_cannot_be_made_is_a_problem() {
    let place = place();
    place.write("results", "a file");
    for store in ["results", "results/below/it"] {
        let doctor = place.run(&["doctor", "--store", store]).expect_exit(1);
        let line =
            doctor.stdout.lines().find(|line| line.starts_with("PROBLEM  store")).expect("the store is no problem");
        assert!(line.contains("results is no directory"), "{line}");
        assert!(doctor.stdout.contains("problems: 1"), "{}", doctor.stdout);
    }
}

/// A broken driver must not hurt commands that use no device. Linux reports which libraries are looked up.
#[cfg(target_os = "linux")]
#[test]
fn only_the_child_that_looks_for_devices_looks_for_a_driver() {
    let place = place();
    let looks = |verb: &str| {
        let mut command = place.command(&[verb]);
        let output = command.env("LD_DEBUG", "libs").output().unwrap();
        assert!(output.status.success(), "{verb}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("libc.so"), "the loader says nothing: {told}");
        told.contains("libvulkan")
    };
    assert!(looks("devices"), "then this test says nothing of the others");
    for verb in ["--version", "--help", "kinds", "schema"] {
        assert!(!looks(verb), "{verb}");
    }
}
