"""Whether transformers and peft read what the stages write, and say of it what the stages say.

    pip install torch transformers peft
    python stages/tests/parity/back.py DIR

DIR holds a folder a model, with `model/` and any of `adapter/` and `reward/` (over it), `merged-f32/`, `merged-f16/`,
`merged-bf16/` and `reward-merged/` (whole), and `ours.safetensors`, which the Rust side wrote of the rows N: `ids.N`, the
`logits.N` of the base, `adapted.N`, `reward.N` (the head's value, no offset), and, to find where a difference begins,
`hidden.N.L` of the base (0: what goes into the first block, L: what comes out of block L, before the last norm). With
`texts.json` (`texts`, their `ids`, and `add_special_tokens`, else false) the tokenizer files are read too.

One line a check; exit code 1 where one fails.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
import transformers
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file

# Sums in another order.
EXACT = 1e-4
# A merged weight is rounded once, by at most 2^-11 of itself in f16 and 2^-8 in bf16, and reckoned with in f32. Such errors
# add up as the root of their number, so no sharp bound holds for every model. Measured by the largest logit, peft's own
# merges of the models of `make.py`, rounded by torch, were off by 0.0021 and 0.0134 at most; three times that is allowed.
# What this lets through (bf16 cut instead of rounded, say) the weights themselves show where `merged-f32/` is there.
HALF = {"f16": 0.006, "bf16": 0.04}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
# What turns the last state into words: a classifier has no place for it.
WORDS = {"lm_head.weight", "embed_out.weight"}
failures = 0


def check(name, holds, told):
    global failures
    failures += not holds
    print("ok  " if holds else "FAIL", f"{name}: {told}")
    return holds


def compare(name, theirs, ours, most=EXACT):
    """`theirs` and `ours` are lists, an entry a row."""
    pairs = list(zip(theirs, ours, strict=True))
    if bad := [(one.shape, other.shape) for one, other in pairs if one.shape != other.shape]:
        return check(name, False, f"shapes {bad[0][0]} and {bad[0][1]}")
    off = max((one - other).abs().max().item() for one, other in pairs)
    # A NaN is no match.
    return check(name, off <= most, f"off by {off:.2e} (at most {most:.1e}) in {len(pairs)} rows")


def load(name, kind, directory, but=(), **more):
    """A model in f32, every weight of which came from the files, and every weight of the files into it, `but` those."""
    model, info = kind.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **more
    )
    wrong = {what: sorted(map(str, set(keys) - set(but))) for what, keys in info.items()}
    wrong = {what: keys for what, keys in wrong.items() if keys}
    check(f"{name} reads", not wrong, wrong or f"{type(model).__name__}, {len(model.state_dict())} tensors")
    return model.eval()


def over(name, model, directory):
    """An adapter, likewise: peft itself only warns of what it misses and says nothing of what it does not know."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        adapted = PeftModel.from_pretrained(model, directory).eval()
    expected = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    with safe_open(directory / "adapter_model.safetensors", "pt") as file:
        found = set(file.keys())
    wrong = {"missing": sorted(expected - found), "unexpected": sorted(found - expected)}
    wrong["warnings"] = [str(warning.message) for warning in told if "adapter" in str(warning.message)]
    wrong = {key: value for key, value in wrong.items() if value}
    check(f"{name} reads", not wrong, wrong or f"{len(found)} tensors")
    return adapted


@torch.no_grad()
def logits(model, rows):
    return [model(input_ids=row[None]).logits[0].float() for row in rows]


def rewards(model, rows):
    # The last token's value: no token is the padding, whatever ends a row.
    model.config.pad_token_id = -1
    return logits(model, rows)


@torch.no_grad()
def where(name, model, rows, ours):
    """The largest difference behind every block."""
    base = model.base_model
    blocks = next(
        module for module in base.modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == model.config.num_hidden_layers
    )
    kept = []
    first = lambda _, args, named: kept.append(args[0] if args else named["hidden_states"])
    blocks[0].register_forward_pre_hook(first, with_kwargs=True)
    for block in blocks:
        block.register_forward_hook(lambda _, args, out: kept.append(out[0] if isinstance(out, tuple) else out))
    for number, row in enumerate(rows):
        kept.clear()
        model(input_ids=row[None])
        for layer, hidden in enumerate(kept):
            if (mine := ours.get(f"hidden.{number}.{layer}")) is not None:
                print(f"       {name}, row {number}, behind block {layer}: off by {(hidden[0] - mine).abs().max():.2e}")


