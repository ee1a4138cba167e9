// SPDX-License-Identifier: GPL-2.0-or-later
// The table of mappings. On a phone its rows are cards; roles say what they are where CSS takes that away.
import { memo } from './memo.js';
import { useMemo, useState } from 'preact/hooks';
import { ipv4 } from './address.js';
import { allowed, nameOf, remove } from './change.js';
import { Copy } from './copy.jsx';
import { bytes, duration, ms, t, when } from './i18n.js';
import { Icon, IconButton, Mark } from './icon.jsx';
import { MappingPath } from './path.jsx';
import { set, useNow } from './store.js';

const STATES = ['open', 'punching', 'lost'];
const PAGE = 100; // rows drawn at once: thousands would make a phone crawl

const outerOf = (m) => (m.remote_port ? `${m.public_ip}:${m.remote_port}` : '');
const toneOf = (m) => (m.state === 'punching' ? 'wait' : m.state === 'lost' ? 'bad' : m.trouble === 'filtered' ? 'fair' : m.trouble ? 'bad' : 'good');
const originOf = (m) => ({ config: t('origin_config'), web: t('origin_web'), 'nat-pmp': 'NAT-PMP', pcp: 'PCP' })[m.origin] || m.origin;
const moved = (m) => (m.traffic ? m.traffic.in_bytes + m.traffic.out_bytes : -1);

// What each column sorts by.
const COLUMNS = {
  state: (m) => STATES.indexOf(m.state),
  host: (m) => ipv4(m.internal_ip) * 65536 + m.internal_port,
  protocol: (m) => m.protocol,
  relay: (m) => m.relay_port,
  outer: (m) => (ipv4(m.public_ip) || 0) * 65536 + m.remote_port,
  origin: (m) => m.origin,
  left: (m) => m.until ?? Infinity,
  traffic: moved,
};

const text = (m) => `${nameOf(m)} ${m.relay_port} ${outerOf(m)} ${originOf(m)} ${m.description} ${t(m.state)}`.toLowerCase();

function arrange(mappings, { sort, down, words, only }) {
  const by = COLUMNS[sort];
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const list = [...mappings.values()].filter((m) => (!only || m.state === only) && wanted.every((w) => text(m).includes(w)));
  const order = (a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : COLUMNS.host(a) - COLUMNS.host(b) || (a.key < b.key ? -1 : 1));
  return list.sort((a, b) => (down ? -order(a, b) : order(a, b)));
}

function Left({ until, lifetime }) {
  const now = useNow();
  if (until === null) return <span class="quiet">{t('for_ever')}</span>;
  const left = (until - now) / 1000;
  const share = Math.min(100, Math.max(0, (left / (lifetime || left || 1)) * 100));
  return (
    <span class="left">
      {left < 1 ? t('expiring') : duration(left)}
      <svg aria-hidden="true">
        <rect width="100%" height="3" rx="1.500" />
        <rect class="now" width={`${share.toFixed(1)}%`} height="3" rx="1.500" />
      </svg>
    </span>
  );
}

function Traffic({ traffic }) {
  if (!traffic) return <span class="quiet">{t('not_counted')}</span>;
  return (
    <span class="traffic">
      <span class="in" title={t('received')}>
        <span class="hidden">{t('received')} </span>
        <Icon name="down" />
        {bytes(traffic.in_bytes)}
      </span>
      <span class="out" title={t('sent')}>
        <span class="hidden">{t('sent')} </span>
        <Icon name="up" />
        {bytes(traffic.out_bytes)}
      </span>
      <small>{t('connections', { n: traffic.connections })}</small>
    </span>
  );
}

const Cell = ({ label, children, ...rest }) => (
  <td role="cell" data-label={label} {...rest}>
    {children}
  </td>
);

function Details({ m, name, status, clock }) {
  return (
    <tr role="row" class="details">
      <td role="cell" colspan={9}>
        <MappingPath m={m} status={status} name={name} />
        <dl class="facts">
          <dt>{t('state_since')}</dt>
          <dd>{when(Date.parse(m.since) - clock)}</dd>
          <dt>{t('asked_for')}</dt>
          <dd>{m.lifetime ? duration(m.lifetime) : t('for_ever')}</dd>
          {m.rtt_ms > 0 && <dt>{t('rtt')}</dt>}
          {m.rtt_ms > 0 && <dd>{ms(m.rtt_ms)}</dd>}
        </dl>
      </td>
    </tr>
  );
}

