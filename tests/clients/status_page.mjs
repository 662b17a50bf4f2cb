// An operator at the status page in Chromium, with and without JavaScript. Prints what the pages showed, as JSON.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const { URL: url, KEY: key, WRONG: wrong, HOSTILE: hostile, CHROMIUM: executablePath } = process.env;
const axe = readFileSync(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");
const seen = { hosts: new Set(), problems: [], dialogs: [], violations: [], wide: [] };

async function opened(browser, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("request", (request) => seen.hosts.add(new globalThis.URL(request.url()).host));
  page.on("dialog", (dialog) => { seen.dialogs.push(dialog.message()); dialog.dismiss(); });
  page.on("pageerror", (error) => seen.problems.push(String(error)));
  // Also what the Content-Security-Policy has blocked. A status of 403 is what some steps expect.
  page.on("console", (message) => message.type() === "error" && !/status of 403/.test(message.text()) && seen.problems.push(message.text()));
  return { context, page };
}

// What axe finds on a page, in light and dark, and whether the page scrolls sideways on a narrow screen.
async function check(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
    seen.violations.push(...violations.map((each) => `${name}, ${colorScheme}: ${each.id} at ${each.nodes.map((node) => node.target).join("; ")}`));
  }
  const size = page.viewportSize();
  await page.setViewportSize({ width: 320, height: 640 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (wide > 0) seen.wide.push(`${name}: ${wide} pixels`);
  await page.setViewportSize(size);
}

const text = (page, selector) => page.locator(selector).first().innerText();

async function logIn(page, secret) {
  await page.goto(`${url}/status/login`);
  await page.getByLabel("Admin key").fill(secret);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForLoadState();
}

// What an update of the first page changes and keeps, while a link without an id has the focus.
async function update(page) {
  await page.clock.install();
  await page.goto(`${url}/status`);
  const outdated = () => page.evaluate(() => document.querySelector("#attention h2").append(" outdated"));
  const shown = async () => ({
    isCurrent: !(await text(page, "#attention h2")).includes("outdated"),
    focused: await page.evaluate(() => document.activeElement.getAttribute("href")),
    button: await text(page, "#pause"),
    notice: await text(page, "#connection"),
  });
  const wait = async (isUpdated) => {
    const response = isUpdated && page.waitForResponse((each) => each.url().endsWith("/status"));
    await page.clock.runFor(5100);
    await response;
    await page.waitForFunction((whether) => document.querySelector("#attention h2").textContent.includes("outdated") !== whether, isUpdated);
  };
  const steps = {};
  await page.locator("#attention article a").first().focus();
  await outdated();
  await wait(true);
  steps.focused = await shown();
  await page.evaluate(() => getSelection().selectAllChildren(document.querySelector("#hour h2")));
  await outdated();
  await wait(false);
  steps.selected = await shown();
  await page.evaluate(() => getSelection().removeAllRanges());
  await wait(true);
  steps.continued = await shown();
  await page.locator("#pause").click();
  await outdated();
  await wait(false);
  steps.paused = await shown();
  return steps;
}

// Whether the state of calls is within a narrow screen, and the menu in one line.
async function narrow(page) {
  await page.setViewportSize({ width: 390, height: 844 });
  const boxes = await page.locator("#providers [data-label=Calls] .badge").evaluateAll((badges) => badges.map((each) => each.getBoundingClientRect().right));
  const heights = await page.locator("header nav a, header button").evaluateAll((links) => links.map((each) => each.getBoundingClientRect()).map(({ top, bottom }) => (top + bottom) / 2));
  return { callsAreVisible: boxes.length > 0 && Math.max(...boxes) <= 390, menuHasOneLine: Math.max(...heights) - Math.min(...heights) < 10 };
}

// The steps of an operator. `search` enters a text in the search of models.
async function operate(page, search, checked) {
  const steps = {};
  await page.goto(`${url}/status`);
  steps.before = new globalThis.URL(page.url()).pathname;
  await checked(page, "log in");
  await logIn(page, wrong);
  steps.wrong = await text(page, "[role=alert]");
  await checked(page, "wrong key");
  await logIn(page, key);
  await page.goto(`${url}/status`);
  await page.getByRole("heading", { level: 1 }).waitFor();
  steps.cookies = (await page.context().cookies()).map(({ httpOnly, sameSite, value }) => ({ httpOnly, sameSite, containsKey: value.includes(key) }));
  steps.attention = await text(page, "#attention");
  await checked(page, "overview");
  await page.getByRole("link", { name: "Models", exact: true }).click();
  steps.found = await search(page, "rate");
  await checked(page, "models");
  await page.getByRole("link", { name: "moderate", exact: true }).first().click();
  await page.waitForLoadState();
  steps.model = await text(page, "h1");
  steps.audience = await text(page, "section[aria-labelledby=audience-title]");
  await page.getByRole("link", { name: "alice" }).first().click();
  await page.waitForLoadState();
  steps.explained = await text(page, "section[aria-labelledby=access-title]");
  await checked(page, "model");
  steps.hostile = [];
  for (const id of JSON.parse(hostile)) {
    await page.goto(`${url}/status/models?q=${encodeURIComponent(id.slice(0, 9))}`);
    const link = page.locator("#found a.id").first();
    await link.click();
    await page.waitForLoadState();
    steps.hostile.push((await page.locator("h1").first().textContent()).trim());
    await checked(page, "hostile id");
  }
  await page.getByRole("link", { name: "Changes", exact: true }).click();
  await page.waitForLoadState();
  steps.changes = await text(page, "h1");
  await checked(page, "changes");
  await page.goto(`${url}/status`);
  await page.getByRole("button", { name: "Fetch now the list of up" }).click();
  await page.waitForLoadState();
  steps.fetched = await text(page, "[role=status]");
  await page.getByRole("button", { name: "Reload the configuration" }).click();
  await page.waitForLoadState();
  steps.reloaded = await text(page, "[role=status]");
  const [cookie] = await page.context().cookies();
  await page.getByRole("button", { name: "Log out" }).click();
  await page.waitForLoadState();
  steps.after = new globalThis.URL(page.url()).pathname;
  await page.context().addCookies([cookie]);
  await page.goto(`${url}/status`);
  steps.replayed = new globalThis.URL(page.url()).pathname;
  return steps;
}

const typed = async (page, query) => {
  await page.getByLabel("Search").pressSequentially(query);
  await page.waitForURL(/[?&]q=/); // the script filters while the reader types
  return page.locator("#found a.id").allInnerTexts();
};
const sent = async (page, query) => {
  await page.getByLabel("Search").fill(query);
  await page.getByRole("button", { name: "Show" }).click();
  await page.waitForLoadState();
  return page.locator("#found a.id").allInnerTexts();
};

// Root cannot use the sandbox. Chromium's own requests would be refused one by one.
const args = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
const browser = await chromium.launch({ executablePath, args });
try {
  const scripted = await opened(browser, {});
  const withScript = await operate(scripted.page, typed, check);
  await logIn(scripted.page, key);
  seen.updates = await update(scripted.page);
  seen.narrow = await narrow(scripted.page);
  const plain = await opened(browser, { javaScriptEnabled: false });
  const withoutScript = await operate(plain.page, sent, async () => {});
  console.log(JSON.stringify({ ...seen, hosts: [...seen.hosts], withScript, withoutScript }));
} finally {
  await browser.close();
}
