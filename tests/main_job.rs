//! `pipelines/rlhf.yaml` at a reduced size: trained once, then everything that a user does to it afterwards. Every
//! number of this size is noise, so the gates are opened wide; no assertion depends on a measured value.

#[path = "support/program.rs"]
mod program;

use program::{Events, Place, ROOT, copy_into, place, wait_for, word};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Overrides that make the main job small. A killed stage goes on from one of the steps between candidates.
const SMALL: &str = "
base.with.steps=40
base.with.layers=1
base.with.width=32
base.with.inner=64
base.with.vocabulary=400
base.with.batch=8
base.gate=heldout_loss < 100
sft.with.epochs=0.2
sft.gate=heldout_loss < 100
rm_1.with.epochs=0.3
rm_1.with.checkpoint_every=3
rm_1.gate.select.best=margin
rm_1.gate.select.where=ece <= 1
rm_1.gate.require=accuracy >= 0
rm_eval.with.epochs=0.2
rm_eval.gate=accuracy >= 0
rm_2.with.epochs=0.2
rm_2.with.checkpoint_every=0
rm_2.gate.require=accuracy >= 0
ppo_1.with.steps=16
ppo_1.with.batch=8
ppo_1.with.lr=0.02
ppo_1.with.checkpoint_every=2
ppo_1.with.max_new_tokens=8
ppo_1.with.missing_eos_score=null
ppo_1.gate.require=mean_score > -1000
ppo_2.with.steps=2
ppo_2.with.batch=8
ppo_2.with.lr=0.02
ppo_2.with.max_new_tokens=8
ppo_2.with.missing_eos_score=null
ppo_2.gate.require=mean_score > -1000
eval.with.max_new_tokens=8
eval.gate=mean_score > -1000
";

const STAGES: [&str; 8] = ["base", "sft", "rm_1", "rm_2", "rm_eval", "ppo_1", "ppo_2", "eval"];

/// The main job in a place of its own, not run yet.
fn job() -> Place {
    let place = place();
    fs::copy(format!("{ROOT}/pipelines/rlhf.yaml"), place.at("rlhf.yaml")).unwrap();
    copy_into(Path::new(&format!("{ROOT}/pipelines/data")), &place.at("data"));
    place
}

/// The command line of a verb for the small job, with further changes at its end, which win.
fn small<'a>(verb: &'a str, small: &'a str, changes: &[&'a str]) -> Vec<&'a str> {
    let sets = small.lines().filter(|line| !line.is_empty()).chain(changes.iter().copied());
    let mut line = vec![verb, "rlhf.yaml"];
    line.extend(sets.flat_map(|set| ["--set", set]));
    if verb == "run" {
        line.extend(["--device", "cpu", "--json"]);
    }
    line
}

fn run(job: &Place, changes: &[&str], exit: i32) -> Events {
    job.run(&small("run", SMALL, changes)).expect_exit(exit).events()
}

fn contents(events: &Events) -> BTreeMap<&str, &str> {
    STAGES.map(|stage| (stage, events.content(stage))).into()
}

/// One training for all checks: it takes longer than they do.
#[test]
fn the_main_job_is_trained_once_and_then_only_what_changed_is() {
    let job = job();
    let before = job.snapshot();
    looking_at_a_new_job_writes_nothing(&job);
    assert_eq!(job.snapshot(), before);

    let first = run(&job, &[], 0);
    everything_is_trained_in_an_order_that_inputs_allow(&first);
    the_study_has_a_row_for_every_model(&first);

    again_nothing_is_executed(&job, &first);
    the_last_run_is_shown_and_explained(&job);
    curves_and_answers_outlive_the_work_directories(&job);
    the_table_of_the_study_is_the_same_in_every_form(&job);
    a_person_who_takes_data_back_is_told_what_stands_on_it(&job);
    a_whole_run_moves_in_one_file(&job);
    looking_at_a_changed_job_writes_nothing(&job);
    comments_and_names_retrain_nothing(&job.copy(), &first);
    thresholds_retrain_nothing(&job.copy(), &first);
    a_gate_that_lets_another_model_through_reruns_what_stands_on_it(&job.copy(), &first);
    a_gate_that_picks_another_checkpoint_reruns_what_stands_on_it(&job.copy(), &first);
    a_parameter_reruns_its_stage_and_what_stands_on_it(&job.copy(), &first);
    a_killed_run_goes_on_and_ends_with_the_same_bytes(&job, &first);
}

