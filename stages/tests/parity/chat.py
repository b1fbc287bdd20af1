"""Chat templates of this folder (`chat/*.jinja`), and what transformers makes of them.

    pip install transformers jinja2
    python stages/tests/parity/chat.py stages/tests/parity

Reads `tokenizers/unigram` (`lines.py`) for its special tokens. Writes `chat/golden.jsonl`: one row a chat, with the text or
the error. The templates use between them what the templates of models use; the day is always 2024-07-26.
"""

import datetime
import json
import sys
from pathlib import Path

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils


class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, tzinfo=tz)


def said(role, content, **more):
    return dict(role=role, content=content, **more)


def user(content, **more):
    return said("user", content, **more)


def model(content, **more):
    return said("assistant", content, **more)


def system(content):
    return said("system", content)


ONE = [user("Which way is the sea?")]
LED = [system("  Speak like a gardener. \n"), user("Is it late?")]
MANY = [user("ひとつ目"), model("Fine."), user("And two?"), model("二つ目の返事です。"), user("last *one*")]
LED_MANY = [system("短く。"), user("Count."), model(" 1, 2 "), user("More.")]
ANSWERED = [user("Knock."), model("Who is there?")]
ODD = [
    user("𠮷野の👩‍💻は<b>「茶」</b> & \"it's\"\u3000か\u3099\u200b\u2028{{ x }} {% y %}\\n"), model("🏳️‍🌈\x7f\t\x1f é"),
]
SPACED = [system("\n\n a \n"), user(" \n  b\tb \r\n\r\n"), model("\n\nc\n\n"), user("\u3000d\u00a0")]
BLANK = [user(""), model(""), user(" ")]
MARKED = [user("<s> is no start, </s> no end<|im_end|>\n<|im_start|>system")]
TWICE = [user("one"), user("two")]
STRANGER = [user("one"), said("parrot", "two")]
PARTS = [
    user([dict(type="text", text=" see "), dict(type="image"), dict(type="text", text="そして\n")]), model("A boat."),
    user([dict(type="image_url", image_url="u"), dict(type="audio"), dict(type="text", text="heard?")]),
]
FORECAST = dict(
    type="function",
    function=dict(
        name="tide", description="When the water's high — <高潮>",
        parameters=dict(
            type="object",
            properties=dict(
                place=dict(type="string", description="どこ"), days=dict(type="integer", default=3),
                near=dict(type="array", items=dict(type="array", items=dict(type="number"))),
                step=dict(type="number", default=1e-05), unit=dict(enum=["m", "尺"]),
                who=dict(type=["string", "null"], default=None),
                # A map of these is no reason to mistake its `items` for the method.
                box=dict(type="object", properties=dict(items=dict(type="boolean", default=True), keys=dict(type="object"))),
            ),
            required=["place"],
        ),
    ),
)
HAMMER = dict(type="function", function=dict(name="hammer", parameters=dict(type="object", properties={}, required=[])))
TIDE = dict(type="function", function=dict(name="tide", arguments=dict(place="Kōchi", days=2, near=[[1.5, -2]], who=None)))
WORDS = dict(type="function", function=dict(name="tide", arguments='{"place": "x"}'))
USED = [
    user("When is high water?"), model("", tool_calls=[TIDE]), said("tool", '{"at": "06:10"}'), said("tool", "満潮"),
    model("At ten past six."),
]
USED_ONCE = [*ONE, model(None, tool_calls=[TIDE]), said("ipython", {"at": ["06:10", 7.0, True, None]})]
THOUGHT = [
    user("2+2?"), model("<think>\nEasy.\n</think>\n\n4"), user("3+3? /short\n"),
    model("6", reasoning_content="\nTwo threes.\n\n"),
]
THOUGHT_TOOLS = [
    system("Think."), user("tide?"), model("Let me look.", thinking="A tool.", tool_calls=[TIDE, WORDS]),
    said("tool", "06:10"), user("<back>\nnot a question\n</back>"), model("<think>so</think>Ten past."),
]
SOURCES = [dict(title="Tides", text="The moon\npulls.\n\nTwice."), dict(text="満潮は夕方。", year=2021, sure=True)]
TEXTS = [
    user("** the QUICK brown-fox's aunt (mc'donald) a1b\n\n second\tline  here **"),
    user("\u3000ﾊﾝｶｸ ǆ ßtraße İstanbul ΣΑΣ ﬁn 2nd ①\r\nx\u2028y\x1cz\x85\u3000"),
    user("a"), user("１２３"), user("AAA"), user("   \n"),
]
THINGS = dict(
    t=True, f=False, n=None, zero=0, one=1, big=2**53 + 1, minus=-7, half=0.5, whole=2.0, small=1e-07, large=1e16,
    third=1 / 3, text="é'\"\n", empty="", list=[1, "a", None], none_in=[], map={"b": 1, "a": {"x": [True]}}, no_map={},
)
NAMED = [user(None, name="Ann"), user(True), user(7), user(["a", {"b": 1.0}], name=["x"]), user({"k": "v"}), user("text", name="")]
HIDDEN = [
    system("s"), user("1"), user("not seen", hidden=True), said("tool", None), user({"a": "b", "c": "d"}),
    user(["p", {"text": "q"}]), said("stop", ""), model("never"),
]
TREE = [user("a", replies=[model("b", replies=[user("c")]), model("d")]), user("e")]
UTTER = [*ONE, ANSWERED[1]]

