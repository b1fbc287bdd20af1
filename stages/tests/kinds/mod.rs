//! Kinds as the worker calls them: the losses differ in their results, rewards are normalised over all answers, and
//! messages say what is wrong with data, numbers or parameters.

use anyhow::Result;
use expect_test::expect;
use serde_json::{Value, json};
use stages::io::{DeviceChoice, Host, Io};
use stages::stage::{Call, Work};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The directory of a stage that has ended.
pub struct Ran {
    directory: TempDir,
}

impl Ran {
    fn read(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.directory.path().join(name)).unwrap()).unwrap()
    }

    /// The points of the curve, without the answers of candidates.
    pub fn curve(&self) -> Vec<Value> {
        let curve = fs::read_to_string(self.directory.path().join("metrics.jsonl")).unwrap();
        let lines = curve.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|point| point.get("samples").is_none()).collect()
    }

    /// The metrics of the last candidate.
    pub fn metrics(&self) -> Value {
        self.read("outcome.json")["candidates"].as_array().unwrap().last().unwrap()["metrics"].clone()
    }

    fn last(&self) -> String {
        self.read("outcome.json")["candidates"].as_array().unwrap().last().unwrap()["step"].to_string()
    }

    pub fn artifact(&self) -> PathBuf {
        self.directory.path().join("out").join(self.last())
    }

    /// The bytes of the last candidate's adapter.
    pub fn adapter(&self) -> Vec<u8> {
        fs::read(self.artifact().join("adapter/adapter_model.safetensors")).unwrap()
    }

    /// All files that it hands over, and its curve without the times.
    pub fn everything(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn add(all: &mut BTreeMap<PathBuf, Vec<u8>>, path: &Path) {
            match fs::read_dir(path) {
                Ok(entries) => entries.flatten().for_each(|entry| add(all, &entry.path())),
                Err(_) => all.extend([(path.to_owned(), fs::read(path).unwrap())]),
            }
        }
        let mut all = BTreeMap::new();
        let top = self.directory.path();
        ["out", "tables"].iter().filter(|name| top.join(name).exists()).for_each(|name| add(&mut all, &top.join(name)));
        let mut all: BTreeMap<_, _> =
            all.into_iter().map(|(path, bytes)| (path.strip_prefix(top).unwrap().to_owned(), bytes)).collect();
        let points = self.curve().into_iter().map(|mut point| {
            point.as_object_mut().unwrap().remove("seconds");
            format!("{point}\n")
        });
        all.insert("curve".into(), points.collect::<String>().into_bytes());
        all.insert("metrics".into(), self.metrics().to_string().into_bytes());
        all
    }

    /// The remarks of the stage for people.
    pub fn remarks(&self) -> Vec<String> {
        let said = self.read("outcome.json")["telemetry"]["remarks"].clone();
        serde_json::from_value(said).unwrap_or_default()
    }

    fn items(&self) -> Vec<Value> {
        let path = self.directory.path().join("tables").join(self.last()).join("items.jsonl");
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub fn run(kind: &str, device: DeviceChoice, inputs: &[(&str, &Path)], with: &Value) -> Result<Ran> {
    run_on(kind, &[device], inputs, with)
}

/// As [`run`], on several devices.
pub fn run_on(kind: &str, devices: &[DeviceChoice], inputs: &[(&str, &Path)], with: &Value) -> Result<Ran> {
    let directory = tempfile::tempdir()?;
    let inputs: BTreeMap<_, _> =
        inputs.iter().map(|(port, path)| ((*port).to_owned(), vec![path.to_path_buf().into()])).collect();
    let kind = stages::kinds::kind(kind).unwrap();
    let parameters = (kind.parse)(with.as_object().unwrap()).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let host = Host { device: devices[0].clone(), beside: devices[1..].to_vec(), ..Host::default() };
    let mut io = Io::open(directory.path(), inputs, host)?;
    let Work::Run(run) = kind.work else { panic!("it runs") };
    run(&Call { parameters, seed: 5 }, &mut io)?;
    io.finish()?;
    Ok(Ran { directory })
}

fn on_cpu(kind: &str, inputs: &[(&str, &Path)], with: &Value) -> Result<Ran> {
    run(kind, DeviceChoice::Cpu, inputs, with)
}

/// A file of the data that the project ships.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/data").join(name)
}

