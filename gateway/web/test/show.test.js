// SPDX-License-Identifier: GPL-2.0-or-later
// What the page shows, and that it stays true.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test, { after, before } from 'node:test';
import { launch, visit, WAIT } from './browser.js';
import { mapping, scenarios } from './mock.js';

const DIST = fileURLToPath(new URL('../dist/', import.meta.url));

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

const on = (name, scenario, options, body) => test(name, { timeout: 180000 }, () => visit(browser, scenario, options, body));
const row = (page, text) => page.locator('.mapping', { hasText: text });
const network = (text) => /ERR_|Failed to load resource/.test(text);

for (const locale of ['en-US', 'zh-CN'])
  test(`a first load in ${locale} is under 25 KB`, { timeout: 180000 }, () =>
    visit(browser, 'healthy', { locale }, async (page) => {
      const loaded = await page.evaluate(() =>
        ['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind)).map((e) => new URL(e.name).pathname.slice(1) || 'index.html').filter((name) => /\.(html|js|css)$/.test(name)));
      // Compressed as the gateway's build does it; Node's own zlib is another one.
      const files = [...loaded, 'icon.svg'].map((name) => [name, execFileSync('gzip', ['-9nc', `${DIST}${name}`]).length]);
      assert.ok(files.length === 5 && files.reduce((all, [, size]) => all + size, 0) < 25000, JSON.stringify(files));
    }));

on('no inline script or style runs', 'healthy', { expected: (text) => text.includes('Content Security Policy') }, async (page) => {
  const ran = await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'window.ran = true';
    const box = document.createElement('div');
    box.setAttribute('style', 'position: fixed');
    document.body.append(script, box);
    return window.ran || getComputedStyle(box).position === 'fixed';
  });
  assert.equal(ran, false);
});

on('mappings come, change and go by events, without one more request', 'empty', {}, async (page, g) => {
  await page.getByText('No port is open yet').waitFor();
  await page.waitForTimeout(200);
  const asked = g.requests.length;
  g.put(mapping({ description: 'from NAT-PMP' }));
  await row(page, 'from NAT-PMP').getByText('203.0.113.1:43006').waitFor();
  g.put(mapping({ description: 'from NAT-PMP', state: 'lost', trouble: 'stun-silent' }));
  await row(page, 'from NAT-PMP').getByText('Lost').waitFor();
  g.send('traffic', [{ protocol: 'TCP', internal_ip: '192.168.1.10', internal_port: 6881, traffic: { in_bytes: 5000, out_bytes: 7000000, in_packets: 9, out_packets: 9, connections: 3 } }]);
  await row(page, '3 connections').getByText('7 MB').waitFor();
  g.drop('TCP/192.168.1.10/6881');
  await page.getByText('No port is open yet').waitFor();
  assert.equal(g.requests.length, asked);
});

on('the time left counts down', 'healthy', {}, async (page) => {
  const left = page.locator('.left').first();
  const before = await left.textContent();
  await page.waitForFunction(([b]) => document.querySelector('.left').textContent !== b, [before], { timeout: WAIT });
});

on('a renumbered line appears by itself and is told to screen readers', 'healthy', {}, async (page, g) => {
  g.change({ public_ip: '203.0.113.7' });
  await page.locator('.address', { hasText: '203.0.113.7' }).waitFor();
  await page.locator('[role=status]', { hasText: 'The outer address is now 203.0.113.7' }).waitFor({ state: 'attached' });
  g.change({ public_ip: null });
  await page.locator('.address', { hasText: 'none yet' }).waitFor();
});

on('an event of the log and a new plot point appear by themselves', 'empty', {}, async (page, g) => {
  await page.getByText('Nothing measured yet').waitFor();
  g.say('warn', 'carrier renumbered the line');
  await page.locator('.events li', { hasText: 'carrier renumbered the line' }).waitFor();
  g.points = [{ time: new Date().toISOString(), rtt_ms: 12, in_bytes: 1, out_bytes: 1, connections: 0, mappings: 0, outer_changes: 0 }];
  g.send('history', g.points[0]);
  await page.locator('.plot').first().waitFor();
});

