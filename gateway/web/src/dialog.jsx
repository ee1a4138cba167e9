// SPDX-License-Identifier: GPL-2.0-or-later
import { useEffect, useRef } from 'preact/hooks';
import { t } from './i18n.js';
import { IconButton } from './icon.jsx';

// A modal dialog; the browser keeps the focus inside and gives it back at the end.
export function Dialog({ title, onClose, children }) {
  const box = useRef();
  useEffect(() => box.current.showModal(), []);
  return (
    <dialog ref={box} onClose={onClose} aria-labelledby="dialog-title">
      <header>
        <h2 id="dialog-title">{title}</h2>
        <IconButton icon="close" label={t('close')} onClick={() => box.current.close()} />
      </header>
      {children}
    </dialog>
  );
}

export const closeDialog = (element) => element.closest('dialog').close();

// A labelled input; what is wrong with it, or else a hint, stands beneath and is read with it.
export function Field({ name, label, note, error, hint, children, ...input }) {
  const about = error || hint ? `${name}-about` : undefined;
  return (
    <div class={`field ${error ? 'wrong' : ''}`}>
      <label for={name}>
        {label} {note && <small>{note}</small>}
      </label>
      <div class="inputs">
        <input id={name} name={name} autocomplete="off" spellcheck={false} aria-invalid={error ? 'true' : undefined} aria-describedby={about} {...input} />
        {children}
      </div>
      {about && <p id={about}>{error || hint}</p>}
    </div>
  );
}
