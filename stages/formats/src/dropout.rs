//! Dropout that the files of a model ask for in training. Nothing is dropped here, so that the same step gives the same
//! result; that is said wherever such a model is trained or looked at.

use crate::json;
use anyhow::Result;
use serde_json::Value;
use std::path::Path;

/// The fields of a configuration by which models of the known architectures drop numbers in training. `classifier_dropout`
/// and `summary_first_dropout` belong to heads that are not trained here.
const FIELDS: [&str; 6] =
    ["attention_dropout", "hidden_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "resid_dropout"];

/// The fields that `transformers` fills in where the configuration of an architecture leaves them out.
const DEFAULTS: [(&str, [&str; 3], f64); 1] = [("gpt2", ["attn_pdrop", "embd_pdrop", "resid_pdrop"], 0.1)];

/// The dropout that a model asks for, field by field: "`attn_pdrop` 0.1, `lora_dropout` 0.05". `None`: it asks for none.
/// `directory` is that of the artifact, with its adapter; `source` the configuration of the model.
///
/// # Errors
/// The configuration of the adapter cannot be read.
pub fn of_model(directory: &Path, source: &Value) -> Result<Option<String>> {
    let given = FIELDS.into_iter().filter_map(|field| Some((field, source.get(field)?.as_f64()?)));
    let mut all: Vec<(&str, f64)> = given.collect();
    for (model_type, fields, share) in DEFAULTS {
        if source["model_type"] == model_type {
            let missing = fields.into_iter().filter(|field| source.get(field).is_none());
            all.extend(missing.map(|field| (field, share)));
        }
    }
    let fields = all.into_iter().filter(|(_, share)| *share > 0.0).map(|(field, share)| format!("`{field}` {share}"));
    let fields: Vec<String> = fields.chain(of_adapter(&directory.join("adapter"))?).collect();
    Ok((!fields.is_empty()).then(|| fields.join(", ")))
}

/// The dropout that an adapter asks for: "`lora_dropout` 0.05". `None`: it asks for none, or is not there.
///
/// # Errors
/// Its configuration cannot be read.
pub fn of_adapter(directory: &Path) -> Result<Option<String>> {
    let source: Option<Value> = json::read_if_there(&directory.join("adapter_config.json"))?;
    let share = source.and_then(|source| source.get("lora_dropout")?.as_f64()).filter(|share| *share > 0.0);
    Ok(share.map(|share| format!("`lora_dropout` {share}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    #[test]
    fn what_a_model_asks_for_is_named_with_the_defaults_of_its_architecture() {
        let nowhere = Path::new("/there is nothing");
        let of = |source: Value| of_model(nowhere, &source).unwrap();
        assert_eq!(of(json!({"model_type": "llama", "attention_dropout": 0.0})), None);
        assert_eq!(of(json!({"model_type": "llama", "hidden_dropout": null, "classifier_dropout": 0.1})), None);
        assert_eq!(
            of(json!({"model_type": "gpt_neox", "attention_dropout": 0.1, "hidden_dropout": 0.25})).unwrap(),
            "`attention_dropout` 0.1, `hidden_dropout` 0.25"
        );
        assert_eq!(
            of(json!({"model_type": "gpt2", "attn_pdrop": 0, "resid_pdrop": 0.2})).unwrap(),
            "`resid_pdrop` 0.2, `embd_pdrop` 0.1"
        );
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("adapter")).unwrap();
        let settings = directory.path().join("adapter/adapter_config.json");
        fs::write(&settings, r#"{"lora_dropout": 0.05}"#).unwrap();
        let of = |source: Value| of_model(directory.path(), &source).unwrap();
        assert_eq!(of(json!({"model_type": "llama"})).unwrap(), "`lora_dropout` 0.05");
        fs::write(&settings, r#"{"lora_dropout": 0.0}"#).unwrap();
        assert_eq!(of(json!({"model_type": "llama"})), None);
    }
}
