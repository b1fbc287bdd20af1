//! `pipeline schema`: the schema by which an editor checks a pipeline file. `pipelines/schema.json` is its output;
//! `UPDATE_EXPECT=1` writes it anew.

#[path = "support/program.rs"]
mod program;

use boon::{Compiler, SchemaIndex, Schemas};
use program::{ROOT, copy_into, place};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap()
}

struct Checker {
    schemas: Schemas,
    pipeline: SchemaIndex,
}

fn printed() -> String {
    place().run(&["schema"]).expect_exit(0).stdout
}

fn checker() -> Checker {
    let schema: Value = serde_json::from_str(&printed()).unwrap();
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("schema.json", schema).unwrap();
    let pipeline = compiler.compile("schema.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
    Checker { schemas, pipeline }
}

impl Checker {
    /// Checks a text; an error lists everything that is wrong.
    fn says(&self, yaml: &str) -> Result<(), String> {
        let value: Value = serde_saphyr::from_str(yaml).unwrap();
        self.schemas.validate(&value, self.pipeline).map_err(|error| format!("{error:#}"))
    }
}

#[test]
fn the_schema_in_the_repository_is_that_of_the_program() {
    let printed = printed();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(Path::new(ROOT).join("pipelines/schema.json"), &printed).unwrap();
    }
    let hint = "`UPDATE_EXPECT=1 cargo test --release --test schema` writes it";
    assert_eq!(printed, read("pipelines/schema.json"), "{hint}");
}

#[test]
fn the_schema_of_the_configuration_in_the_repository_is_that_of_the_program() {
    let printed = place().run(&["schema", "--config"]).expect_exit(0).stdout;
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(Path::new(ROOT).join("pipelines/config.schema.json"), &printed).unwrap();
    }
    let hint = "`UPDATE_EXPECT=1 cargo test --release --test schema` writes it";
    assert_eq!(printed, read("pipelines/config.schema.json"), "{hint}");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("config.json", serde_json::from_str(&printed).unwrap()).unwrap();
    let schema = compiler.compile("config.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
    let says = |yaml: &str| schemas.validate(&serde_saphyr::from_str(yaml).unwrap(), schema).is_ok();
    assert!(says("cache: {remote: {url: 's3://lab/p', endpoint: 'https://rgw.uni.example', mode: read-only}}"));
    assert!(!says("cache: {remote: {mode: read-only}}") && !says("cahce: {}"));
}

#[test]
fn every_pipeline_of_this_project_follows_the_schema_and_names_it() {
    let checker = checker();
    let mut seen = 0;
    for directory in ["pipelines", "pipelines/init"] {
        let files = fs::read_dir(Path::new(ROOT).join(directory)).unwrap().map(|entry| entry.unwrap().path());
        for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml")) {
            let text = fs::read_to_string(&file).unwrap();
            if !text.contains("\nstages:") {
                continue; // tests of gates
            }
            let first = text.lines().next().unwrap();
            let schema =
                first.strip_prefix("# yaml-language-server: $schema=").unwrap_or_else(|| panic!("{file:?}: {first}"));
            assert!(file.with_file_name(schema).is_file(), "{file:?}: there is no {schema}");
            checker.says(&text).unwrap_or_else(|wrong| panic!("{}: {wrong}", file.display()));
            seen += 1;
        }
    }
    assert!(seen >= 4, "only {seen} pipelines were found");
}

#[test]
fn every_pipeline_on_the_pages_follows_the_schema() {
    let checker = checker();
    let mut seen = 0;
    for page in ["docs/reference.md", "docs/gates.md"] {
        let page = read(page);
        for block in page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            if block.starts_with("name:") {
                checker.says(block).unwrap_or_else(|wrong| panic!("{block}\n{wrong}"));
                seen += 1;
            }
        }
    }
    assert!(seen >= 2, "only {seen} were found");
}