const Row = memo(({ m, open, toggle }) => {
  const name = nameOf(m);
  const outer = outerOf(m);
  const fixed = m.origin === 'config';
  const bin = t(fixed ? 'delete_config' : 'delete_what', { name });
  return (
    <tr role="row" class={`mapping ${open ? 'open' : ''}`}>
      <Cell label={t('state')} class="state">
        <span class={`badge ${toneOf(m)}`}>
          <Mark tone={toneOf(m)} />
          {t(m.state)}
        </span>
      </Cell>
      <Cell label={t('host')} class="host">
        <span class="number">
          {m.internal_ip}:{m.internal_port}
        </span>
        {m.description && <bdi class="description">{m.description}</bdi>}
      </Cell>
      <Cell label={t('protocol')}>{m.protocol}</Cell>
      <Cell label={t('relay')} class="number">
        {m.relay_port}
      </Cell>
      <Cell label={t('outer')} class="number outer">
        {outer ? (
          <span class="copyable">
            {outer}
            <Copy what={outer} />
          </span>
        ) : (
          <span class="quiet">{t('no_address')}</span>
        )}
      </Cell>
      <Cell label={t('origin')}>{originOf(m)}</Cell>
      <Cell label={t('left')} class="number">
        <Left until={m.until} lifetime={m.lifetime} />
      </Cell>
      <Cell label={t('traffic')} class="number">
        <Traffic traffic={m.traffic} />
      </Cell>
      <Cell class="actions">
        <IconButton icon="route" label={t('show_path', { name })} aria-expanded={open} onClick={() => toggle(m.key)} />
        <IconButton icon="trash" label={bin} class="danger" aria-disabled={fixed} onClick={() => fixed || allowed(() => remove(m))} />
      </Cell>
    </tr>
  );
});

function Head({ view, change }) {
  return (
    <thead role="rowgroup">
      <tr role="row">
        {Object.keys(COLUMNS).map((c) => (
          <th key={c} role="columnheader" scope="col" aria-sort={view.sort === c ? (view.down ? 'descending' : 'ascending') : 'none'}>
            <button class="bare" onClick={() => change({ sort: c, down: view.sort === c && !view.down })}>
              {t(c)}
              {view.sort === c && <Icon name={view.down ? 'down' : 'up'} />}
            </button>
          </th>
        ))}
        <th role="columnheader" scope="col">
          <span class="hidden">{t('actions')}</span>
        </th>
      </tr>
    </thead>
  );
}

function Tools({ view, change, mappings }) {
  const count = { '': mappings.size };
  for (const m of mappings.values()) count[m.state] = (count[m.state] || 0) + 1;
  return (
    <div class="tools">
      <input type="search" aria-label={t('filter')} placeholder={t('filter_hint')} value={view.words} onInput={(e) => change({ words: e.currentTarget.value, rows: PAGE })} />
      <div class="chips" role="group" aria-label={t('state')}>
        {['', ...STATES].map((s) => (
          <button key={s} aria-pressed={view.only === s} onClick={() => change({ only: s, rows: PAGE })}>
            {t(s || 'all')} <b>{count[s] || 0}</b>
          </button>
        ))}
      </div>
      <div class="order">
        <select aria-label={t('sort_by')} value={view.sort} onChange={(e) => change({ sort: e.currentTarget.value })}>
          {Object.keys(COLUMNS).map((c) => (
            <option key={c} value={c}>
              {t(c)}
            </option>
          ))}
        </select>
        <IconButton icon={view.down ? 'down' : 'up'} label={t('reverse')} aria-pressed={view.down} onClick={() => change({ down: !view.down })} />
      </div>
    </div>
  );
}

const Empty = ({ title, text: what, children }) => (
  <div class="empty">
    <h3>{title}</h3>
    {what && <p>{what}</p>}
    {children}
  </div>
);

export function Mappings({ mappings, status, clock, login }) {
  const [view, setView] = useState({ sort: 'host', down: false, words: '', only: '', rows: PAGE });
  const [open, setOpen] = useState(new Set());
  const change = (some) => setView((v) => ({ ...v, ...some }));
  const toggle = useMemo(() => (key) => setOpen((now) => {
    const next = new Set(now);
    if (!next.delete(key)) next.add(key);
    return next;
  }), []);
  const list = arrange(mappings, view);
  const add = (
    <button class="main" onClick={() => allowed(() => set({ adding: {} }))}>
      <Icon name="plus" />
      {t('add')}
    </button>
  );
  return (
    <section class="panel mappings" aria-labelledby="mappings">
      <header>
        <h2 id="mappings" tabindex={-1}>
          {t('mappings')}
        </h2>
        {add}
      </header>
      {!login.required && (
        <p class="notice">
          <Icon name="unlocked" />
          <span>
            {t('no_password')} <small>{t('no_password_how')}</small>
          </span>
        </p>
      )}
      {mappings.size > 0 && <Tools view={view} change={change} mappings={mappings} />}
      {status.traffic && <p class="quiet">{t('not_counted_why', { why: status.traffic })}</p>}
      {list.length > 0 && (
        <table role="table" aria-labelledby="mappings">
          <Head view={view} change={change} />
          <tbody role="rowgroup">
            {list.slice(0, view.rows).map((m) => (
              <Fragment key={m.key}>
                <Row m={m} open={open.has(m.key)} toggle={toggle} />
                {open.has(m.key) && <Details m={m} name={nameOf(m)} status={status} clock={clock} />}
              </Fragment>
            ))}
          </tbody>
        </table>
      )}
      {mappings.size > 0 && !list.length && (
        <Empty title={t('none_found')}>
          <button onClick={() => change({ words: '', only: '' })}>{t('clear_filter')}</button>
        </Empty>
      )}
      {!mappings.size && <Empty title={t('none_yet')} text={t('none_yet_what')} />}
      {list.length > view.rows && (
        <footer class="more">
          <span class="quiet">{t('shown', { shown: view.rows, all: list.length })}</span>
          <button onClick={() => change({ rows: view.rows + PAGE })}>{t('show_more', { n: Math.min(PAGE, list.length - view.rows) })}</button>
        </footer>
      )}
    </section>
  );
}
