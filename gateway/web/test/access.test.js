// SPDX-License-Identifier: GPL-2.0-or-later
// axe-core on every view.
import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import axe from 'axe-core';
import { launch, visit } from './browser.js';
import { scenarios } from './mock.js';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

async function check(page, view) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const found = violations.filter((v) => ['serious', 'critical'].includes(v.impact));
  assert.equal(found.map((v) => `${view}: ${v.id}: ${v.help}\n  ${v.nodes.slice(0, 3).map((n) => `${n.html}\n  ${n.failureSummary}`).join('\n  ')}`).join('\n'), '');
}

const open = async (page) => {
  for (const b of await page.locator('.actions [aria-expanded]').all()) await b.click();
};

// Every scenario in one dress each, and those with every colour and every break in all of them.
const DRESSES = [['light', 'en-US', 1280], ['dark', 'zh-CN', 768], ['dark', 'en-US', 320]];

DRESSES.forEach(([colorScheme, locale, width], i) =>
  test(`axe finds nothing serious: ${colorScheme}, ${locale}, ${width} px`, { timeout: 240000 }, async () => {
    const names = Object.keys(scenarios).filter((s, j) => s !== 'many' && (s === 'lost' || j % DRESSES.length === i));
    for (const scenario of names)
      await visit(browser, scenario, { colorScheme, locale, viewport: { width, height: 800 } }, async (page) => {
        await open(page);
        await check(page, scenario);
      });
  }));

for (const colorScheme of ['light', 'dark'])
  test(`axe finds nothing serious in dialogs, messages and without a connection: ${colorScheme}`, { timeout: 120000 }, () =>
    visit(browser, 'healthy', { colorScheme, expected: (text) => /ERR_|Failed to load/.test(text) }, async (page, g) => {
      await page.getByRole('button', { name: 'Add mapping' }).click();
      await page.getByRole('button', { name: 'Open the port' }).click();
      await page.locator('#internal_ip-about', { hasText: 'Fill this in' }).waitFor();
      await check(page, 'form');
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'Delete TCP 192.168.1.10:6881' }).click();
      await page.locator('.toast').waitFor();
      await check(page, 'toast');
      g.silent = true;
      g.hangUp();
      await page.getByRole('alert').filter({ hasText: 'does not answer' }).waitFor();
      await check(page, 'no connection');
      g.silent = false;
      g.password = 'x';
      await page.getByRole('button', { name: 'Log in' }).click();
      await page.locator('dialog').waitFor();
      await check(page, 'login');
    }));
