// SPDX-License-Identifier: GPL-2.0-or-later
// What a person changes through the page.
import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { launch, visit, WAIT } from './browser.js';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

const on = (name, scenario, options, body) => test(name, { timeout: 180000 }, () => visit(browser, scenario, options, body));
const refused = (text) => /status of (4|5)\d\d/.test(text);
const posted = (g) => g.requests.filter((r) => r.startsWith('POST /mappings')).map((r) => JSON.parse(r.slice('POST /mappings '.length)));

async function until(check) {
  for (const end = Date.now() + WAIT; !check(); await new Promise((r) => setTimeout(r, 20))) assert.ok(Date.now() < end, `not so: ${check}`);
}

async function fill(page, ip = '192.168.1.40', port = '8080') {
  await page.getByRole('button', { name: 'Add mapping' }).click();
  await page.getByLabel('LAN address').fill(ip);
  await page.getByLabel('Port on the device').fill(port);
}

const send = (page) => page.getByRole('button', { name: 'Open the port' }).click();

on('the form says what is wrong next to the field, and sends nothing', 'empty', {}, async (page, g) => {
  await fill(page, '10.0.0.1', '70000');
  await page.getByRole('textbox', { name: 'Keep it for' }).fill('40');
  await page.getByLabel('Keep it for', { exact: true }).last().selectOption('days');
  await page.getByLabel('Description').fill('很'.repeat(22));
  await send(page);
  const said = async (name) => {
    const field = page.locator(`dialog [name=${name}]`);
    assert.equal(await field.getAttribute('aria-invalid'), 'true');
    return page.locator(`#${await field.getAttribute('aria-describedby')}`).textContent();
  };
  assert.equal(await said('internal_ip'), '10.0.0.1 is in none of the router’s networks: 192.168.1.1/24.');
  assert.match(await said('internal_port'), /“70000” is not a port/);
  assert.equal(await said('amount'), 'Between 1 minute and 1 day.');
  assert.equal(await said('description'), 'At most 64 bytes; these are 66.');
  await page.waitForFunction(() => document.activeElement.name === 'internal_ip');
  await page.getByLabel('LAN address').fill('192.168.1.40');
  await page.waitForFunction(() => !document.querySelector('[name=internal_ip]').hasAttribute('aria-invalid'));
  assert.deepEqual(posted(g), []);
});

on('the form opens a port and tells the outer address', 'empty', {}, async (page, g) => {
  await fill(page);
  await page.getByLabel('UDP').check({ force: true });
  await page.getByLabel('Description').fill('camera');
  await page.getByText('More choices').click();
  await page.getByLabel('Router port').fill('25000');
  await send(page);
  await page.locator('.toast', { hasText: 'UDP 192.168.1.40:8080 is open at 203.0.113.1:45678' }).waitFor();
  await page.locator('.mapping', { hasText: 'camera' }).waitFor();
  assert.equal(await page.locator('dialog').count(), 0);
  assert.deepEqual(posted(g), [{ protocol: 'UDP', internal_ip: '192.168.1.40', internal_port: 8080, lifetime: 3600, description: 'camera', relay_port: 25000 }]);
});

on('what the gateway refuses is said where it belongs', 'healthy', { expected: refused }, async (page) => {
  await fill(page);
  await page.getByText('More choices').click();
  await page.getByLabel('Router port').fill('26780');
  await send(page);
  await page.locator('#relay_port-about', { hasText: 'relay_port 26780 is TCP/192.168.1.10/6881' }).waitFor();
  await page.getByLabel('Router port').fill('');
  await page.getByLabel('Port on the device').fill('666');
  await send(page);
  await page.locator('dialog [role=alert]', { hasText: 'no STUN server answers' }).waitFor();
});

on('a form closed while the hole is punched takes the wish back', 'empty', {}, async (page, g) => {
  g.delay = 60000;
  await fill(page);
  await send(page);
  await page.getByRole('button', { name: 'Punching the hole…' }).waitFor();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.locator('dialog').waitFor({ state: 'detached' });
  await until(() => g.gone === 1);
  assert.equal(g.mappings.size, 0);
  assert.equal(await page.locator('.toast').count(), 0);
});

on('deleted, undone: the rest of its time, the same relay port, the same outer port', 'healthy', {}, async (page, g) => {
  g.nextOuter = 43006;
  await page.getByRole('button', { name: 'Delete TCP 192.168.1.10:6881' }).click();
  const toast = page.locator('.toast', { hasText: 'TCP 192.168.1.10:6881 is deleted' });
  await toast.waitFor();
  assert.equal(g.mappings.has('TCP/192.168.1.10/6881'), false);
  await toast.getByRole('button', { name: 'Undo' }).click();
  await page.getByText('is back at the same outer address, 203.0.113.1:43006').waitFor();
  const [wish] = posted(g);
  assert.ok(wish.lifetime > 3400 && wish.lifetime <= 3541, `${wish.lifetime}`);
  assert.equal(wish.relay_port, 26780);
  assert.equal(wish.description, 'qBittorrent');
});