/// The first rows of a file.
fn some(name: &str, rows: usize, directory: &TempDir) -> PathBuf {
    let text = fs::read_to_string(data(name)).unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text.lines().take(rows).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    path
}

/// A base model as small as possible, trained for three steps.
pub fn base() -> Ran {
    let with = json!({
        "layers": 1, "width": 16, "inner": 24, "heads": 2, "kv_heads": 1, "vocabulary": 300, "context": 160, "steps": 3,
        "batch": 4,
    });
    on_cpu("pretrain", &[("text", &data("corpus.jsonl"))], &with).unwrap()
}

fn with(plain: &Value, more: &Value) -> Value {
    let mut all = plain.clone();
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

#[test]
fn every_option_of_a_loss_gives_another_adapter() {
    let (base, place) = (base(), tempfile::tempdir().unwrap());
    let model = base.artifact();
    let (pairs, rankings) = (some("pairs.jsonl", 12, &place), some("rankings.jsonl", 12, &place));
    let sft = some("sft.jsonl", 12, &place);
    let labels = place.path().join("labels.jsonl");
    let label = |(row, line): (usize, &str)| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value["label"] = (row % 3 != 0).into();
        format!("{value}\n")
    };
    fs::write(&labels, fs::read_to_string(&sft).unwrap().lines().enumerate().map(label).collect::<String>()).unwrap();
    let plain = json!({"batch": 4, "max_tokens": 160, "heldout": 0.3});
    let of_kinds: [(&str, &str, &Path, Vec<Value>); 5] = [
        (
            "rm",
            "model",
            &rankings,
            vec![
                json!({}),
                json!({"loss": "hinge"}),
                json!({"loss": "plackett-luce"}),
                json!({"margin": 0.5}),
                json!({"label_smoothing": 0.2}),
                json!({"centring": 0.1}),
                json!({"lora": {"rslora": true}}),
            ],
        ),
        (
            "dpo",
            "policy",
            &pairs,
            vec![
                json!({}),
                json!({"label_smoothing": 0.2}),
                json!({"loss": "robust", "label_smoothing": 0.2}),
                json!({"loss": "ipo"}),
                json!({"loss": "ipo-per-token"}),
                json!({"loss": "hinge", "beta": 0.5}),
                json!({"adam": {"max_norm": null, "weight_decay": 0.1}}),
            ],
        ),
        (
            "kto",
            "policy",
            &labels,
            vec![json!({}), json!({"desirable_weight": 0.5}), json!({"beta": 1.0, "epochs": 2.0})],
        ),
        // Pairs are labels, too.
        ("kto", "policy", &pairs, vec![json!({})]),
        ("sft", "model", &sft, vec![json!({}), json!({"loss_on": "all"}), json!({"adam": {"form": "tensorflow"}})]),
    ];
    for (kind, port, data, variants) in of_kinds {
        let mut seen = BTreeSet::new();
        for more in &variants {
            let ran = on_cpu(kind, &[(port, &model), ("data", data)], &with(&plain, more)).unwrap();
            for point in ran.curve() {
                assert!(
                    point["loss"].is_number() && point["gradient_norm"].as_f64().unwrap() > 0.0,
                    "{kind} {more}: {point}"
                );
            }
            assert!(ran.metrics()["heldout_loss"].is_number(), "{kind} {more}: {}", ran.metrics());
            seen.insert(ran.adapter());
        }
        assert_eq!(seen.len(), variants.len(), "{kind}: two variants gave the same");
    }
}