/// A file that uses every key there is, with `change` laid over it. Nothing of it is to be run.
fn file(stages: &str) -> String {
    format!(
        "name: all\nseed: 7\nvars: {{steps: 20, lora: {{rank: 4}}}}\nenv: {{HOME: /}}\nsalt: x\nx-any: [1]\nstages:\n{stages}"
    )
}

const BASE: &str = "  base: {kind: pretrain, from: {text: data/corpus.jsonl}}\n";
const SFT: &str = "  sft: {kind: sft, from: {model: base, data: data/sft.jsonl}}\n";

/// Checks that the schema and `check` give the same answer: they are two readers of one language.
fn both_say(is_good: bool, text: &str) {
    let place = place();
    copy_into(&Path::new(ROOT).join("pipelines/data"), &place.at("data"));
    place.write("all.yaml", text);
    let checked = place.run(&["check", "all.yaml"]);
    assert_eq!(checked.exit, Some(if is_good { 0 } else { 2 }), "{text}\n{}{}", checked.stdout, checked.stderr);
    let said = checker().says(text);
    assert_eq!(said.is_ok(), is_good, "{text}\n{}", said.err().unwrap_or_default());
}

#[test]
fn what_check_takes_the_schema_takes() {
    for stages in [
        format!("{BASE}{SFT}"),
        // Every form of a value.
        format!("{BASE}  sft:\n    kind: sft\n    from: {{model: base@last, data: data/sft.jsonl}}\n    with:\n    seed: 3\n    timeout: 90\n    retry: 2\n    gate: [heldout_loss < 3, gap < 1]\n"),
        format!("{BASE}  sft:\n    kind: sft\n    from: {{model: base@300, data: ./data/sft.jsonl}}\n    with: {{epochs: \"${{steps / 10}}\", lr: 1e-3, lora: \"${{lora}}\", stop_token: null}}\n    timeout: 1.5h\n    gate: {{require: heldout_loss < 3, warn: [gap < 1], on_fail: keep, on_unsure: stop}}\n"),
        format!("{BASE}  \"sft_${{k}}\":\n    kind: \"${{'sft'}}\"\n    for: {{k: 1..2}}\n    from: {{model: base, data: data/sft.jsonl}}\n    seed: \"${{k}}\"\n    with: {{epochs: \"${{k}}\"}}\n"),
        format!("{BASE}{SFT}  rm:\n    kind: rm\n    from: {{model: sft, data: data/pairs.jsonl}}\n    gate: {{select: {{best: accuracy, where: [ece < 1, loss < 9], within: 1 se}}}}\n  eval:\n    kind: eval\n    from: {{policy: sft, reward: [rm, rm@last], prompts: data/heldout.jsonl, baseline: base}}\n"),
        "  a:\n    kind: exec\n    metrics: {loss: lower, rating: {better: higher, bounds: [1, 5]}}\n    incumbent: before\n    from: {before: ./data, more: [data/sft.jsonl]}\n    with: {command: [sh, -c, \"true\"], outputs: [x]}\n    gate: {observe: loss < 1}\n".to_owned(),
    ] {
        both_say(true, &file(&stages));
    }
}

