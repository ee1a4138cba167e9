// SPDX-License-Identifier: GPL-2.0-or-later
// The line at a glance: can it be reached, under which address, and what the carrier's NAT does.
import { ago, t, when } from './i18n.js';
import { useNow } from './store.js';
import { Copy } from './copy.jsx';
import { Mark } from './icon.jsx';
import { LinePath } from './path.jsx';
import { lineOf, tones, verdictOf } from './verdict.js';

function Since({ time, clock }) {
  const now = useNow();
  return (
    <time datetime={time}>{t('since', { time: when(time), ago: ago((now + clock - Date.parse(time)) / 1000) })}</time>
  );
}

function Verdict({ protocol, status }) {
  const verdict = verdictOf(protocol, status);
  const nat = status.nat[protocol.toLowerCase()];
  return (
    <article class="verdict">
      <h3>
        {protocol}
        <span class={`badge ${tones[verdict]}`}>
          <Mark tone={tones[verdict]} />
          {t(verdict === 'silent' ? 'nat_' : `verdict_${verdict}`)}
        </span>
      </h3>
      <p>{t(`verdict_${verdict}_what`)}</p>
      {!nat.direct && nat.mapping && (
        <dl class="facts">
          <dt>{t('nat_mapping')}</dt>
          <dd>{t(`nat_${nat.mapping}`)}</dd>
          <dt>{t('nat_filtering')}</dt>
          <dd>{t(`nat_${nat.filtering}`)}</dd>
        </dl>
      )}
    </article>
  );
}

export function Line({ status, clock, count }) {
  const line = lineOf(status);
  const direct = ['udp', 'tcp'].some((p) => status.nat[p].direct);
  return (
    <section class="line" aria-labelledby="line-title">
      <div class="panel outer">
        <h1 id="line-title" class={tones[line] || 'wait'}>
          <Mark tone={tones[line] || 'wait'} />
          {t(`line_${line}`)}
        </h1>
        <h2 class="label">{t('outer_address')}</h2>
        {status.public_ip ? (
          <>
            <p class="address">
              {status.public_ip}
              <Copy what={status.public_ip} />
            </p>
            <p class="quiet">
              {status.public_ip_since && <Since time={status.public_ip_since} clock={clock} />}
            </p>
            {!direct && <p class="quiet">{t('renumbered')}</p>}
          </>
        ) : (
          <p class="address none">{t('no_address')}</p>
        )}
        {line === 'down' && <p>{t('line_down_what', { wan: status.wan.interface })}</p>}
        <LinePath status={status} count={count} />
      </div>
      <div class="panel verdicts">
        <Verdict protocol="UDP" status={status} />
        <Verdict protocol="TCP" status={status} />
      </div>
    </section>
  );
}
