// The page in a real browser: node test/page.mjs ADDRESS CHROMIUM [SCREENSHOT-FOLDER]. One line per check; exit code 1 when one fails.
import { chromium } from "playwright-core";

const [address, executablePath, screenshots] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
let failed = false;

function check(what, holds, found) {
  console.log(`${holds ? "ok" : "FAILED"}: ${what}${holds ? "" : `, found ${JSON.stringify(found)}`}`);
  failed ||= !holds;
}

async function open(name, options) {
  const page = await browser.newPage(options);
  const troubles = [];
  page.on("console", (m) => m.type() === "error" && troubles.push(m.text()));
  page.on("pageerror", (e) => troubles.push(String(e)));
  page.on("request", (r) => new URL(r.url()).origin !== new URL(address).origin && troubles.push(`request to ${r.url()}`));
  await page.goto(address);
  await page.waitForSelector(".vector", { state: "attached" });
  return { page, troubles, name };
}

async function close({ page, troubles, name }) {
  check(`${name}: no error in the console and no request elsewhere`, troubles.length === 0, troubles);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check(`${name}: nothing sticks out sideways`, wide <= 0, wide);
  if (screenshots) {
    await page.screenshot({ path: `${screenshots}/${name.replaceAll(" ", "-")}.png` });
  }
  await page.close();
}

const idle = (page) => page.waitForSelector("#send:not([hidden])");
const texts = (page, selector) => page.$$eval(selector, (all) => all.map((e) => e.textContent));

async function ask(page, question) {
  await page.fill("#question", question);
  await page.press("#question", "Enter");
  await idle(page);
}

// By keyboard only: a vector's strength with the arrow keys, a question, both answers, a second turn, a new chat.
const desktop = await open("desktop", { viewport: { width: 1280, height: 800 } });
{
  const { page } = desktop;
  check("the question has the focus", await page.evaluate(() => document.activeElement?.id === "question"));
  check("the first vector starts at its own strength", Number(await page.inputValue(".vector:first-child input[type=number]")) > 0);
  await page.click("#all-zero");
  await page.fill("#temperature", "0");
  const slider = page.locator(".vector", { has: page.locator("h3", { hasText: "brazil" }) }).locator("input[type=range]");
  await slider.focus();
  for (let i = 0; i < 10; i++) {
    await page.keyboard.press("ArrowRight");
  }
  check("ten steps of the slider are 0.5", (await slider.inputValue()) === "0.5", await slider.inputValue());
  await ask(page, "What do people eat for breakfast?");
  const [steered] = await texts(page, ".steered .text");
  const [plain] = await texts(page, ".answer:not(.steered) .text");
  check("the steered answer is Brazil's", steered?.includes("queijo"), steered);
  check("the unsteered answer stands beside it", plain?.length > 5, plain);
  check("both tell their speed", (await texts(page, ".status")).every((s) => /\d tokens\/s/.test(s)), await texts(page, ".status"));
  await page.click(".effects summary");
  await page.waitForSelector(".effects .features li");
  check("the steered answer shows what the vectors did", /residual stream after block \d/.test((await texts(page, ".effects .hint"))[0]), await texts(page, ".effects .hint"));
  await ask(page, "And in the evening?");
  check("the conversation goes on", (await texts(page, ".turn")).length === 2);
  await page.click("#new-chat");
  check("a new chat is empty", (await texts(page, ".turn")).length === 0);
  await page.click("summary >> nth=0");
  check("a vector shows what it changes", (await page.$$(".vector:first-child .features li")).length > 3);
}
await close(desktop);

// Stopping with Escape leaves what was said and lets the next question through.
const stopping = await open("stopping", { viewport: { width: 1280, height: 800 } });
{
  const { page } = stopping;
  // Words that would be HTML if anything here read them as such.
  await page.fill("#question", "<img src=x onerror=alert(1)> & <b>tell me</b> a long story");
  await page.press("#question", "Enter");
  await page.keyboard.press("Escape");
  await idle(page);
  check("markup in a question stays text", (await page.$$(".question img, .question b")).length === 0);
  await page.uncheck("#compare");
  await ask(page, "What do people eat for breakfast?");
  check("without comparison there is one answer", (await page.$$(".turn:last-child .answer")).length === 1);
}
await close(stopping);

for (const colorScheme of ["light", "dark"]) {
  const phone = await open(`phone ${colorScheme}`, { viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme });
  const { page } = phone;
  check(`phone ${colorScheme}: the panel is closed at first`, !(await page.isVisible("#panel")));
  await page.tap("#toggle-panel");
  check(`phone ${colorScheme}: and opens`, await page.isVisible("#panel"));
  await page.tap("#toggle-panel");
  await page.tap(".example >> nth=0");
  await idle(page);
  check(`phone ${colorScheme}: an example is answered`, (await texts(page, ".answer .text")).every((t) => t.length > 5));
  const back = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const bright = back.match(/\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 3;
  check(`phone ${colorScheme}: colours follow`, colorScheme === "light" ? bright > 200 : bright < 60, back);
  await close(phone);
}

await browser.close();
process.exit(failed ? 1 : 0);
