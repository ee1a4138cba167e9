// SPDX-License-Identifier: GPL-2.0-or-later
// A person at a browser, told what to do: a line of JSON in, [STEP, ARGUMENTS], and a line out, {value} or {error}.
import { createInterface } from 'node:readline';
import axe from 'axe-core';
import { complaints, launch, WAIT } from './browser.js';

const browser = await launch();
let page, found;

const toast = async () => page.locator('.toast p').last().innerText();
const row = (name) => page.locator('.mapping', { hasText: name });

const steps = {
  async open({ url, width = 1280, locale = 'en-US' }) {
    const context = await browser.newContext({ viewport: { width, height: 800 }, locale });
    context.setDefaultTimeout(WAIT);
    page = await context.newPage();
    found = complaints(page, url);
    await page.goto(url);
    await page.waitForSelector('.badge.link.good');
  },
  async add({ ip, port, protocol = 'TCP', description = '' }) {
    await page.locator('.mappings .main').click();
    await page.locator(`dialog input[value=${protocol}]`).check({ force: true });
    await page.locator('#internal_ip').fill(ip);
    await page.locator('#internal_port').fill(String(port));
    await page.locator('#description').fill(description);
    await page.keyboard.press('Enter');
    await page.locator('dialog').waitFor({ state: 'detached' });
    return toast();
  },
  // Never touches a pointer.
  async addByKeyboard({ ip, port }) {
    for (let i = 0; i < 30; i++) {
      await page.keyboard.press('Tab');
      if (await page.evaluate(() => document.activeElement.matches('.mappings .main'))) break;
    }
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.activeElement.name === 'internal_ip');
    await page.keyboard.type(ip);
    await page.keyboard.press('Tab');
    await page.keyboard.type(String(port));
    await page.keyboard.press('Enter');
    await page.locator('dialog').waitFor({ state: 'detached' });
    return toast();
  },
  async remove({ name }) {
    await page.getByRole('button', { name: `Delete ${name}` }).click();
    await page.getByRole('button', { name: 'Undo' }).waitFor();
    return toast();
  },
  async undo() {
    await page.getByRole('button', { name: 'Undo' }).click();
    await page.locator('.toast', { hasText: 'is back' }).waitFor();
    return toast();
  },
  async login({ password }) {
    await page.locator('#password').fill(password);
    await page.keyboard.press('Enter');
  },
  // Waits until the page says so: in the row of a mapping, or anywhere in a part of the page.
  async see({ text, name, where = 'body' }) {
    await (name ? row(name) : page.locator(where)).filter({ hasText: text }).first().waitFor();
  },
  async click({ name }) {
    await page.getByRole('button', { name }).first().click();
  },
  async language({ name }) {
    await page.locator('header select').selectOption(name);
  },
  reload: () => page.reload(),
  html: () => page.content(),
  count: ({ where }) => page.locator(where).count(),
  text: ({ where }) => page.locator(where).first().innerText(),
  overflow: () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth),
  loaded: () => page.evaluate(() => ['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind)).filter((e) => /\/$|\.(js|css|svg)$/.test(e.name)).map((e) => [new URL(e.name).pathname, e.encodedBodySize])),
  async axe() {
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    return violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map((v) => `${v.id}: ${v.nodes[0].html}`);
  },
  shot: ({ path }) => page.screenshot({ path, fullPage: true }).then(() => path),
  complaints: () => found.splice(0),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [step, args] = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await steps[step](args || {})) ?? null };
  } catch (error) {
    answer = { error: String(error.stack) };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
