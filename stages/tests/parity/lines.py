r"""A thousand lines of every kind, and what the `tokenizers` library makes of them with three tokenizers.

    pip install tokenizers
    python stages/tests/parity/lines.py stages/tests/parity LLM_JP

LLM_JP holds the `tokenizer.json` of llm-jp, which is read only. Writes `tokenizers/unigram` (bytes where no piece fits, as
llm-jp and LLaMA 2 do it), `tokenizers/bytes` (a byte-level BPE as GPT-2, LLaMA 3 and Qwen do it), and
`tokenizers/lines.jsonl.gz`: of each line its ids by each tokenizer, without special tokens and with them, and the text that
comes back, special tokens left out. The same bytes every time.
"""

import gzip
import json
import math
import random
import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer

LINES = 1000
PIECES = 940  # of the unigram model, besides the special tokens and the 256 bytes
LONGEST = 8  # characters of a piece
MERGED = 1000  # all of the BPE
MARKS = ["<unk>", "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]

WHO = "姉 祖父 郵便屋さん 隣の猫 係の人 わたし ぼくたち 天文部員 船長 機械 パン職人 あの学生 子ども 渡辺さん 齋藤先生 髙橋 𠮷田さん".split()
WHERE = "港 図書室 台所 渋谷駅 屋根の上 北海道 研究所 ベランダ 地下鉄 森の奥 サーバー室 コンビニ 市役所 廊下 ﾎｰﾑ 鷗外通り".split()
WHAT = "手紙 味噌汁 望遠鏡 データ 自転車 古い地図 プログラム りんご 議事録 コーヒー 時刻表 ぬいぐるみ キーボード 薔薇 檸檬 鬱蒼とした木 ﾃﾞｰﾀ".split()
DID = "落とした 読んでいる 直しました 見つけられなかった 売るらしい 数えよう 隠したくなる 運んだ 温めている 比べてみた 忘れないで 探しています".split()
TAIL = ["。", "。", "！", "？", "……", "、たぶん。", "ね。", "よ〜", "けど。", "（仮）。", "ｗｗｗ", "！！", "、と「{who}」は言う。"]
KANA = "ときどき すこしずつ まだ もしかすると やっぱり ゆっくり そういえば きのう あいにく ワイワイ ドキドキ フワフワ".split()
HALF = "ｱｲｽｸﾘｰﾑ ﾊﾟｿｺﾝ ｶﾞｽﾚﾝｼﾞ ﾃｽﾄ ｺﾝﾋﾟｭｰﾀ ﾌﾟﾘﾝﾀ ﾛﾎﾞｯﾄ ﾆｬﾝｺ".split()
FULL = "ＡＢＣ ２０２４ ＨＴＭＬ Ｒｕｓｔ ３．１４ ＃１ （株） ％ ＆ ｖｅｒ．２ ４５６円".split()
RARE = "魑魅魍魎 驫 龘 齉 彁 𠮷 𩸽 𡈽 𪚥 㐂 麤 鱻 葛󠄀 辻󠄁 﨑 塚 神 ゔ ヷ ㍿ ㌔ ㊗ ① Ⅳ 〆 々 〻 ゟ".split()
NOUNS = "lantern harbour kettle compiler otter ledger window gradient teapot river signal archive pebble engine notebook".split()
VERBS = "watches repairs forgets carries measures paints ignores counts borrows rebuilds questions unfolds".split()
LOOKS = "quiet rusty enormous half-finished blue well-meaning crooked naïve over-cautious déjà-vu Ångström-sized".split()
SAID = ["I'm not sure", "They'd rather wait", "it's fine", "We've seen worse", "you'll see", "DON'T PANIC", "he's THE'd", "ain't"]
EMOJI = (
    "😀 🎉 ❤️ ❤ 👍🏽 👩‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 🇯🇵 🇺🇦🇫🇷 🧑🏿‍🚀 1️⃣ ☕ 🫠 👁️‍🗨️ 🐈‍⬛ 🤷🏻‍♀️ ⌚︎ 🏴󠁧󠁢󠁳󠁣󠁴󠁿 🧵".split()
)
COMBINING = ["か\u3099", "ハ\u309a", "ウ\u3099", "e\u0301", "a\u0323\u0302", "n\u0303o", "ﾊ\uff9f", "Z\u0351\u036b\u0343"]
COMBINING += ["क्षि", "한글", "กำ", "ầ"]
UNSEEN = ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200e", "\u202e", "\ufe0f", "\u180e", "\U000e0041"]
CONTROL = ["\x00", "\x01", "\x07", "\x08", "\x0b", "\x0c", "\x1b[1m", "\x1c", "\x1f", "\x7f", "\x85", "\x9f"]
CONTROL += ["\ue000", "\ufffd", "\uffff"]
SPACES = [" ", "  ", "   ", "\t", "\u3000", "\u00a0", "\u2009", " \t ", "\u2028", "        ", "\r", "\n", "\r\n", "\n\n", "\n \n"]
OTHER = ["Где мой чайник", "πού είναι", "שלום לך", "مرحبا بك", "你在做什么呢", "잘 지내요", "xin chào bạn", "नमस्ते"]
OTHER += ["ⴰⵣⵓⵍ", "ᚠᚢᚦ"]
NAMES = "count total_rows parseLine HTTPServer _tmp2 x0 値 MAX_LEN fooBarBaz __init__".split()
SPECIAL = MARKS + "<|endoftext|> <|begin_of_text|> <|eot_id|> <s|LLM-jp> </s|LLM-jp> <EOD|LLM-jp> <unk|LLM-jp>".split()
SPECIAL += ["<mask|LLM-jp>", "<|im_start", "im_end|>", "< s >", "<S>", "</s", "<<s>>", "[INST]", "<0x41>", "<0xE3><0x81>"]
SPECIAL += ["▁", "▁▁s", "Ġ", "##ing", "<｜end｜>"]
CODE = [
    "def {name}({other}):\n    return [{other} ** {n} for _ in range({m})]  # {what}",
    "\tif ({name} >= {n} && !{other}) {{ {name}--; }}",
    "fn {name}<'a>({other}: &'a str) -> Option<u{n}> {{ {other}.get({m}..) }}",
    "SELECT {name}, COUNT(*) FROM {noun}s WHERE {other} <> '{what}' LIMIT {n};",
    "for f in *.{noun}; do echo \"$f\" | sed 's/{name}/\\t{n}/g' >> /tmp/{other}.log; done",
    "<p class=\"{name}\" id='{noun}-{n}'>{what} &amp; {noun}</p>",
    "{{\"{name}\": [{n}, -{m}.5e-3, null], \"{other}\": \"\\u3042{what}\"}}",
    "{name}:\n  - {noun}: {n}\n    {other}: |\n      {what}\n\n",
    "class {name}:\n\tdef {other}(self):\n\t\tpass\n\n\n\tx  =  {n}",
    "#include <{noun}.h>\r\nint main(void) {{\r\n        return {n};\r\n}}",
    "    let {other} = {name}?.map(({noun}) => `${{{noun}}}:{n}`);",
    "@@ -{n},{m} +{n},{m} @@ {name}\n-\told\n+    new",
]


def japanese(draw):
    text = draw.choice(["{kana}、", "", ""]) + draw.choice(
        [
            "{who}は{where}で{what}を{did}", "{where}の{what}を{who}が{did}", "{what}って{who}のもの", "{who}と{who2}が{did}",
            "{kana}{did}",
        ]
    )
    words = dict(kana=KANA, who=WHO, who2=WHO, where=WHERE, what=WHAT, did=DID)
    return (text + draw.choice(TAIL)).format(**{key: draw.choice(value) for key, value in words.items()})


def english(draw):
    noun, other, verb, look, said = (draw.choice(words) for words in [NOUNS, NOUNS, VERBS, LOOKS, SAID])
    one = [f"The {look} {noun} {verb} a {other}.", f"\"{said},\" says the {noun}.", f"{said}: {noun}s & {other}s?!"]
    two = [f"A {noun} {verb}, then {verb} again…", f"{noun.upper()} {verb} my {look} {other}", f"{noun}-{other}/{look}"]
    return draw.choice(one + two)


def numbers(draw):
    n, m = draw.randrange(10 ** draw.randint(1, 12)), draw.randrange(1, 60)
    one = [f"{n}", f"{n:,}円", f"-{m}.{n}", f"{m}e-{m}", f"0x{n:X}", f"¥{n}", f"{m}:{m:02}〜{m + 1}:00"]
    two = [f"令和{m}年{m % 12 + 1}月", f"{m}℃", f"+81-{m}-{n}", f"{m}²½", f"٣{m}٤", f"{m}%", "十" + "百千万億"[m % 4]]
    wide = "".join(chr(ord("０") + int(digit)) for digit in str(n))
    return draw.choice([*one, *two, wide])


def address(draw):
    noun, other, n = draw.choice(NOUNS), draw.choice(NOUNS), draw.randrange(3000)
    one = [f"https://{noun}.example/{other}?q={n}&r=%E3%81%82#{noun}", f"{noun}.{other}+{n}@mail.example"]
    two = [f"C:\\{noun}\\{other}_{n}.txt", f"http://例え.example/{draw.choice(WHAT)}/{n}", f"../{noun}/./{other}.tar.gz"]
    return draw.choice([*one, *two, f"ftp://10.0.{n % 256}.1:{n}/"])


def code(draw):
    words = dict(name=draw.choice(NAMES), other=draw.choice(NAMES), noun=draw.choice(NOUNS), what=draw.choice(WHAT))
    return draw.choice(CODE).format(n=draw.randrange(1, 999), m=draw.randrange(1, 40), **words)


def long_word(draw):
    letters = draw.choice(
        ["abcdefghij", "あいうえおー", "ァアィイン", "山川田中木", "01", "=-", "😀🎉", "ab12_", "ﾊﾟﾋ", "\u0301a", "\x01\x02𠮷"]
    )
    if draw.random() < 0.3:
        return draw.choice(letters) * draw.randint(10, 150)
    return "".join(draw.choice(letters) for _ in range(draw.randint(20, 90)))


def odd(draw):
    lists = [EMOJI, COMBINING, UNSEEN, CONTROL, RARE, HALF, FULL, OTHER, SPECIAL]
    parts = [draw.choice(draw.choice(lists)) for _ in range(draw.randint(1, 5))]
    return draw.choice(["", "", " ", "と"]).join(parts)


def of_one_kind(draw):
    kind = draw.choice([EMOJI, COMBINING, UNSEEN, CONTROL, RARE, HALF, FULL, OTHER, SPECIAL, SPECIAL])
    glue = draw.choice(["", " ", "\u3000", "の", "-"])
    return glue.join(draw.choice(kind) for _ in range(draw.randint(1, 6)))


def empty(draw):
    return "".join(draw.choice(SPACES) for _ in range(draw.randint(0, 4)))


def sprinkled(draw):
    """A sentence with odd things inside its words."""
    text = list(draw.choice([japanese, english])(draw))
    for _ in range(draw.randint(1, 3)):
        thing = draw.choice(draw.choice([UNSEEN, CONTROL, EMOJI, SPACES, SPECIAL, COMBINING]))
        text.insert(draw.randint(0, len(text)), thing)
    return "".join(text)


def mixed(draw):
    parts = [draw.choice([japanese, english, numbers, address, odd])(draw) for _ in range(draw.randint(2, 3))]
    return draw.choice(["", " ", "\n", "\t"]).join(parts)


KINDS = [(japanese, 20), (english, 14), (numbers, 7), (address, 6), (code, 14), (odd, 9), (of_one_kind, 9), (mixed, 9)]
KINDS += [(sprinkled, 9), (long_word, 3), (empty, 2)]


def line(draw):
    text = draw.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0](draw)
    chance = draw.random()
    if chance < 0.06:
        text = draw.choice(SPACES) + text
    elif chance < 0.12:
        text += draw.choice(SPACES)
    elif chance < 0.16:
        text = unicodedata.normalize(draw.choice(["NFD", "NFKD"]), text)
    elif chance < 0.19:
        text = text.replace(" ", draw.choice(SPACES))
    return text


