"""Configurations with every type of rope, old and new, and the angles that `transformers` makes of them.

    pip install torch transformers
    python stages/tests/parity/ropes.py stages/tests/parity

Writes `ropes.json`: of each case the fields of `config.json`, the layers that are asked for, and what the model turns by. The
mathematics of `transformers`, in float64 in place of its float32, so that a wrong formula is told from rounding.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

torch.float = torch.float32 = torch.float64
torch.Tensor.float = torch.Tensor.double

FULL, SLIDING = "full_attention", "sliding_attention"
LLAMA = dict(model_type="llama", hidden_size=64, num_attention_heads=4, max_position_embeddings=2048)
LLAMA32 = dict(LLAMA, hidden_size=256, max_position_embeddings=131072, rope_theta=500000.0)
STRETCHED = dict(factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
QWEN = dict(
    model_type="qwen2", hidden_size=192, num_attention_heads=4, max_position_embeddings=32768, rope_theta=1000000.0
)
YARN = dict(type="yarn", factor=4.0, original_max_position_embeddings=32768)
DEEPSEEK = dict(
    type="yarn", beta_fast=32, beta_slow=1, factor=40, mscale=1.0, mscale_all_dim=0.707,
    original_max_position_embeddings=4096,
)
PHI = dict(
    model_type="phi3", hidden_size=64, num_attention_heads=4, max_position_embeddings=131072,
    original_max_position_embeddings=4096, rope_theta=10000.0,
)
BIG_FACTORS = dict(
    short_factor=[round(1.0 + 0.035 * pair, 3) for pair in range(48)],
    long_factor=[round(1.08 + 0.03 * pair * pair, 3) for pair in range(48)],
)
FACTORS = {name: factors[:8] for name, factors in BIG_FACTORS.items()}
SOME_FACTORS = {name: factors[:6] for name, factors in BIG_FACTORS.items()}
GEMMA = dict(
    model_type="gemma3_text", hidden_size=64, num_attention_heads=2, head_dim=32, num_hidden_layers=6,
    max_position_embeddings=32768,
)
OLD_GEMMA = dict(GEMMA, rope_theta=900000, rope_local_base_freq=12000, rope_scaling=dict(rope_type="linear", factor=8.0))
NEW_GEMMA = dict(
    GEMMA,
    rope_parameters={
        FULL: dict(DEEPSEEK, rope_type="yarn", rope_theta=800000.0), SLIDING: dict(rope_type="default", rope_theta=11000.0)
    },
)
BOTH_GEMMA = dict(
    GEMMA, rope_theta=5.0, rope_scaling=dict(rope_type="linear", factor=2.0),
    rope_parameters={FULL: dict(rope_type="linear", factor=8.0, rope_theta=8e5), SLIDING: dict(rope_theta=11e3)},
)
CASES = [
    ("default", LLAMA, None),
    ("nothing of rope_scaling", dict(LLAMA, rope_scaling=None, rope_theta=500.0), None),
    ("default of SmolLM3", dict(LLAMA, model_type="smollm3"), None),
    ("default of StableLM", dict(LLAMA, model_type="stablelm"), None),
    ("a share of StableLM", dict(LLAMA, model_type="stablelm", partial_rotary_factor=0.5), None),
    ("linear", dict(LLAMA, rope_scaling=dict(type="linear", factor=4)), None),
    ("dynamic", dict(LLAMA, rope_scaling=dict(type="dynamic", factor=2.0)), None),
    ("Llama 3.2", dict(LLAMA32, head_dim=64, rope_scaling=dict(STRETCHED, rope_type="llama3")), None),
    ("Llama 3.2, saved by 5", dict(LLAMA32, rope_parameters=dict(STRETCHED, rope_type="llama3", rope_theta=1e5)), None),
    ("llama3, of unknown length", dict(LLAMA32, rope_scaling=dict(
        rope_type="llama3", factor=8, low_freq_factor=2, high_freq_factor=3)), None),
    ("llama3, length beside it", dict(LLAMA32, original_max_position_embeddings=1000, rope_scaling=dict(
        STRETCHED, rope_type="llama3")), None),
    ("Qwen2.5 with YaRN", dict(QWEN, rope_scaling=YARN), None),
    ("YaRN of unknown factor", dict(QWEN, max_position_embeddings=65536, rope_scaling=dict(YARN, factor=None)), None),
    ("YaRN of unknown length", dict(QWEN, rope_scaling=dict(type="yarn", factor=2)), None),
    ("YaRN, length beside it", dict(QWEN, original_max_position_embeddings=5000, rope_scaling=YARN), None),
    ("YaRN that shrinks", dict(QWEN, rope_scaling=dict(YARN, factor=0.5)), None),
    ("YaRN as DeepSeek has it", dict(LLAMA, max_position_embeddings=163840, rope_scaling=DEEPSEEK), None),
    ("YaRN, equal scales", dict(LLAMA, rope_scaling=dict(DEEPSEEK, mscale_all_dim=1.0)), None),
    ("YaRN, one scale of none", dict(LLAMA, rope_scaling=dict(DEEPSEEK, mscale=0)), None),
    ("YaRN, own attention", dict(QWEN, rope_scaling=dict(YARN, attention_factor=0.75, beta_fast=20.5, beta_slow=2)), None),
    ("YaRN, not rounded", dict(QWEN, rope_scaling=dict(YARN, truncate=False, finetuned=True)), None),
    ("YaRN within one pair", dict(QWEN, rope_scaling=dict(YARN, beta_fast=3, beta_slow=3, truncate=False)), None),
    ("Phi-3-mini-128k", dict(PHI, hidden_size=384, rope_scaling=dict(BIG_FACTORS, type="longrope")), None),
    ("Phi-3-mini-128k, older", dict(PHI, rope_scaling=dict(
        FACTORS, type="su", original_max_position_embeddings=4096)), None),
    ("Phi-3, default length", {key: value for key, value in dict(
        PHI, rope_scaling=dict(FACTORS, type="longrope")).items() if key != "original_max_position_embeddings"}, None),
    ("Phi-3, two lengths", dict(PHI, rope_scaling=dict(
        FACTORS, type="longrope", original_max_position_embeddings=8192)), None),
    ("Phi-4-mini", dict(PHI, partial_rotary_factor=0.75, rope_scaling=dict(SOME_FACTORS, type="longrope")), None),
    ("Phi-4-mini, saved by 5", dict(PHI, rope_parameters=dict(
        SOME_FACTORS, rope_type="longrope", rope_theta=5000.0, partial_rotary_factor=0.75)), None),
    ("longrope, own factor", dict(PHI, rope_scaling=dict(FACTORS, type="longrope", factor=16.0)), None),
    ("longrope, own attention", dict(PHI, rope_scaling=dict(FACTORS, type="longrope", attention_factor=1.25)), None),
    ("longrope, not longer", dict(PHI, max_position_embeddings=4096, rope_scaling=dict(FACTORS, type="longrope")), None),
    ("longrope of a LLaMA", dict(LLAMA, rope_scaling=dict(
        FACTORS, type="longrope", original_max_position_embeddings=512)), None),
    ("Gemma 3, silent", GEMMA, FULL),
    ("Gemma 3, silent", GEMMA, SLIDING),
    ("gemma-3-1b", dict(GEMMA, rope_theta=1000000, rope_local_base_freq=10000, rope_scaling=None), FULL),
    ("gemma-3-1b", dict(GEMMA, rope_theta=1000000, rope_local_base_freq=10000, rope_scaling=None), SLIDING),
    ("Gemma 3, older and longer", OLD_GEMMA, FULL),
    ("Gemma 3, older and longer", OLD_GEMMA, SLIDING),
    ("Gemma 3, saved by 5", NEW_GEMMA, FULL),
    ("Gemma 3, saved by 5", NEW_GEMMA, SLIDING),
    ("Gemma 3, new and old", BOTH_GEMMA, FULL),
    ("Gemma 3, new and old", BOTH_GEMMA, SLIDING),
    ("Gemma 3, one of two", dict(GEMMA, rope_parameters={FULL: dict(rope_theta=7e5)}, rope_local_base_freq=1e3), SLIDING),
]


def golden(fields, layers):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(fields))
        config = AutoConfig.from_pretrained(folder)
    module = importlib.import_module(type(config).__module__.replace("configuration_", "modeling_"))
    rotary = next(vars(module)[name] for name in vars(module) if name.endswith("RotaryEmbedding"))(config)
    prefix = f"{layers}_" if layers else ""
    frequencies, scale = getattr(rotary, f"{prefix}inv_freq"), getattr(rotary, f"{prefix}attention_scaling")
    given = config.rope_parameters[layers] if layers else config.rope_parameters
    result = dict(frequencies=frequencies.tolist(), scale=scale, long=None)
    if given["rope_type"] == "longrope":
        beyond = given["original_max_position_embeddings"]
        long, _ = ROPE_INIT_FUNCTIONS["longrope"](config, seq_len=beyond + 1, layer_type=layers)
        result["long"] = dict(beyond=beyond, frequencies=long.tolist())
    return result


def main(target):
    rows = [dict(name=name, config=fields, layers=layers, **golden(fields, layers)) for name, fields, layers in CASES]
    text = ",\n".join(json.dumps(row) for row in rows)
    (target / "ropes.json").write_text(f'{{"transformers": "{transformers.__version__}", "cases": [\n{text}\n]}}\n')
    print(f"{len(rows)} ropes, {len(text) // 1024} KiB")


main(Path(sys.argv[1]))
