// SPDX-License-Identifier: GPL-2.0-or-later
// Takes pictures to look at:  node test/look.js DIRECTORY [SCENARIO...]
import { mkdir } from 'node:fs/promises';
import { launch, visit } from './browser.js';

const [dir, ...only] = process.argv.slice(2);
const shots = [];
for (const scenario of only.length ? only : ['healthy'])
  for (const width of [320, 768, 1280])
    for (const colorScheme of ['light', 'dark'])
      for (const locale of ['en-US', 'zh-CN']) if ((colorScheme === 'light') === (locale === 'en-US') || process.env.ALL) shots.push({ scenario, width, colorScheme, locale });

await mkdir(dir, { recursive: true });
const browser = await launch();
for (const { scenario, width, colorScheme, locale } of shots)
  await visit(browser, scenario, { viewport: { width, height: 800 }, colorScheme, locale }, async (page) => {
    const row = page.locator('.actions [aria-expanded]').first();
    if (process.env.OPEN && (await row.count())) for (const b of await page.locator('.actions [aria-expanded]').all()) await b.click();
    const name = `${dir}/${scenario}-${width}-${colorScheme}-${locale.slice(0, 2)}`;
    const height = await page.evaluate(() => document.documentElement.scrollHeight);
    const slice = width < 500 ? 1400 : height;
    for (let y = 0; y < height; y += slice)
      await page.screenshot({ path: `${name}${y ? `-${y}` : ''}.png`, fullPage: true, clip: { x: 0, y, width, height: Math.min(slice, height - y) } });
  }).catch((error) => console.error(`${scenario} ${width}: ${error.message}`));
await browser.close();
