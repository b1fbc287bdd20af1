// Opens pages in headless Chromium and says what does not hold. The browser is the one of the system.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.PIPELINE_BROWSER}/node_modules/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--host-resolver-rules=MAP * ~NOTFOUND", "--no-sandbox"],
});
const faults = [];

/** A page that is opened and watched: it may say, ask and load nothing. */
async function open(file, options, name) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const url = pathToFileURL(file).href;
  const fault = (what) => faults.push(`${name}: ${what}`);
  page.on("console", (message) => fault(`the console says: ${message.text()}`));
  page.on("pageerror", (error) => fault(`an error: ${error.message}`));
  page.on("dialog", (dialog) => (fault(`a dialog: ${dialog.message()}`), dialog.dismiss()));
  page.on("request", (request) => request.url().split("#")[0] === url || fault(`a request: ${request.url()}`));
  await page.goto(url);
  return { page, fault, close: () => context.close() };
}

const openAll = (page) => page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));

/** What is farther to the right than the page is wide. */
const overflow = (page) =>
  page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.scrollingElement;
    if (scrollWidth <= clientWidth) return null;
    const wide = [...document.querySelectorAll("main *, header *")].filter((each) => {
      const inScroll = each.closest(".scroll");
      return (!inScroll || inScroll === each) && each.getBoundingClientRect().right > clientWidth + 1;
    });
    return `${scrollWidth} px wide at ${clientWidth}: ${wide.slice(0, 3).map((each) => each.outerHTML.slice(0, 120)).join(" | ")}`;
  });

async function accessible(file, colorScheme) {
  const name = `${basename(file)}, ${colorScheme}`;
  const { page, fault, close } = await open(file, { colorScheme, viewport: { width: 1280, height: 900 } }, name);
  await openAll(page);
  // By the protocol, since the policy of the page lets no script in.
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of found.violations) {
    if (impact === "serious" || impact === "critical") {
      fault(`axe ${id} (${impact}): ${help}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
    }
  }
  await close();
}

async function narrow(file) {
  for (const [width, size] of [[390, 100], [1280, 200], [390, 200]]) {
    const name = `${basename(file)}, ${width} px, ${size} % text`;
    const { page, fault, close } = await open(file, { viewport: { width, height: 800 } }, name);
    await page.evaluate((size) => (document.documentElement.style.fontSize = `${size}%`), size);
    const closed = await overflow(page);
    if (closed) fault(`scrolls sideways: ${closed}`);
    await openAll(page);
    const opened = await overflow(page);
    if (opened) fault(`scrolls sideways with everything open: ${opened}`);
    await close();
  }
}

async function keyboard(file) {
  const { page, fault, close } = await open(file, { viewport: { width: 1280, height: 900 } }, `${basename(file)}, keyboard`);
  const count = await page.evaluate(() => {
    const all = [...document.querySelectorAll("a[href], summary, input, button, select, textarea, [tabindex]")];
    const shown = all.filter((each) => each.checkVisibility() && !each.disabled);
    window.wanted = new Set(shown);
    document.addEventListener("focusin", (event) => window.wanted.delete(event.target));
    return shown.length;
  });
  if (count < 5) fault(`only ${count} controls`);
  for (let presses = 0; presses < count + 5; presses++) await page.keyboard.press("Tab");
  const missed = await page.evaluate(() => [...window.wanted].map((each) => each.outerHTML.slice(0, 120)));
  if (missed.length) fault(`the keyboard does not reach ${missed.length} of ${count}: ${missed.slice(0, 3).join(" | ")}`);
  // Enter opens and closes, and the field searches.
  const summary = page.locator("summary").first();
  if (await summary.count()) {
    const isOpen = () => summary.evaluate((each) => each.parentElement.open);
    const before = await isOpen();
    await summary.focus();
    await page.keyboard.press("Enter");
    if ((await isOpen()) === before) fault("Enter does not open what is closed");
  }
  if (await page.locator("#search").count()) {
    await page.locator("#search").focus();
    await page.keyboard.type("no answer has this in it");
    const left = await page.locator(".answer:visible").count();
    if (left) fault(`the search leaves ${left} answers`);
  }
  await close();
}

/** A4 without its margins, in pixels of 1/96 inch. */
const PAPER = { width: Math.floor(((210 - 28) / 25.4) * 96), height: Math.floor(((297 - 32) / 25.4) * 96) };

async function printed(file) {
  const { page, fault, close } = await open(file, { colorScheme: "dark", viewport: PAPER }, `${basename(file)}, paper`);
  await openAll(page);
  await page.emulateMedia({ media: "print" });
  const cut = await page.evaluate(({ width, height }) => {
    const wrong = [];
    for (const each of document.querySelectorAll("figure, figure svg, table, .answer")) {
      const box = each.getBoundingClientRect();
      const what = each.outerHTML.slice(0, 100);
      if (box.right > width + 1) wrong.push(`${Math.round(box.right)} of ${width} px: ${what}`);
      if (each.matches("figure svg") && box.height > height) wrong.push(`higher than a page: ${what}`);
      if (each.matches("figure") && getComputedStyle(each).breakInside !== "avoid") wrong.push(`may be cut: ${what}`);
    }
    const paper = getComputedStyle(document.body).backgroundColor;
    return paper === "rgb(255, 255, 255)" ? wrong : [...wrong, `printed on ${paper}`];
  }, PAPER);
  cut.slice(0, 6).forEach(fault);
  if (cut.length > 6) fault(`and ${cut.length - 6} more`);
  const pdf = await page.pdf({ format: "A4" });
  if (pdf.length < 10_000) fault(`a PDF of ${pdf.length} bytes`);
  await close();
}

async function direction(file) {
  const { page, fault, close } = await open(file, {}, `${basename(file)}, answers`);
  const loose = await page.evaluate(() => document.querySelectorAll(".answer p:not(.who):not(:has(> bdi))").length);
  if (loose) fault(`${loose} answers have no direction of their own`);
  // What is not on the page cannot harm it: all of `hostile.mjs` is.
  const shown = await page.locator(".answer").count();
  if (basename(file).startsWith("hostile") && shown < 14) fault(`only ${shown} hostile answers`);
  await close();
}

for (const file of process.argv.slice(2)) {
  const from = Date.now();
  const checks = [accessible(file, "light"), narrow(file), printed(file), direction(file)];
  // In another language the words are as long as they are; the elements and the colours are the same.
  if (!file.endsWith(".ja.html")) checks.push(accessible(file, "dark"), keyboard(file));
  await Promise.all(checks);
  console.log(`${basename(file)}: ${((Date.now() - from) / 1000).toFixed(1)} s`);
}
await browser.close();
if (process.argv.length < 3) faults.push("no page was named");
console.log(faults.length ? faults.join("\n") : "every page holds");
process.exitCode = faults.length ? 1 : 0;
