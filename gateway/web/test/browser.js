// SPDX-License-Identifier: GPL-2.0-or-later
// Debian's Chromium, and a page in it that fails the test for whatever a browser complains about.
import { chromium } from 'playwright-core';
import { mock } from './mock.js';

export const WAIT = 40000; // for anything, on a busy machine

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'], timeout: 60000 });

// Console errors, exceptions, requests to anywhere else, and what the Content-Security-Policy stopped.
export function complaints(page, url, expected = () => false) {
  const found = [];
  const note = (text) => expected(text) || found.push(text);
  page.on('console', (m) => ['error', 'warning'].includes(m.type()) && note(`console: ${m.text()}`));
  page.on('pageerror', (error) => note(`exception: ${error}`));
  page.on('request', (r) => r.url().startsWith(url) || r.url().startsWith('data:') || note(`foreign request: ${r.url()}`));
  return found;
}

// Calls body(page, gateway) on a scenario; options are those of a browser context, and `expected` complaints.
export async function visit(browser, scenario, { expected, stay, ...options }, body) {
  const g = await mock(scenario);
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-US', timezoneId: 'UTC', ...options });
  try {
    context.setDefaultTimeout(WAIT);
    const page = await context.newPage();
    const found = complaints(page, g.url, expected);
    await page.goto(g.url);
    await page.waitForSelector('.badge.link.good');
    await body(page, g);
    if (found.length) throw new Error(found.join('\n'));
  } finally {
    await context.close();
    await g.close();
  }
}
