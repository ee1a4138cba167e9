// SPDX-License-Identifier: GPL-2.0-or-later
import { ms, number, t } from './i18n.js';
import { Mark } from './icon.jsx';

const TONES = { well: 'good', silent: 'bad', unknown: 'wait' };

const Server = ({ s }) => (
  <tr>
    <td>
      <bdi class="name">{s.host}</bdi>
      <small>
        {s.protocol} <bdi>{s.address}</bdi>
        {s.keeps_tcp && ` · ${t('keeps_tcp')}`}
      </small>
    </td>
    <td>
      <span class={`badge ${TONES[s.state]}`}>
        <Mark tone={TONES[s.state]} />
        {t(`server_${s.state}`)}
      </span>
    </td>
    <td class="number">{s.rtt_ms === null ? '–' : ms(s.rtt_ms)}</td>
    <td class="number">
      {number(s.answered)}
      <small>/ {number(s.answered + s.failed)}</small>
    </td>
  </tr>
);

export const Servers = ({ servers }) => (
  <section class="panel servers" aria-labelledby="servers-title">
    <h2 id="servers-title">{t('servers')}</h2>
    {servers.length ? (
      <table aria-labelledby="servers-title">
        <thead>
          <tr>
            {['server', 'health', 'rtt', 'answers'].map((c) => (
              <th key={c} scope="col">
                {t(c)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {servers.map((s) => (
            <Server key={`${s.protocol} ${s.address} ${s.host}`} s={s} />
          ))}
        </tbody>
      </table>
    ) : (
      <p class="quiet">{t('servers_none')}</p>
    )}
  </section>
);