def some(seed, count):
    draw, texts = random.Random(seed), dict.fromkeys(["", " ", "\n", "\u3000", "a", "あ"])
    while len(texts) < count:
        texts[line(draw)] = None
    return list(texts)


def unigram(texts):
    """Spaces become `▁`, one more is put before a text, and what no piece covers goes as bytes.

    The pieces are the substrings that save most, by plain counts: `UnigramTrainer` sums in the order of a hash, and no two of
    its runs say the same.
    """
    counts = Counter()
    for word in re.findall(" ?[^ ]+| ", "".join(f" {text}" for text in texts)):
        word = word.replace(" ", "▁")
        counts.update(word[i:j] for i in range(len(word)) for j in range(i + 1, min(i + LONGEST, len(word)) + 1))
    # Common characters, and of the longer ones no part that hardly comes without the whole.
    alone = {piece for piece in counts if len(piece) == 1 and counts[piece] >= 60}
    parts = {part for piece in counts for part in [piece[1:], piece[:-1]] if counts[part] < 1.2 * counts[piece]}
    longer = [piece for piece in counts if len(piece) > 1 and piece not in parts]
    longer.sort(key=lambda piece: (-counts[piece] * (len(piece) - 0.8), piece))
    pieces = list(alone) + longer[:PIECES - len(alone)]
    pieces.sort(key=lambda piece: (-counts[piece], piece))
    total = sum(counts[piece] for piece in pieces)
    vocabulary = [(mark, 0.0) for mark in MARKS] + [(f"<0x{byte:02X}>", -40.0) for byte in range(256)]
    vocabulary += [(piece, round(math.log(counts[piece] / total), 3)) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(r"(?<!\n)^"), "▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def byte_level(texts):
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    words = (
        r"(?i:'(?:s|d|m|t|ll|re|ve))|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    kana_or_not = r"[\u3041-\u309F]+|[\u30A0-\u30FFー]+|\p{Han}+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(kana_or_not), "isolated"),
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = BpeTrainer(
        vocab_size=MERGED, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), max_token_length=24,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def finished(tokenizer):
    """A text begins with `<s>`, as in most of the models; llm-jp's own ends with a token."""
    tokenizer.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in MARKS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


def write(tokenizer, directory):
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    settings = dict(
        tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        clean_up_tokenization_spaces=False, model_max_length=2048,
    )
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def main(target, llm_jp):
    target = target / "tokenizers"
    learn = some(1, 5000)
    all = {
        "unigram": write(finished(unigram(learn)), target / "unigram"),
        "bytes": write(finished(byte_level(learn)), target / "bytes"),
        "llm_jp": Tokenizer.from_file(str(llm_jp / "tokenizer.json")),
    }
    rows, same = [], dict.fromkeys(all, 0)
    for text in some(2, LINES):
        row = dict(text=text)
        for name, tokenizer in all.items():
            row[name] = tokenizer.encode(text, add_special_tokens=False).ids
            row[f"{name}_special"] = tokenizer.encode(text, add_special_tokens=True).ids
            row[f"{name}_text"] = tokenizer.decode(row[f"{name}_special"], skip_special_tokens=True)
            same[name] += row[f"{name}_text"] == text
        rows.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    with open(target / "lines.jsonl.gz", "wb") as file:
        file.write(gzip.compress("".join(rows).encode(), mtime=0))
    for name, tokenizer in all.items():
        print(f"{name}: {tokenizer.get_vocab_size()} tokens, {same[name]} of {len(rows)} lines come back as they went")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