fn looking_at_a_new_job_writes_nothing(job: &Place) {
    let planned = job.run(&small("plan", SMALL, &[])).expect_exit(0);
    for stage in STAGES {
        let line = planned.stdout.lines().find(|line| line.starts_with(&format!("{stage} "))).unwrap();
        assert!(line.contains("would run"), "{line}");
    }
    let dry: Vec<&str> = [small("run", SMALL, &[]), vec!["--dry-run"]].concat();
    let events = job.run(&dry).expect_exit(0).events();
    let why = |stage: &str| events.outcome(stage)["because"].to_string();
    assert_eq!(why("base"), r#"["it never ran before"]"#);
    assert_eq!(why("sft"), r#"["`base` would run"]"#);
    assert_eq!(events.of("started").count(), 0);
}

fn everything_is_trained_in_an_order_that_inputs_allow(first: &Events) {
    let executed = first.executed();
    assert_eq!(executed.iter().copied().collect::<BTreeSet<_>>(), STAGES[..7].iter().copied().collect());
    let place_of = |stage: &str| executed.iter().position(|name| *name == stage).unwrap();
    for (early, late) in [
        ("base", "sft"),
        ("sft", "rm_1"),
        ("sft", "rm_eval"),
        ("rm_1", "rm_2"),
        ("rm_1", "ppo_1"),
        ("rm_2", "ppo_2"),
        ("ppo_1", "ppo_2"),
    ] {
        assert!(place_of(early) < place_of(late), "{executed:?}");
    }
    for stage in STAGES {
        assert_eq!((first.ending(stage), first.decision(stage)), ("done", "pass"), "{stage}");
        assert_eq!(first.outcome(stage)["executed"], true, "{stage}");
    }
    // The inputs of the stages are the results that the report names.
    let input = |stage: &str, port: &str| word(&first.started(stage)["action"]["inputs"][port]).to_owned();
    for (stage, port, from) in [
        ("sft", "model", "base"),
        ("rm_1", "model", "sft"),
        ("rm_2", "model", "rm_1"),
        ("rm_eval", "model", "sft"),
        ("ppo_1", "policy", "sft"),
        ("ppo_1", "reward", "rm_1"),
        ("ppo_2", "policy", "ppo_1"),
        ("ppo_2", "reward", "rm_2"),
    ] {
        assert_eq!(input(stage, port), first.content(from), "{stage}.{port}");
    }
    // No stage returned its own input.
    assert_eq!(contents(first).values().collect::<BTreeSet<_>>().len(), STAGES.len());
}

fn the_study_has_a_row_for_every_model(first: &Events) {
    let rows: Vec<(&str, bool)> = first
        .of("measured")
        .map(|event| (word(&event["row"]["model"]), event["row"]["is_rejected"].as_bool().unwrap()))
        .collect();
    assert_eq!(rows, [("sft", false), ("ppo_1", false), ("ppo_2", false)]);
    for event in first.of("measured").skip(1) {
        let versus = &event["row"]["versus"];
        let count = |name: &str| versus[name].as_u64().unwrap();
        let all = count("win") + count("loss") + count("tie_changed") + count("tie_unchanged");
        assert_eq!((word(&versus["baseline"]), all), ("sft", 120));
    }
    assert!(first.of("compared").count() > 0);
}

fn again_nothing_is_executed(job: &Place, first: &Events) {
    let runs: Vec<_> = (0..5).map(|_| job.run(&small("run", SMALL, &[])).expect_exit(0)).collect();
    for again in &runs {
        let again = again.events();
        assert_eq!((again.of("started").count(), contents(&again)), (0, contents(first)));
        assert!(STAGES.iter().all(|stage| again.outcome(stage)["executed"] == false));
    }
    // The best of five: the machine may be busy with something else.
    let fastest = runs.iter().map(|ran| ran.took).min().unwrap();
    assert!(fastest < Duration::from_millis(100), "a run that finds everything took {fastest:?}");
}

fn the_last_run_is_shown_and_explained(job: &Place) {
    let status = job.run(&["status", "rlhf.yaml"]).expect_exit(0).stdout;
    assert!(status.contains("nothing to do: 8 cached"), "{status}");
    assert!(status.contains("win rate"), "{status}");
    let explained = job.run(&["explain", "rm_1", "rlhf.yaml"]).expect_exit(0).stdout;
    for fact in ["checkpoint_every: 3", "step 3", "step 6", "it never ran before", "highest margin"] {
        assert!(explained.contains(fact), "no `{fact}` in\n{explained}");
    }
    let refused = job.run(&["explain", "rm_3", "rlhf.yaml"]).expect_exit(2).stderr;
    assert!(refused.contains("did you mean `rm_1`"), "{refused}");
}

fn curves_and_answers_outlive_the_work_directories(job: &Place) {
    let job = job.copy();
    fs::remove_dir_all(job.at(".pipeline/work")).unwrap();
    assert_eq!(run(&job, &[], 0).of("started").count(), 0);
    let table = job.run(&["curves", "ppo_1", "rlhf.yaml", "--csv"]).expect_exit(0).stdout;
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    for name in
        ["step", "loss", "lr", "gradient_norm", "reward", "kl", "entropy", "clip_fraction", "eos_share", "length"]
    {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
    let steps: Vec<&str> = lines.map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(steps, (1..=16).map(|step| step.to_string()).collect::<Vec<_>>());
    // What was measured on candidates alone is a series of its own; every candidate answered the same prompts.
    assert!(job.run(&["curves", "sft", "rlhf.yaml", "--csv"]).expect_exit(0).stdout.contains("heldout_loss"));
    let shown = job.run(&["curves", "ppo_1", "rlhf.yaml"]).expect_exit(0).stdout;
    assert!(shown.contains("greedy answers of 8 candidates") && shown.contains("step 16"), "{shown}");
    let refused = job.run(&["curves", "eval", "rlhf.yaml"]).expect_exit(2).stderr;
    assert!(refused.contains("it trains nothing"), "{refused}");

    let answers =
        job.run(&["answers", "ppo_1", "rlhf.yaml", "--against", "sft", "--format", "jsonl"]).expect_exit(0).stdout;
    let rows: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 120);
    let gain = |row: &Value| row["score"].as_f64().unwrap() - row["against_score"].as_f64().unwrap();
    assert!(rows.iter().all(|row| gain(row) == row["gain"].as_f64().unwrap()));
    let worst = ["answers", "ppo_1", "rlhf.yaml", "--against", "sft", "--worst", "1", "--format", "jsonl"];
    let worst: Value = serde_json::from_str(&job.run(&worst).expect_exit(0).stdout).unwrap();
    assert_eq!(gain(&worst), rows.iter().map(gain).reduce(f64::min).unwrap());
    let refused = job.run(&["answers", "rm_1", "rlhf.yaml"]).expect_exit(2).stderr;
    assert!(refused.contains("no answers of `rm_1` were measured"), "{refused}");

    let runs = job.run(&["runs", "rlhf.yaml", "--json"]).expect_exit(0).stdout;
    let runs: Vec<Value> = runs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(runs.len() >= 2 && runs.iter().all(|run| run["ended"] == "done"), "{runs:?}");
    assert_eq!(runs[0]["headline"]["metric"], "mean_score");
}

fn the_table_of_the_study_is_the_same_in_every_form(job: &Place) {
    let form =
        |form: &str| job.run(&["table", "eval", "rlhf.yaml", "--format", form, "--lang", "en"]).expect_exit(0).stdout;
    let json: Value = serde_json::from_str(&form("json")).unwrap();
    let rows = json["rows"].as_array().unwrap();
    let text = |row: &Value, name: &str| row[name].as_f64().map(|value| format!("{value:.3}")).unwrap();
    assert!(rows.len() >= 2 && rows.iter().all(|row| row["mean_score"].is_number()), "{json}");
    let (markdown, latex, csv) = (form("md"), form("latex"), form("csv"));
    for row in rows {
        let score = text(row, "mean_score");
        assert!(
            markdown.contains(&format!("| {score} |")) && latex.contains(&format!("& {score} &")),
            "{score}\n{markdown}\n{latex}"
        );
    }
    assert_eq!(csv.lines().count(), rows.len() + 1);
    assert!(csv.starts_with("model,step,verdict,mean_score"), "{csv}");
    assert!(latex.contains("\\toprule") && latex.contains("mean\\_score"), "{latex}");
    for told in [&markdown, &latex] {
        assert!(told.contains("decoded every answer greedily") && told.contains("500 rows"), "{told}");
    }
    let japanese = job.run(&["table", "eval", "rlhf.yaml", "--lang", "ja"]).expect_exit(0).stdout;
    assert!(japanese.contains("貪欲法"), "{japanese}");
    job.run(&["table", "rm_1", "rlhf.yaml"]).expect_exit(2);

    // Beside the other tables of the page, with the answers of every model and their scores by every reward.
    job.run(&["report", "rlhf.yaml", "--csv", "tables", "--lang", "en"]).expect_exit(0);
    assert_eq!(job.read("tables/study-eval.csv"), csv);
    for name in ["eval.sft", "eval.sft.by.rm_1", "eval.sft.by.rm_2", "eval.ppo_1.against.sft"] {
        let answers = job.read(&format!("tables/answers/{name}.csv"));
        assert!(answers.starts_with("id,prompt,answer,score") && answers.lines().count() > 8, "{name}: {answers}");
    }
}

fn a_person_who_takes_data_back_is_told_what_stands_on_it(job: &Place) {
    let job = job.copy();
    job.run(&["export", "ppo_2", "published", "rlhf.yaml"]).expect_exit(0);
    let told = job.run(&["lineage", "data/pairs.jsonl", "rlhf.yaml"]).expect_exit(0).stdout;
    assert!(told.contains("would run again: rm_2, ppo_2, eval."), "{told}");
    assert!(told.contains("published"), "{told}");
    let back = job.run(&["lineage", "published", "rlhf.yaml"]).expect_exit(0).stdout;
    for file in ["data/corpus.jsonl", "data/sft.jsonl", "data/rankings.jsonl", "data/pairs.jsonl", "data/prompts.jsonl"]
    {
        assert!(back.contains(file), "no {file} in\n{back}");
    }
    let row = job.run(&["lineage", "data/heldout.jsonl", "rlhf.yaml", "--row", "ja-001"]).expect_exit(0).stdout;
    assert!(row.contains("`ja-001` is row 1 of 120"), "{row}");
    job.run(&["lineage", "data/heldout.jsonl", "rlhf.yaml", "--row", "ja-999"]).expect_exit(2);
}

fn a_whole_run_moves_in_one_file(job: &Place) {
    let (job, other) = (job.copy(), place());
    job.run(&["cache", "export", "--out", "run.tar"]).expect_exit(0);
    let archive = job.at("run.tar").display().to_string();
    for _ in 0..2 {
        other.run(&["cache", "import", &archive]).expect_exit(0);
    }
    let csv = ["curves", "ppo_1", "--csv"];
    assert_eq!(other.run(&csv).expect_exit(0).stdout, job.run(&csv).expect_exit(0).stdout);
    let answers = ["answers", "eval", "--format", "csv"];
    assert_eq!(other.run(&answers).expect_exit(0).stdout, job.run(&answers).expect_exit(0).stdout);
}

fn looking_at_a_changed_job_writes_nothing(job: &Place) {
    let before = job.snapshot();
    let changes = ["ppo_2.with.kl.coef=0.1"];
    let told = job.run(&small("plan", SMALL, &changes)).expect_exit(0).stdout;
    let dry: Vec<&str> = [small("run", SMALL, &changes), vec!["--dry-run"]].concat();
    let events = job.run(&dry).expect_exit(0).events();
    assert_eq!(job.snapshot(), before);
    let endings: Vec<&str> = STAGES.iter().map(|stage| events.ending(stage)).collect();
    assert_eq!(endings, ["done", "done", "done", "done", "done", "done", "would_run", "would_run"]);
    assert_eq!(events.outcome("ppo_2")["because"].to_string(), r#"["parameters.kl.coef: 0.05 -> 0.1"]"#);
    assert_eq!(events.outcome("eval")["because"].to_string(), r#"["`ppo_2` would run"]"#);
    assert!(told.contains("parameters.kl.coef: 0.05 -> 0.1"), "{told}");
}

/// Measurements are included. Fewer stages are fine: models of this size may give the very answers that are measured
/// already.
fn only_these_are_busy(events: &Events, stages: &[&str]) {
    let busy = events.busy();
    assert!(busy.iter().all(|stage| stages.contains(stage)), "{busy:?}");
}

fn comments_and_names_retrain_nothing(job: &Place, first: &Events) {
    let text = job.read("rlhf.yaml");
    job.write("rlhf.yaml", &format!("# Another word.\n{}", text.replace("# ", "# What is more, ")));
    let again = run(job, &[], 0);
    assert_eq!((again.of("started").count(), contents(&again)), (0, contents(first)));

    // Renamed everywhere: where it is made, where it is used, and in the rules that speak of it.
    let rename =
        |text: &str| text.replace("rm_1", "judge_of_warmth").replace("ppo_2", "second").replace("sft", "tuned");
    job.write("rlhf.yaml", &rename(&text).replace("tuned.jsonl", "sft.jsonl").replace("kind: tuned", "kind: sft"));
    let renamed = job.run(&small("run", &rename(SMALL), &[])).expect_exit(0).events();
    assert_eq!(renamed.of("started").count(), 0);
    assert_eq!(renamed.content("second"), first.content("ppo_2"));
    assert_eq!(renamed.content("judge_of_warmth"), first.content("rm_1"));
}

fn thresholds_retrain_nothing(job: &Place, first: &Events) {
    // The last gate closes: nothing is lost but the end.
    let closed = run(job, &["eval.gate=mean_score > 1000"], 3);
    assert_eq!((closed.of("started").count(), closed.decision("eval"), closed.ending("eval")), (0, "fail", "stopped"));
    // An early gate closes: everything after it waits, and the verdict says which number it saw.
    let closed = run(job, &["sft.gate=heldout_loss < 0"], 3);
    assert_eq!((closed.of("started").count(), closed.decision("sft")), (0, "fail"));
    let loss = first.outcome("sft")["metrics"]["heldout_loss"].as_f64().unwrap();
    let said = word(&closed.verdict("sft")["rules"][0]["explanation"]);
    assert!(said.contains(format!("{loss:.3}").trim_end_matches('0')), "{loss}: {said}");
    for stage in ["rm_1", "rm_2", "rm_eval", "ppo_1", "ppo_2", "eval"] {
        assert_eq!(word(&closed.outcome(stage)["because"]), "the gate of `sft` is closed");
    }
    // The rule goes back, and everything is there.
    let again = run(job, &[], 0);
    assert_eq!((again.of("started").count(), contents(&again)), (0, contents(first)));
}

fn a_gate_that_lets_another_model_through_reruns_what_stands_on_it(job: &Place, first: &Events) {
    let kept = run(job, &["ppo_1.gate.require=mean_score > 1000"], 0);
    assert_eq!((kept.decision("ppo_1"), kept.outcome("ppo_1")["kept"].as_bool()), ("fail", Some(true)));
    assert_eq!(kept.content("ppo_1"), first.content("sft"));
    assert_eq!(kept.executed(), ["ppo_2"]);
    only_these_are_busy(&kept, &["ppo_2", "eval"]);
    assert_eq!(word(&kept.started("ppo_2")["action"]["inputs"]["policy"]), first.content("sft"));
    // The rejected one stays in the study.
    let rejected: Vec<&str> = kept
        .of("measured")
        .filter(|event| event["row"]["is_rejected"] == true)
        .map(|event| word(&event["row"]["model"]))
        .collect();
    assert_eq!(rejected, ["ppo_1@last"]);
    // Both ways are known now.
    assert_eq!(run(job, &[], 0).of("started").count(), 0);
}

fn a_gate_that_picks_another_checkpoint_reruns_what_stands_on_it(job: &Place, first: &Events) {
    // The least instead of the most of the same number: another one of several checkpoints.
    let picked = run(job, &["rm_1.gate.select.best=-margin"], 0);
    assert_ne!(picked.outcome("rm_1")["step"], first.outcome("rm_1")["step"]);
    assert_ne!(picked.content("rm_1"), first.content("rm_1"));
    assert_eq!(picked.outcome("rm_1")["executed"], false);
    assert_eq!(picked.executed().into_iter().collect::<BTreeSet<_>>(), ["rm_2", "ppo_1", "ppo_2"].into());
    only_these_are_busy(&picked, &["rm_2", "ppo_1", "ppo_2", "eval"]);
    assert_eq!(word(&picked.started("ppo_1")["action"]["inputs"]["reward"]), picked.content("rm_1"));
}

fn a_parameter_reruns_its_stage_and_what_stands_on_it(job: &Place, first: &Events) {
    let changed = run(job, &["ppo_2.with.kl.coef=0.1"], 0);
    assert_eq!(changed.executed(), ["ppo_2"]);
    only_these_are_busy(&changed, &["ppo_2", "eval"]);
    assert_eq!(changed.started("ppo_2")["why"].to_string(), r#"["parameters.kl.coef: 0.05 -> 0.1"]"#);
    assert_ne!(changed.content("ppo_2"), first.content("ppo_2"));
    // Both runs on one page, with what was asked otherwise and what it changed.
    job.run(&["report", "rlhf.yaml", "--compare", "last~1", "last", "--strict", "--lang", "en", "-o", "two.html"])
        .expect_exit(0);
    let page = job.read("two.html");
    for says in ["parameters.kl.coef: 0.05 -&gt; 0.1", "--set ppo_2.with.kl.coef=0.1", "data-fragment=\"metrics\""] {
        assert!(page.contains(says), "{says}: {page}");
    }
    // A default that is written out is the same call.
    let same = run(job, &["ppo_2.with.clip=0.2"], 0);
    assert_eq!((same.of("started").count(), same.content("ppo_2")), (0, first.content("ppo_2")));
}

fn a_killed_run_goes_on_and_ends_with_the_same_bytes(undisturbed: &Place, first: &Events) {
    let killed = job();
    // Dead in the middle of rm_1, then in the middle of ppo_1: each time after a checkpoint and before the end.
    let mut done: &[&str] = &[];
    for (stage, finished) in [("rm_1", &["base", "sft"][..]), ("ppo_1", &["base", "sft", "rm_1"])] {
        let live = killed.start(&small("run", SMALL, &[]));
        let started = live.started(stage);
        let log = killed.at(word(&started["log"]));
        let checkpoint = log.with_file_name("resume");
        wait_for("a checkpoint", || checkpoint.is_dir().then_some(()));
        live.signal(Signal::KILL);
        let (exit, _) = live.end();
        assert_eq!(exit, None, "the run ended before it was killed");
        if done.is_empty() {
            killed.wait_for_silence();
            assert!(!log.with_file_name("outcome.json").exists(), "`{stage}` was finished before it was killed");
            let status = killed.run(&["status", "rlhf.yaml"]).expect_exit(0).stdout;
            assert!(status.contains("broken off"), "{status}");
        }
        done = finished;
    }
    // At once: the orphan of the killed run may still be there for a moment.
    let mut again = killed.command(&small("run", SMALL, &[]));
    // The worker says in its log where it goes on.
    again.env("RUST_LOG", "info");
    let resumed = program::ran(again).expect_exit(0).events();
    for stage in done {
        assert_eq!(resumed.outcome(stage)["executed"], false, "`{stage}` was done before");
    }
    let started = resumed.started("ppo_1");
    assert_eq!(started["why"].to_string(), r#"["it was not finished last time","it goes on from a checkpoint"]"#);
    assert_eq!(started["attempt"], 2);
    let log = fs::read_to_string(killed.at(word(&started["log"]))).unwrap();
    assert!(log.contains("resuming after step"), "{log}");

    assert_eq!(contents(&resumed), contents(first));
    let (one, other) = (results(&killed), results(undisturbed));
    for stage in STAGES {
        let key = first.of("started").find(|event| event["stage"] == stage).unwrap()["key"].as_str().unwrap();
        assert_eq!(one[key], other[key], "{stage}");
    }
    killed.wait_for_silence();
}

/// The results of every action, to the last bit: all candidates, metrics and tables, by key.
fn results(job: &Place) -> BTreeMap<String, Value> {
    let records = program::files(&job.at(".pipeline/store/v1/actions"));
    let records = records.iter().filter(|path| path.is_file());
    records
        .map(|path| {
            let record: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            (word(&record["key"]).to_owned(), record["record"]["result"].clone())
        })
        .collect()
}

#[test]
fn ctrl_c_ends_the_run_and_its_worker_with_130() {
    let job = job();
    let live = job.start(&small("run", SMALL, &["base.with.steps=100000"]));
    live.until(|event| event["event"] == "progressed" && event["stage"] == "base");
    live.signal(Signal::INT);
    let (exit, events) = live.end();
    assert_eq!(exit, Some(130));
    assert!(STAGES.iter().all(|stage| events.ending(stage) == "interrupted"));
    assert_eq!(
        events.0.last().map(|event| (&event["event"], &event["exit"])),
        Some((&"run_finished".into(), &130.into()))
    );
    job.wait_for_silence();
    let status = job.run(&["status", "rlhf.yaml"]).expect_exit(0).stdout;
    assert!(status.contains("the same command resumes from here"), "{status}");
}
