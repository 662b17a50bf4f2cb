// Opens page.mjs in Chromium at the origin in ORIGIN, and prints what it received as JSON.
import { createServer } from "node:http";
import { buildSync } from "esbuild";
import { chromium } from "playwright-core";

const { ORIGIN, URL: url, KEY: key, MODEL: model, CHROMIUM: executablePath } = process.env;
const entryPoint = new globalThis.URL("page.mjs", import.meta.url).pathname;
const [{ text }] = buildSync({ entryPoints: [entryPoint], bundle: true, write: false }).outputFiles;
const server = createServer((request, response) => {
  response.setHeader("Content-Type", "text/html");
  response.end(`<!doctype html><meta charset="utf-8"><script>${text.replaceAll("</script", "<\\/script")}</script>`);
});
await new Promise((listening) => server.listen(new globalThis.URL(ORIGIN).port, "127.0.0.1", listening));

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] }); // root cannot use its sandbox
try {
  const page = await browser.newPage();
  page.on("console", (message) => console.error(message.text())); // why a response could not be read
  await page.goto(ORIGIN);
  console.log(JSON.stringify(await page.evaluate((settings) => globalThis.received(settings), { url, key, model })));
} finally {
  await browser.close();
  server.close();
}
