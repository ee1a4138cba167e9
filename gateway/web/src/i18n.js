// SPDX-License-Identifier: GPL-2.0-or-later
// Two languages, and numbers and times as each writes them.
export const languageNames = { en: 'English', zh: '中文' };
// Each language is a file of its own: nobody loads words that he does not read.
const tables = { en: () => import('./words/en.js'), zh: () => import('./words/zh.js') };

let language, locale, words, plural, cache;

export async function speak(name) {
  words = (await tables[name]()).default;
  language = name;
  // Somebody's own way to write dates, where it is one of the language's: 24 hours in Britain.
  const own = typeof navigator === 'object' && navigator.language;
  locale = own && own.startsWith(language) ? own : language;
  plural = new Intl.PluralRules(language);
  cache = new Map();
}
export const spoken = () => language;

// t('shown', { shown: 1, all: 3 }); with n the key's _one or _other is taken where there is one.
export function t(key, values = {}) {
  const counted = 'n' in values && words[`${key}_${plural.select(values.n)}`];
  const text = counted || words[key] || key;
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? (name === 'n' ? number(values.n) : values[name]) : all));
}

const format = (Kind, options) => {
  const key = Kind.name + JSON.stringify(options);
  if (!cache.has(key)) cache.set(key, new Kind(locale, options));
  return cache.get(key);
};
const numbers = (options) => format(Intl.NumberFormat, options);
const dates = (options) => format(Intl.DateTimeFormat, options);

export const number = (n) => numbers({}).format(n);
export const ms = (n) => numbers({ style: 'unit', unit: 'millisecond', maximumFractionDigits: n < 10 ? 1 : 0 }).format(n);

const SIZES = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];

export function bytes(n, per = '') {
  let i = 0;
  for (; n >= 1000 && i < SIZES.length - 1; i++) n /= 1000;
  return numbers({ style: 'unit', unit: SIZES[i] + per, unitDisplay: i ? 'short' : 'narrow', maximumFractionDigits: i && n < 100 ? 1 : 0 }).format(n);
}
export const rate = (n) => bytes(n, '-per-second');

const UNITS = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];

// A length of time in its two greatest units: 3 h 12 min.
export function duration(seconds) {
  let left = Math.max(0, Math.round(seconds));
  const first = UNITS.findIndex(([, size]) => left >= size);
  if (first < 0) return unit(0, 'second');
  const parts = [];
  for (const [name, size] of UNITS.slice(first, first + 2)) {
    const n = Math.floor(left / size);
    left -= n * size;
    if (n) parts.push(unit(n, name));
  }
  return parts.join(language === 'zh' ? '' : ' ');
}
const unit = (n, name) => numbers({ style: 'unit', unit: name, unitDisplay: 'short' }).format(n);

export const when = (time) => dates({ dateStyle: 'medium', timeStyle: 'short' }).format(new Date(time));
export const clockSeconds = (time) => dates({ hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(new Date(time));
export const dayAndClock = (time) => dates({ weekday: 'short', hour: '2-digit', minute: '2-digit' }).format(new Date(time));

export const hoursAgo = (n) => format(Intl.RelativeTimeFormat, { style: 'short' }).format(-n, 'hour');
export const ago = (seconds) => (seconds < 5 ? t('just_now') : t('ago', { time: duration(seconds) }));