#[test]
fn what_the_schema_refuses_check_refuses() {
    let sft = |keys: &str| {
        file(&format!("{BASE}  sft: {{kind: sft, from: {{model: base, data: data/sft.jsonl}}, {keys}}}\n"))
    };
    let exec = |keys: &str| file(&format!("  a: {{kind: exec, with: {{command: [ls]}}, {keys}}}\n"));
    let mut mistakes = vec![
        "stages: {}\n".to_owned(),
        "name: 5\nstages: {a: {kind: exec, with: {command: [ls]}}}\n".to_owned(),
        "vras: {}\nstages: {a: {kind: exec, with: {command: [ls]}}}\n".to_owned(),
        "seed: -1\nstages: {a: {kind: exec, with: {command: [ls]}}}\n".to_owned(),
        file("  best: {kind: exec, with: {command: [ls]}}\n"),
        file("  2x: {kind: exec, with: {command: [ls]}}\n"),
        file("  a: {knid: exec, with: {command: [ls]}}\n"),
        file("  a: {kind: exce, with: {command: [ls]}}\n"),
        file("  a: {kind: exec}\n"),
        file("  a: {kind: exec, with: {outputs: [x]}}\n"),
        file("  a: {kind: exec, with: {command: [ls], output: [x]}}\n"),
        file("  \"a_${k}\": {kind: exec, for: {k: 1-2}, with: {command: [ls]}}\n"),
        file(&format!("{BASE}  sft: {{kind: sft}}\n")),
        file(&format!("{BASE}  sft: {{kind: sft, from: {{model: base}}}}\n")),
        file(&format!(
            "{BASE}  sft: {{kind: sft, from: {{model: base, data: data/sft.jsonl, prompts: data/sft.jsonl}}}}\n"
        )),
        file(&format!("{BASE}  sft: {{kind: sft, from: {{model: [base], data: data/sft.jsonl}}}}\n")),
        file(&format!("{BASE}  sft: {{kind: sft, from: {{model: base@best, data: data/sft.jsonl}}}}\n")),
        file(&format!("{BASE}  sft: {{kind: sft, from: {{model: my model, data: data/sft.jsonl}}}}\n")),
    ];
    let of_sft = [
        "with: {epoch: 2}",
        "with: {epochs: many}",
        "with: {epochs: 0}",
        "with: {batch: 0}",
        "with: {batch: 1.5}",
        "with: {heldout: 1}",
        "with: {schedule: cosin}",
        "with: {lora: {rang: 4}}",
        "with: {lora: {rank: 0}}",
        "with: [epochs, 2]",
        "metrics: {loss: lower}",
        "seed: seven",
        "timeout: soon",
        "timeout: 0",
        "retry: many",
        "retry: 101",
        "gate: 5",
        "gate: []",
        "gate: {jugde: eval, require: loss < 1}",
        "gate: {on_fail: keep}",
        "gate: {require: loss < 1, on_fail: kepe}",
        "gate: {require: {loss: 3}}",
        "gate: {select: {}}",
        "gate: {select: {within: 1 se}}",
        "gate: {select: {best: loss, within: 1}}",
        "gate: {select: {beste: loss}}",
    ];
    mistakes.extend(of_sft.map(sft));
    let of_exec = [
        "metrics: {loss: down}",
        "metrics: {loss: {bounds: [1, 2]}}",
        "metrics: {loss: {better: lower, bounds: [1]}}",
        "metrics: {loss: {better: lower, bonds: [1, 2]}}",
        "incumbent: 3",
        "from: {model: []}",
    ];
    mistakes.extend(of_exec.map(exec));
    for text in mistakes {
        both_say(false, &text);
    }
}

/// With these the schema says what `with` may hold, and an editor shows it.
#[test]
fn defaults_bounds_and_words_of_the_parameters_are_those_of_the_kinds() {
    let schema: Value = serde_json::from_str(&printed()).unwrap();
    let ppo = &schema["$defs"]["with_ppo"]["properties"];
    assert_eq!(ppo["kl"]["properties"]["coef"]["default"], 0.05);
    assert_eq!(ppo["kl"]["properties"]["coef"]["description"], "weight β of the KL penalty");
    assert_eq!((&ppo["gamma"]["minimum"], &ppo["gamma"]["maximum"]), (&0.into(), &1.into()));
    assert_eq!(ppo["steps"]["minimum"], 1);
    for kind in stages::kinds::KINDS {
        for (path, doc) in (kind.docs)() {
            let at = format!("/$defs/with_{}/properties/{}", kind.name, path.replace('.', "/properties/"));
            let parameter = schema.pointer(&at).unwrap_or_else(|| panic!("the schema has no {at}"));
            assert_eq!(parameter["description"], doc, "{at}");
        }
    }
}
