// SPDX-License-Identifier: GPL-2.0-or-later
import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import './style.css';
import { Events } from './events.jsx';
import { Footer, Header, Lost } from './header.jsx';
import { t } from './i18n.js';
import { Line } from './line.jsx';
import { Plots } from './plots.jsx';
import { chosenLanguage, recall, useLanguage, useTheme } from './remember.js';
import { Servers } from './servers.jsx';
import { connect, set, useStore } from './store.js';
import { Mappings } from './table.jsx';
import { toast, Toasts } from './toast.jsx';

function Dialogs({ s }) {
  const [loaded, setLoaded] = useState(null);
  const open = s.adding || s.wanted;
  useEffect(() => {
    if (!open || loaded) return;
    import('./dialogs.js').then(setLoaded, () => {
      set({ adding: null, wanted: null });
      toast({ text: t('no_answer'), tone: 'bad' });
    });
  }, [open]);
  if (!loaded) return null;
  return (
    <>
      {s.adding && <loaded.AddForm status={s.status} mappings={s.mappings} start={s.adding} onClose={() => set({ adding: null })} />}
      {s.wanted && <loaded.Login />}
    </>
  );
}

function App() {
  const s = useStore();
  useEffect(() => {
    document.title = s.status ? `${s.status.name} · stunway` : 'stunway';
  });
  return (
    <>
      <Header s={s} />
      {s.link === 'lost' && <Lost s={s} />}
      <main class={s.link === 'lost' ? 'stale' : ''}>
        {s.status ? (
          <>
            <Line status={s.status} clock={s.clock} count={s.mappings.size} />
            <Mappings mappings={s.mappings} status={s.status} clock={s.clock} login={s.login} />
            <Plots history={s.history} />
            <div class="pair">
              <Servers servers={s.status.servers} />
              <Events log={s.log} />
            </div>
          </>
        ) : (
          s.link === 'opening' && <p class="quiet loading">{t('loading')}</p>
        )}
      </main>
      {s.status && <Footer status={s.status} clock={s.clock} />}
      <Dialogs s={s} />
      <Toasts toasts={s.toasts} />
      <p class="hidden" role="status">
        {s.said}
      </p>
    </>
  );
}

useTheme(recall('theme') || 'auto');
useLanguage(chosenLanguage()).then(() => {
  render(<App />, document.getElementById('app'));
  connect();
});