/// The normalisation covers chosen and rejected answers together. It draws a sample of them: taking every fourth answer
/// would take chosen ones only.
#[test]
fn rewards_are_normalised_over_all_answers() {
    let (base, place) = (base(), tempfile::tempdir().unwrap());
    let pairs = some("pairs.jsonl", 512, &place);
    let inputs: [(&str, &Path); 3] = [("model", &base.artifact()), ("data", &pairs), ("heldout", &pairs)];
    let settings = json!({"normalize": "spread", "lr": 0.01, "max_tokens": 160, "batch": 30});
    let ran = on_cpu("rm", &inputs, &settings).unwrap();
    let items = ran.items();
    assert_eq!(items.len(), 512);
    let scores = |name: &str| items.iter().map(|row| row[name].as_f64().unwrap()).collect::<Vec<f64>>();
    let all = [scores("score_chosen"), scores("score_rejected")].concat();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    let spread = (all.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
    // The standard error of a mean over 256 answers is a sixteenth of their standard deviation; three of those.
    assert!(mean.abs() < 0.19 && (spread - 1.0).abs() < 0.2, "{mean} ± {spread}");
    // A normalisation over one side alone would be off by this much.
    let gap = ran.metrics()["margin"].as_f64().unwrap() / 2.0;
    assert!(gap > 0.25, "{gap}");
}

/// Replaces fractions with more than two decimal places by `…`: their last bits depend on the instructions of the CPU.
fn masked(text: &str) -> String {
    let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_of_number) {
        let end = rest[at..].find(|c| !is_of_number(c)).map_or(rest.len(), |length| at + length);
        let number = &rest[at..end];
        out += &rest[..at];
        out += if number.split_once('.').is_some_and(|(_, places)| places.len() > 2) { "…" } else { number };
        rest = &rest[end..];
    }
    out + rest
}

