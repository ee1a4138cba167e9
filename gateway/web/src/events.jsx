// SPDX-License-Identifier: GPL-2.0-or-later
import { useState } from 'preact/hooks';
import { clockSeconds, t, when } from './i18n.js';
import { Mark } from './icon.jsx';

const TONES = { error: 'bad', warn: 'fair', info: 'good' };
const FEW = 12;

export function Events({ log }) {
  const [all, setAll] = useState(false);
  const lines = [...log].reverse();
  return (
    <section class="panel events" aria-labelledby="events-title">
      <h2 id="events-title">{t('events')}</h2>
      {!lines.length && <p class="quiet">{t('events_none')}</p>}
      <ol>
        {(all ? lines : lines.slice(0, FEW)).map((line, i) => (
          <li key={lines.length - i + line.time} class={line.level}>
            <time datetime={line.time} title={when(line.time)}>
              {clockSeconds(line.time)}
            </time>
            <Mark tone={TONES[line.level] || 'good'} />
            <span>
              {line.level !== 'info' && <span class="hidden">{t(`level_${line.level}`)}: </span>}
              <bdi>{line.text}</bdi>
            </span>
          </li>
        ))}
      </ol>
      {!all && lines.length > FEW && <button onClick={() => setAll(true)}>{t('more_events', { n: lines.length })}</button>}
    </section>
  );
}
