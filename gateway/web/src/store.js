// SPDX-License-Identifier: GPL-2.0-or-later
// What the page knows, and how it stays true: events first, then a snapshot, then the events that came meanwhile.
import { useEffect, useState } from 'preact/hooks';
import { call, keyOf } from './api.js';
import { listen } from './stream.js';
import { t } from './i18n.js';

const LOG_MAX = 200;
const RETRY_MAX_MS = 30000;

export const state = {
  link: 'opening', // 'live', 'lost'
  retryAt: 0,
  status: null,
  login: { required: false, logged_in: true },
  mappings: new Map(),
  history: { step: 300, points: [] },
  log: [],
  clock: 0, // what the gateway's wall clock is ahead of ours, ms
  said: '', // for screen readers
  toasts: [],
  adding: null, // what the form begins with, while it is open
  wanted: null, // a change that waits for a login: a function
};

const watchers = new Set();
let drawing = 0;

export function set(change) {
  Object.assign(state, change);
  drawing ||= setTimeout(() => {
    drawing = 0;
    watchers.forEach((redraw) => redraw({}));
  }, 30);
}

export function useStore() {
  const [, redraw] = useState();
  useEffect(() => {
    watchers.add(redraw);
    return () => watchers.delete(redraw);
  }, []);
  return state;
}

// One clock for everything that counts.
const tickers = new Set();
setInterval(() => document.hidden || tickers.forEach((tick) => tick(Date.now())), 1000);

export function useNow() {
  const [now, tick] = useState(Date.now);
  useEffect(() => {
    tickers.add(tick);
    return () => tickers.delete(tick);
  }, []);
  return now;
}

export const say = (text) => set({ said: text });

// The time left counts by our own clock, which may be hours off the gateway's.
const received = (m) => ({ ...m, key: keyOf(m), until: m.expires_in === null ? null : Date.now() + m.expires_in * 1000 });

function snapshot([status, mappings, history, log]) {
  const { login, ...rest } = status;
  set({
    login,
    history,
    log: log.slice(-LOG_MAX),
    mappings: new Map(mappings.map(received).map((m) => [m.key, m])),
  });
  apply.status(rest);
}

const endpoint = (m) => `${m.public_ip}:${m.remote_port}`;

function tellMapping(old, m) {
  const name = `${m.protocol} ${m.internal_ip}:${m.internal_port}`;
  if (m.state === 'lost' && old?.state !== 'lost') say(t('said_lost', { name }));
  // Whoever opens one by the page is told by a message.
  else if (m.state === 'open' && (old || m.origin !== 'web') && (old?.state !== 'open' || endpoint(old) !== endpoint(m))) say(t('said_open', { name, outer: endpoint(m) }));
}

// One function per kind of event.
const apply = {
  status(status) {
    const before = state.status?.public_ip;
    if (state.status && status.version !== state.status.version) location.reload(); // this page belongs to the old one
    if (state.status && before !== status.public_ip) say(status.public_ip ? t('said_address', { ip: status.public_ip }) : t('said_no_address'));
    set({ status, clock: Date.parse(status.now) - Date.now() });
  },
  mapping({ gone, mapping }) {
    const mappings = new Map(state.mappings);
    const key = keyOf(mapping);
    if (gone) {
      mappings.delete(key);
    } else {
      tellMapping(mappings.get(key), mapping);
      mappings.set(key, received(mapping));
    }
    set({ mappings });
  },
  traffic(list) {
    const mappings = new Map(state.mappings);
    for (const one of list) {
      const m = mappings.get(keyOf(one));
      if (m) mappings.set(m.key, { ...m, traffic: one.traffic });
    }
    set({ mappings });
  },
  log(line) {
    set({ log: [...state.log, line].slice(-LOG_MAX) });
  },
  history() {
    call('GET', 'history').then((history) => set({ history }), () => {});
  },
};

let controller, timer;

export async function connect(tries = 0) {
  clearTimeout(timer);
  controller?.abort();
  const mine = (controller = new AbortController());
  let waiting = []; // events that came before the snapshot
  const opened = async () => {
    try {
      const parts = await Promise.all(['status', 'mappings', 'history', 'events/recent'].map((path) => call('GET', path, null, mine.signal)));
      if (state.link === 'lost') say(t('said_back'));
      snapshot(parts);
      for (const [name, data] of waiting) apply[name]?.(data);
      waiting = null;
      tries = 0;
      set({ link: 'live' });
    } catch {
      mine.abort();
    }
  };
  try {
    await listen('events', mine, opened, (name, data) => (waiting ? waiting.push([name, data]) : apply[name]?.(data)));
  } catch {
    if (controller !== mine) return; // another connection took over
    mine.abort();
    if (state.link === 'live') say(t('said_gone'));
    const wait = Math.min(1000 * 2 ** tries, RETRY_MAX_MS) * (0.8 + 0.4 * Math.random());
    timer = setTimeout(connect, wait, tries + 1);
    set({ link: 'lost', retryAt: Date.now() + wait });
  }
}

// A page that comes back from the background, or a phone that is online again, does not wait.
const hurry = () => !document.hidden && state.link === 'lost' && connect();
addEventListener('online', hurry);
document.addEventListener('visibilitychange', hurry);
addEventListener('pagehide', () => {
  controller?.abort();
  clearTimeout(timer);
});
addEventListener('pageshow', (event) => event.persisted && connect());

export const refreshLogin = async () => set({ login: (await call('GET', 'status')).login });
