// Writes the answers of two models that no page may be moved by: each has harmed some page before.
import { writeFileSync } from "node:fs";

const corpus = [
  "</script><script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "<svg onload=alert(1)><style>*{display:none}</style>",
  "--><!-- ]]> \" ' & &lt; {{7*7}} ${7*7}",
  "javascript:alert(1) https://example.com/pixel.gif",
  "nul \0 bell \u0007 escape \u001b[31mred\u001b[0m \u001b]8;;https://example.com\u0007link",
  "right to left \u202eevil\u202c isolate \u2067x\u2069",
  "a half of a pair \ufffd and its mark",
  "family 👨\u200d👩\u200d👧 flag 🇯🇵 skin 👍🏽",
  "مرحبا بالعالم שלום",
  "x".repeat(100_000),
  "a" + "\u0301".repeat(1_000) + "b",
  "line\u2028separator\u0085next\r\n\ttab",
  "、".repeat(3_000),
];
const rows = (answer) => corpus.map((text, id) => JSON.stringify({ id, prompt: text, ...answer(text, id) }) + "\n").join("");
writeFileSync("base.jsonl", rows((_, id) => ({ text: `plain ${id}`, score: 0 })));
writeFileSync("hostile.jsonl", rows((text) => ({ text, score: 1 })));
writeFileSync("worse.jsonl", rows((text) => ({ text: text + "!", score: 0 })));
