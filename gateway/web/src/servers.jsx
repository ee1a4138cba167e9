// SPDX-License-Identifier: GPL-2.0-or-later
import { ms, number, t } from './i18n.js';
import { Mark } from './icon.jsx';

const TONES = { well: 'good', silent: 'bad', unknown: 'wait' };

const Server = ({ s }) => (
  <li>
    <span class={`badge ${TONES[s.state]}`}>
      <Mark tone={TONES[s.state]} />
      {t(`server_${s.state}`)}
    </span>
    <span class="name">
      <bdi>{s.host}</bdi>
      <small>
        {s.protocol} <bdi>{s.address}</bdi>
      </small>
      {s.keeps_tcp && <small>{t('keeps_tcp')}</small>}
    </span>
    <span class="number">
      {s.rtt_ms !== null && ms(s.rtt_ms)}
      <small>{s.answered + s.failed > 0 && t('answers', { good: number(s.answered), all: number(s.answered + s.failed) })}</small>
    </span>
  </li>
);

export const Servers = ({ servers }) => (
  <section class="panel servers" aria-labelledby="servers-title">
    <h2 id="servers-title">{t('servers')}</h2>
    {!servers.length && <p class="quiet">{t('servers_none')}</p>}
    <ul>
      {servers.map((s) => (
        <Server key={`${s.protocol} ${s.address} ${s.host}`} s={s} />
      ))}
    </ul>
  </section>
);
