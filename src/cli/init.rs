//! `init`: a pipeline for the user's own data, which runs unchanged. Never writes over a file that exists.

use super::refusal::refused;
use super::{schema, terminal};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

const FILE: &str = "rlhf.yaml";
const PIPELINE: &str = include_str!("../../pipelines/init/rlhf.yaml");
/// Written next to the pipeline, so that an editor needs neither a network nor a setting.
const SCHEMA: &str = "pipeline.schema.json";
/// Needed only to train the toy model.
const CORPUS: &str = "data/corpus.jsonl";
const ROWS: [(&str, &str); 5] = [
    (CORPUS, include_str!("../../pipelines/init/data/corpus.jsonl")),
    ("data/sft.jsonl", include_str!("../../pipelines/init/data/sft.jsonl")),
    ("data/preferences.jsonl", include_str!("../../pipelines/init/data/preferences.jsonl")),
    ("data/prompts.jsonl", include_str!("../../pipelines/init/data/prompts.jsonl")),
    ("data/heldout.jsonl", include_str!("../../pipelines/init/data/heldout.jsonl")),
];

pub fn init(directory: &Path, model: Option<&Path>) -> Result<u8> {
    let pipeline = match model {
        None => PIPELINE.to_owned(),
        Some(model) if !model.is_dir() => {
            let help = "--model takes a directory with config.json, safetensors and tokenizer.json";
            return Err(refused(format!("there is no directory {}; {help}", model.display())));
        }
        Some(model) => with_model(&from_file(model, directory)?),
    };
    let pipeline = pipeline.replacen("$schema=../schema.json", &format!("$schema={SCHEMA}"), 1);
    let rows = ROWS.iter().filter(|(name, _)| model.is_none() || *name != CORPUS);
    let mut files = vec![(FILE, pipeline), (SCHEMA, schema::text())];
    files.extend(rows.map(|(name, rows)| (*name, (*rows).to_owned())));

    let in_the_way: Vec<String> = in_the_way(directory, files.iter().map(|(name, _)| *name));
    if !in_the_way.is_empty() {
        let help = "nothing was written; name another directory: `pipeline init DIRECTORY`";
        return Err(refused(format!("already there: {}\n{help}", in_the_way.join(", "))));
    }
    for (name, text) in &files {
        let path = directory.join(name);
        let parent = path.parent().expect("a file of the pipeline lies in a directory");
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        // A file that appeared in the meantime is not written over.
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("write {}", path.display()))?;
    }
    ignore_results(&directory.join(".gitignore"))?;
    terminal::say(&told(directory, files.iter().map(|(name, _)| *name)))?;
    Ok(0)
}

/// Files that exist already, and files where a directory is needed.
fn in_the_way<'a>(directory: &Path, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let mut found: Vec<PathBuf> = [directory.to_owned(), directory.join("data")]
        .into_iter()
        .filter(|directory| is_there(directory) && !directory.is_dir())
        .collect();
    if found.is_empty() {
        found.extend(names.map(|name| directory.join(name)).filter(|path| is_there(path)));
    }
    found.iter().map(|path| shown(path)).collect()
}

/// The path without a leading `./`.
fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

/// The path of the model as the pipeline file in `directory` must write it.
fn from_file(model: &Path, directory: &Path) -> Result<String> {
    let path = match model.strip_prefix(directory) {
        Ok(below) => Path::new(".").join(below),
        Err(_) if directory == Path::new(".") => Path::new(".").join(model),
        Err(_) => std::path::absolute(model).with_context(|| format!("find {}", model.display()))?,
    };
    let path = path.to_str().ok_or_else(|| refused(format!("{}: a path in a pipeline is UTF-8", model.display())))?;
    let is_plain = |letter: char| letter.is_alphanumeric() || "_-./".contains(letter);
    let quoted = || serde_json::to_string(path).expect("a text is JSON");
    // `${` would start an expression.
    Ok(if path.chars().all(is_plain) { path.to_owned() } else { quoted().replace("${", "$${") })
}

/// The pipeline without the stage `base` and its comments, starting from this model instead.
fn with_model(model: &str) -> String {
    let (head, rest) = PIPELINE.split_once("stages:\n").expect("the pipeline has stages");
    let (_, rest) = rest.split_once("\n\n").expect("an empty line ends the first stage");
    let head: String = head.split_inclusive('\n').filter(|line| !line.contains("`base`")).collect();
    format!("{head}stages:\n{}", rest.replacen("{model: base,", &format!("{{model: {model},"), 1))
}

/// Adds the store to `.gitignore`: results do not belong in a repository.
fn ignore_results(path: &Path) -> Result<()> {
    let known = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    if known.lines().any(|line| [".pipeline", ".pipeline/", "/.pipeline", "/.pipeline/"].contains(&line.trim())) {
        return Ok(());
    }
    let before = if known.is_empty() || known.ends_with('\n') { "" } else { "\n" };
    let mut file = OpenOptions::new().append(true).create(true).open(path).context("open .gitignore")?;
    writeln!(file, "{before}.pipeline/").with_context(|| format!("write {}", path.display()))
}

fn told<'a>(directory: &Path, names: impl Iterator<Item = &'a str>) -> String {
    let mut text = "wrote\n".to_owned();
    let mut line = |line: &str| writeln!(text, "  {line}").expect("a string takes all that is written");
    names.for_each(|name| line(&shown(&directory.join(name))));
    text += "next\n";
    let file = shown(&directory.join(FILE));
    // Quoted for a shell.
    let file = if file.contains(char::is_whitespace) { format!("'{file}'") } else { file };
    for verb in ["check", "plan", "run"] {
        writeln!(text, "  pipeline {verb} {file}").expect("a string takes all that is written");
    }
    text
}
