"""Small random models of every architecture and adapters over them, and what transformers and peft say of them.

    pip install torch transformers peft
    python stages/tests/parity/make.py stages/tests/parity [NAME...]

Writes one folder a model (all of them, or those that are named), as `save_pretrained` does it, with a LoRA adapter in `adapter`, one of a reward model in `reward`,
and `golden.safetensors` beside them: the ids of three rows, the logits of every position without and with the adapter, the
greedy continuations, the rewards, and of the first row the hidden states behind every block. Sizes are odd on purpose. `cargo test --test numbers` reads them.
"""

import copy
import json
import sys
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.models.granite.modeling_granite import GranitePreTrainedModel
from transformers import (
    Gemma2Config, Gemma3TextConfig, GPT2Config, GPTNeoXConfig, GraniteConfig, LlamaConfig, MistralConfig, Olmo2Config,
    Phi3Config, Qwen2Config, Qwen3Config, SmolLM3Config, StableLmConfig
)

ROWS = [[3, 17, 5, 60, 2, 9, 31], [8, 44, 13], [1, 6, 7, 58, 29]]
NEW = 9
COMMON = dict(vocab_size=61, bos_token_id=1, eos_token_id=0, pad_token_id=0)
SMALL = dict(hidden_size=24, intermediate_size=37, num_hidden_layers=2, max_position_embeddings=64, **COMMON)
LLAMA3 = dict(
    rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
)
MODELS = {
    "llama": LlamaConfig(num_attention_heads=4, num_key_value_heads=2, head_dim=10, **SMALL),
    "llama-biased": LlamaConfig(
        num_attention_heads=3, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
        rope_scaling=dict(LLAMA3, rope_theta=5000.0), **SMALL
    ),
    "llama-sharded": LlamaConfig(
        num_attention_heads=4, num_key_value_heads=1, rope_scaling=dict(rope_type="linear", factor=2.0), **SMALL
    ),
    "qwen2": Qwen2Config(num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True, **SMALL),
    "qwen3": Qwen3Config(num_attention_heads=4, num_key_value_heads=2, head_dim=14, **SMALL),
    "neox": GPTNeoXConfig(num_attention_heads=3, rotary_pct=0.5, use_parallel_residual=True, **SMALL),
    "neox-sequential": GPTNeoXConfig(
        num_attention_heads=4, rotary_pct=1.0, use_parallel_residual=False, tie_word_embeddings=True, **SMALL
    ),
    "gpt2": GPT2Config(n_embd=24, n_layer=2, n_head=3, n_positions=64, **COMMON),
    "mistral": MistralConfig(num_attention_heads=4, num_key_value_heads=2, head_dim=10, sliding_window=None, **SMALL),
    "mistral-window": MistralConfig(num_attention_heads=3, num_key_value_heads=1, sliding_window=4, **SMALL),
    "qwen2-window": Qwen2Config(
        num_attention_heads=4, num_key_value_heads=2, use_sliding_window=True, sliding_window=3, max_window_layers=1,
        **SMALL
    ),
    "gemma2": Gemma2Config(
        num_attention_heads=4, num_key_value_heads=2, head_dim=10, query_pre_attn_scalar=13, sliding_window=4,
        attn_logit_softcapping=5.0, final_logit_softcapping=6.0, **SMALL
    ),
    "gemma3": Gemma3TextConfig(
        num_attention_heads=4, num_key_value_heads=1, head_dim=14, query_pre_attn_scalar=9, sliding_window=3,
        sliding_window_pattern=2, **SMALL, rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=8.0, rope_theta=50_000.0),
            sliding_attention=dict(rope_type="default", rope_theta=100.0),
        )
    ),
    "phi3": Phi3Config(
        num_attention_heads=3, num_key_value_heads=1, sliding_window=5, partial_rotary_factor=0.75, **SMALL
    ),
    "phi3-long": Phi3Config(
        num_attention_heads=4, num_key_value_heads=2, original_max_position_embeddings=32, rope_parameters=dict(
            rope_type="longrope", rope_theta=1000.0, short_factor=[1.0, 1.1, 1.3], long_factor=[1.5, 2.5, 4.0]
        ), **SMALL
    ),
    "olmo2": Olmo2Config(num_attention_heads=4, num_key_value_heads=2, **SMALL),
    "smollm3": SmolLM3Config(
        num_attention_heads=4, num_key_value_heads=2, no_rope_layer_interval=2, use_sliding_window=True,
        sliding_window=4, **SMALL
    ),
    "granite": GraniteConfig(
        num_attention_heads=4, num_key_value_heads=2, embedding_multiplier=3.0, residual_multiplier=0.7,
        attention_multiplier=0.3, logits_scaling=1.7, attention_bias=True, rope_parameters=dict(
            rope_type="yarn", rope_theta=10_000.0, factor=4.0, original_max_position_embeddings=16
        ), **SMALL
    ),
    "stablelm": StableLmConfig(num_attention_heads=3, num_key_value_heads=3, use_qkv_bias=True, **SMALL),
}
# Beyond the context of the first training, `longrope` turns by other frequencies.
LONG = {"phi3-long": [index * 7 % 59 + 1 for index in range(40)]}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGETS = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
    "llama": ["q_proj", "v_proj", "down_proj"],
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
}
HALF = {"llama-sharded": torch.bfloat16, "qwen2": torch.float16}


