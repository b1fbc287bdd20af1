//! Which device a stage gets: adapters, GPUs that several stages share, drivers that are worse than they should be. The
//! software driver stands in for cards; `stages/examples/driver_faults.rs` makes it fail.

#[path = "support/program.rs"]
mod program;
#[path = "support/skip.rs"]
mod skip;

use program::{Events, Place, Ran, files, place, ran, word};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The manifests of the software driver: of one adapter, and of a second one that is the same.
struct SoftwareDriver {
    manifest: PathBuf,
    second: PathBuf,
}

fn software_driver(place: &Place) -> Option<SoftwareDriver> {
    let entries = fs::read_dir("/usr/share/vulkan/icd.d").into_iter().flatten().flatten();
    let manifest = entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("lvp_icd"));
    let Some(manifest) = manifest else {
        skip::skip("there is no software Vulkan driver (Debian: mesa-vulkan-drivers)");
        return None;
    };
    let mut second: Value = serde_json::from_str(&fs::read_to_string(&manifest).unwrap()).unwrap();
    let library = Path::new(word(&second["ICD"]["library_path"])).to_owned();
    // A path with a directory counts from the manifest.
    if library.is_relative() && library.components().count() > 1 {
        second["ICD"]["library_path"] = json!(manifest.with_file_name("").join(library));
    }
    let path = place.at("second.json");
    fs::write(&path, second.to_string()).unwrap();
    Some(SoftwareDriver { manifest, second: path })
}

impl SoftwareDriver {
    /// The program, with one adapter.
    fn command(&self, place: &Place, arguments: &[&str]) -> Command {
        self.command_with(place, arguments, self.manifest.display().to_string())
    }

    /// The program, with two adapters.
    fn command_of_two(&self, place: &Place, arguments: &[&str]) -> Command {
        self.command_with(place, arguments, format!("{}:{}", self.manifest.display(), self.second.display()))
    }

    fn command_with(&self, place: &Place, arguments: &[&str], drivers: String) -> Command {
        let mut command = place.command(arguments);
        command.env("VK_DRIVER_FILES", &drivers).env("VK_ICD_FILENAMES", drivers).env_remove("XDG_RUNTIME_DIR");
        for name in ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "CUDA_DEVICE_ORDER"] {
            command.env_remove(name);
        }
        command
    }
}

const NAME: &str = "VK_LAYER_PIPELINE_driver_faults";

