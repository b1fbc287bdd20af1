//! Models that do not fit each other, before anything runs.

use super::check_in;
use expect_test::expect;
use formats::config::{Config, Llama};
use formats::dtype::Dtype;
use formats::tokenizer::Tokenizer;
use formats::weights::{self, Tensors};
use formats::{json, layout};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A small model with a tokenizer of the tests, changed. A reward model has a head.
fn write_model(directory: &Path, tokenizer: &str, is_reward: bool, change: impl Fn(&mut Value)) {
    fs::create_dir_all(directory).unwrap();
    let source = Path::new("stages/tests/parity/tokenizers").join(tokenizer).join("tokenizer.json");
    let mut source: Value = json::read(&source).unwrap();
    change(&mut source);
    json::write(&directory.join("tokenizer.json"), &source).unwrap();
    json::write(&directory.join("tokenizer_config.json"), &json!({"eos_token": "</s>", "pad_token": "[PAD]"})).unwrap();
    let vocabulary = Tokenizer::load(directory).unwrap().rows();
    let (width, inner, layers, heads, kv_heads, context) = (4, 4, 1, 1, 1, 16);
    let (is_tied, pad, bos, eos) = (true, None, 1, 2);
    let mut config =
        Llama { vocabulary, width, inner, layers, heads, kv_heads, context, is_tied, pad, bos, eos }.source();
    let mut tensors = Tensors::new();
    if is_reward {
        config["architectures"] = json!(["LlamaForSequenceClassification"]);
        config["num_labels"] = json!(1);
        tensors.insert("score.weight".to_owned(), (vec![0.0; width], vec![1, width]));
    }
    json::write(&directory.join("config.json"), &config).unwrap();
    for weight in layout::weights(&Config::load(directory).unwrap()) {
        let size = weight.shape.iter().product();
        tensors.insert(weight.name.clone(), (vec![0.0; size], weight.shape_in_file().to_vec()));
    }
    weights::write(&tensors, Dtype::F32, &directory.join("model.safetensors")).unwrap();
}

/// A folder with `base`, a reward model as TRL leaves it (`trl`), one with an end token more (`chat`), and one with another
/// tokenizer (`other`).
fn folder() -> tempfile::TempDir {
    let folder = super::folder();
    let at = |name: &str| folder.path().join(name);
    let with_token = |text: &'static str, id: u32| {
        move |source: &mut Value| {
            let token = json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true});
            source["added_tokens"].as_array_mut().unwrap().push(token);
            source["truncation"] =
                json!({"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0});
        }
    };
    // Without the token for padding that the settings name, the library adds it.
    let without =
        |source: &mut Value| source["added_tokens"].as_array_mut().unwrap().retain(|t| t["content"] != "[PAD]");
    write_model(&at("base"), "bytes", false, without);
    fs::remove_file(at("base/tokenizer_config.json")).unwrap();
    write_model(&at("trl"), "bytes", true, with_token("[PAD]", 1006));
    write_model(&at("chat"), "bytes", true, with_token("<|turn|>", 1006));
    write_model(&at("other"), "unigram", false, |_| {});
    folder
}

