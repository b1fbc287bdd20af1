// The live page under load: a stage writes 100,000 points of curves in a minute, and ten readers watch: one browser, and nine
// that fetch what it would fetch. Holds it against the figures that the page promises, and tells them. Usage:
// live-load.mjs PIPELINE DIRECTORY
import { spawn } from "node:child_process";
import { setMaxListeners } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { join } from "node:path";

const [program, cwd] = process.argv.slice(2);
const { chromium } = createRequire(join(process.env.PIPELINE_BROWSER, "x"))("playwright-core");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const STEPS = 50_000;
const SECONDS = 60;

writeFileSync(join(cwd, "points.mjs"), `
import { appendFileSync } from "node:fs";
const began = Date.now();
let step = 0;
const tick = () => {
  const wanted = Math.min(${STEPS}, Math.floor(((Date.now() - began) / ${SECONDS * 1000}) * ${STEPS}));
  let lines = "";
  for (; step < wanted; step++) lines += JSON.stringify({ step, loss: Math.sin(step / 999) + Math.random() / 9, reward: Math.random() }) + "\\n";
  if (lines) appendFileSync("metrics.jsonl", lines);
  appendFileSync("events.jsonl", JSON.stringify({ done: step, total: ${STEPS}, unit: "steps", message: "at=" + Date.now(), metrics: {} }) + "\\n");
  if (step < ${STEPS}) setTimeout(tick, 100);
};
tick();
`);
writeFileSync(join(cwd, "load.yaml"), "name: load\nstages:\n  a: {kind: exec, metrics: {loss: lower, reward: higher}, from: {script: ./points.mjs}, with: {command: 'node in/script.mjs; echo {} > metrics.json'}}\n");

const run = spawn(program, ["run", "load.yaml"], { cwd, stdio: "ignore" });
const isOver = new Promise((done) => run.on("exit", done));
const page = spawn(program, ["ui", "load.yaml", "--port", "0"], { cwd });
let said = "";
page.stderr.on("data", (data) => (said += data));
while (!/http:\S+/.test(said)) await sleep(50);
const address = said.match(/http:\S+/)[0];
/** The seconds of a processor that the server has taken. */
const cpu = () => {
  const [user, system] = readFileSync(`/proc/${page.pid}/stat`, "utf8").split(") ")[1].split(" ").slice(11, 13).map(Number);
  return (user + system) / 100;
};

const sizes = [];
setMaxListeners(0);
/** Follows as the script of the page does. */
async function watch(signal) {
  const shown = new Map();
  const stream = await fetch(`${address}events`, { signal });
  const text = new TextDecoder();
  let rest = "";
  for await (const bytes of stream.body) {
    rest += text.decode(bytes, { stream: true });
    const events = rest.split("\n\n");
    rest = events.pop();
    const data = events.map((event) => event.match(/^data: ?(.*)$/m)?.[1]).filter(Boolean).at(-1);
    if (!data) continue;
    for (const [name, digest] of JSON.parse(data).sections) {
      if (shown.get(name) === digest) continue;
      shown.set(name, digest);
      sizes.push((await (await fetch(`${address}fragment/${name}`, { signal })).arrayBuffer()).byteLength);
    }
  }
}

const stopped = new AbortController();
setMaxListeners(0, stopped.signal);
for (let n = 0; n < 9; n++) watch(stopped.signal).catch(() => {});
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const tab = await browser.newPage();
await tab.addInitScript(() => {
  window.long = [];
  new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => window.long.push(duration))).observe({ type: "longtask", buffered: true });
  window.delays = [];
  addEventListener("DOMContentLoaded", () => {
    let last = "";
    new MutationObserver(() => {
      const at = document.getElementById("now")?.textContent.match(/at=(\d+)/)?.[1];
      if (at && at !== last) window.delays.push(Date.now() - Number(at));
      last = at;
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
});
await tab.goto(address, { waitUntil: "load" });
const began = cpu();
const paint = await tab.evaluate(async () => {
  const painted = () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
  while (!painted()) await new Promise((done) => setTimeout(done, 20));
  return painted();
});
await isOver;
const share = (cpu() - began) / SECONDS;
const { long, delays, memory } = await tab.evaluate(() => ({ long: window.long, delays: window.delays, memory: performance.memory.usedJSHeapSize / 1e6 }));
stopped.abort();
await browser.close();
page.kill("SIGINT");
delays.sort((one, other) => one - other);
const p95 = delays[Math.floor(delays.length * 0.95)];
const [longest, largest] = [Math.max(0, ...long), Math.max(...sizes)];
console.log(
  `first paint ${paint.toFixed(0)} ms; from an event to the page: median ${delays[delays.length >> 1]} ms, p95 ${p95} ms of ${delays.length}; longest task ` +
    `${longest.toFixed(0)} ms; ${memory.toFixed(1)} MB of the page; largest update ${largest} bytes of ${sizes.length}; for ten readers the server takes ${(100 * share).toFixed(2)} % of a core`,
);
const held = { "first paint": [paint, 300], p95: [p95, 500], "longest task": [longest, 50], memory: [memory, 150], "largest update": [largest, 65536], "share of the machine in %": [100 * share / availableParallelism(), 1] };
const missed = Object.entries(held).filter(([, [measured, most]]) => !(measured <= most));
missed.forEach(([what, [measured, most]]) => console.error(`${what}: ${measured}, and at most ${most} is promised`));
process.exit(missed.length || delays.length < 100 ? 1 : 0);