/// Puts the layer with these faults between the program and its driver. Returns false where it was not built.
fn with_faults(command: &mut Command, place: &Place, faults: &str) -> bool {
    let built = Path::new(env!("CARGO_BIN_EXE_pipeline")).with_file_name("examples");
    let library = built.join(format!("{}driver_faults{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX));
    if !library.exists() {
        skip::skip("the layer with faults is not built: `cargo build --release --workspace --examples`");
        return false;
    }
    let manifest = json!({"file_format_version": "1.2.0", "layer": {
        "name": NAME, "type": "GLOBAL", "library_path": library, "api_version": "1.3.0",
        "implementation_version": "1", "description": "faults of drivers",
    }});
    fs::create_dir_all(place.at("layers")).unwrap();
    fs::write(place.at("layers/driver_faults.json"), manifest.to_string()).unwrap();
    command.env("VK_LAYER_PATH", place.at("layers")).env("VK_INSTANCE_LAYERS", NAME);
    command.env("DRIVER_FAULTS", faults).env("DRIVER_LOG", place.at("driver.jsonl"));
    true
}

/// The lines that the layer wrote, of an event.
/// The cause of the failure of a run.
fn cause_of(ran: Ran) -> String {
    word(&ran.expect_exit(1).events().of("failed").next().unwrap()["cause"]).to_owned()
}

/// Runs the file on the GPU, whose driver has these faults. `None` where the layer was not built.
fn run_with(place: &Place, driver: &SoftwareDriver, faults: &str, more: &[&str]) -> Option<Ran> {
    let mut command = driver.command(place, &[&["run", "a.yaml", "--json", "--device", "wgpu"], more].concat());
    with_faults(&mut command, place, faults).then(|| ran(command))
}

fn logged(place: &Place, event: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.at("driver.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == event).collect()
}

/// A stage that computes: a model so small that the time is that of the driver.
fn stage(name: &str, more: &str, with: &str) -> String {
    format!(
        "  {name}:\n    kind: pretrain\n    from: {{text: corpus.jsonl}}\n{more}    with: {{vocabulary: 270, layers: 1, \
         width: 16, heads: 2, kv_heads: 2, inner: 32, context: 16, batch: 2, {with}}}\n"
    )
}

fn pipeline(place: &Place, stages: &[String]) {
    let rows: String = (0..40).map(|n| format!("{}\n", json!({"text": format!("row {n} of {}", n * 7)}))).collect();
    place.write("corpus.jsonl", &rows);
    place.write("a.yaml", &format!("name: a\nstages:\n{}", stages.concat()));
}

/// The devices that workers were told.
fn told(place: &Place) -> BTreeSet<String> {
    let hosts = files(&place.at(".pipeline/work")).into_iter().filter(|path| path.ends_with("host.json"));
    let device = |path: PathBuf| {
        let host: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        word(&host["device"]).to_owned()
    };
    hosts.map(device).collect()
}

/// The order in which stages began and ended.
fn order(ran: &Ran) -> Vec<String> {
    let kinds = ["started", "failed"];
    let events = ran.events();
    let told = events.0.iter().filter(|event| kinds.contains(&word(&event["event"])));
    told.map(|event| word(&event["event"]).to_owned()).collect()
}

/// Two stages that are ended long before they are done.
fn two_endless_stages(place: &Place, more: &str) {
    let more = format!("    timeout: 1s\n{more}");
    let endless = |name: &str, seed: u32| stage(name, &format!("{more}    seed: {seed}\n"), "steps: 1000000");
    pipeline(place, &[endless("one", 1), endless("two", 2)]);
}

const TOGETHER: [&str; 7] = ["run", "a.yaml", "--jobs", "2", "--keep-going", "--json", "--device"];

#[test]
fn two_stages_at_a_time_are_on_two_adapters_or_one_after_the_other() {
    let two = place();
    let Some(driver) = software_driver(&two) else { return };
    two_endless_stages(&two, "");
    let ran_on_two = ran(driver.command_of_two(&two, &[&TOGETHER[..], &["wgpu"]].concat())).expect_exit(1);
    assert_eq!(order(&ran_on_two), ["started", "started", "failed", "failed"]);
    assert_eq!(told(&two), ["wgpu:0", "wgpu:1"].map(str::to_owned).into());
    let one = place();
    two_endless_stages(&one, "");
    let ran_on_one = ran(driver.command_of_two(&one, &[&TOGETHER[..], &["wgpu:1"]].concat())).expect_exit(1);
    assert_eq!(order(&ran_on_one), ["started", "failed", "started", "failed"]);
    assert_eq!(told(&one), BTreeSet::from(["wgpu:1".to_owned()]));
    let shared = place();
    two_endless_stages(&shared, "    resources: {gpu: 0}\n");
    let ran_on_shared = ran(driver.command(&shared, &[&TOGETHER[..], &["wgpu"]].concat())).expect_exit(1);
    assert_eq!(order(&ran_on_shared), ["started", "started", "failed", "failed"]);
    assert_eq!(told(&shared), BTreeSet::from(["wgpu:0".to_owned()]));
}

/// The files below a directory of the store, whose names are hashes of what they hold.
fn named(place: &Place, of_store: &str) -> BTreeSet<PathBuf> {
    let top = place.at(".pipeline/store/v1").join(of_store);
    files(&top).into_iter().map(|path| path.strip_prefix(&top).unwrap().to_owned()).collect()
}

/// Both have a key in common, which names no device, and the content of the candidate.
#[test]
fn one_training_on_two_adapters_gives_what_it_gives_on_one() {
    let (two, one) = (place(), place());
    let Some(driver) = software_driver(&two) else { return };
    let pipeline_of = |place: &Place, gpus: u32| {
        pipeline(place, &[stage("base", &format!("    resources: {{gpu: {gpus}}}\n"), "steps: 3, shards: 2")]);
    };
    let arguments = ["run", "a.yaml", "--json", "--device", "wgpu"];
    pipeline_of(&two, 2);
    ran(driver.command_of_two(&two, &arguments)).expect_exit(0);
    let host = files(&two.at(".pipeline/work")).into_iter().find(|path| path.ends_with("host.json")).unwrap();
    let host: Value = serde_json::from_str(&fs::read_to_string(host).unwrap()).unwrap();
    assert_eq!((&host["device"], &host["beside"]), (&json!("wgpu:0"), &json!(["wgpu:1"])));
    pipeline_of(&one, 1);
    ran(driver.command(&one, &arguments)).expect_exit(0);
    for of_store in ["actions", "trees"] {
        assert_eq!(named(&two, of_store), named(&one, of_store), "{of_store}");
    }
}

#[test]
fn gpus_that_would_stay_idle_are_told_by_check() {
    let place = place();
    let more = "    resources: {gpu: 4}\n";
    pipeline(&place, &[stage("base", more, "steps: 3, shards: 2")]);
    let told = place.run(&["check", "a.yaml"]);
    let said = format!("{}{}", told.stdout, told.stderr);
    assert!(said.contains("asks for gpu: 4, and its batch is cut into 2 shards: 2 stay idle"), "{said}");
    pipeline(&place, &[stage("base", more, "steps: 3, shards: 4")]);
    let told = place.run(&["check", "a.yaml"]);
    let said = format!("{}{}", told.stdout, told.stderr);
    assert!(!said.contains("stay idle"), "{said}");
}

#[test]
fn a_command_is_told_its_gpus_and_nothing_where_it_has_none() {
    let place = place();
    let names = ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "PIPELINE_GPUS"];
    let says = names.map(|name| format!("$${{{name}-none}}")).join(" ");
    let command = |name: &str, more: &str, with: &str| {
        format!("  {name}: {{kind: exec, {more}with: {{{with}command: 'echo {name} {says}'}}}}\n")
    };
    let stages = [
        command("none", "", ""),
        command("both", "resources: {gpu: 2}, ", ""),
        command("own", "resources: {gpu: 1}, ", "env: {CUDA_VISIBLE_DEVICES: 7}, "),
    ];
    place.write("a.yaml", &format!("name: a\nstages:\n{}", stages.concat()));
    let mut run = place.command(&["run", "a.yaml", "--device", "cpu", "--resources", "gpu=2"]);
    run.env("CUDA_VISIBLE_DEVICES", "5,GPU-3").env_remove("HIP_VISIBLE_DEVICES").env_remove("ZE_AFFINITY_MASK");
    ran(run).expect_exit(0);
    let log = |stage: &str| place.run(&["log", stage]).expect_exit(0).stdout;
    assert_eq!(log("none"), "none none none none none\n");
    assert_eq!(log("both"), "both 5,GPU-3 0,1 0,1 0,1\n");
    assert_eq!(log("own"), "own 7 0 0 0\n");
    place.write("b.yaml", "name: b\nstages:\n  a: {kind: exec, resources: {gpu: 3}, with: {command: \"true\"}}\n");
    let refused = place.run(&["run", "b.yaml", "--device", "cpu", "--resources", "gpu=2"]).expect_exit(2);
    assert!(refused.stderr.contains("asks for gpu: 3, and there are 2"), "{}", refused.stderr);
}

#[test]
fn drivers_are_asked_once_in_a_process_of_their_own_and_only_when_a_stage_computes() {
    let place = place();
    let Some(driver) = software_driver(&place) else { return };
    let run = |device: &str, faults: &str| {
        let mut command = driver.command(&place, &["run", "a.yaml", "--json", "--device", device]);
        with_faults(&mut command, &place, faults).then(|| ran(command).expect_exit(0))
    };
    pipeline(&place, &["  a: {kind: exec, with: {command: \"true\"}}\n".to_owned()]);
    if run("auto", "").is_none() {
        return;
    }
    assert_eq!(logged(&place, "opened").len(), 0, "a command alone");
    pipeline(&place, &[stage("a", "", "steps: 2"), stage("b", "    seed: 7\n", "steps: 2")]);
    run("auto", "");
    assert_eq!(logged(&place, "opened").len(), 1, "once a run");
    assert_eq!(place.run(&["log", "a"]).expect_exit(0).stdout, "", "no remarks of a driver");
    run("auto", "");
    assert_eq!(logged(&place, "opened").len(), 1, "all is cached");
    pipeline(&place, &[stage("a", "    seed: 8\n", "steps: 2")]);
    run("cpu", "");
    assert_eq!(logged(&place, "opened").len(), 1, "the CPU needs none");
    pipeline(&place, &[stage("a", "    seed: 9\n", "steps: 2"), stage("b", "    seed: 10\n", "steps: 2")]);
    let crashed = run("auto", "crash").unwrap().events();
    let notes: Vec<&str> = crashed.of("noted").map(|event| word(&event["message"])).collect();
    let [note] = notes[..] else { panic!("{notes:?}") };
    assert!(note.contains("computes on the CPU: the process that opens the graphics driver was ended by"), "{note}");
}

#[test]
fn a_device_that_is_not_there_is_refused_with_those_that_are() {
    let place = place();
    let Some(driver) = software_driver(&place) else { return };
    pipeline(&place, &[stage("a", "", "steps: 1")]);
    for (device, why) in [("wgpu:4", "no adapter has this number"), ("wgpu:h200", "no adapter's name contains `h200`")]
    {
        let failed = ran(driver.command(&place, &["run", "a.yaml", "--device", device])).expect_exit(1);
        let told = format!("{}{}", failed.stdout, failed.stderr);
        assert!(told.contains(why) && told.contains("there are 0 llvmpipe"), "{told}");
    }
    let mut wrong = driver.command(&place, &["run", "a.yaml"]);
    wrong.env("PIPELINE_DEVICE", "tpu");
    let refused = ran(wrong).expect_exit(2);
    assert!(refused.stderr.contains("invalid value 'tpu' for PIPELINE_DEVICE"), "{}", refused.stderr);
    let mut chosen = driver.command(&place, &["run", "a.yaml", "--device", "cpu"]);
    chosen.env("PIPELINE_DEVICE", "wgpu:4");
    ran(chosen).expect_exit(0);
}

#[test]
fn doctor_lists_what_each_adapter_can_hold_and_do() {
    let place = place();
    let Some(driver) = software_driver(&place) else { return };
    let mut command = driver.command_of_two(&place, &["doctor", "--json"]);
    if !with_faults(&mut command, &place, "no-f16,small-shared-memory") {
        return;
    }
    let found: Vec<Value> = serde_json::from_str(&ran(command).stdout).unwrap();
    let devices: Vec<&str> = found.iter().filter(|one| one["what"] == "device").map(|one| word(&one["text"])).collect();
    let [first, second] = devices[..] else { panic!("{devices:?}") };
    assert!(first.starts_with("wgpu:0 llvmpipe") && second.starts_with("wgpu:1 llvmpipe"), "{devices:?}");
    for what in ["largest tensor 128.0 MiB", "shares 16.0 KiB", "f16 no", "bf16 no", "memory "] {
        assert!(first.contains(what), "{first}");
    }
}

#[test]
fn a_stage_whose_device_is_lost_says_so_and_goes_on_from_its_checkpoint() {
    let place = place();
    let Some(driver) = software_driver(&place) else { return };
    let mut command = driver.command(&place, &[]);
    if !with_faults(&mut command, &place, "") {
        return;
    }
    pipeline(&place, &[stage("a", "", "steps: 12")]);
    let run = |faults: &str| {
        let mut command = driver.command(&place, &["run", "a.yaml", "--json", "--device", "wgpu"]);
        with_faults(&mut command, &place, faults);
        command
    };
    // In the middle of a step, whatever the speed of the machine.
    let stopped = ran(run("terminated-at:12")).expect_exit(1).events();
    let failed = stopped.of("failed").next().unwrap();
    assert!(word(&failed["cause"]).contains("stopped after writing a checkpoint of step"), "{failed}");
    let lost = ran(run("lost-after:8")).expect_exit(1).events();
    let resumed = |events: &Events| events.started("a")["why"].to_string().contains("checkpoint");
    assert!(resumed(&lost), "{}", lost.started("a"));
    let failed = lost.of("failed").next().unwrap();
    assert!(word(&failed["cause"]).starts_with("the device was lost"), "{failed}");
    let done = ran(run("")).expect_exit(0).events();
    assert!(resumed(&done), "{}", done.started("a"));
    // The counts of the layer are those of a run that computed.
    let counts = logged(&place, "ended");
    assert!(
        counts.iter().any(|count| count["dispatches"].as_u64() > Some(200) && count["submits"].as_u64() > Some(8)),
        "{counts:?}"
    );
}

/// Two models that the CPU trained, whose answers a driver with these faults measures in one shared process.
fn measured(place: &Place, driver: &SoftwareDriver, answer: u64, faults: &str) -> Option<Ran> {
    let rows: String = (0..4).map(|n| format!("{}\n", json!({"prompt": format!("row {n}")}))).collect();
    place.write("prompts.jsonl", &rows);
    place.write("words.tsv", "e\t1\n");
    let eval = format!(
        "  b:\n    kind: eval\n    from: {{policy: a, reward: words.tsv, prompts: prompts.jsonl, baseline: z}}\n    \
         with: {{max_new_tokens: {answer}, batch: 4, stop_token: 269}}\n"
    );
    let model = |name: &str, seed: &str| stage(name, seed, "steps: 1").replace("context: 16", "context: 160");
    pipeline(place, &[model("a", ""), model("z", "    seed: 5\n"), eval]);
    place.run(&["run", "a.yaml", "--device", "cpu", "--only", "a", "--only", "z"]).expect_exit(0);
    run_with(place, driver, faults, &["--jobs", "1"])
}

/// The last counts of the process that asked most of its driver.
fn most_counted(place: &Place) -> Value {
    let counts = logged(place, "waited").into_iter().chain(logged(place, "ended"));
    counts.max_by_key(|counts| counts["dispatches"].as_u64()).expect("a process waited for its driver")
}

#[test]
fn a_measurement_whose_device_is_lost_is_tried_once_more_in_a_fresh_process() {
    let (whole, torn) = (place(), place());
    let Some(driver) = software_driver(&whole) else { return };
    let Some(expected) = measured(&whole, &driver, 8, "") else { return };
    let expected = expected.expect_exit(0).events();
    let submits = most_counted(&whole)["submits"].as_u64().unwrap();
    // So late that the process had done another measurement: one that fails with its first is not tried again.
    let events = measured(&torn, &driver, 8, &format!("lost-once:{}", submits - 2)).unwrap().expect_exit(0).events();
    let notes: Vec<&str> = events.of("noted").map(|event| word(&event["message"])).collect();
    assert!(notes.iter().any(|note| note.starts_with("tried once more by a worker of its own")), "{notes:?}");
    assert_eq!(events.of("failed").count(), 0);
    let rows = |events: &Events| events.of("measured").map(|event| event["row"].clone()).collect::<Vec<_>>();
    assert_eq!(rows(&events), rows(&expected));
}

/// The counts of the driver, token by token: it sees no more than the program counts by itself (`stages/tests/counters`).
#[test]
fn the_driver_is_asked_for_as_little_as_is_counted() {
    let counts = |answer: u64| {
        let place = place();
        let driver = software_driver(&place)?;
        measured(&place, &driver, answer, "")?.expect_exit(0);
        let most = most_counted(&place);
        Some(move |name: &str| most[name].as_f64().unwrap())
    };
    let (Some(short), Some(long)) = (counts(32), counts(96)) else { return };
    // Of two models.
    let per_token = |name: &str| (long(name) - short(name)) / (2.0 * 64.0);
    let (dispatches, submits) = (per_token("dispatches"), per_token("submits"));
    println!(
        "{dispatches} dispatches, {submits} submits, {} uploads, {} downloads; {} pipelines",
        per_token("uploads"),
        per_token("downloads"),
        long("pipelines")
    );
    // Of one layer without an adapter.
    assert!((10.0..=10.0 + 6.0).contains(&dispatches), "{dispatches} dispatches");
    // A submit takes 256 dispatches, and a read ends one: 32 layers with LoRA have at most two a token as well.
    let of_reads = submits - dispatches / 256.0;
    assert!(submits > 0.0 && of_reads <= 1.0 / 16.0 + 0.01, "{submits} submits");
    assert!((32.0 * 14.0 + 6.0) / 256.0 + of_reads <= 2.0, "{of_reads} submits beside those that are full");
    // Of the whole process: answers of two models, their divergence, and what the backend compiles for itself.
    assert!((10.0..=40.0).contains(&long("pipelines")), "{} pipelines", long("pipelines"));
    assert!(per_token("uploads") <= 2.0, "{} uploads", per_token("uploads"));
    assert!(per_token("downloads") <= 1.0 / 16.0, "{} downloads", per_token("downloads"));
}

#[test]
fn a_driver_that_cannot_compute_or_has_no_f16_is_refused_in_a_sentence_and_bf16_is_read_there() {
    let place = place();
    let Some(driver) = software_driver(&place) else { return };
    let run = |faults: &str, more: &[&str]| run_with(&place, &driver, faults, more);
    let rows: String =
        (0..8).map(|n| format!("{}\n", json!({"prompt": format!("row {n}"), "answer": " of 7"}))).collect();
    place.write("sft.jsonl", &rows);
    let tuned = "  b:\n    kind: sft\n    from: {model: a, data: sft.jsonl}\n    with: {batch: 8, max_tokens: 16, heldout: 0.2}\n";
    pipeline(&place, &[stage("a", "", "steps: 1"), tuned.to_owned()]);
    place.run(&["run", "a.yaml", "--device", "cpu", "--only", "a"]).expect_exit(0);
    let Some(failed) = run("no-compute", &[]) else { return };
    let failed = cause_of(failed);
    assert!(failed.contains("its driver takes no compute work; take another device, or --device cpu"), "{failed}");
    let failed = cause_of(run("no-f16", &["--dtype", "f16"]).unwrap());
    assert!(failed.contains("does not compute in f16; take `dtype: f32`, or another device"), "{failed}");
    let done = run("no-f16,small-shared-memory", &["--dtype", "bf16"]).unwrap().expect_exit(0).events();
    let notes: Vec<&str> = done.of("noted").map(|event| word(&event["message"])).collect();
    assert!(
        notes.contains(&"this device does not compute in bf16: matrices are kept and multiplied as f32"),
        "{notes:?}"
    );
    let finished = done.of("finished").next().unwrap();
    assert!(word(&finished["device"]).ends_with(" bf16 as f32"), "{finished}");
}

#[test]
fn a_stage_that_is_too_large_for_its_device_is_refused_before_anything_is_sent() {
    let place = place();
    let Some(driver) = software_driver(&place) else { return };
    let wide = stage("a", "", "steps: 1").replace("inner: 32", "inner: 40000").replace("batch: 2", "batch: 36");
    pipeline(&place, &[wide]);
    let Some(failed) = run_with(&place, &driver, "memory:40000000", &[]) else { return };
    let cause = cause_of(failed);
    let cause = cause.lines().next().unwrap();
    assert!(cause.contains("which has 40.0 MB of memory: by its sizes it takes about"), "{cause}");
    assert!(cause.contains("; lower `micro_batch` (null is the whole batch), `context` or `width`"), "{cause}");
    // A failed stage asks its device whether it is still there.
    let sent: u64 = logged(&place, "ended").iter().filter_map(|count| count["uploaded_bytes"].as_u64()).sum();
    assert!(sent < 1000, "{sent} bytes");
}

#[test]
fn a_device_without_memory_left_says_what_was_asked_of_it_and_what_was_expected() {
    let place = place();
    let Some(driver) = software_driver(&place) else { return };
    pipeline(&place, &[stage("a", "", "steps: 3")]);
    let Some(failed) = run_with(&place, &driver, "memory-ends-at:8000000", &[]) else { return };
    let cause = cause_of(failed);
    assert!(cause.starts_with("out of memory on the device, which was asked for "), "{cause}");
    let cause = cause.lines().next().unwrap();
    assert!(cause.contains(", in step 1; by its sizes it takes about"), "{cause}");
    assert!(cause.contains("; lower `micro_batch`"), "{cause}");
}
