//! Hermetic commands, on real runs: the environment of an `exec` command, its secrets, its undeclared reads, and what
//! it may leave behind.

#[path = "support/program.rs"]
mod program;

use expect_test::expect;
use program::{Place, Ran, place, ran, word};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const TOKEN: &str = "hf_hidden\"token";

/// `HERE` in a stage stands for the place's own directory.
fn write(place: &Place, text: &str) {
    place.write("toy.yaml", &format!("name: toy\n{}", text.replace("HERE", &place.path().display().to_string())));
}

fn run_with(place: &Place, text: &str, variables: &[(&str, &str)]) -> Ran {
    write(place, text);
    let mut command = place.command(&["run", "toy.yaml", "--json"]);
    command.envs(variables.iter().copied());
    ran(command)
}

/// Runs a stage with this command and returns what it wrote to `seen`.
fn seen(place: &Place, text: &str, variables: &[(&str, &str)]) -> String {
    run_with(place, text, variables).expect_exit(0);
    place.read("seen")
}

fn cause(ran: &Ran) -> String {
    word(&ran.events().outcome("one")["cause"]).to_owned()
}

/// The log of the last attempt of the only stage.
fn log(place: &Place) -> String {
    let logs: Vec<_> =
        program::files(&place.at(".pipeline/work")).into_iter().filter(|path| path.ends_with("log.txt")).collect();
    fs::read_to_string(logs.last().unwrap()).unwrap()
}

/// The telemetry of the only action that was recorded.
fn telemetry(place: &Place) -> Value {
    let records = program::files(&place.at(".pipeline/store/v1/actions"));
    let record = records.iter().rfind(|path| path.is_file()).unwrap();
    let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    record["record"]["telemetry"]["worker"].clone()
}

/// Asserts that no file below `.pipeline` and no output holds this text.
fn is_nowhere(place: &Place, ran: &Ran, text: &str) {
    assert!(!ran.stdout.contains(text) && !ran.stderr.contains(text), "{}{}", ran.stdout, ran.stderr);
    for path in program::files(&place.at(".pipeline")).into_iter().filter(|path| path.is_file()) {
        let bytes = fs::read(&path).unwrap();
        let is_there = bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!is_there, "{} holds it", path.display());
    }
}

