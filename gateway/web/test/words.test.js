// SPDX-License-Identifier: GPL-2.0-or-later
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { checkHost, checkPort, ipv4 } from '../src/address.js';
import { bytes, duration, ms, speak, t } from '../src/i18n.js';
import { lineOf, verdictOf } from '../src/verdict.js';
import en from '../src/words/en.js';
import zh from '../src/words/zh.js';

const SRC = new URL('../src/', import.meta.url);

test('both languages have the same words, none of them empty, with the same places to fill', () => {
  assert.deepEqual(Object.keys(zh), Object.keys(en));
  const places = (text) => [...text.matchAll(/\{\w+\}/g)].map(String).sort();
  for (const key of Object.keys(en)) {
    assert.ok(en[key] && zh[key], key);
    assert.deepEqual(places(zh[key]), places(en[key]), key);
    assert.match(zh[key], /[\u4e00-\u9fff]|^\{\w+\}$/, `${key} is not Chinese`);
  }
});

test('every word the source asks for is there, and every word is asked for', () => {
  const source = readdirSync(SRC).filter((f) => /\.jsx?$/.test(f)).map((f) => readFileSync(new URL(f, SRC), 'utf8')).join('\n');
  const there = (key) => key in en || `${key}_other` in en;
  for (const [, key] of source.matchAll(/\bt\('([\w-]+)'/g)) assert.ok(there(key), key);
  const unused = [];
  const made = [...source.matchAll(/\bt\(`([\w-]+)\$\{/g)].map(([, stem]) => stem);
  for (const key of Object.keys(en)) {
    const plain = key.replace(/_(one|other)$/, '');
    if (!(source.includes(`'${plain}'`) || source.includes(` ${plain}:`) || made.some((stem) => key.startsWith(stem)) || /^(all|punching|lost|minutes|hours|days)$/.test(key))) unused.push(key);
  }
  assert.deepEqual(unused, []);
});

test('numbers, sizes and lengths of time are written as each language writes them', async () => {
  await speak('en');
  assert.equal(duration(3541), '59 min 1 sec');
  assert.equal(duration(90000), '1 day 1 hr');
  assert.equal(duration(-5), '0 sec');
  assert.equal(bytes(1310000000), '1.3 GB');
  assert.equal(ms(12.4), '12 ms');
  assert.equal(t('connections', { n: 1 }), '1 connection');
  assert.equal(t('connections', { n: 1200 }), '1,200 connections');
  await speak('zh');
  assert.equal(duration(3541), '59分钟1秒');
  assert.equal(t('connections', { n: 1 }), '1 个连接');
  await speak('en');
});

test('an address field takes a host of a LAN and nothing else', () => {
  const lans = [{ ip: '192.168.1.1', prefix: 24 }, { ip: '10.0.0.1', prefix: 30 }];
  const wrong = (text) => checkHost(text, lans)?.[0];
  for (const good of ['192.168.1.1', '192.168.1.254', '10.0.0.2']) assert.equal(wrong(good), undefined, good);
  for (const bad of ['192.168.1', '192.168.1.256', '192.168.01.5', '1921681.1', '::1', 'nas', '192.168.1.5 ', '１９2.168.1.5']) assert.equal(wrong(bad), 'wrong_ip', bad);
  for (const far of ['192.168.2.5', '8.8.8.8', '10.0.0.4']) assert.equal(wrong(far), 'wrong_lan', far);
  for (const edge of ['192.168.1.0', '192.168.1.255', '10.0.0.3']) assert.equal(wrong(edge), 'wrong_host', edge);
  assert.equal(wrong(''), 'wrong_empty');
  assert.equal(ipv4('255.255.255.255'), 4294967295);
});

test('a port field takes 1 to 65535 and nothing else', () => {
  for (const good of ['1', '6881', '65535']) assert.equal(checkPort(good), undefined, good);
  for (const bad of ['0', '65536', '-1', '1.5', '080', '1e3', 'x', '123456']) assert.equal(checkPort(bad)[0], 'wrong_port', bad);
  assert.equal(checkPort('')[0], 'wrong_empty');
});

test('the verdict promises no more than is known', () => {
  const nat = (verdict, filtering = '', direct = false) => ({ verdict, filtering, direct, mapping: '' });
  const line = (udp, tcp, servers = [], ip = '100.64.0.2') => ({ wan: { ip }, nat: { udp, tcp }, servers });
  const ei = 'endpoint-independent', apd = 'address-and-port-dependent';
  assert.equal(verdictOf('UDP', line(nat('suited', ei))), 'open');
  assert.equal(verdictOf('UDP', line(nat('suited', apd))), 'filtered');
  assert.equal(verdictOf('UDP', line(nat('suited'))), 'suited');
  assert.equal(verdictOf('UDP', line(nat('asking'), nat('asking'), [{ protocol: 'UDP', state: 'silent' }])), 'silent');
  assert.equal(verdictOf('TCP', line(nat('asking'), nat('asking'), [{ protocol: 'UDP', state: 'silent' }])), 'asking');
  assert.equal(lineOf(line(nat('suited', ei), nat('suited'))), 'reachable');
  assert.equal(lineOf(line(nat('suited'), nat('suited'))), 'suited');
  assert.equal(lineOf(line(nat('suited', apd), nat('suited', ei))), 'partly');
  assert.equal(lineOf(line(nat('suited', ei), nat('unsuited'))), 'partly');
  assert.equal(lineOf(line(nat('unsuited'), nat('unsuited'))), 'unreachable');
  assert.equal(lineOf(line(nat('asking'), nat('asking'))), 'asking');
  assert.equal(lineOf(line(nat('suited', ei, true), nat('suited', ei, true))), 'reachable');
  assert.equal(lineOf(line(nat('suited', ei), nat('suited', ei), [], null)), 'down');
});