#[test]
fn a_reward_model_that_a_policy_cannot_use_is_refused_before_both_are_trained() {
    let folder = folder();
    check_in(
        &folder,
        "name: rlhf
stages:
  sft: {kind: sft, from: {model: ./base, data: ./sft.jsonl}}
  again: {kind: sft, from: {model: ./other, data: ./sft.jsonl}}
  rm: {kind: rm, from: {model: again, data: ./pairs.jsonl}}
  ppo: {kind: ppo, from: {policy: sft, reward: rm, prompts: ./prompts.jsonl}}
  chat: {kind: ppo, from: {policy: sft, reward: ./chat, prompts: ./prompts.jsonl}}
  plain: {kind: ppo, from: {policy: sft, reward: ./base, prompts: ./prompts.jsonl}}
  dpo: {kind: dpo, from: {policy: sft, data: ./pairs.jsonl, reference: again}}
  eval:
    kind: eval
    from: {policy: ppo, reward: [./gold.txt, ./trl, rm], prompts: ./heldout.jsonl, baseline: again}
",
        expect![[r#"
            error: `rm` cannot read the tokens of `sft`, since its tokenizer is another one: the vocabulary of `rm` has 1202 tokens, that of `sft` 1000
             --> rlhf.yaml:6:48
              |
            6 |   ppo: {kind: ppo, from: {policy: sft, reward: rm, prompts: ./prompts.jsonl}}
              |                                                ^^
              |
              = help: `rm` has the tokenizer of DIR/other; `sft` has the tokenizer of DIR/base; connect models of the same base; or, without a critic that starts from it: `with: {critic: zero}` takes a critic of zeros on the policy's own base, `advantage: rloo` and the like none

            error: `DIR/chat` cannot read the tokens of `sft`, since its tokenizer is another one: `<|turn|>` is a special token of `DIR/chat` alone, or has another id there
             --> rlhf.yaml:7:49
              |
            7 |   chat: {kind: ppo, from: {policy: sft, reward: ./chat, prompts: ./prompts.jsonl}}
              |                                                 ^^^^^^
              |
              = help: `sft` has the tokenizer of DIR/base; connect models of the same base; or, without a critic that starts from it: `with: {critic: zero}` takes a critic of zeros on the policy's own base, `advantage: rloo` and the like none

            error: DIR/base: it is a language model, no reward model: it has no head that scores a text; a stage of kind rm makes one, and `AutoModelForSequenceClassification` with one label is one
             --> rlhf.yaml:8:50
              |
            8 |   plain: {kind: ppo, from: {policy: sft, reward: ./base, prompts: ./prompts.jsonl}}
              |                                                  ^^^^^^

            error: `again` cannot read the tokens of `sft`, since its tokenizer is another one: the vocabulary of `again` has 1202 tokens, that of `sft` 1000
             --> rlhf.yaml:9:72
              |
            9 |   dpo: {kind: dpo, from: {policy: sft, data: ./pairs.jsonl, reference: again}}
              |                                                                        ^^^^^
              |
              = help: `again` has the tokenizer of DIR/other; `sft` has the tokenizer of DIR/base; connect models of the same base

            error: `again` cannot read the tokens of `ppo`, since its tokenizer is another one: the vocabulary of `again` has 1202 tokens, that of `ppo` 1000
              --> rlhf.yaml:12:94
               |
            12 |     from: {policy: ppo, reward: [./gold.txt, ./trl, rm], prompts: ./heldout.jsonl, baseline: again}
               |                                                                                              ^^^^^
               |
               = help: `again` has the tokenizer of DIR/other; `ppo` has the tokenizer of DIR/base; connect models of the same base

        "#]],
    );
}

#[test]
fn a_tokenizer_that_a_trainer_wrote_again_is_the_same() {
    check_in(
        &folder(),
        "name: rlhf
stages:
  sft: {kind: sft, from: {model: ./base, data: ./sft.jsonl}}
  rm: {kind: rm, from: {model: ./trl, data: ./pairs.jsonl}}
  ppo: {kind: ppo, from: {policy: sft, reward: rm, prompts: ./prompts.jsonl}}
  eval: {kind: eval, from: {policy: ppo, reward: ./trl, prompts: ./heldout.jsonl, baseline: ./base}}
",
        expect![[r#"
            sft = sft(model=base, data=sft.jsonl) seed 0
            rm = rm(model=trl, data=pairs.jsonl) seed 0
            ppo = ppo(policy=sft, reward=rm, prompts=prompts.jsonl) seed 0 needs sft rm
            eval = eval(policy=ppo, reward=trl, prompts=heldout.jsonl, baseline=base) needs ppo
        "#]],
    );
}

#[test]
fn a_stage_that_makes_a_tokenizer_makes_the_same_of_the_same() {
    check_in(
        &folder(),
        "name: rlhf
stages:
  one: {kind: pretrain, from: {text: ./corpus.jsonl}, with: {vocabulary: 300}, seed: 1}
  same: {kind: pretrain, from: {text: ./corpus.jsonl}, with: {vocabulary: 300}, seed: 2}
  more: {kind: pretrain, from: {text: ./corpus.jsonl}, with: {vocabulary: 400}}
  taken: {kind: pretrain, from: {text: ./corpus.jsonl, tokenizer: one}}
  given: {kind: pretrain, from: {text: ./corpus.jsonl, tokenizer: ./other}, with: {vocabulary: 300}}
  rm: {kind: rm, from: {model: taken, data: ./pairs.jsonl}}
  rm_2: {kind: rm, from: {model: more, data: ./pairs.jsonl}}
  a: {kind: ppo, from: {policy: one, reward: rm, prompts: ./prompts.jsonl, reference: same}}
  b:
    kind: ppo
    from: {policy: one, reward: rm_2, prompts: ./prompts.jsonl, reference: ./base}
    with: {kl: {reference: base}}
",
        expect![[r#"
            error: `vocabulary` and a source of `tokenizer` exclude each other
             --> rlhf.yaml:7:84
              |
            7 |   given: {kind: pretrain, from: {text: ./corpus.jsonl, tokenizer: ./other}, with: {vocabulary: 300}}
              |                                                                                    ^^^^^^^^^^
              |
              = help: take one of the two away; `tokenizer`: an existing tokenizer, or the model whose tokenizer is taken; default: one trained on `text`

            error: `rm_2` cannot read the tokens of `one`, since its tokenizer is another one: `more` and `one` make different ones, of other data or of another size
              --> rlhf.yaml:13:33
               |
            13 |     from: {policy: one, reward: rm_2, prompts: ./prompts.jsonl, reference: ./base}
               |                                 ^^^^
               |
               = help: `rm_2` has the tokenizer that `more` makes; `one` makes one of its own; connect models of the same base; or, without a critic that starts from it: `with: {critic: zero}` takes a critic of zeros on the policy's own base, `advantage: rloo` and the like none

            error: `DIR/base` cannot read the tokens of `one`, since its tokenizer is another one: `one` makes a new one, and that of `DIR/base` is none that it could make
              --> rlhf.yaml:13:76
               |
            13 |     from: {policy: one, reward: rm_2, prompts: ./prompts.jsonl, reference: ./base}
               |                                                                            ^^^^^^
               |
               = help: `one` makes one of its own; connect models of the same base

            error: `kl.reference` and a source of `reference` exclude each other
              --> rlhf.yaml:14:17
               |
            14 |     with: {kl: {reference: base}}
               |                 ^^^^^^^^^
               |
               = help: take one of the two away; `reference`: what the KL penalty is measured from; default: the incoming policy, frozen

        "#]],
    );
}

#[test]
fn the_candidates_that_a_stage_judges_are_compared_with_the_baseline_as_well() {
    check_in(
        &folder(),
        "name: rlhf
stages:
  sft: {kind: sft, from: {model: ./base, data: ./sft.jsonl}}
  again:
    kind: sft
    from: {model: ./other, data: ./sft.jsonl}
    gate: {judge: eval, require: mean_score > 0}
  eval: {kind: eval, from: {policy: sft, reward: ./trl, prompts: ./heldout.jsonl, baseline: ./base}}
",
        expect![[r#"
            error: `DIR/base` cannot read the tokens of `again`, since its tokenizer is another one: the vocabulary of `DIR/base` has 1000 tokens, that of `again` 1202
             --> rlhf.yaml:8:93
              |
            8 |   eval: {kind: eval, from: {policy: sft, reward: ./trl, prompts: ./heldout.jsonl, baseline: ./base}}
              |                                                                                             ^^^^^^
              |
              = help: `again` has the tokenizer of DIR/other; connect models of the same base

        "#]],
    );
}

#[test]
fn a_stage_agrees_with_the_adapter_of_a_directory_on_its_shape() {
    let folder = super::folder();
    let at = |name: &str| folder.path().join(name);
    for name in ["model/config.json", "model/model.safetensors", "model/tokenizer.json"] {
        fs::create_dir_all(at("tuned/model")).unwrap();
        fs::copy(at(name), at(&format!("tuned/{name}"))).unwrap();
    }
    for name in ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"] {
        fs::create_dir_all(at("tuned/adapter")).unwrap();
        fs::copy(Path::new("stages/tests/parity/llama").join(name), at(&format!("tuned/{name}"))).unwrap();
    }
    check_in(
        &folder,
        "name: rlhf
stages:
  other: {kind: sft, from: {model: ./tuned, data: ./sft.jsonl}}
  same: {kind: sft, from: {model: ./tuned, data: ./sft.jsonl}, with: {lora: {rank: 3, alpha: 5}}}
  merged: {kind: sft, from: {model: ./model, data: ./sft.jsonl}}
",
        expect![[r#"
            error: `other` goes on with the adapter of `DIR/tuned`, which has another shape
             --> rlhf.yaml:3:3
              |
            3 |   other: {kind: sft, from: {model: ./tuned, data: ./sft.jsonl}}
              |   ^^^^^
              |
              = help: `DIR/tuned` has lora: {rank: 3, alpha: 5}, `other` has {rank: 8, alpha: 16.0}; they must be the same

        "#]],
    );
}
