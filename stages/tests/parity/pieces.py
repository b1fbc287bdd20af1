"""SentencePiece models without a tokenizer.json, and what `transformers` makes of the thousand lines of `lines.py` with them.

    pip install transformers sentencepiece protobuf
    python stages/tests/parity/pieces.py stages/tests/parity

Writes `tokenizers/pieces`: `unigram.model` (letters that are rewritten, extra spaces removed, bytes where no piece fits, as
rinna's), `t5.model` (its first pieces are those of T5) and `bpe.model` (nothing rewritten, as LLaMA 2's), with pieces that
are no text; and `lines.jsonl.gz`: of each way to load them its files, the ids of each line without special tokens, the text
that comes back if it is another one, and the tokens before a text. The same bytes every time.
"""

import contextlib
import gzip
import io
import json
import runpy
import sys
import tempfile
from pathlib import Path

import sentencepiece
import tokenizers
import transformers
from transformers import AutoTokenizer

SPACES = [0x9, 0xA, 0xB, 0xC, 0xD, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
GONE = [*range(1, 9), *range(0xE, 0x20), 0x7F, 0x8F, 0x9F, 0x200B, 0x200C, 0x200E, 0x200F, 0xFEFF]
WIDE = [(letter, letter - 0xFEE0) for letter in range(0xFF01, 0xFF5F)]
RINNA = dict(
    eos_token="</s>", unk_token="<unk>", pad_token="[PAD]", bos_token="<s>", cls_token="[CLS]", sep_token="[SEP]",
    mask_token="[MASK]", extra_ids=0, additional_special_tokens=[], tokenizer_class="T5Tokenizer",
)
OLD = dict(__type="AddedToken", lstrip=False, normalized=True, rstrip=False, single_word=False)
LLAMA = dict(
    bos_token=dict(OLD, content="<s>"), eos_token=dict(OLD, content="</s>"), unk_token=dict(OLD, content="<unk>"),
    pad_token=None, tokenizer_class="LlamaTokenizer",
)
CASES = [
    ("unigram", "spiece.model", "gpt_neox", RINNA),
    ("unigram", "spiece.model", "gpt2", dict(tokenizer_class="T5Tokenizer")),
    ("t5", "spiece.model", "gpt2", dict(tokenizer_class="T5Tokenizer")),
    ("unigram", "tokenizer.model", "llama", {}),
    ("unigram", "tokenizer.model", "gpt_neox", dict(tokenizer_class="PreTrainedTokenizerFast", legacy=False)),
    ("bpe", "tokenizer.model", "llama", LLAMA),
    ("bpe", "tokenizer.model", "llama", dict(LLAMA, legacy=True, add_bos_token=True, add_eos_token=True)),
    ("bpe", "tokenizer.model", "llama", dict(LLAMA, tokenizer_class="PreTrainedTokenizerFast", add_bos_token=True)),
    ("bpe", "tokenizer.model", "llama", {}),
]


def train(path, texts, **settings):
    out = io.BytesIO()
    settings = dict(settings, num_threads=1, minloglevel=2, byte_fallback=True, character_coverage=0.98)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=out, **settings)
    path.write_bytes(out.getvalue())


def models(target, texts):
    rules = [f"{one:X}\t{other:X}\n" for one, other in WIDE] + [f"{letter:X}\t20\n" for letter in SPACES]
    rules += [f"{letter:X}\t\n" for letter in GONE] + ["FF76 FF9E\t30AC\n", "FF8A FF9F\t30D1\n", "304B 3099\t304C\n"]
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        # The model keeps the name of this file.
        Path("rules.tsv").write_text("".join(rules))
        train(
            target / "unigram.model", texts, model_type="unigram", vocab_size=1500, normalization_rule_tsv="rules.tsv",
            pad_id=3, pad_piece="[PAD]", control_symbols=["[CLS]", "[SEP]", "[MASK]"], user_defined_symbols=["<<s>>"],
        )
    train(
        target / "t5.model", texts, model_type="unigram", vocab_size=700, normalization_rule_name="identity",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>",
    )
    train(
        target / "bpe.model", texts, model_type="bpe", vocab_size=1300, normalization_rule_name="identity",
        remove_extra_whitespaces=False, split_digits=True, user_defined_symbols=["<|im_start|>", "<|im_end|>"],
    )


def loaded(directory):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    inner = tokenizer._tokenizer
    if type(tokenizer).__name__ != "T5Tokenizer" or tokenizer.unk_token_id == 2:
        return inner, inner
    # transformers 5 gives token 2, the unknown one of T5, to what no piece covers. Here that ends a text, and the model
    # itself says bytes, as sentencepiece and transformers 4 gave them.
    changed = json.loads(inner.to_str())
    changed["model"].update(unk_id=0, byte_fallback=True)
    changed["decoder"] = dict(type="Sequence", decoders=[dict(type="ByteFallback"), changed["decoder"]])
    return tokenizers.Tokenizer.from_str(json.dumps(changed)), inner


def main(target):
    lines = runpy.run_path(str(target / "lines.py"), run_name="lines")
    place = target / "tokenizers" / "pieces"
    place.mkdir(parents=True, exist_ok=True)
    models(place, [row for text in lines["some"](1, 5000) for row in text.split("\n") if row.strip() and "\0" not in row])
    texts = lines["some"](2, lines["LINES"])
    rows, results = [], []
    for model, name, model_type, settings in CASES:
        with tempfile.TemporaryDirectory() as directory:
            directory = Path(directory)
            (directory / name).write_bytes((place / f"{model}.model").read_bytes())
            (directory / "config.json").write_text(json.dumps(dict(model_type=model_type)))
            if settings:
                (directory / "tokenizer_config.json").write_text(json.dumps(settings))
            tokenizer, original = loaded(directory)
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        before = [original.encode(text, add_special_tokens=False).ids for text in texts]
        same = sum(one == other for one, other in zip(ids, before))
        assert all(one == other or 2 in other for one, other in zip(ids, before))
        dressed = tokenizer.encode("a").ids
        front = dressed[: dressed.index(tokenizer.encode("a", add_special_tokens=False).ids[0])]
        back = [tokenizer.decode(row) for row in ids]
        result = dict(ids=ids, back=[None if one == other else one for one, other in zip(back, texts)])
        # Cases that give the same are written once.
        result = dict(same_as=results.index(result)) if result in results else result
        results.append(result)
        row = dict(model=model, file=name, model_type=model_type, settings=settings, front=front, **result)
        rows.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
        print(model, name, settings.get("tokenizer_class"), f"{same} of {len(texts)} lines as transformers gives them")
    with open(place / "lines.jsonl.gz", "wb") as file:
        file.write(gzip.compress("".join(rows).encode(), mtime=0))
    versions = dict(transformers=transformers.__version__, sentencepiece=sentencepiece.__version__)
    (place / "versions.json").write_text(json.dumps(versions) + "\n")


main(Path(sys.argv[1]).resolve())
