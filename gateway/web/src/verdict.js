// SPDX-License-Identifier: GPL-2.0-or-later
// What the NAT's properties mean to a person. Each answer is a word that en.js and zh.js explain.

export function verdictOf(protocol, status) {
  const nat = status.nat[protocol.toLowerCase()];
  const servers = status.servers.filter((s) => s.protocol === protocol);
  if (nat.direct) return 'direct';
  if (nat.verdict === 'unsuited') return 'unsuited';
  if (nat.verdict === 'asking') return servers.length && servers.every((s) => s.state === 'silent') ? 'silent' : 'asking';
  if (!nat.filtering) return 'suited';
  return nat.filtering === 'endpoint-independent' ? 'open' : 'filtered';
}

export function lineOf(status) {
  if (!status.wan.ip) return 'down';
  const verdicts = ['UDP', 'TCP'].map((p) => verdictOf(p, status));
  const all = (...these) => verdicts.every((v) => these.includes(v));
  if (all('asking', 'silent')) return 'asking';
  if (all('unsuited')) return 'unreachable';
  if (all('suited')) return 'suited';
  return all('direct', 'open', 'suited') ? 'reachable' : 'partly';
}

export const tones = { direct: 'good', open: 'good', suited: 'good', filtered: 'fair', unsuited: 'bad', asking: 'wait', silent: 'bad',
  reachable: 'good', partly: 'fair', unreachable: 'bad', down: 'bad' };
