//! Models and data as a user meets them: inspection, export and import, the cache of a hub, dialogues, bad rows,
//! precision.

#[path = "support/program.rs"]
mod program;

use expect_test::{Expect, expect};
use program::{Place, ROOT, place};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const FILE: &str = "
name: toy
seed: 7
stages:
  base:
    kind: pretrain
    from: {text: ./corpus.jsonl}
    with: {steps: 2, batch: 4, layers: 1, width: 16, heads: 2, kv_heads: 1, inner: 24, vocabulary: 300, context: 160}
  sft:
    kind: sft
    from: {model: base, data: ./talks.jsonl}
    with:
      epochs: 0.5
      batch: 4
      max_tokens: 160
      lora: {rank: 2, alpha: 4}
      chat_template: |
        {% for message in messages %}
        <{{ message.role }}>{{ message.content }}{{ eos_token if message.role == 'assistant' }}
        {% endfor %}
        {{ '<assistant>' if add_generation_prompt }}
  rm:
    kind: rm
    from: {model: sft, data: ./labels.jsonl}
    with: {epochs: 0.5, batch: 4, max_tokens: 160, heldout: 0.3, lora: {rank: 2, alpha: 4}}
";

fn job() -> Place {
    let place = place();
    let lines = |line: &dyn Fn(usize) -> String| (0..24).map(|n| line(n) + "\n").collect::<String>();
    place.write("toy.yaml", FILE);
    place.write("corpus.jsonl", &lines(&|n| format!(r#"{{"text": "the {n} cats, 猫が{n}匹"}}"#)));
    let talk = |n| {
        format!(
            r#"{{"messages": [{{"role": "user", "content": "how many is {n}?"}}, {{"role": "assistant", "content": "it is {n}"}}]}}"#
        )
    };
    place.write("talks.jsonl", &lines(&talk));
    let label = |n: usize| {
        format!(r#"{{"prompt": "say {}", "completion": "{n} cats", "label": {}}}"#, n / 2, n.is_multiple_of(2))
    };
    place.write("labels.jsonl", &lines(&label));
    place
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn told(text: &str, expected: Expect) {
    // Digests, times and sizes are tested elsewhere; spaces are those of a table.
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    expected.assert_eq(&text.lines().map(line).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_model_that_was_exported_is_the_model_and_says_what_it_came_from() {
    let place = job();
    place.run(&["run", "toy.yaml", "--device", "cpu"]).expect_exit(0);
    place.run(&["export", "sft", "out", "toy.yaml"]).expect_exit(0);
    place.run(&["export", "sft", "merged", "toy.yaml", "--merge", "--dtype", "bf16"]).expect_exit(0);
    place.run(&["export", "rm", "judge", "toy.yaml", "--merge"]).expect_exit(0);
    assert_eq!(place.read("out/model/chat_template.jinja").lines().count(), 4, "the template goes with the model");
    assert_eq!(json(&place.at("merged/config.json"))["torch_dtype"], "bfloat16");
    let config = json(&place.at("judge/config.json"));
    assert_eq!(config["architectures"][0], "LlamaForSequenceClassification");
    assert!(json(&place.at("judge/reward.json"))["offset"].is_number());

    let card = place.read("judge/README.md");
    let data = place.run(&["explain", "rm", "toy.yaml"]).expect_exit(0).stdout;
    let digest = card.split("labels.jsonl: `").nth(1).unwrap().split('`').next().unwrap();
    assert!(data.contains(&digest[..digest.len().min(20)]), "{digest} is not in {data}");
    for part in ["### base (pretrain)", "### sft (sft)", "### rm (rm)", "`lora.rank: 2`", "less "] {
        assert!(card.contains(part), "{part} is not in the card:\n{card}");
    }

    // A whole reward model scores as the adapter over its base does, and a policy can be trained on it.
    place.write("heldout.jsonl", "{\"prompt\": \"say 3\"}\n{\"prompt\": \"say 4\"}\n");
    place.write(
        "both.yaml",
        &(FILE.replace("name: toy", "name: both")
            + "  eval:\n    kind: eval\n    from: {policy: sft, reward: [rm, ./judge], prompts: ./heldout.jsonl}\n    with: {max_new_tokens: \
               4}\n  ppo:\n    kind: ppo\n    from: {policy: sft, reward: ./judge, prompts: ./heldout.jsonl}\n    with: {steps: 1, batch: 2, \
               max_new_tokens: 4, lora: {rank: 2, alpha: 4}}\n"),
    );
    let events = place.run(&["run", "both.yaml", "--device", "cpu", "--json"]).expect_exit(0).events();
    let metrics = &events.outcome("eval")["metrics"];
    let [adapter, whole] = ["mean_score", "mean_score_2"].map(|name| metrics[name].as_f64().unwrap());
    assert!((adapter - whole).abs() < 1e-5, "{adapter} and {whole}");

    // Imports: a merged model, and the adapter over its base.
    let shown = place.run(&["model", "inspect", "merged", "--device", "cpu"]).expect_exit(0).stdout;
    assert!(shown.contains("chat template  there") && shown.contains("BF16"), "{shown}");
    place.run(&["import-adapter", "out/adapter", "out/model", "again"]).expect_exit(0);
    let same = |name: &str| {
        assert_eq!(fs::read(place.at("out").join(name)).unwrap(), fs::read(place.at("again").join(name)).unwrap());
    };
    ["model/config.json", "model/model.safetensors", "adapter/adapter_model.safetensors"].into_iter().for_each(same);
    place.write(
        "more.yaml",
        &FILE.replace("model: base", "model: ./again").replace("name: toy", "name: more").replacen(
            "  base:",
            "  unused:",
            1,
        ),
    );
    place.run(&["run", "more.yaml", "--device", "cpu", "--only", "sft"]).expect_exit(0);
}

#[test]
fn a_model_is_pretrained_with_a_tokenizer_that_is_there() {
    let place = job();
    let given = Path::new(ROOT).join("stages/tests/parity/tokenizers/unigram");
    let file =
        FILE.replace("{text: ./corpus.jsonl}", &format!("{{text: ./corpus.jsonl, tokenizer: {}}}", given.display()));
    place.write("toy.yaml", &file.replace(" vocabulary: 300,", ""));
    place.run(&["run", "toy.yaml", "--device", "cpu"]).expect_exit(0);
    place.run(&["export", "base", "out", "toy.yaml"]).expect_exit(0);
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(fs::read(place.at("out").join(name)).unwrap(), fs::read(given.join(name)).unwrap(), "{name}");
    }
    let config = json(&place.at("out/config.json"));
    let special =
        ["vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"].map(|name| config[name].as_u64().unwrap());
    assert_eq!(special, [1202, 1, 2, 3]);

    // That of a stage: the same tokenizer, so the model fits.
    let more = "  again:\n    kind: pretrain\n    from: {text: ./corpus.jsonl, tokenizer: base}\n    with: {steps: 1, batch: 4, layers: 1, \
                width: 16, heads: 2, kv_heads: 1, inner: 24, context: 160}\n  eval:\n    kind: eval\n    from: {policy: sft, reward: rm, \
                prompts: ./heldout.jsonl, baseline: again}\n    with: {max_new_tokens: 4}\n";
    place.write("heldout.jsonl", "{\"prompt\": \"say 30\"}\n");
    place.write("toy.yaml", &(place.read("toy.yaml") + more));
    place.run(&["run", "toy.yaml", "--device", "cpu"]).expect_exit(0);
    // One without an end.
    fs::create_dir(place.at("endless")).unwrap();
    fs::copy(given.join("tokenizer.json"), place.at("endless/tokenizer.json")).unwrap();
    place.write("toy.yaml", &place.read("toy.yaml").replace(&given.display().to_string(), "./endless"));
    let refused = place.run(&["check", "toy.yaml"]).expect_exit(2).stderr;
    assert!(refused.contains("endless: the tokenizer names no token that ends a text"), "{refused}");
}

/// The front matter of a card, and the card.
fn card(place: &Place, directory: &str) -> (Value, String) {
    let text = place.read(&format!("{directory}/README.md"));
    let (front, _) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    (serde_saphyr::from_str(front).unwrap(), text.clone())
}

#[test]
fn a_card_is_read_by_hubs_and_holds_the_facts_of_the_run() {
    let place = job();
    place.run(&["run", "toy.yaml", "--device", "cpu", "--only", "base"]).expect_exit(0);
    place.run(&["export", "base", "start", "toy.yaml"]).expect_exit(0);
    let (front, text) = card(&place, "start");
    let right = serde_json::json!({
        "library_name": "transformers", "pipeline_tag": "text-generation", "license": "unknown",
        "tags": ["pretrain", "rlhf"],
    });
    assert_eq!(front, right, "{text}");
    assert!(text.contains("license: unknown # it was trained from scratch"), "{text}");

    // A base that says where it comes from, and a gate that promotes what was trained on it.
    let named = place.read("start/config.json").replacen('{', "{\"_name_or_path\": \"toy/cats\",", 1);
    place.write("start/config.json", &named);
    place.write("start/README.md", "---\nlicense: apache-2.0\nlanguage: [ja, 'no']\n---\n\n# Cats\n");
    place.write("heldout.jsonl", "{\"prompt\": \"say 3\"}\n{\"prompt\": \"say 4\"}\n");
    place.write("gold.txt", "cats\t1\n");
    let gate = "    gate: {judge: eval, require: mean_score > -1}\n";
    let eval = "  eval:\n    kind: eval\n    from: {policy: sft, reward: ./gold.txt, prompts: ./heldout.jsonl, baseline: ./start}\n    \
                with: {max_new_tokens: 4}\n";
    let file = FILE.replace("model: base", "model: ./start").replacen("  base:", "  unused:", 1);
    place.write("more.yaml", &(file.replace("  rm:\n", &format!("{gate}  rm:\n")) + eval));
    let run = ["run", "more.yaml", "--device", "cpu", "--json", "--only", "sft", "--only", "eval"];
    let events = place.run(&run).expect_exit(0).events();
    let device =
        events.of("finished").find(|event| event["stage"] == "sft").unwrap()["device"].as_str().unwrap().to_owned();
    place.run(&["export", "sft", "adapter", "more.yaml"]).expect_exit(0);
    place.run(&["export", "sft", "merged", "more.yaml", "--merge"]).expect_exit(0);
    for (directory, library, relation) in [("adapter", "peft", "adapter"), ("merged", "transformers", "finetune")] {
        let (front, text) = card(&place, directory);
        let right = serde_json::json!({
            "library_name": library, "pipeline_tag": "text-generation", "license": "apache-2.0", "base_model": "toy/cats",
            "base_model_relation": relation, "language": ["ja", "no"], "tags": ["sft", "rlhf"],
        });
        assert_eq!(front, right, "{text}");
        let version = env!("CARGO_PKG_VERSION");
        for part in [
            &format!("| program | trained by pipeline {version}, exported by pipeline {version} |"),
            &format!("| device | {device} |"),
            " of work in all stages |",
            &format!(" on {device} |"),
            "## Promoted by the gate of `sft`",
            "| require | `mean_score > -1`: pass, ",
            "| mean_score (by `eval`) | ",
            "## Measured by `eval`",
            "| against `start` | ",
            " wins, ",
            "talks.jsonl: `",
            "| base | toy/cats; licence: apache-2.0 |",
        ] {
            assert!(text.contains(part), "{part} is not in the card:\n{text}");
        }
    }
    // What was found in the store has the times of the run that made it.
    place.run(&["run", "more.yaml", "--device", "cpu", "--only", "sft", "--only", "eval"]).expect_exit(0);
    place.run(&["export", "sft", "again", "more.yaml"]).expect_exit(0);
    let lines =
        |text: &str| text.lines().filter(|line| line.starts_with("| trained ")).map(str::to_owned).collect::<Vec<_>>();
    let [first, again] = ["adapter", "again"].map(|directory| lines(&card(&place, directory).1));
    assert!(first.len() == 2 && first == again, "{first:?} and {again:?}");
}

#[test]
fn dropout_that_a_model_asks_for_is_said_to_be_left_out() {
    let place = job();
    place.run(&["run", "toy.yaml", "--device", "cpu", "--only", "base"]).expect_exit(0);
    place.run(&["export", "base", "start", "toy.yaml"]).expect_exit(0);
    let asking = place.read("start/config.json").replacen('{', "{\"attention_dropout\": 0.1,", 1);
    place.write("start/config.json", &asking);
    place.write("more.yaml", &FILE.replace("model: base", "model: ./start").replacen("  base:", "  unused:", 1));
    let run = ["run", "more.yaml", "--device", "cpu", "--json", "--only", "sft", "--only", "rm"];
    let events = place.run(&run).expect_exit(0).events();
    for stage in ["sft", "rm"] {
        let said = events.of("noted").filter(|event| event["stage"] == stage);
        let said: Vec<&str> = said.filter_map(|event| event["message"].as_str()).collect();
        let right = "the model of `model` asks for dropout in training (`attention_dropout` 0.1), which is not applied";
        assert_eq!(said.iter().filter(|message| message.starts_with(right)).count(), 1, "{stage}: {said:?}");
    }
    let shown = place.run(&["model", "inspect", "start", "--device", "cpu"]).expect_exit(0).stdout;
    assert!(shown.contains("`attention_dropout` 0.1; not applied in training: nothing is dropped"), "{shown}");
    // An adapter that asks for it.
    place.run(&["export", "sft", "out", "more.yaml"]).expect_exit(0);
    let settings =
        place.read("out/adapter/adapter_config.json").replace("\"lora_dropout\": 0.0", "\"lora_dropout\": 0.05");
    place.write("out/adapter/adapter_config.json", &settings);
    let shown = place.run(&["import-adapter", "out/adapter", "start", "taken"]).expect_exit(0).stdout;
    assert!(shown.contains("; its `lora_dropout` 0.05 is not applied in training here"), "{shown}");
    let shown = place.run(&["model", "inspect", "out", "--device", "cpu"]).expect_exit(0).stdout;
    assert!(shown.contains("`attention_dropout` 0.1, `lora_dropout` 0.05; not applied"), "{shown}");
}

#[test]
fn what_cannot_be_exported_or_imported_is_told() {
    let place = job();
    place.run(&["run", "toy.yaml", "--device", "cpu", "--only", "base"]).expect_exit(0);
    place.run(&["export", "base", "out", "toy.yaml"]).expect_exit(0);
    let refused = |arguments: &[&str]| place.run(arguments).expect_exit(2).stderr;
    let all = [
        refused(&["export", "base", "out", "toy.yaml"]),
        refused(&["export", "bse", "other", "toy.yaml"]),
        refused(&["export", "sft", "other", "toy.yaml"]),
        refused(&["import-adapter", "out", "out", "other"]),
        refused(&["model", "inspect", "nowhere"]),
        refused(&["model", "inspect", "hf://only-a-name"]),
    ];
    told(
        &all.concat(),
        expect![[r#"
        error: out exists already; name another directory
        error: the last run (toy.yaml) has no stage `bse`: did you mean `base`?
        error: the last run (toy.yaml) has no stage `sft`: there are: base
        error: read out/adapter_config.json: No such file or directory (os error 2)
        error: there is nothing at nowhere
        error: `hf://only-a-name`: the owner is missing; write hf://owner/name or hf://owner/name@revision"#]],
    );
}

#[test]
fn a_model_in_the_cache_of_a_hub_is_used_without_a_network() {
    let place = job();
    place.run(&["run", "toy.yaml", "--device", "cpu", "--only", "base"]).expect_exit(0);
    place.run(&["export", "base", "out", "toy.yaml"]).expect_exit(0);
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let folder = place.at("hub/models--toy--cats");
    let snapshot = folder.join("snapshots").join(commit);
    for directory in [&snapshot, &folder.join("refs"), &folder.join("blobs")] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(folder.join("refs/main"), commit).unwrap();
    fs::write(snapshot.join(".gitattributes"), "").unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::rename(place.at("out").join(name), folder.join("blobs").join(name)).unwrap();
        symlink(Path::new("../../blobs").join(name), snapshot.join(name)).unwrap();
    }
    place.write(
        "hub.yaml",
        "name: hub\nstages:\n  sft:\n    kind: sft\n    from: {model: 'hf://toy/cats', data: ./talks.jsonl}\n    with: {epochs: 0.5, batch: 4, \
         max_tokens: 100, chat_template: '{{ messages[0].content }}:{{ messages[1].content if messages[1:] }}'}\n",
    );
    let hub = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command
            .env("HF_HUB_CACHE", place.at("hub"))
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_ENDPOINT", "http://127.0.0.1:9");
        program::ran(command)
    };
    hub(&["run", "hub.yaml", "--device", "cpu"]).expect_exit(0);
    hub(&["export", "sft", "of-hub", "hub.yaml"]).expect_exit(0);
    let card = place.read("of-hub/README.md");
    assert!(card.contains("base_model: toy/cats\n") && card.contains(&format!("hf://toy/cats@{commit}")), "{card}");

    place.write("hub.yaml", &place.read("hub.yaml").replace("toy/cats", "toy/dogs@v2"));
    let told_by = |verb: &str, exit: i32| {
        hub(&[verb, "hub.yaml"]).expect_exit(exit).stderr.replace(&place.path().display().to_string(), "DIR")
    };
    told(
        &[told_by("check", 0), told_by("plan", 2), told_by("run", 2)].concat(),
        expect![[r#"
        warning: `hf://toy/dogs@v2` is not on this machine yet
        --> hub.yaml:5:20
        |
        5 | from: {model: 'hf://toy/dogs@v2', data: ./talks.jsonl}
        | ^^^^^^^^^^^^^^^^
        |
        = help: `pipeline run` fetches it, and so does `pipeline model inspect`

        error: `hf://toy/dogs@v2` is not on this machine, so what it holds is not known
        --> hub.yaml:5:20
        |
        5 | from: {model: 'hf://toy/dogs@v2', data: ./talks.jsonl}
        | ^^^^^^^^^^^^^^^^
        |
        = help: `pipeline run` fetches it, and so does `pipeline model inspect`

        error: fetch hf://toy/dogs@v2: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, and DIR/hub/models--toy--dogs lacks config.json, model.safetensors (or its index and shards), tokenizer.json; run `hf download toy/dogs --revision v2` where there is a network and copy its models--toy--dogs to DIR/hub/models--toy--dogs, or put these files into a directory and name that instead
        --> hub.yaml:5:20
        |
        5 | from: {model: 'hf://toy/dogs@v2', data: ./talks.jsonl}
        | ^^^^^^^^^^^^^^^^
    "#]],
    );
}

#[test]
fn data_of_a_hub_is_used_without_a_network_and_is_the_same_as_a_file() {
    let place = job();
    place.run(&["run", "toy.yaml", "--device", "cpu", "--only", "base", "--only", "sft"]).expect_exit(0);
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let folder = place.at("hub/datasets--toy--talks");
    let data = folder.join("snapshots").join(commit).join("data");
    for directory in [&data, &folder.join("refs")] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(folder.join("refs/main"), commit).unwrap();
    fs::write(data.join("../.gitattributes"), "").unwrap();
    fs::copy(place.at("talks.jsonl"), data.join("talks.jsonl")).unwrap();
    let hub = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command
            .env("HF_HUB_CACHE", place.at("hub"))
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_ENDPOINT", "http://127.0.0.1:9");
        program::ran(command)
    };
    place.write("toy.yaml", &FILE.replace("./talks.jsonl", "hf://datasets/toy/talks/data"));
    let shown = hub(&["run", "toy.yaml", "--device", "cpu", "--only", "base", "--only", "sft"]).expect_exit(0).stdout;
    assert!(shown.lines().any(|line| line.starts_with("sft ") && line.contains("cached")), "{shown}");
    hub(&["data", "inspect", "hf://datasets/toy/talks"]).expect_exit(0);
    hub(&["export", "sft", "of-hub", "toy.yaml"]).expect_exit(0);
    let card = place.read("of-hub/README.md");
    let name = format!("hf://datasets/toy/talks@{commit}/data/talks.jsonl");
    assert!(card.contains("datasets:\n- toy/talks\n") && card.contains(&name), "{card}");

    place.write("toy.yaml", &FILE.replace("./talks.jsonl", "hf://datasets/toy/others@v2"));
    let told_by = |verb: &str, exit: i32| {
        hub(&[verb, "toy.yaml"]).expect_exit(exit).stderr.replace(&place.path().display().to_string(), "DIR")
    };
    told(
        &[told_by("check", 0), told_by("plan", 2), told_by("run", 2)].concat(),
        expect![[r#"
        warning: `hf://datasets/toy/others@v2` is not on this machine yet
        --> toy.yaml:11:31
        |
        11 | from: {model: base, data: hf://datasets/toy/others@v2}
        | ^^^^^^^^^^^^^^^^^^^^^^^^^^^
        |
        = help: `pipeline run` fetches it, and so does `pipeline data inspect`

        error: `hf://datasets/toy/others@v2` is not on this machine, so what it holds is not known
        --> toy.yaml:11:31
        |
        11 | from: {model: base, data: hf://datasets/toy/others@v2}
        | ^^^^^^^^^^^^^^^^^^^^^^^^^^^
        |
        = help: `pipeline run` fetches it, and so does `pipeline data inspect`

        error: fetch hf://datasets/toy/others@v2: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, and DIR/hub/datasets--toy--others lacks its files; run `hf download toy/others --repo-type dataset --revision v2` where there is a network and copy its datasets--toy--others to DIR/hub/datasets--toy--others, or put these files into a directory and name that instead
        --> toy.yaml:11:31
        |
        11 | from: {model: base, data: hf://datasets/toy/others@v2}
        | ^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#]],
    );
    // Another mistake is told before anything is fetched.
    place.write("toy.yaml", &place.read("toy.yaml").replace("epochs", "epoch"));
    let refused = told_by("run", 2);
    assert!(refused.contains("`epoch`") && !refused.contains("HF_HUB_OFFLINE"), "{refused}");
}

/// CSV is known by its name alone, which the store has to keep.
#[test]
fn a_stage_reads_compressed_csv_as_check_does() {
    let place = job();
    let rows: String = (0..8).map(|n| format!("say {n},{n} cats\n")).collect();
    place.write("rows.csv", &format!("prompt,completion\n{rows}"));
    let packed = std::process::Command::new("gzip").arg(place.at("rows.csv")).status();
    assert!(packed.unwrap().success());
    place.write("toy.yaml", &FILE.replace("./talks.jsonl", "./rows.csv.gz"));
    place.run(&["run", "toy.yaml", "--device", "cpu", "--only", "base", "--only", "sft"]).expect_exit(0);
}

#[test]
fn data_is_shown_with_its_bad_rows_its_repetitions_and_what_leaks() {
    let place = job();
    place.write(
        "train.jsonl",
        "{\"prompt\": \"a b\", \"completion\": \"c\"}\n{\"id\": 7, \"prompt\": \"a b\", \"completion\": \"c\"}\n{\"prompt\": 3}\n\n{\"prompt\": \"d\", \
         \"completion\": \"eee\", \"source\": \"x\"}\n{\"prompt\": \"A  b\", \"completion\": \"d\"}\n",
    );
    place.write("heldout.jsonl", "{\"prompt\": \"D\"}\n{\"prompt\": \"new\"}\n");
    let shown = place.run(&["data", "inspect", "train.jsonl", "--heldout", "heldout.jsonl"]).expect_exit(1).stdout;
    told(
        &shown,
        expect![[r#"
            file train.jsonl
            format JSONL: prompt/completion (4 rows), prompts (1 rows)
            rows 5
            repeated rows 1 (line 2 is line 1 again, `id` aside)
            prompts of several rows 1
            bad rows 1
            line 3: field `prompt` is a number, not a text
            fields nobody reads source (1 rows)

            letters least median 90 % 99 % most sum
            ───────────────────────────────────────────────
            prompts 1 3 4 4 4 11
            answers 1 1 3 3 3 6

            file heldout.jsonl
            format JSONL: prompts
            rows 2
            repeated rows 0
            prompts of several rows 0
            bad rows 0

            letters least median 90 % 99 % most sum
            ───────────────────────────────────────────────
            prompts 1 1 3 3 3 4

            1 prompt is in both files: a measurement there tests memorisation
            heldout.jsonl line 1 = train.jsonl line 5"#]],
    );
    place.run(&["data", "inspect", "talks.jsonl"]).expect_exit(0);
}

#[test]
fn bad_rows_are_left_out_as_far_as_they_may_and_counted() {
    let place = job();
    let talks = place.read("talks.jsonl");
    place.write("talks.jsonl", &format!("{talks}{{\"messages\": 3}}\n"));
    let only = ["run", "toy.yaml", "--device", "cpu", "--only", "base", "--only", "sft", "--json"];
    place.run(&only).expect_exit(2);
    let events = place.run(&[&only[..], &["--skip-bad-rows", "1"]].concat()).expect_exit(0).events();
    let metrics = &events.outcome("sft")["metrics"];
    let counts = ["data_rows", "data_dropped", "data_truncated"].map(|name| metrics[name].as_f64().unwrap());
    assert_eq!(counts, [25.0, 1.0, 0.0]);
    // The allowed number of bad rows is no part of the action; and it may stand in the file.
    place.write("toy.yaml", &format!("skip_bad_rows: 5\n{}", FILE.trim_start()));
    assert_eq!(place.run(&only).expect_exit(0).events().of("started").count(), 0);
}

/// The template of a reasoning model opens a thought in its question. The answers here have none.
#[test]
fn dialogues_that_a_template_asks_for_in_another_way_are_refused_before_anything_runs() {
    const TEMPLATE: &str = "{% for message in messages %}<{{ message.role }}>{{ message.content }}\
                            {{ eos_token if message.role == 'assistant' }}{% endfor %}{% if add_generation_prompt %}\
                            <assistant>{% if thinks is not defined or thinks %}<think>{% endif %}{% endif %}";
    let place = job();
    let own = FILE.split("      chat_template: |").next().unwrap();
    let with = |more: &str| place.write("toy.yaml", &format!("{own}      chat_template: \"{TEMPLATE}\"\n{more}"));
    with("");
    let check = |code| place.run(&["check", "toy.yaml"]).expect_exit(code).stderr;
    let refused = check(2);
    for part in ["talks.jsonl: line 1", "ends a question with \"<think>\"", "`template_args: {enable_thinking: false}`"]
    {
        assert!(refused.contains(part), "{part} is not in {refused}");
    }
    with("      template_args: {thinkss: false}\n");
    assert!(check(2).contains("the chat template does not use the name `thinkss`"));
    // The value stays with the model: the reward model reads dialogues through the same template.
    let judge = "  rm:\n    kind: rm\n    from: {model: sft, data: ./pairs.jsonl}\n    with: {epochs: 0.5, batch: 4, heldout: 0.3, \
                 lora: {rank: 2, alpha: 4}}\n";
    let pair = |n: usize| {
        format!(
            "{{\"prompt\": [{{\"role\": \"user\", \"content\": \"say {n}\"}}], \"chosen\": \"{n}\", \"rejected\": \"no\"}}\n"
        )
    };
    place.write("pairs.jsonl", &(0..12).map(pair).collect::<String>());
    with(&format!("      template_args: {{thinks: false}}\n{judge}"));
    check(0);
    place.run(&["run", "toy.yaml", "--device", "cpu"]).expect_exit(0);
    place.run(&["export", "rm", "judge", "toy.yaml"]).expect_exit(0);
    let kept = place.read("judge/model/chat_template.jinja");
    assert!(kept.starts_with("{% set thinks = thinks if thinks is defined else false %}\n"), "{kept}");
    // And of a model without a template, dialogues are refused.
    place.write("toy.yaml", own);
    assert!(check(2).contains("the model has no chat template; give it one by `chat_template`"));
}

#[test]
fn what_is_left_out_or_cut_is_in_the_table_of_the_run() {
    let place = job();
    let long = |prompt: usize, answer: usize| {
        let [prompt, answer] = [prompt, answer].map(|words| "cats ".repeat(words));
        format!("{{\"prompt\": \"{prompt}\", \"completion\": \"{answer}\"}}\n")
    };
    let talks = place.read("talks.jsonl");
    place.write("talks.jsonl", &format!("{talks}{}{}", long(200, 1), long(1, 200)));
    let only = ["run", "toy.yaml", "--device", "cpu", "--only", "base", "--only", "sft"];
    let said = place.run(&only).expect_exit(0).stdout;
    let row = said.lines().find(|line| line.starts_with("sft")).unwrap();
    let words = row.replace('\u{a0}', " ");
    assert!(words.contains("data_dropped 1") && words.contains("data_truncated 1"), "{row}");
    assert_eq!(said.matches("rows are left out; too long: 1").count(), 1, "{said}");
}

#[test]
fn another_precision_is_another_result() {
    let place = job();
    let run = |more: &[&str]| {
        let all = [&["run", "toy.yaml", "--device", "cpu", "--json"], more].concat();
        place.run(&all).expect_exit(0).events()
    };
    let first = run(&[]);
    let half = run(&["--dtype", "f16"]);
    assert_eq!(half.busy(), ["sft", "rm"].into(), "pretraining has its weights in f32");
    assert_ne!(first.content("sft"), half.content("sft"));
    place.write("toy.yaml", &format!("dtype: f16\n{}", FILE.trim_start()));
    assert_eq!(run(&[]).of("started").count(), 0, "the file says what the command line said");
    place.write("toy.yaml", &format!("dtype: f8\n{}", FILE.trim_start()));
    let refused = place.run(&["check", "toy.yaml"]).expect_exit(2).stderr;
    assert!(refused.contains("unknown dtype `f8`"), "{refused}");
}
