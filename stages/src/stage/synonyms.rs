//! Names of parameters in `transformers`, TRL and `peft`, for people who come from there.

use serde_json::Value;

/// A name, and the parameters here that may stand for it, dotted from the root of the block; the first that the kind
/// has is meant.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("adam_beta1", &["adam.beta1"]),
    ("adam_beta2", &["adam.beta2"]),
    ("adam_epsilon", &["adam.epsilon"]),
    ("alpha", &["lora.alpha"]),
    ("batch_size", &["batch"]),
    ("bf16", &["dtype"]),
    ("block_size", &["context"]),
    ("cliprange", &["clip"]),
    ("cliprange_value", &["value_clip"]),
    ("fp16", &["dtype"]),
    ("gradient_checkpointing", &["recompute"]),
    ("hidden_size", &["width"]),
    ("init_kl_coef", &["kl.coef"]),
    ("intermediate_size", &["inner"]),
    ("kl_coef", &["kl.coef"]),
    ("lam", &["lambda"]),
    ("learning_rate", &["lr"]),
    ("lora_alpha", &["lora.alpha"]),
    ("lora_r", &["lora.rank"]),
    ("lora_rank", &["lora.rank"]),
    ("lr_scheduler_type", &["schedule"]),
    ("max_completion_length", &["max_new_tokens"]),
    ("max_grad_norm", &["adam.max_norm"]),
    ("max_length", &["max_tokens", "max_new_tokens", "context"]),
    ("max_seq_length", &["max_tokens", "context"]),
    ("max_steps", &["steps", "epochs"]),
    ("num_attention_heads", &["heads"]),
    ("num_generations", &["answers_per_prompt", "k"]),
    ("num_hidden_layers", &["layers"]),
    ("num_key_value_heads", &["kv_heads"]),
    ("num_mini_batches", &["minibatches"]),
    ("num_ppo_epochs", &["epochs"]),
    ("num_return_sequences", &["k"]),
    ("num_train_epochs", &["epochs", "steps"]),
    ("per_device_train_batch_size", &["batch"]),
    ("ppo_epochs", &["epochs"]),
    ("r", &["lora.rank"]),
    ("rank", &["lora.rank"]),
    ("response_length", &["max_new_tokens"]),
    ("save_steps", &["checkpoint_every"]),
    ("test_size", &["heldout"]),
    ("total_episodes", &["steps"]),
    ("train_batch_size", &["batch"]),
    ("use_rslora", &["lora.rslora"]),
    ("vf_coef", &["value_coef"]),
    ("vocab_size", &["vocabulary"]),
    ("weight_decay", &["adam.weight_decay"]),
];

/// Names that no parameter stands for alone, a parameter of the kinds that they concern, and what is to be written.
const NOTES: [(&str, &str, &str); 2] = [
    (
        "gradient_accumulation_steps",
        "micro_batch",
        "here `batch` is all rows of an update, and `micro_batch` those that go through the model at once: `batch` is \
         `micro_batch` times `gradient_accumulation_steps`",
    ),
    (
        "per_device_train_batch_size",
        "micro_batch",
        "here `batch` is all rows of an update; `micro_batch`, if it is set, those that go through the model at once",
    ),
];

/// Says what stands here for a name of other tools, if the kind with these defaults has it. `path` is dotted from the
/// root of the block: of `lora.r` the last part is the name.
pub fn said_of(path: &str, defaults: &Value) -> Option<String> {
    let name = path.rsplit('.').next().unwrap_or(path);
    if let Some((.., note)) = NOTES.iter().find(|(other, ours, _)| *other == name && defaults.get(ours).is_some()) {
        return Some((*note).to_owned());
    }
    let (_, ours) = SYNONYMS.iter().find(|(other, _)| *other == name)?;
    let has = |ours: &&&str| defaults.pointer(&format!("/{}", ours.replace('.', "/"))).is_some();
    let ours = ours.iter().find(has)?;
    let (above, below) = ours.split_once('.').unwrap_or(("", ours));
    // Beside its siblings it is known by its own name.
    Some(match path.rsplit_once('.').map_or("", |(above, _)| above) == above {
        true => format!("here it is `{below}`"),
        false => format!("here it is `{above}: {{{below}: …}}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;

    #[test]
    fn every_name_stands_for_a_parameter_that_some_kind_has_and_is_sorted() {
        assert!(SYNONYMS.is_sorted_by_key(|(name, _)| *name));
        for (name, ours) in SYNONYMS {
            for path in *ours {
                let pointer = format!("/{}", path.replace('.', "/"));
                let is_there = KINDS.iter().any(|kind| (kind.defaults)().pointer(&pointer).is_some());
                assert!(is_there, "`{name}` stands for `{path}`, which no kind has");
            }
        }
    }

    #[test]
    fn a_name_is_told_as_it_is_written_from_where_it_stands() {
        let defaults = serde_json::json!({"lr": 1, "lora": {"rank": 8}, "steps": 3});
        let said = |path| said_of(path, &defaults).unwrap_or_default();
        assert_eq!(said("learning_rate"), "here it is `lr`");
        assert_eq!(said("lora.r"), "here it is `rank`");
        assert_eq!(said("lora_r"), "here it is `lora: {rank: …}`");
        assert_eq!(said("num_train_epochs"), "here it is `steps`");
        assert_eq!((said("lora_alpha"), said("colour")), (String::new(), String::new()));
    }
}
