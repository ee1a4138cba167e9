// SPDX-License-Identifier: GPL-2.0-or-later
// Short words about what was done; what can be undone stays longer, and as long as somebody is at it.
import { useEffect, useRef } from 'preact/hooks';
import { set, state } from './store.js';
import { t } from './i18n.js';
import { IconButton } from './icon.jsx';

let last = 0;

// { text, tone, note, undo }; with replace the toast of that id is it no longer.
export function toast(what, replace) {
  const id = ++last;
  set({ toasts: [...state.toasts.filter((o) => o.id !== replace), { id, ...what }].slice(-4) });
  return id;
}

export const dismiss = (id) => set({ toasts: state.toasts.filter((o) => o.id !== id) });

function Toast({ id, text, note, tone, undo }) {
  const box = useRef();
  useEffect(() => {
    if (undo) box.current.querySelector('button').focus();
    let left = undo ? 30 : 8;
    const timer = setInterval(() => {
      const busy = box.current?.matches(':hover') || box.current?.querySelector(':focus-visible');
      if (!busy && --left <= 0) dismiss(id);
    }, 1000);
    return () => clearInterval(timer);
  }, []);
  const end = () => {
    dismiss(id);
    document.getElementById('mappings').focus();
  };
  return (
    <div class={`toast ${tone || ''}`} ref={box}>
      <p>
        {text}
        {note && <small>{note}</small>}
      </p>
      {undo && (
        <button class="plain" onClick={() => { end(); undo(); }}>
          {t('undo')}
        </button>
      )}
      <IconButton icon="close" label={t('dismiss')} onClick={end} />
    </div>
  );
}

export const Toasts = ({ toasts }) => (
  <div class="toasts" role="status">
    {toasts.map((one) => (
      <Toast key={one.id} {...one} />
    ))}
  </div>
);
