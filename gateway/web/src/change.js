// SPDX-License-Identifier: GPL-2.0-or-later
// What a person changes: who must log in is asked first, and what goes wrong is said in words.
import { addMapping, call, deleteMapping } from './api.js';
import { duration, t } from './i18n.js';
import { refreshLogin, set, state } from './store.js';
import { toast } from './toast.jsx';

export const HOLE_WAIT_S = 30;

export const nameOf = (m) => `${m.protocol} ${m.internal_ip}:${m.internal_port}`;

export const errorText = (error) => (error.status === 0 ? t('no_answer') : error.name === 'AbortError' ? t('too_slow', { time: duration(HOLE_WAIT_S) }) : error.message);

// Runs the change, after a login where one is needed.
export function allowed(change) {
  if (state.login.required && !state.login.logged_in) set({ wanted: change });
  else change();
}

// Whether the failure was a session that has ended: then the change waits for a new login.
export function sessionEnded(error, change) {
  if (error.status !== 401) return false;
  set({ login: { required: true, logged_in: false }, wanted: change });
  refreshLogin().catch(() => {});
  return true;
}

// The POST answers when the hole is open, or is given up: the gateway then forgets the wish.
export async function openHole(wish, controller = new AbortController()) {
  const timer = setTimeout(() => controller.abort(), HOLE_WAIT_S * 1000);
  try {
    return await addMapping(wish, controller.signal);
  } finally {
    clearTimeout(timer);
  }
}

async function undo(m, wish) {
  const name = nameOf(m);
  const busy = toast({ text: t('undoing', { name }) });
  const before = m.remote_port ? `${m.public_ip}:${m.remote_port}` : '';
  try {
    const got = await openHole(wish);
    const outer = `${got.public_ip}:${got.external_port}`;
    const same = !before || outer === before;
    toast({ text: t(same ? 'undone_same' : 'undone_moved', { name, outer, before }), tone: same ? '' : 'fair' }, busy);
  } catch (error) {
    if (!sessionEnded(error, () => undo(m, wish))) toast({ text: t('undo_failed', { name, error: errorText(error) }), tone: 'bad' }, busy);
  }
}

export async function remove(m) {
  const name = nameOf(m);
  const left = m.until === null ? 0 : Math.max(1, Math.round((m.until - Date.now()) / 1000));
  try {
    await deleteMapping(m);
  } catch (error) {
    if (!sessionEnded(error, () => remove(m))) toast({ text: errorText(error), tone: 'bad' });
    return;
  }
  const { protocol, internal_ip, internal_port, relay_port, description } = m;
  const wish = { protocol, internal_ip, internal_port, lifetime: left, relay_port, description };
  const asks = m.origin === 'nat-pmp' || m.origin === 'pcp';
  toast({ text: t('deleted', { name }), note: asks && t('deleted_again'), undo: () => allowed(() => undo(m, wish)) });
}

export const login = () => set({ wanted: () => {} });

export async function logout() {
  try {
    await call('POST', 'logout', {});
    await refreshLogin();
    toast({ text: t('logged_out') });
  } catch (error) {
    toast({ text: errorText(error), tone: 'bad' });
  }
}
