// SPDX-License-Identifier: GPL-2.0-or-later
// The way from a LAN host to the Internet as a line with four stops, and where it breaks.
import { t } from './i18n.js';
import { Icon } from './icon.jsx';
import { lineOf, verdictOf } from './verdict.js';

// Where each trouble sits: on a stop (0 LAN host, 1 router, 2 carrier, 3 Internet) or on the track after it.
const TROUBLES = {
  firewall: { track: 0, is: 'broken' },
  'relay-port': { stop: 1, is: 'broken' },
  'no-line': { track: 1, is: 'broken' },
  'nat-unsuited': { stop: 2, is: 'broken' },
  'stun-silent': { track: 2, is: 'broken' },
  filtered: { track: 2, is: 'one_way' },
  punching: { track: 2, is: 'waiting' },
  lost: { track: 2, is: 'broken' },
};

const Track = ({ is }) => (
  <span class={`track ${is}`}>
    <svg aria-hidden="true">
      <line class="across" y1="50%" x2="100%" y2="50%" />
      <line class="along" x1="50%" x2="50%" y2="100%" />
      {is !== 'ok' && is !== 'dead' && (
        <svg x="50%" y="50%" overflow="visible">
          <circle r="10" />
          {is === 'broken' && <path d="M-4-4L4 4M4-4L-4 4" />}
          {is === 'one_way' && <path class="arrow" d="M-2-4L3 0L-2 4" />}
          {is === 'waiting' && <path d="M-4 0h.01M0 0h.01M4 0h.01" />}
        </svg>
      )}
    </svg>
    {is !== 'ok' && is !== 'dead' && <span class="hidden">{t(is)}</span>}
  </span>
);

function Path({ label, stops, trouble }) {
  const at = TROUBLES[trouble] || {};
  // What is behind the break, seen from the Internet, is not reached.
  const end = at.is === 'broken' ? (at.track ?? at.stop - 1) : -1;
  return (
    <ol class="path" aria-label={label}>
      {stops.map(({ icon, name, lines }, i) => (
        <li key={icon} class={at.stop === i ? 'broken' : i <= end ? 'dead' : ''}>
          {i < 3 && <Track is={at.track === i ? at.is : i <= end ? 'dead' : 'ok'} />}
          <span class="stop">
            <Icon name={at.stop === i ? 'close' : icon} />
          </span>
          <span class="what">
            <b>{name}</b>
            {at.stop === i && <em>{t('broken')}</em>}
            {lines.filter(Boolean).map((line) => (
              <bdi key={line}>{line}</bdi>
            ))}
          </span>
        </li>
      ))}
    </ol>
  );
}

const who = (trouble) => t({ filtered: 'stop_called', 'stun-silent': 'nat_', suited: 'nat_' }[trouble] || (trouble ? 'stop_nobody' : 'stop_anyone'));

export function MappingPath({ m, status, name }) {
  // Where the filter is not known, no stranger is promised.
  const unknown = status && verdictOf(m.protocol, status) === 'suited';
  const trouble = m.trouble || (m.state !== 'open' ? m.state : unknown ? 'suited' : '');
  const inner = `${m.internal_ip}:${m.internal_port}`;
  const outer = m.remote_port ? `${m.public_ip}:${m.remote_port}` : '';
  const direct = status?.nat[m.protocol.toLowerCase()].direct;
  const stops = [
    { icon: 'host', name: t('stop_host'), lines: [inner, m.description] },
    { icon: 'router', name: t('stop_router'), lines: [status?.wan.ip, t('port', { port: m.relay_port })] },
    { icon: 'carrier', name: t('stop_carrier'), lines: [direct ? t('stop_direct') : outer || t('no_address')] },
    { icon: 'internet', name: t('stop_internet'), lines: [direct && outer, who(trouble)] },
  ];
  return (
    <>
      <Path label={t('path_of', { name })} stops={stops} trouble={trouble} />
      <p class="why">{t(`trouble_${trouble}`, { inner, outer, relay: m.relay_port })}</p>
    </>
  );
}

const LINE_TROUBLES = { down: 'no-line', unreachable: 'nat-unsuited', asking: 'punching' };

export function LinePath({ status, count }) {
  const line = lineOf(status);
  const verdicts = ['UDP', 'TCP'].map((p) => verdictOf(p, status));
  const direct = verdicts.includes('direct');
  const anyone = direct || verdicts.includes('open');
  const trouble = LINE_TROUBLES[line] || (anyone ? '' : verdicts.includes('filtered') ? 'filtered' : 'suited');
  const mapping = status.nat.udp.mapping || status.nat.tcp.mapping;
  const stops = [
    { icon: 'host', name: t('stop_lan'), lines: [...status.lans.map((l) => `${l.ip}/${l.prefix}`), t('devices', { n: count })] },
    { icon: 'router', name: t('stop_router'), lines: [status.wan.ip || t('no_address'), status.wan.interface] },
    { icon: 'carrier', name: t('stop_carrier'), lines: [direct ? t('stop_direct') : status.public_ip, !direct && mapping && t(`nat_${mapping}`)] },
    { icon: 'internet', name: t('stop_internet'), lines: [direct && status.public_ip, line !== 'asking' && who(trouble)] },
  ];
  return <Path label={t('path_of', { name: status.name })} stops={stops} trouble={trouble} />;
}
