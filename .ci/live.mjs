// Opens the page of a run in headless Chromium while it goes on, and says what does not hold: nine tabs of one browser, a server
// that is killed and started again, a decision by keyboard alone. Usage: node live.mjs PIPELINE DIRECTORY [PICTURES]
import { spawn, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(`${process.env.PIPELINE_BROWSER}/node_modules/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [program, cwd, pictures] = process.argv.slice(2);

const faults = [];
const children = [];
const fault = (what) => faults.push(what);
const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Asks again until it is so. */
async function until(what, seconds, question) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`in vain, after ${seconds} s: ${what}`);
    await sleep(50);
  }
}

/** Serves the page of a file, and returns the process and its address. */
const serve = (file, port, lang = "en") => served(["ui", file, "--port", String(port), "--lang", lang, "--by", "aoi"]);
const serveLabels = (port, file = "people.yaml") => served(["label", file, "people", "--ui", "--port", String(port), "--lang", "ja"]);

async function served(words) {
  const child = spawn(program, words, { cwd });
  children.push(child);
  let said = "";
  child.stderr.on("data", (text) => (said += text));
  const address = await until("the page is served", 20, () => said.match(/http:\S+/)?.[0]);
  return { child, address, port: new URL(address).port };
}

const end = (child) => new Promise((done) => (child.on("exit", done), child.kill("SIGKILL")));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-sandbox"],
});

/** A tab that may say nothing and ask nobody else. While its server is away it may say so. */
async function open(context, address) {
  const page = await context.newPage();
  page.on("console", (message) => /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/.test(message.text()) || fault(`the console says: ${message.text()}`));
  page.on("response", (response) => response.ok() || fault(`${response.status()}: ${response.url()}`));
  page.on("pageerror", (error) => fault(`an error: ${error.message}`));
  page.on("dialog", (dialog) => (fault(`a dialog: ${dialog.message()}`), dialog.dismiss()));
  page.on("request", (request) => request.url().startsWith(address) || fault(`a request: ${request.url()}`));
  await page.goto(address, { waitUntil: "load" });
  return page;
}

/** The sections of a page as text, without what only a reader changes. */
const sections = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll("[data-fragment]")].map((section) => {
      const copy = section.cloneNode(true);
      copy.querySelectorAll(".answer-of-server").forEach((each) => (each.textContent = ""));
      copy.querySelectorAll("details").forEach((each) => each.removeAttribute("open"));
      copy.querySelectorAll(".search").forEach((each) => (each.hidden = true));
      return copy.outerHTML;
    }).join("\n"),
  );

async function accessible(page, name) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of found.violations) {
    if (impact === "serious" || impact === "critical") {
      fault(`${name}: axe ${id} (${impact}): ${help}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
    }
  }
}

async function fits(page, name) {
  const { scrollWidth, clientWidth } = await page.evaluate(() => document.scrollingElement);
  if (scrollWidth > clientWidth) fault(`${name}: ${scrollWidth} px wide at ${clientWidth}`);
}

/** A run is watched to its end in nine tabs, while the server is killed once. */
async function watched() {
  const run = spawn(program, ["run", "rlhf.yaml", "--only", "base", "--set", "base.with.steps=250", "--set", "base.gate=heldout_loss < 9"], { cwd, stdio: "ignore" });
  children.push(run);
  const ended = new Promise((done) => run.on("exit", done));
  let isOver = false;
  ended.then(() => (isOver = true));
  let { child, address, port } = await serve("rlhf.yaml", 0);
  await until("the run is on the page", 20, async () => (await (await fetch(address)).text()).includes('id="now"'));
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const tabs = [];
  for (let tab = 0; tab < 9; tab++) {
    tabs.push(await open(context, address));
    const took = await tabs[tab].evaluate(() => performance.getEntriesByType("navigation")[0].loadEventEnd);
    if (took > 1000) fault(`tab ${tab + 1} loads in ${Math.round(took)} ms`);
  }
  await until("progress in the last tab", 20, () => tabs[8].evaluate(() => (document.querySelector("#now progress")?.value ?? 0) > 0));
  // What a reader has opened stays open while the section changes.
  await tabs[8].evaluate(() => (document.querySelector("#now details.stop").open = true));
  const before = await tabs[8].evaluate(() => document.querySelector("#now progress").value);
  await until("news in the last tab", 20, () => tabs[8].evaluate((before) => (document.querySelector("#now progress")?.value ?? 0) > before, before));
  if (!(await tabs[8].evaluate(() => document.querySelector("#now details.stop")?.open))) fault("what was opened closes by itself");
  await until("a curve while it trains", 30, () => tabs[0].evaluate(() => document.querySelector("#curves svg") !== null));
  await accessible(tabs[1], "a run, light");
  if (isOver) fault("the run was over before its server was killed");
  await end(child);
  await until("the tabs say that the server is away", 5, async () => {
    const hidden = await Promise.all(tabs.map((tab) => tab.evaluate(() => document.getElementById("connection").hidden)));
    return hidden.every((each) => !each);
  });
  ({ child, address, port } = await serve("rlhf.yaml", port));
  const back = Date.now();
  await until("the tabs follow again", 5, async () => {
    const hidden = await Promise.all(tabs.map((tab) => tab.evaluate(() => document.getElementById("connection").hidden)));
    return hidden.every((each) => each);
  });
  console.log(`nine tabs follow again ${Date.now() - back} ms after the server is back`);
  if ((await ended) !== 0) fault(`the run ended with ${await ended}`);
  await until("the end in every tab", 10, async () => {
    const fresh = await open(context, address);
    const wanted = await sections(fresh);
    await fresh.close();
    const shown = await Promise.all(tabs.map(sections));
    return wanted.includes("is done:") && shown.every((each) => each === wanted);
  });
  await context.close();
  await end(child);
}