#[test]
fn a_command_sees_the_variables_that_were_declared_and_no_others() {
    let place = place();
    let stages = r#"
env: [CARD]
stages:
  one:
    kind: exec
    with:
      command: [sh, -c, "env | sort > HERE/seen"]
      env: {RATE: 0.5, CARD: "${env.CARD}"}
"#;
    let text = seen(&place, stages, &[("CARD", "h100"), ("UNDECLARED", "1"), ("LANG", "ja_JP.UTF-8")]);
    let names = |line: &str| match line.split_once('=') {
        Some((name @ ("HOME" | "TMPDIR" | "PWD"), _)) => format!("{name}=…"),
        _ => line.to_owned(),
    };
    // A shell adds PWD of its own, and some of them OLDPWD, SHLVL and `_`.
    let lines: Vec<String> = text
        .lines()
        .filter(|line| !["OLDPWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own)))
        .map(names)
        .collect();
    expect![[r#"
        CARD=h100
        HOME=…
        LANG=C.UTF-8
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        PWD=…
        RATE=0.5
        TMPDIR=…"#]]
    .assert_eq(&lines.join("\n"));
    // Another value of a declared variable makes another action; of an undeclared one it does not.
    let busy = |variables: &[(&str, &str)]| run_with(&place, stages, variables).expect_exit(0).events().busy().len();
    assert_eq!(busy(&[("CARD", "h100"), ("UNDECLARED", "2")]), 0);
    assert_eq!(busy(&[("CARD", "h200")]), 1);
}

#[test]
fn a_text_is_a_strict_shell_and_a_list_is_no_shell() {
    let place = place();
    let stage = |command: &str| format!("stages:\n  one: {{kind: exec, with: {{command: {command}}}}}\n");
    let failed = run_with(&place, &stage(r#""false; echo went on""#), &[]).expect_exit(1);
    expect!["run the command: exit status: 1"].assert_eq(&cause(&failed));
    let failed = run_with(&place, &stage(r#""echo $unset_name""#), &[]).expect_exit(1);
    assert!(cause(&failed).contains("unset_name"), "{}", cause(&failed));
    run_with(&place, &stage(r#"[echo, "$HOME; *"]"#), &[]).expect_exit(0);
    assert_eq!(log(&place), "$HOME; *\n");
}

#[test]
fn programs_are_found_in_the_path_of_the_stage() {
    let place = place();
    place.write("tool", "#!/bin/sh\necho tool > \"$1\"\n");
    fs::set_permissions(place.at("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let here = place.path().display().to_string();
    let stage =
        |env: &str| format!("env: [PATH]\nstages:\n  one: {{kind: exec, with: {{command: [tool, HERE/seen]{env}}}}}\n");
    let path = format!("{here}:/usr/bin:/bin");
    let failed = run_with(&place, &stage(""), &[("PATH", &path)]).expect_exit(1);
    assert!(cause(&failed).starts_with("run `tool`: no such program in /usr/local/sbin:"), "{}", cause(&failed));
    assert_eq!(seen(&place, &stage(r#", env: {PATH: "${env.PATH}"}"#), &[("PATH", &path)]), "tool\n");
    // A shell that finds no program says where it looked.
    let failed = run_with(&place, "stages:\n  one: {kind: exec, with: {command: no-such-tool}}\n", &[]).expect_exit(1);
    assert!(cause(&failed).contains("programs are looked for in /usr/local/sbin:"), "{}", cause(&failed));
}

#[test]
fn home_and_temporary_files_are_the_stages_own_and_do_not_last() {
    let place = place();
    let stages = r#"
stages:
  one:
    kind: exec
    with:
      command: |
        echo x > "$HOME/.config"; file=$(mktemp); echo y > "$file"
        # As long as what a program adds to make the path of a socket.
        test $${#TMPDIR} -lt 60
        ls -d "$PWD"/* > HERE/seen; cp "$file" kept
      outputs: [kept]
"#;
    assert_eq!(seen(&place, stages, &[]).lines().filter(|line| line.contains("tmp.")).count(), 0);
    let files = program::files(&place.at(".pipeline/work"));
    let left: Vec<_> = files.iter().filter(|path| path.ends_with(".home") || path.ends_with(".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn directories_that_hold_nothing_come_to_the_next_stage_and_out_of_the_store() {
    let place = place();
    let stages = |second: &str| {
        format!(
            r#"
stages:
  one: {{kind: exec, with: {{command: "mkdir -p d/logs/old d/full e; echo x > d/full/x", outputs: [d, e]}}}}
  two: {{kind: exec, from: {{a: one}}, with: {{command: "(cd in/a; find . -type d | sort) > HERE/seen; {second}"}}}}
"#
        )
    };
    let expected = ".\n./d\n./d/full\n./d/logs\n./d/logs/old\n./e\n";
    assert_eq!(seen(&place, &stages("true"), &[]), expected);
    // The first stage is found in the store this time.
    fs::remove_file(place.at("seen")).unwrap();
    assert_eq!(seen(&place, &stages(":"), &[]), expected);
}

#[test]
fn a_secret_reaches_the_command_and_nothing_else() {
    let place = place();
    let stages = r#"
stages:
  one:
    kind: exec
    secret: TOKEN
    with:
      command: 'test "$${TOKEN#hf_hid}" = "den\"token"; echo "with $TOKEN" >&2; printf "here\n%shf_hid" "$TOKEN"; until grep -q here HERE/.pipeline/work/*/*/log.txt; do sleep 0.01; done; echo "den\"token"; echo end'
"#;
    let ran = run_with(&place, stages, &[("TOKEN", TOKEN)]).expect_exit(0);
    // Two values with nothing between them are one gap, though the second comes in two pieces.
    assert_eq!(log(&place), "with ***\nhere\n***\nend\n");
    is_nowhere(&place, &ran, "hf_hidden");
    // The secret is in no key: a run without it finds the results that were made with it.
    assert_eq!(run_with(&place, stages, &[]).expect_exit(0).events().of("started").count(), 0);
    // A failing command quotes it nowhere either.
    let failing = stages.replace("echo end", "exit 3");
    let failed = run_with(&place, &failing, &[("TOKEN", TOKEN)]).expect_exit(1);
    assert!(cause(&failed).contains("with ***"), "{}", cause(&failed));
    is_nowhere(&place, &failed, "hf_hidden");
}

#[test]
fn a_run_without_its_secret_is_refused_before_anything_is_executed() {
    let place = place();
    let stages = "
stages:
  first: {kind: exec, with: {command: echo x >> HERE/marks}}
  one: {kind: exec, secret: [TOKEN, OTHER], from: {a: first}, with: {command: [\"true\"]}}
";
    let refused = run_with(&place, stages, &[("OTHER", "abc")]).expect_exit(2);
    expect![[r#"
        error: the secret `TOKEN` of stage `one` is not set in the environment
               the secret `OTHER` of stage `one` is shorter than 4 bytes, too short to be kept out of a log; nothing was run
    "#]]
    .assert_eq(&refused.stderr);
    assert!(!place.at("marks").exists() && !place.at(".pipeline").exists());
    // A check of the file needs no secret.
    place.run(&["check", "toy.yaml"]).expect_exit(0);
    place.run(&["plan", "toy.yaml"]).expect_exit(0);
}

#[test]
fn a_secret_that_the_command_writes_into_its_results_is_not_kept() {
    for (command, into) in [
        (r#"echo "{\"$TOKEN\": 1}" > metrics.json"#, "metrics.json"),
        (r#"echo "{\"id\": \"$TOKEN\"}" > items.jsonl"#, "items.jsonl"),
        (r#"mkdir model; echo "token=$TOKEN" > model/config"#, "model/config"),
    ] {
        let place = place();
        let stages = format!(
            "stages:\n  one:\n    kind: exec\n    secret: [TOKEN]\n    with:\n      command: '{command}; mkdir -p model'\n      outputs: [model]\n"
        );
        let failed = run_with(&place, &stages, &[("TOKEN", "hf_plain")]).expect_exit(1);
        let told = cause(&failed);
        assert_eq!(told, format!("keep what the command wrote: it writes the secret TOKEN into {into}"));
        assert_eq!(program::files(&place.at(".pipeline/store/v1/blobs")).len(), 0);
    }
}

#[test]
fn mistakes_of_secrets_and_audits_are_found_by_check() {
    let place = place();
    write(
        &place,
        "stages:
  one: {kind: exec, secret: [TOKEN, A-B, PATH, TOKEN], audit: maybe, with: {command: [ls], env: {TOKEN: x}}}
  two: {kind: pretrain, from: {text: ./text.jsonl}, secret: [TOKEN], audit: true}
",
    );
    place.write("text.jsonl", "{\"text\": \"a\"}\n");
    let refused = place.run(&["check", "toy.yaml"]).expect_exit(2).stderr;
    let lines = refused.lines().filter(|line| line.starts_with("error") || line.contains("help:"));
    let lines: Vec<&str> = lines.map(|line| line.trim_start_matches([' ', '|', '=', '-', '>'])).collect();
    expect![[r#"
        error: `TOKEN` is both in `env` and a secret
        help: what stands in `env` is part of the key and of reports: take it out there, or here
        error: `A-B` cannot name a variable of the environment
        help: write the name of the variable, never its value: `secret: [HF_TOKEN]`
        error: `PATH` is no secret: it decides what the command finds
        help: write `with: {env: {PATH: …}}`
        error: `TOKEN` is both in `env` and a secret
        help: what stands in `env` is part of the key and of reports: take it out there, or here
        error: expected true or false, found a text
        error: `pretrain` starts no command and asks nobody that could be given a secret
        help: `secret` is for stages of kind `exec`, and for those that ask an endpoint
        error: `pretrain` starts no command that could be audited
        help: `audit` is for stages of kind `exec`"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn an_output_that_is_a_link_or_lies_behind_one_is_refused() {
    for (command, output, why) in [
        ("ln -s /etc/hostname made", "made", "a symbolic link; put what it points to in its place"),
        ("mkdir made; ln -s /etc/hostname made/link", "made", "a symbolic link; put what it points to in its place"),
        ("ln -s HERE/elsewhere made", "made/file", "a symbolic link, or a file, in place of a directory on the way"),
        ("ln -s nowhere made", "made", "a symbolic link; put what it points to in its place"),
    ] {
        let place = place();
        fs::create_dir(place.at("elsewhere")).unwrap();
        place.write("elsewhere/file", "not to be moved\n");
        let stages = format!("stages:\n  one: {{kind: exec, with: {{command: {command}, outputs: [{output}]}}}}\n");
        let failed = run_with(&place, &stages, &[]).expect_exit(1);
        assert!(cause(&failed).contains(why), "{command}: {}", cause(&failed));
        assert_eq!(place.read("elsewhere/file"), "not to be moved\n");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_audit_names_the_files_that_were_read_without_being_declared() {
    let place = place();
    for name in ["declared.txt", "secretly", "by_child"] {
        place.write(name, name);
    }
    let stages = r#"
stages:
  one:
    kind: exec
    audit: true
    from: {data: ./declared.txt}
    with: {command: "cat in/data.txt HERE/secretly > all; (cat HERE/by_child HERE/secretly >> all); cat all > all.txt", outputs: [all.txt]}
"#;
    run_with(&place, stages, &[]).expect_exit(0);
    let here = place.path().canonicalize().unwrap().display().to_string();
    let told = telemetry(&place);
    assert_eq!(told["audit"], Value::Null, "not audited");
    let expected = [format!("{here}/by_child"), format!("{here}/secretly")];
    assert_eq!(told["undeclared_reads"], serde_json::json!({"count": 2, "paths": expected}));
    expect![[r#"
        audit: read and not declared: HERE/by_child
        audit: read and not declared: HERE/secretly
    "#]]
    .assert_eq(&log(&place).replace(&here, "HERE"));
    // Auditing is not part of the key.
    let again = run_with(&place, &stages.replace("audit: true", "audit: false"), &[]).expect_exit(0);
    assert_eq!(again.events().of("started").count(), 0);
}
