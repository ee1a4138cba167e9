// SPDX-License-Identifier: GPL-2.0-or-later
// IPv4 addresses as numbers, and what a form's fields may hold. A check gives nothing, or [key, values] of what is wrong.

export function ipv4(text) {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1);
  if (!parts || parts.some((p) => p > 255 || (p.length > 1 && p[0] === '0'))) return null;
  return parts.reduce((sum, p) => sum * 256 + Number(p), 0);
}

export const lanText = (lan) => `${lan.ip}/${lan.prefix}`;
const network = (ip, prefix) => Math.floor(ip / 2 ** (32 - prefix));

export function checkHost(text, lans) {
  const ip = ipv4(text);
  if (!text) return ['wrong_empty'];
  if (ip === null) return ['wrong_ip', { value: text, example: lans[0]?.ip || '192.168.1.10' }];
  const lan = lans.find((l) => network(ip, l.prefix) === network(ipv4(l.ip), l.prefix));
  if (!lan) return ['wrong_lan', { value: text, lans: lans.map(lanText).join(', ') }];
  const size = 2 ** (32 - lan.prefix);
  if (size > 2 && (ip % size === 0 || ip % size === size - 1)) return ['wrong_host', { value: text }];
}

export function checkPort(text) {
  if (!text) return ['wrong_empty'];
  if (!/^[1-9]\d{0,4}$/.test(text) || text > 65535) return ['wrong_port', { value: text }];
}
