//! The targets: each a reader of foreign bytes, and what holds of it whatever the bytes are. No panic, no hang and no
//! abort always belong to it. Every target has a directory of inputs, `fuzz/corpus/NAME`, which every test run reads again.

pub mod data;
pub mod gate;
pub mod json;
pub mod model;
pub mod pipeline;
mod place;
pub mod run;
pub mod store;

pub struct Target {
    pub name: &'static str,
    pub read: fn(&[u8]),
}

pub const TARGETS: &[Target] = &[
    // What the user typed.
    Target { name: "yaml", read: pipeline::yaml },
    Target { name: "spec", read: pipeline::spec },
    Target { name: "template", read: pipeline::template },
    Target { name: "hub", read: pipeline::hub },
    Target { name: "rule", read: gate::rule },
    Target { name: "select", read: gate::select },
    Target { name: "items", read: gate::items },
    // Data and models.
    Target { name: "rows", read: data::rows },
    Target { name: "packed", read: data::packed },
    Target { name: "parquet", read: data::parquet },
    Target { name: "arrow", read: data::arrow },
    Target { name: "columns", read: data::columns },
    Target { name: "weights", read: model::weights },
    Target { name: "model", read: model::model },
    Target { name: "config", read: model::config },
    Target { name: "tokenizer", read: model::tokenizer },
    Target { name: "sentencepiece", read: model::sentencepiece },
    Target { name: "chat", read: model::chat },
    Target { name: "peft", read: model::peft },
    Target { name: "llama2c", read: model::llama2c },
    // The store.
    Target { name: "archive", read: store::archive },
    Target { name: "export", read: store::export },
    Target { name: "record", read: store::record },
    Target { name: "tree", read: store::tree },
    Target { name: "claim", read: store::claim },
    Target { name: "stats", read: store::stats },
    // A run, and what commands hand over.
    Target { name: "json", read: json::json },
    Target { name: "canonical", read: json::canonical },
    Target { name: "journal", read: run::journal },
    Target { name: "looks", read: run::looks },
    Target { name: "approvals", read: run::approvals },
    Target { name: "labels", read: run::labels },
    Target { name: "line", read: run::line },
    Target { name: "results", read: run::results },
    Target { name: "progress", read: run::progress },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn corpus() -> PathBuf {
        below("fuzz/corpus")
    }

    fn below(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    fn inputs(directory: &Path) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn every_target_has_a_program_and_inputs_that_are_kept_and_nothing_else_has() {
        let names = |directory: &Path| -> BTreeSet<String> {
            inputs(directory).iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
        };
        let kept = names(&corpus());
        assert_eq!(kept, TARGETS.iter().map(|target| target.name.to_owned()).collect());
        assert_eq!(kept, names(&below("fuzz/src/bin")));
        for name in kept {
            assert!(!inputs(&corpus().join(&name)).is_empty(), "there are no inputs for {name}");
        }
    }

    #[test]
    fn what_fuzzing_has_kept_is_read_without_a_fault() {
        for target in TARGETS {
            for path in inputs(&corpus().join(target.name)) {
                let bytes = fs::read(&path).unwrap();
                let read = std::panic::catch_unwind(|| (target.read)(&bytes));
                assert!(read.is_ok(), "{}", path.display());
            }
        }
    }
}