def texts(name, directory, told):
    if not (directory / "tokenizer.json").exists():
        return
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    special = told.get("add_special_tokens", False)

    def differ(tokenizer):
        pairs = zip(told["texts"], told["ids"], strict=True)
        return [text for text, ids in pairs if tokenizer(text, add_special_tokens=special)["input_ids"] != ids]

    off, kind = differ(tokenizer), type(tokenizer).__name__
    if off and not differ(transformers.PreTrainedTokenizerFast.from_pretrained(directory)):
        # Of some architectures (qwen2 in transformers 5.23) it takes the vocabulary only, and splits texts as it likes.
        kind += ", though not by PreTrainedTokenizerFast"
    check(f"{name} encodes", not off, f"{len(told['texts'])} texts by {kind}" + (f", differs on {off[:3]}" if off else ""))


def one(folder):
    ours = load_file(folder / "ours.safetensors")
    count = sum(key.startswith("ids.") for key in ours)
    rows = [ours[f"ids.{number}"] for number in range(count)]
    of = lambda what: [ours[f"{what}.{number}"] for number in range(count)]
    causal, classifier = transformers.AutoModelForCausalLM, transformers.AutoModelForSequenceClassification
    name = lambda what: f"{folder.name}/{what}"

    base = load(name("model"), causal, folder / "model")
    if not compare(f"{name('model')} logits", logits(base, rows), of("logits")):
        where(name("model"), base, rows, ours)
    if (folder / "adapter").is_dir():
        adapted = over(name("adapter"), base, folder / "adapter")
        compare(f"{name('adapter')} logits", logits(adapted, rows), of("adapted"))
    whole = {}
    for kind, dtype in DTYPES.items():
        if not (merged := folder / f"merged-{kind}").is_dir():
            continue
        stored = {key: value for file in sorted(merged.glob("*.safetensors")) for key, value in load_file(file).items()}
        others = sorted({str(value.dtype) for value in stored.values()} - {str(dtype)})
        check(f"{name(merged.name)} is stored", not others, others or str(dtype))
        whole = whole or (stored if kind == "f32" else {})
        if whole and kind != "f32":
            keys = stored.keys() | whole.keys()
            off = [k for k in keys if k not in stored or k not in whole or not torch.equal(whole[k].to(dtype), stored[k])]
            check(f"{name(merged.name)} is merged-f32 rounded", not off, sorted(off) or f"{len(keys)} tensors")
        model = load(name(merged.name), causal, merged)
        largest = max(row.abs().max().item() for row in of("adapted"))
        compare(f"{name(merged.name)} logits", logits(model, rows), of("adapted"), HALF.get(kind, 0.0) * largest or EXACT)
    if (folder / "reward").is_dir():
        model = load(name("model as classifier"), classifier, folder / "model", but={"score.weight", *WORDS}, num_labels=1)
        compare(f"{name('reward')} values", rewards(over(name("reward"), model, folder / "reward"), rows), of("reward"))
    if (folder / "reward-merged").is_dir():
        model = load(name("reward-merged"), classifier, folder / "reward-merged")
        compare(f"{name('reward-merged')} values", rewards(model, rows), of("reward"))
    if (told := folder / "texts.json").exists():
        for directory in sorted(path for path in folder.iterdir() if path.is_dir()):
            texts(name(directory.name), directory, json.loads(told.read_text()))


def main(directory):
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folders = sorted(path for path in directory.iterdir() if path.is_dir())
    check(str(directory.name or directory), bool(folders), f"{len(folders)} models")
    for folder in folders:
        try:
            one(folder)
        except Exception as error:
            # The other models are still looked at.
            check(folder.name, False, f"{type(error).__name__}: {error}")
    print(f"{failures} failures" if failures else "all is as it should be")
    sys.exit(failures > 0)


main(Path(sys.argv[1]))
