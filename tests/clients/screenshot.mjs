// Takes pictures of the status page in Chromium: of each page in PAGES, a list of objects, as a PNG file.
import { chromium } from "playwright-core";

const { URL: url, KEY: key, PAGES: pages, CHROMIUM: executablePath } = process.env;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] }); // root cannot use its sandbox
try {
  for (const { path, file, colorScheme, width, height } of JSON.parse(pages)) {
    const page = await browser.newPage({ colorScheme, viewport: { width, height }, extraHTTPHeaders: { authorization: `Bearer ${key}` } });
    await page.goto(url + path);
    await page.screenshot({ path: file });
  }
} finally {
  await browser.close();
}