on('columns sort both ways, and filters find by word and state', 'healthy', {}, async (page) => {
  const hosts = () => page.locator('.mapping .relay, .mapping td:nth-child(4)').allTextContents();
  await page.getByRole('button', { name: 'Router port' }).click();
  assert.deepEqual(await hosts(), ['20443', '21877', '26780', '27200']);
  await page.getByRole('button', { name: 'Router port' }).click();
  assert.deepEqual(await hosts(), ['27200', '26780', '21877', '20443']);
  assert.equal(await page.locator('th[aria-sort=descending]').innerText(), 'Router port');
  await page.getByRole('searchbox').fill('qbit udp');
  assert.deepEqual(await hosts(), ['27200']);
  await page.getByRole('searchbox').fill('nothing like this');
  await page.getByRole('button', { name: 'Show all' }).click();
  await page.getByRole('button', { name: /^Opening/ }).click();
  assert.deepEqual(await hosts(), ['21877']);
});

on('the path shows where it breaks', 'empty', {}, async (page, g) => {
  const breaks = {
    firewall: ['firewall rule', 'li:nth-child(1) .track.broken'],
    'relay-port': ['Another program', 'li:nth-child(2).broken'],
    'no-line': ['The line is down', 'li:nth-child(2) .track.broken'],
    'nat-unsuited': ['another port for every destination', 'li:nth-child(3).broken'],
    'stun-silent': ['No STUN server answers', 'li:nth-child(3) .track.broken'],
    filtered: ['Strangers are turned away', 'li:nth-child(3) .track.one_way'],
  };
  g.put(mapping());
  g.change({ nat: { ...g.status.nat, tcp: g.status.nat.udp } });
  await page.getByRole('button', { name: 'Show the path of TCP 192.168.1.10:6881' }).click();
  const details = page.locator('.details');
  await details.getByText('Whoever connects to 203.0.113.1:43006 reaches 192.168.1.10:6881.').waitFor();
  assert.equal(await details.locator('.broken, .one_way, .dead').count(), 0);
  for (const [trouble, [words, where]] of Object.entries(breaks)) {
    g.put(mapping({ trouble, state: trouble === 'filtered' ? 'open' : 'lost' }));
    await details.getByText(words).waitFor();
    assert.equal(await details.locator(where).count(), 1, trouble);
    assert.equal(await details.locator('.broken, .one_way').count(), 1, trouble);
  }
  g.put(mapping());
  g.change({ nat: { ...g.status.nat, tcp: { ...g.status.nat.tcp, filtering: '' } } });
  await details.getByText('if the carrier lets strangers in').waitFor();
  g.put(mapping({ state: 'punching', public_ip: '', remote_port: 0 }));
  await details.getByText('is being punched').waitFor();
  assert.equal(await details.locator('.track.waiting').count(), 1);
});

on('a lost connection shows, heals, and what happened meanwhile is there', 'healthy', { expected: network }, async (page, g) => {
  g.silent = true;
  g.hangUp();
  const banner = page.getByRole('alert').filter({ hasText: 'The router does not answer' });
  await banner.waitFor();
  g.mappings.clear();
  g.put(mapping({ description: 'came meanwhile' }));
  g.silent = false;
  await row(page, 'came meanwhile').waitFor();
  await banner.waitFor({ state: 'detached' });
  assert.equal(await page.locator('.mapping').count(), 1);
});

on('the events are opened before the snapshot is fetched, and told after it', 'empty', {}, async (page, g) => {
  const order = g.requests.filter((r) => /GET \/(events|status|mappings) /.test(r)).map((r) => r.split(' ')[1]);
  assert.equal(order[0], '/events');
});

on('a page of another version loads anew', 'empty', {}, async (page, g) => {
  const loaded = page.waitForEvent('load');
  g.change({ version: '0.2.0' });
  await loaded;
  await page.getByText('stunway-gateway 0.2.0').waitFor();
});

on('what comes from the LAN is text, never markup', 'hostile', {}, async (page) => {
  await row(page, '<img src=x onerror=').waitFor();
  await page.locator('.events li', { hasText: '<script>' }).waitFor();
  await page.locator('.brand bdi', { hasText: '<img' }).waitFor({ state: 'attached' });
  assert.equal(await page.locator('#app img, #app script').count(), 0);
  assert.ok(!(await page.title()).startsWith('owned'));
});