on('an undo that finds another outer port says so', 'healthy', {}, async (page, g) => {
  g.nextOuter = 50001;
  await page.getByRole('button', { name: 'Delete UDP 192.168.1.10:6881' }).click();
  await page.getByRole('button', { name: 'Undo' }).click();
  await page.getByText('but at another outer address: 203.0.113.1:50001 (it was 203.0.113.1:39021)').waitFor();
});

on('what the configuration file says is not deleted here', 'healthy', {}, async (page, g) => {
  const bin = page.getByRole('button', { name: 'TCP 192.168.1.20:443 stands in the configuration file' });
  await bin.click({ force: true });
  await page.waitForTimeout(300);
  assert.ok(g.mappings.has('TCP/192.168.1.20/443'));
});

on('with a password a change asks for the login, and goes on after it', 'password', { expected: refused }, async (page, g) => {
  assert.equal(await page.getByText('No password protects changes').count(), 0);
  await page.getByRole('button', { name: 'Delete TCP 192.168.1.10:6881' }).click();
  const dialog = page.getByRole('dialog', { name: 'Log in' });
  await dialog.getByLabel('Password').fill('wrong');
  await page.keyboard.press('Enter');
  await dialog.getByText('This password is wrong.').waitFor();
  assert.ok(g.mappings.has('TCP/192.168.1.10/6881'));
  await dialog.getByLabel('Password').fill('correct horse');
  await page.keyboard.press('Enter');
  await page.getByText('TCP 192.168.1.10:6881 is deleted').waitFor();
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByRole('button', { name: 'Log in' }).waitFor();
});

on('a session that ended meanwhile asks again and loses nothing of the form', 'healthy', { expected: refused }, async (page, g) => {
  await fill(page);
  g.password = 'new';
  await send(page);
  await page.getByRole('dialog', { name: 'Log in' }).getByLabel('Password').fill('new');
  await page.keyboard.press('Enter');
  assert.equal(await page.getByLabel('LAN address').inputValue(), '192.168.1.40');
  await send(page);
  await page.locator('.toast', { hasText: 'TCP 192.168.1.40:8080 is open' }).waitFor();
});

on('without a password the page says openly that there is none', 'healthy', {}, async (page) => {
  await page.getByText('No password protects changes: everybody in this network can open and close ports.').waitFor();
});

for (const way of ['clipboard', 'hand'])
  test(`an outer address is copied by ${way}`, { timeout: 180000 }, () =>
    visit(browser, 'healthy', { permissions: ['clipboard-read', 'clipboard-write'] }, async (page) => {
      if (way === 'hand') await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
      await page.getByRole('button', { name: 'Copy 203.0.113.1:43006' }).click();
      await page.getByText('203.0.113.1:43006 copied').waitFor();
      await page.getByRole('searchbox').focus();
      await page.keyboard.press('Control+V');
      assert.equal(await page.getByRole('searchbox').inputValue(), '203.0.113.1:43006');
    }));

on('the keyboard alone adds, deletes and undoes, and always sees where it is', 'empty', {}, async (page, g) => {
  const at = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') || document.activeElement.textContent || document.activeElement.name);
  const go = async (name) => {
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press('Tab');
      const outline = await page.evaluate(() => {
        const e = document.activeElement;
        const seen = e.matches('.choice input') ? e.nextElementSibling : e;
        return e === document.body || getComputedStyle(seen).outlineStyle !== 'none';
      });
      assert.ok(outline, `no visible focus on ${await at()}`);
      if ((await at()).startsWith(name)) return;
    }
    assert.fail(`Tab never came to ${name}`);
  };
  await go('Add mapping');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.activeElement.name === 'internal_ip');
  await page.keyboard.type('192.168.1.40');
  await page.keyboard.press('Tab');
  await page.keyboard.type('8080');
  await page.keyboard.press('Enter');
  await page.locator('.mapping').waitFor();
  await page.waitForFunction(() => document.activeElement.textContent === 'Add mapping');
  await go('Show the path of');
  await page.keyboard.press('Enter');
  await page.locator('.details').waitFor();
  await go('Delete TCP');
  await page.keyboard.press('Space');
  await page.waitForFunction(() => document.activeElement.textContent === 'Undo');
  await page.keyboard.press('Enter');
  await page.locator('.mapping').waitFor();
  await until(() => g.mappings.size === 1);
  await go('Add mapping');
  await page.keyboard.press('Enter');
  await page.locator('dialog').waitFor();
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'detached' });
  assert.equal(await at(), 'Add mapping');
});
