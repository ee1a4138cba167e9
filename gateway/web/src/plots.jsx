// SPDX-License-Identifier: GPL-2.0-or-later
// The last day in small plots. Each is a slider: pointer or arrow keys read a point, and screen readers hear it.
import { useState } from 'preact/hooks';
import { bytes, dayAndClock, hoursAgo, ms, rate, t } from './i18n.js';

const W = 288, H = 72, DAY_MS = 86400000;

// Points of the last day with their place on the x axis; the newest one is at the right edge.
function place({ points }) {
  const end = points.length ? Date.parse(points[points.length - 1].time) : 0;
  return points
    .map((p) => ({ ...p, at: Date.parse(p.time) }))
    .map((p) => ({ ...p, x: W - 1 - ((end - p.at) / DAY_MS) * (W - 2) }))
    .filter((p) => p.x >= 0);
}

// A line through the points that have a value; a gap where one has none.
function line(points, y) {
  let pen = 'M';
  return points
    .map((p) => {
      const v = y(p);
      if (v === null) {
        pen = 'M';
        return '';
      }
      const part = `${pen}${p.x.toFixed(1)} ${v.toFixed(1)}${pen === 'M' ? 'h.01' : ''}`;
      pen = 'L';
      return part;
    })
    .join('');
}

function area(points, y, base) {
  if (!points.length) return '';
  const first = points[0].x.toFixed(1), last = points[points.length - 1].x.toFixed(1);
  return `M${first} ${base}${points.map((p) => `L${p.x.toFixed(1)} ${y(p).toFixed(1)}`).join('')}L${last} ${base}z`;
}

function Plot({ title, summary, points, read, children }) {
  const [chosen, choose] = useState(null);
  const p = chosen === null ? null : points[Math.min(chosen, points.length - 1)];
  const last = points.length - 1;
  const says = (one) => `${dayAndClock(one.at)}: ${read(one)}`;
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * W;
    choose(points.reduce((best, one, i) => (Math.abs(one.x - x) < Math.abs(points[best].x - x) ? i : best), 0));
  };
  const key = (event) => {
    const now = chosen ?? last;
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, ArrowDown: now - 1, ArrowUp: now + 1, PageUp: now + 12, PageDown: now - 12, Home: 0, End: last }[event.key];
    if (event.key === 'Escape') choose(null);
    if (to === undefined) return;
    event.preventDefault();
    choose(Math.min(last, Math.max(0, to)));
  };
  return (
    <figure class="plot">
      <figcaption>
        <h3>{title}</h3>
        <span>{p ? says(p) : summary}</span>
      </figcaption>
      <svg
        viewBox={`0 0 ${W} ${H}`}
        preserveAspectRatio="none"
        role="slider"
        tabindex={0}
        aria-label={`${title}. ${summary}`}
        aria-valuemin={0}
        aria-valuemax={last}
        aria-valuenow={chosen ?? last}
        aria-valuetext={says(p || points[last])}
        onPointerMove={point}
        onPointerDown={point}
        onPointerLeave={() => choose(null)}
        onKeyDown={key}
        onBlur={() => choose(null)}
      >
        <path class="grid" d={[0, 0.25, 0.5, 0.75, 1].map((f) => `M${1 + f * (W - 2)} 0V${H}`).join('')} />
        {children}
        {p && <path class="cursor" d={`M${p.x} 0V${H}`} />}
      </svg>
      <p class="hours" aria-hidden="true">
        {[24, 12].map((n) => (
          <span key={n}>{hoursAgo(n)}</span>
        ))}
        <span>{t('now')}</span>
      </p>
    </figure>
  );
}

function RoundTrip({ points }) {
  const known = points.filter((p) => p.rtt_ms !== null).map((p) => p.rtt_ms);
  const top = Math.max(10, ...known) * 1.15;
  const summary = known.length
    ? t('plot_range', { low: ms(Math.min(...known)), high: ms(Math.max(...known)), now: ms(known[known.length - 1]) })
    : t('plot_gap');
  return (
    <Plot title={t('rtt')} summary={summary} points={points} read={(p) => (p.rtt_ms === null ? t('plot_gap') : ms(p.rtt_ms))}>
      <path class="curve" d={line(points, (p) => (p.rtt_ms === null ? null : H - (p.rtt_ms / top) * H))} />
    </Plot>
  );
}

function Traffic({ points, step }) {
  const sum = (key) => points.reduce((all, p) => all + p[key], 0);
  const top = Math.max(1, ...points.map((p) => Math.max(p.in_bytes, p.out_bytes))) * 1.1;
  const summary = t('plot_traffic_sum', { in: bytes(sum('in_bytes')), out: bytes(sum('out_bytes')) });
  const half = H / 2;
  return (
    <Plot title={t('traffic')} summary={summary} points={points} read={(p) => t('plot_traffic_sum', { in: rate(p.in_bytes / step), out: rate(p.out_bytes / step) })}>
      <path class="in" d={area(points, (p) => half - (p.in_bytes / top) * half, half)} />
      <path class="out" d={area(points, (p) => half + (p.out_bytes / top) * half, half)} />
      <path class="axis" d={`M0 ${half}H${W}`} />
    </Plot>
  );
}

function Changes({ points }) {
  const n = points.reduce((all, p) => all + p.outer_changes, 0);
  const top = Math.max(1, ...points.map((p) => p.outer_changes));
  const words = (count) => (count ? t('plot_changes', { n: count }) : t('plot_changes_none'));
  return (
    <Plot title={t('plot_changes')} summary={words(n)} points={points} read={(p) => words(p.outer_changes)}>
      <path class="bars" d={points.filter((p) => p.outer_changes).map((p) => `M${p.x.toFixed(1)} ${H}V${(H - (p.outer_changes / top) * (H - 8)).toFixed(1)}`).join('')} />
      <path class="axis" d={`M0 ${H - 0.5}H${W}`} />
    </Plot>
  );
}

export function Plots({ history }) {
  const points = place(history);
  return (
    <section class="panel plots" aria-labelledby="plots-title">
      <h2 id="plots-title">{t('last_day')}</h2>
      {!points.length ? (
        <p class="quiet">{t('plot_none')}</p>
      ) : (
        <>
          <RoundTrip points={points} />
          <Traffic points={points} step={history.step} />
          <Changes points={points} />
        </>
      )}
    </section>
  );
}