on('Chinese for a Chinese browser; switched, it stays switched', 'healthy', { locale: 'zh-CN' }, async (page) => {
  await page.getByRole('heading', { name: '端口映射' }).waitFor();
  assert.equal(await page.locator('html').getAttribute('lang'), 'zh-CN');
  await page.getByLabel('语言').selectOption('en');
  await page.getByRole('heading', { name: 'Mappings' }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: 'Mappings' }).waitFor();
  assert.equal(await page.locator('html').getAttribute('lang'), 'en');
});

on('dark as the system is, or as it was switched', 'healthy', { colorScheme: 'dark' }, async (page) => {
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  assert.equal(await ground(), 'rgb(12, 19, 18)');
  await page.getByRole('button', { name: 'Appearance: As the system' }).click();
  assert.equal(await ground(), 'rgb(237, 242, 240)');
  await page.reload();
  await page.getByRole('button', { name: 'Appearance: Light' }).click();
  await page.getByRole('button', { name: 'Appearance: Dark' }).waitFor();
  assert.equal(await ground(), 'rgb(12, 19, 18)');
});

test('nothing is wider than 320 px, in no scenario, in English or Chinese', { timeout: 180000 }, async () => {
  for (const scenario of Object.keys(scenarios).filter((s) => s !== 'many'))
    for (const locale of scenario === 'lost' ? ['en-US', 'zh-CN'] : ['en-US'])
      await visit(browser, scenario, { viewport: { width: 320, height: 640 }, locale, hasTouch: true }, async (page) => {
        for (const b of await page.locator('.actions [aria-expanded]').all()) await b.click();
        const widest = await page.evaluate(() => Math.max(document.documentElement.scrollWidth, ...[...document.querySelectorAll('main *')].filter((e) => !e.closest('svg, thead, .hidden')).map((e) => e.getBoundingClientRect().right)));
        const over = await page.evaluate(() => [...document.querySelectorAll('.panel *')].filter((e) => !e.closest('svg, thead, .hidden') && e.getBoundingClientRect().right > e.closest('.panel').getBoundingClientRect().right).map((e) => e.outerHTML.slice(0, 80)));
        assert.deepEqual(over, [], scenario);
        assert.ok(widest <= 320.5, `${scenario} ${locale}: ${widest} px`);
      });
});

on('a thousand mappings are drawn a hundred at a time and all found', 'many', {}, async (page) => {
  assert.equal(await page.locator('.mapping').count(), 100);
  await page.getByText('100 of 1000 shown').waitFor();
  await page.getByRole('button', { name: 'Show 100 more' }).click();
  assert.equal(await page.locator('.mapping').count(), 200);
  await page.getByRole('searchbox').fill(':6999 ');
  assert.equal(await page.locator('.mapping').count(), 1);
});

on('arrow keys read the plots', 'healthy', {}, async (page) => {
  const plot = page.getByRole('slider', { name: /Round trip/ });
  await plot.focus();
  const now = await plot.getAttribute('aria-valuetext');
  await page.keyboard.press('ArrowLeft');
  const before = await plot.getAttribute('aria-valuetext');
  assert.notEqual(before, now);
  assert.match(before, /: \d+ ms$/);
  await page.keyboard.press('End');
  assert.equal(await plot.getAttribute('aria-valuetext'), now);
  assert.equal(await plot.locator('.cursor').count(), 1);
});

on('what the NAT means is said in plain words', 'unsuited', {}, async (page, g) => {
  await page.getByRole('heading', { name: 'Your line cannot be reached' }).waitFor();
  assert.equal(await page.getByText('Ask your carrier for a public IPv4 address').count(), 2);
  g.change({ nat: { udp: { direct: true, mapping: '', filtering: '', verdict: 'suited' }, tcp: { direct: true, mapping: '', filtering: '', verdict: 'suited' } } });
  await page.getByRole('heading', { name: 'Your line is reachable' }).waitFor();
  assert.equal(await page.getByText('nothing needs punching').count(), 2);
});
