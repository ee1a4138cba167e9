// SPDX-License-Identifier: GPL-2.0-or-later
import { useState } from 'preact/hooks';
import { duration, languageNames, spoken, t } from './i18n.js';
import { Icon, IconButton, Mark } from './icon.jsx';
import { login, logout } from './change.js';
import { recall, remember, useLanguage, useTheme } from './remember.js';
import { connect, set, useNow } from './store.js';

const THEMES = ['auto', 'light', 'dark'];
const LINKS = { opening: 'wait', live: 'good', lost: 'bad' };

function Theme() {
  const [theme, setTheme] = useState(recall('theme') || 'auto');
  const next = () => {
    const to = THEMES[(THEMES.indexOf(theme) + 1) % 3];
    useTheme(to);
    remember('theme', to);
    setTheme(to);
  };
  return <IconButton icon="theme" label={`${t('theme')}: ${t(`theme_${theme}`)}`} onClick={next} />;
}

const change = async (event) => {
  const name = event.currentTarget.value;
  remember('language', name);
  await useLanguage(name);
  set({});
};

export const Header = ({ s }) => (
  <header class="top">
    <a class="hidden skip" href="#mappings">
      {t('skip')}
    </a>
    <div class="brand">
      <svg viewBox="0 0 60 24" aria-hidden="true">
        <path class="wall" d="M30 0v6M30 18v6" />
        <path d="M2 12h20M38 12h20" />
        <circle cx="30" cy="12" r="5" />
      </svg>
      <strong>stunway</strong>
      {s.status && <bdi>{s.status.name}</bdi>}
    </div>
    <span class={`badge link ${LINKS[s.link]}`}>
      <Mark tone={LINKS[s.link]} />
      <span>{t(`link_${s.link}`)}</span>
    </span>
    <select aria-label={t('language')} value={spoken()} onChange={change}>
      {Object.entries(languageNames).map(([code, name]) => (
        <option key={code} value={code} lang={code}>
          {name}
        </option>
      ))}
    </select>
    <Theme />
    {s.login.required && (
      <button onClick={s.login.logged_in ? logout : login}>
        {t(s.login.logged_in ? 'logout' : 'login')}
      </button>
    )}
  </header>
);

export function Lost({ s }) {
  const left = Math.max(1, Math.ceil((s.retryAt - useNow()) / 1000));
  return (
    <p class="banner" role="alert">
      <Icon name="close" />
      <span>
        {t(s.status ? 'lost_banner' : 'lost_first')} <span aria-hidden="true">{t('lost_retry', { time: duration(left) })}</span>
      </span>
      <button onClick={() => connect()}>{t('lost_now')}</button>
    </p>
  );
}

export function Footer({ status, clock }) {
  const up = Math.floor((useNow() + clock - Date.parse(status.now)) / 1000) + status.uptime;
  return (
    <footer class="foot">
      <span>stunway-gateway {status.version}</span>
      <span>{t('up', { time: duration(up) })}</span>
      <span>{status.firewall}</span>
      <a href="metrics">{t('metrics')}</a>
    </footer>
  );
}
