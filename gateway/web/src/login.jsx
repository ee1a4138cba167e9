// SPDX-License-Identifier: GPL-2.0-or-later
import { useState } from 'preact/hooks';
import { call } from './api.js';
import { errorText } from './change.js';
import { closeDialog, Dialog, Field } from './dialog.jsx';
import { t } from './i18n.js';
import { set, state } from './store.js';

export function Login() {
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const password = form.password.value;
    if (!password) return setError(t('wrong_empty'));
    setBusy(true);
    try {
      await call('POST', 'login', { password });
      const change = state.wanted;
      set({ login: { required: true, logged_in: true } });
      closeDialog(form);
      change();
    } catch (e) {
      setError(e.status === 401 ? t('wrong_password') : e.status === 429 ? t('too_many') : errorText(e));
      setBusy(false);
      form.password.select();
    }
  };
  return (
    <Dialog title={t('login')} onClose={() => set({ wanted: null })}>
      <form onSubmit={submit} noValidate>
        <p>{t('login_what')}</p>
        <Field name="password" label={t('password')} type="password" autocomplete="current-password" error={error} autofocus />
        <footer>
          <button type="button" onClick={(e) => closeDialog(e.currentTarget)}>
            {t('cancel')}
          </button>
          <button class="main" disabled={busy}>
            {t('login')}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