/** A gate that holds is answered without a mouse, in both schemes, on a phone. */
async function decided() {
  const held = ["run", "hostile.yaml", "--set", "answers.gate.on_fail=hold", "--set", "vars.answers=worse", "--set", "vars.score=-1"];
  const status = spawnSync(program, held, { cwd }).status;
  if (status !== 3) fault(`the gate holds with ${status}`);
  for (const [lang, colorScheme, width] of [["en", "light", 1280], ["ja", "dark", 390]]) {
    const { child, address } = await serve("hostile.yaml", 0, lang);
    const context = await browser.newContext({ viewport: { width, height: 850 }, colorScheme });
    const page = await open(context, address);
    await until("the question", 10, () => page.evaluate(() => document.querySelector("#decide form") !== null));
    await accessible(page, `a decision, ${lang}, ${colorScheme}`);
    await fits(page, `a decision at ${width} px`);
    const reason = page.locator("#decide textarea");
    for (let presses = 0; presses < 200 && !(await reason.evaluate((each) => each === document.activeElement)); presses++) {
      await page.keyboard.press("Tab");
    }
    await page.keyboard.type(`read them all <b>${lang}</b>`);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await until("what the server says", 10, () => page.evaluate(() => document.querySelector("#decide .answer-of-server").textContent !== ""));
    await until("the decision on the page", 10, () => page.evaluate((lang) => document.querySelector("#decide .decisions")?.textContent.includes(`<b>${lang}</b>`), lang));
    await context.close();
    await end(child);
  }
  const lines = readFileSync(join(cwd, "hostile.approvals.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
  const told = lines.map(({ decision, by, from }) => `${decision} ${by} ${from}`).join();
  if (told !== "approve aoi page 127.0.0.1,approve aoi page 127.0.0.1") fault(`the file says: ${told}`);
}

/** People label without a mouse, under a Japanese input method, while the server is killed; on a phone in the dark. */
async function labelled() {
  const items = Array.from({ length: 14 }, (_, n) => JSON.stringify({ id: `${n}`, prompt: `<b>${n}</b>`, answers: [`</script><img src=x onerror=alert(1)> ${n}`, `\u202eanswer ${n}`] }));
  writeFileSync(join(cwd, "items.jsonl"), items.join("\n") + "\n");
  writeFileSync(join(cwd, "people.yaml"), "name: people\nstages:\n  people: {kind: label, from: {items: items.jsonl}, with: {form: pairs, repeats: 0, need: {items: 12, overlap: 0}}}\n");
  const first = spawnSync(program, ["run", "people.yaml"], { cwd }).status;
  if (first !== 3) fault(`a stage that waits for people ends with ${first}`);
  let { child, address, port } = await serveLabels(0);
  const context = await browser.newContext({ viewport: { width: 390, height: 800 }, colorScheme: "dark" });
  const page = await open(context, address);
  await page.keyboard.type("mai");
  await page.keyboard.press("Enter");
  const count = () => page.evaluate(() => document.getElementById("prompt").textContent);
  const isShown = () => page.evaluate(() => !document.getElementById("task").hidden);
  await until("a question", 10, isShown);
  await accessible(page, "labelling, dark");
  await fits(page, "labelling at 390 px");
  const names = await page.evaluate(() => [...document.querySelectorAll(".candidate")].map((each) => each.ariaLabel));
  if (names.join() !== "答え A,答え B") fault(`the answers are named ${names}`);
  /** A key as an input method sends it: by its place, under the name `Process`. */
  const press = (code, more = {}) =>
    page.evaluate(([code, more]) => document.body.dispatchEvent(new KeyboardEvent("keydown", { code, key: "Process", bubbles: true, cancelable: true, ...more })), [code, more]);
  const before = await count();
  await press("Digit1", { isComposing: true });
  if ((await count()) !== before) fault("a key counts while a word is being composed");
  const codes = ["Digit1", "ArrowRight", "Equal", "KeyB", "KeyS"];
  for (const code of codes) {
    const shown = await count();
    await press(code);
    await until(`the question after ${code}`, 10, async () => (await count()) !== shown);
  }
  const undone = await count();
  await press("KeyU");
  await until("the question before", 10, async () => (await count()) !== undone);
  const isSaved = () => page.evaluate(() => !Object.keys(localStorage).some((name) => name.startsWith("pipeline-labels people ")));
  await until("all is saved", 10, isSaved);
  await end(child);
  for (let n = 0; n < 3; n++) await press("Digit2");
  const said = () => page.evaluate(() => document.getElementById("saved").textContent);
  await until("it says what is not saved", 10, async () => (await said()).startsWith("未保存: 3")).catch(async (error) => {
    throw new Error(`${error.message}: it says ${await said()}`);
  });
  ({ child } = await serveLabels(port));
  await until("all is saved after the restart", 10, async () => (await isSaved()) && (await said()) === "保存しました。");
  for (let n = 0; n < 20 && (await isShown()); n++) {
    await press("Digit1");
    await sleep(300);
  }
  await until("nothing is left", 10, () => page.evaluate(() => !document.getElementById("done").hidden));
  await context.close();
  await end(child);
  const last = spawnSync(program, ["run", "people.yaml"], { cwd });
  if (last.status !== 0) fault(`with all labels the stage ends with ${last.status}: ${last.stderr}`);
}

/** A suggestion is shown after the choice alone, and the owner's page shows how far people are. */
async function suggested() {
  const rows = Array.from({ length: 4 }, (_, n) => ({ prompt: `${n}`, chosen: `kind ${n}`, rejected: `cold ${n}` }));
  const lines = (of) => rows.map((row) => JSON.stringify(of(row))).join("\n") + "\n";
  writeFileSync(join(cwd, "asked.jsonl"), lines(({ prompt, chosen, rejected }) => ({ prompt, answers: [chosen, rejected] })));
  writeFileSync(join(cwd, "ai.jsonl"), lines((row) => row));
  writeFileSync(join(cwd, "hinted.yaml"), "name: hinted\nstages:\n  people: {kind: label, from: {items: asked.jsonl, suggest: ai.jsonl}, with: {repeats: 0}}\n");
  spawnSync(program, ["run", "hinted.yaml"], { cwd });
  const { child, address } = await serveLabels(0, "hinted.yaml");
  const context = await browser.newContext({ viewport: { width: 390, height: 800 } });
  const page = await open(context, address);
  await page.keyboard.type("mai");
  await page.keyboard.press("Enter");
  const prompt = () => page.evaluate(() => document.getElementById("prompt").textContent);
  const hint = () => page.evaluate(() => (document.getElementById("suggestion").hidden ? "" : document.getElementById("suggestion").textContent));
  await until("a question", 10, async () => (await prompt()) !== "");
  if ((await hint()) !== "") fault("a suggestion is shown before the choice");
  for (const [at, then] of ["Enter", "Digit2"].entries()) {
    const shown = await prompt();
    await page.keyboard.press("Digit1");
    await until("the suggestion", 10, async () => /モデルの提案: [AB] > [AB]/.test(await hint()));
    if ((await prompt()) !== shown) fault("the question is gone while its suggestion is shown");
    if (at === 0) await accessible(page, "a suggestion");
    await page.keyboard.press(then);
    await until(`what comes after ${then}`, 10, async () => (await hint()) === "" && (await prompt()) !== shown);
  }
  // Who goes back to what was suggested sees it again, and the choice before it stays their own.
  const third = await prompt();
  await page.keyboard.press("KeyU");
  await until("the suggestion again", 10, async () => (await hint()) !== "" && (await prompt()) !== third);
  await page.keyboard.press("Digit1");
  await until("the third question", 10, async () => (await hint()) === "" && (await prompt()) === third);
  const isSaved = () => page.evaluate(() => document.getElementById("saved").textContent === "保存しました。");
  await until("all is saved", 10, isSaved);
  await page.goto(`${address}owner`);
  await accessible(page, "the owner's page");
  await fits(page, "the owner's page at 390 px");
  const told = await page.evaluate(() => document.getElementById("overview").textContent);
  if (!told.includes("4 件中 2 件") || !told.includes("mai")) fault(`the owner is told: ${told}`);
  await context.close();
  await end(child);
}

/** Answers are ranked by keys, by dragging and by arrows; a disk that is full stops the page, and loses nothing. */
async function ranked() {
  const row = (n) => JSON.stringify({ prompt: `${n}`, answers: [`one ${n}`, `two ${n}`, `three ${n}`] });
  writeFileSync(join(cwd, "ranked.jsonl"), [0, 1, 2].map(row).join("\n") + "\n");
  writeFileSync(join(cwd, "ranked.yaml"), "name: ranked\nstages:\n  people: {kind: label, from: {items: ranked.jsonl}, with: {form: ranking, repeats: 0}}\n");
  spawnSync(program, ["run", "ranked.yaml"], { cwd });
  const { child, address } = await serveLabels(0, "ranked.yaml");
  const context = await browser.newContext({ viewport: { width: 390, height: 1200 }, hasTouch: true });
  const page = await context.newPage();
  page.on("pageerror", (error) => fault(`an error: ${error.message}`));
  await page.goto(address);
  await page.keyboard.type("mai");
  await page.keyboard.press("Enter");
  const text = (id) => page.evaluate((id) => document.getElementById(id).textContent, id);
  await until("a question", 10, async () => (await text("prompt")) !== "");
  const order = () => page.evaluate(() => document.querySelector("p.order").textContent);
  const ordered = (wanted) => until(`the order ${wanted}`, 5, async () => (await order()) === wanted);
  for (const key of ["2", "1", "3"]) await page.keyboard.press(key);
  await ordered("B > A > C");
  await accessible(page, "a ranking");
  const middle = async (at) => {
    const { x, y, width, height } = await page.locator(`ol.order li >> nth=${at}`).boundingBox();
    return [x + width / 2, y + height / 2];
  };
  await page.mouse.move(...(await middle(2)));
  await page.mouse.down();
  await page.mouse.move(...(await middle(0)), { steps: 8 });
  await page.mouse.up();
  await ordered("C > B > A");
  await page.keyboard.press("ArrowDown");
  await ordered("B > C > A");
  const first = await text("prompt");
  await page.keyboard.press("Enter");
  await until("the next question", 10, async () => (await text("prompt")) !== first);
  for (const key of ["1", "=", "2", "3"]) await page.keyboard.press(key);
  await ordered("A = B > C");
  await page.route("**/take", (route) => route.fulfill({ status: 507 }));
  const second = await text("prompt");
  await page.keyboard.press("Enter");
  await until("it says that the disk is full", 10, async () => (await text("saved")).startsWith("サーバーがディスクに書き込めません"));
  const third = await text("prompt");
  if (third === second) fault("a choice that is not saved is asked again");
  for (const key of ["1", "2", "3", "Enter"]) await page.keyboard.press(key);
  if ((await text("prompt")) !== third) fault("choices are taken while the disk is full");
  await page.unroute("**/take");
  await until("all is saved", 10, async () => (await text("saved")) === "保存しました。");
  await context.close();
  await end(child);
  const told = spawnSync(program, ["label", "ranked.yaml", "people"], { cwd, encoding: "utf8" }).stdout;
  if (!told.startsWith("people: 2 of 3 labels")) fault(`two rankings are there, and it says: ${told}`);
}

/** The page in Japanese, to be looked at. */
async function pictured() {
  const { child, address } = await serve("hostile.yaml", 0, "ja");
  for (const width of [390, 1280, 1920]) {
    const context = await browser.newContext({ viewport: { width, height: 900 } });
    const page = await open(context, address);
    await until("the question", 10, () => page.evaluate(() => document.querySelector("#decide form") !== null));
    await page.screenshot({ path: join(pictures, `live-ja-${width}.png`) });
    await context.close();
  }
  await end(child);
}

try {
  await watched();
  await decided();
  await labelled();
  await suggested();
  await ranked();
  if (pictures) await pictured();
} catch (error) {
  fault(error.stack);
}
await browser.close();
children.forEach((child) => child.kill("SIGKILL"));
console.log(faults.length ? faults.join("\n") : "the live page holds");
process.exitCode = faults.length ? 1 : 0;