# Template, messages, whether a generation prompt is asked for, and what else is given.
CASES = [
    *[("marks", chat, prompt, {}) for chat, prompt in [
        (ONE, True), (LED, True), (LED, False), (MANY, True), (ANSWERED, False), (ANSWERED, True), (ODD, False),
        (SPACED, True), (BLANK, True), (MARKED, True), (STRANGER, True)]],
    ("marks", ONE, True, dict(voice="灯台守です。")),
    *[("loose", chat, prompt, {}) for chat, prompt in [
        (LED_MANY, True), (ANSWERED, False), (ODD, True), (SPACED, False)]],
    *[("pairs", chat, False, {}) for chat in [
        ONE, LED, MANY, LED_MANY, ANSWERED, SPACED, ODD, TWICE, STRANGER, [*ONE, LED[0]]]],
    ("pairs", LED_MANY, True, dict(rule_goes_last=True)),
    ("headers", ONE, True, {}),
    ("headers", LED_MANY, False, dict(today="1 April 1999")),
    ("headers", [*LED, *USED_ONCE[1:]], True, dict(tools=[FORECAST, HAMMER])),
    ("headers", LED, True, dict(tools=[HAMMER], beside=True)),
    ("headers", USED_ONCE, True, dict(own_tools=["tide", "hammer", "saw"])),
    ("headers", ANSWERED[1:], True, dict(tools=[HAMMER], beside=True)),
    ("headers", [user("x"), model("", tool_calls=[TIDE, WORDS])], False, {}),
    ("headers", SPACED, True, dict(tools=[])),
    *[("thoughts", THOUGHT, prompt, extra) for prompt, extra in [
        (False, {}), (True, {}), (True, dict(enable_thinking=False))]],
    *[("thoughts", THOUGHT[:3], True, extra) for extra in [dict(enable_thinking=True), dict(enable_thinking=False)]],
    ("thoughts", THOUGHT_TOOLS, False, dict(tools=[HAMMER])),
    ("thoughts", USED, False, {}),
    ("thoughts", USED[:4], True, dict(tools=[FORECAST, HAMMER])),
    ("thoughts", ODD, False, {}),
    *[("turns", chat, prompt, {}) for chat, prompt in [
        (ONE, True), (LED, True), (MANY, True), (ANSWERED, False), (PARTS[:2], True), (TWICE, True), (STRANGER, True),
        (SPACED, True), ([user({"type": "text"})], True)]],
    *[("japanese", chat, prompt, {}) for chat, prompt in [
        (ONE, True), (LED_MANY, True), (ANSWERED, False), (MANY, False), (SPACED, True), (LED[:1], True),
        ([*LED, LED[0]], True), (STRANGER, False)]],
    ("sources", LED_MANY, True, dict(documents=SOURCES, settings=dict(b_x="two", a=1, C="x"))),
    ("sources", SPACED, False, {}),
    ("parts", PARTS, True, {}),
    ("parts", PARTS, True, dict(count_pictures=True)),
    ("parts", HIDDEN, False, {}),
    ("parts", ANSWERED, True, {}),
    ("methods", TEXTS[:1], False, {}),
    ("methods", TEXTS[1:2], False, {}),
    ("methods", TEXTS[2:5], False, {}),
    ("tests", NAMED, True, {}),
    ("tests", ONE, False, dict(things=THINGS, tools=[])),
    ("printed", NAMED, False, {}),
    ("printed", ONE, False, dict(things=THINGS)),
    ("schema", ONE, False, dict(tools=[FORECAST, HAMMER])),
    ("schema", TREE, False, {}),
    *[(name, ANSWERED, False, {}) for name in ["percent", "format", "names"]],
    ("json", ODD, False, dict(tools=[FORECAST])),
    ("json", THOUGHT_TOOLS[2:4], False, dict(things=THINGS)),
    ("space", UTTER, True, {}),
    ("space", LED, False, {}),
]


def main(target):
    chat_template_utils.datetime = Fixed
    tokenizer = PreTrainedTokenizerFast.from_pretrained(target / "tokenizers" / "unigram")
    folder, rows = target / "chat", []
    for name, messages, prompt, extra in CASES:
        template = (folder / f"{name}.jinja").read_text()
        row = dict(template=name, messages=messages, add_generation_prompt=prompt, extra=extra)
        try:
            row["text"] = tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=False, add_generation_prompt=prompt, **extra
            )
        except TemplateError as error:
            # What a template says itself; any other error is a mistake of the template.
            assert type(error) is TemplateError, f"{name}: {error!r}"
            row["error"] = str(error)
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    (folder / "golden.jsonl").write_text("".join(rows))
    unused = {file.stem for file in folder.glob("*.jinja")} - {name for name, *_ in CASES}
    assert not unused, unused
    print(len(rows), "chats,", sum("error" in json.loads(row) for row in rows), "of them errors")


main(Path(sys.argv[1]))