class GraniteForSequenceClassification(GenericForSequenceClassification, GranitePreTrainedModel):
    """transformers has none; this is how it makes those of the other architectures."""


def disturb(model, seed):
    """Norms and biases begin as ones and zeros, which would hide a wrong one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 0.3 if parameter.dim() == 1 else 0.25
            base = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
            parameter.copy_(base + scale * noise)


def adapt(model, settings, seed):
    """B begins as zeros, which would hide whether it is read."""
    torch.manual_seed(seed)
    adapted = get_peft_model(model, settings).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return adapted


def hidden(model, ids):
    """What goes into the first block, and what comes out of each: to find where a difference begins."""
    blocks = next(
        module for module in model.base_model.modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == model.config.num_hidden_layers
    )
    kept = []
    first = lambda _, args, named: kept.append(args[0] if args else named["hidden_states"])
    hooks = [blocks[0].register_forward_pre_hook(first, with_kwargs=True)]
    last = lambda _, args, out: kept.append(out[0] if isinstance(out, tuple) else out)
    hooks += [block.register_forward_hook(last) for block in blocks]
    model(ids)
    for hook in hooks:
        hook.remove()
    return {f"hidden.0.{layer}": state[0].float().contiguous() for layer, state in enumerate(kept)}


def main(target, names):
    versions = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__)
    for seed, (name, config) in enumerate(MODELS.items()):
        if names and name not in names:
            continue
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        disturb(model, seed)
        # What is stored is what is measured; the angles of the rope, which are not stored, stay exact.
        dtype = HALF.get(name, torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.to(dtype))
        folder = target / name
        golden = {}
        # No token ends an answer here: each has all its tokens.
        ends, model.generation_config.eos_token_id = model.generation_config.eos_token_id, None
        with torch.no_grad():
            for number, row in enumerate(ROWS):
                ids = torch.tensor([row])
                golden[f"ids.{number}"] = ids[0]
                golden[f"logits.{number}"] = model(ids).logits[0].float().contiguous()
                if number == 0:
                    golden.update(hidden(model, ids))
                said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False)
                golden[f"greedy.{number}"] = said[0, len(row):]
            if name in LONG:
                golden["long.ids"] = torch.tensor(LONG[name])
                golden["long.logits"] = model(torch.tensor([LONG[name]])).logits[0].float().contiguous()
        model.generation_config.eos_token_id = ends
        kept = {key: value.clone() for key, value in model.state_dict().items()}
        shard = dict(max_shard_size="12KB") if name == "llama-sharded" else {}
        copy.deepcopy(model).to(dtype).save_pretrained(folder, **shard)
        targets = TARGETS.get(config.model_type, ALL)
        lora = dict(r=3, lora_alpha=5.0, target_modules=targets, fan_in_fan_out=config.model_type == "gpt2")
        adapted = adapt(model, LoraConfig(task_type="CAUSAL_LM", **lora), seed)
        adapted.save_pretrained(folder / "adapter")
        single = type(config)(**{**config.to_dict(), "num_labels": 1})
        if name == "granite":
            reward = GraniteForSequenceClassification._from_config(single, attn_implementation="eager")
        else:
            reward = transformers.AutoModelForSequenceClassification.from_config(single, attn_implementation="eager")
        reward = reward.float().eval()
        missing = reward.load_state_dict({k: v.float() for k, v in kept.items()}, strict=False).missing_keys
        assert missing == ["score.weight"], missing
        reward = adapt(reward, LoraConfig(task_type="SEQ_CLS", modules_to_save=["score"], **lora), seed + 100)
        reward.save_pretrained(folder / "reward")
        with torch.no_grad():
            for number, row in enumerate(ROWS):
                ids = torch.tensor([row])
                golden[f"adapted.{number}"] = adapted(input_ids=ids).logits[0].float().contiguous()
                golden[f"reward.{number}"] = reward(input_ids=ids).logits[0].float().contiguous()
        for which in ["adapter", "reward"]:
            (folder / which / "README.md").unlink()
        save_file(golden, folder / "golden.safetensors", metadata={key: str(value) for key, value in versions.items()})
        print(name, sum(file.stat().st_size for file in folder.iterdir()) // 1024, "KiB")
    (target / "versions.json").write_text(json.dumps(versions) + "\n")


main(Path(sys.argv[1]), sys.argv[2:])