/// Each line is the message that a user gets.
#[test]
fn what_is_wrong_with_data_or_numbers_is_told() {
    let (base, place) = (base(), tempfile::tempdir().unwrap());
    let model = base.artifact();
    let file = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let sft = some("sft.jsonl", 12, &place);
    let pairs = some("pairs.jsonl", 6, &place);
    let prompts = some("prompts.jsonl", 4, &place);
    let one = file("one.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
    let one_pair = file("one_pair.jsonl", "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n");
    let one_label = file(
        "one_label.jsonl",
        "{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n{\"prompt\": \"a\", \"completion\": \"c\", \"label\": false}\n",
    );
    let long = file("long.jsonl", &format!("{{\"prompt\": \"{}\", \"completion\": \"b\"}}\n", "long ".repeat(400)));
    let reward = on_cpu("rm", &[("model", &model), ("data", &pairs)], &json!({"max_tokens": 160})).unwrap();
    let scores = reward.artifact();
    // A head of zeros gives every answer the same score.
    let flat = {
        let path = place.path().join("flat");
        std::fs::create_dir_all(path.join("adapter")).unwrap();
        std::os::unix::fs::symlink(scores.join("model"), path.join("model")).unwrap();
        for entry in fs::read_dir(scores.join("adapter")).unwrap() {
            let entry = entry.unwrap();
            let mut bytes = fs::read(entry.path()).unwrap();
            if entry.file_name() == "adapter_model.safetensors" {
                let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
                bytes[header..].fill(0);
            }
            fs::write(path.join("adapter").join(entry.file_name()), bytes).unwrap();
        }
        path
    };
    let ppo = json!({"steps": 6, "batch": 4, "max_new_tokens": 6, "missing_eos_score": null});
    let of = |ports: &[(&str, &Path)], kind: &str, more: Value| match on_cpu(kind, ports, &more) {
        Err(error) => format!("{error:#}"),
        Ok(ran) => {
            let remarks = &ran.read("outcome.json")["telemetry"]["remarks"];
            format!("trained; remarks: {remarks}")
        }
    };
    let rl = |reward: &Path, prompts: &Path, more: Value| {
        of(&[("policy", &model), ("reward", reward), ("prompts", prompts)], "ppo", with(&ppo, &more))
    };
    let learn = |kind: &str, data: &Path, more: Value| {
        let port = if kind == "sft" || kind == "rm" { "model" } else { "policy" };
        of(&[(port, &model), ("data", data)], kind, with(&json!({"max_tokens": 160}), &more))
    };
    let told = [
        learn("sft", &sft, json!({"lr": 1e30, "epochs": 3.0, "batch": 4})),
        learn("sft", &one, json!({})),
        learn("sft", &long, json!({})),
        learn("sft", &sft, json!({"batch": 64})),
        learn("rm", &one_pair, json!({})),
        learn("rm", &pairs, json!({"batch": 64})),
        learn("dpo", &one_pair, json!({})),
        learn("kto", &one_label, json!({"heldout": 0.5})),
        rl(&flat, &prompts, json!({})),
        rl(
            &scores,
            &prompts,
            json!({"lr": 0.05, "kl": {"coef": 0.0, "estimate": "k3"}, "abort_if": {"kl_above": 1e-9}}),
        ),
        rl(&scores, &prompts, json!({"abort_if": {"entropy_below": 50.0}})),
        rl(&scores, &prompts, json!({"missing_eos_score": -1.0})),
        rl(&scores, &long, json!({})),
        rl(&scores, &prompts, json!({"steps": 1, "batch": 16})),
        rl(&flat, &prompts, json!({"steps": 2})),
        of(&[("policy", &model), ("reward", &model), ("prompts", &prompts)], "ppo", ppo.clone()),
    ];
    let told = masked(&told.join("\n")).replace(&place.path().display().to_string(), "DIR");
    expect![[r#"
        train: the loss is NaN at optimiser step 2, on rows `line 10`, `line 5`, `line 8`, `line 2`; lower `lr`, or look at these rows. Weights and the last checkpoint are as they were before it
        hold out rows to measure on: there is only one prompt or document, and it is needed for training; add rows, or connect `heldout` where the kind has that port
        read `data`: every row was left out; the first: line 1: the prompt has 2001 tokens and leaves no room for an answer in the model's context of 160: "long long long long long long long long …"; shorten it, or take `truncate: start`
        trained; remarks: ["`batch` 64 is more than the 11 there are to train on; each step takes all of them"]
        hold out rows to measure on: there is only one prompt or document, and it is needed for training; add rows, or connect `heldout` where the kind has that port
        trained; remarks: ["`batch` 64 is more than the 5 there are to train on; each step takes all of them"]
        hold out rows to measure on: there is only one prompt or document, and it is needed for training; add rows, or connect `heldout` where the kind has that port
        hold out rows to measure on: there is only one prompt or document, and it is needed for training; add rows, or connect `heldout` where the kind has that port
        score answers: again and again the reward gives all 4 different answers the same score …; nothing can be learned from it. If it is a reward model: was it trained? See its `accuracy` and `score_chosen_sd`
        train: the KL to the reference is … nats per answer after update 1, above `abort_if.kl_above` …; raise `kl.coef`, set `kl.target`, or lower `lr` or `epochs`
        train: the policy's entropy is … nats per token before the first update, below `abort_if.entropy_below` 50; raise `entropy_coef` or `temperature`, or lower `lr`
        score answers: again and again none of the 4 answers ended within `max_new_tokens` 6, so all got `missing_eos_score`, and nothing can be learned; raise `max_new_tokens`, see that `stop_token` is right, or set `missing_eos_score: null`
        read `prompts`: every row was left out; the first: row `1`: the prompt has 2001 tokens, which with `max_new_tokens` 6 exceed the model's context of 160; shorten it, lower `max_new_tokens`, or take `truncate: start`
        trained; remarks: ["a rollout asks 16 prompts (`batch` by `answers_per_prompt`), and there are 4; they come more than once"]
        trained; remarks: ["in 2 of 2 updates no answer scored better than another, so no preference was learned; look at the reward model, and whether answers end within `max_new_tokens`"]
        load the reward model: it has no head; connect a stage of kind rm"#]].assert_eq(&told);
}
