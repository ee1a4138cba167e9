// SPDX-License-Identifier: GPL-2.0-or-later
// Opening a port by hand: checked here before it is sent, and the gateway's refusal shown where it belongs.
import { useEffect, useRef, useState } from 'preact/hooks';
import { checkHost, checkPort, lanText } from './address.js';
import { errorText, nameOf, openHole, sessionEnded } from './change.js';
import { closeDialog, Dialog, Field } from './dialog.jsx';
import { duration, t } from './i18n.js';
import { set, state } from './store.js';
import { toast } from './toast.jsx';

const UNITS = { minutes: 60, hours: 3600, days: 86400 };
const DESCRIPTION_MAX = 64; // bytes

const EMPTY = { protocol: 'TCP', internal_ip: '', internal_port: '', amount: '1', unit: 'hours', description: '', relay_port: '' };

function check(v, status) {
  const max = duration(status.hold_max);
  const seconds = /^\d{1,6}$/.test(v.amount) ? v.amount * UNITS[v.unit] : 0;
  const length = new TextEncoder().encode(v.description).length;
  const wrong = {
    internal_ip: checkHost(v.internal_ip, status.lans),
    internal_port: checkPort(v.internal_port),
    amount: seconds < 60 || seconds > status.hold_max ? ['wrong_lifetime', { max }] : undefined,
    description: length > DESCRIPTION_MAX ? ['wrong_description', { max: DESCRIPTION_MAX, n: length }] : undefined,
    relay_port: v.relay_port ? checkPort(v.relay_port) : undefined,
  };
  return Object.fromEntries(Object.entries(wrong).filter(([, w]) => w));
}

const wishOf = (v) => ({
  protocol: v.protocol,
  internal_ip: v.internal_ip,
  internal_port: Number(v.internal_port),
  lifetime: v.amount * UNITS[v.unit],
  ...(v.description && { description: v.description }),
  ...(v.relay_port && { relay_port: Number(v.relay_port) }),
});

export function AddForm({ status, mappings, start, onClose }) {
  const [v, setValues] = useState({ ...EMPTY, ...start });
  const [wrong, setWrong] = useState({});
  const [shown, setShown] = useState(Boolean(start?.relay_port)); // errors before the first sending would only scold
  const [refusal, setRefusal] = useState('');
  const [busy, setBusy] = useState(null);
  const form = useRef();
  useEffect(() => () => busy?.abort(), [busy]);

  const change = (event) => {
    const { name, value } = event.currentTarget;
    const next = { ...v, [name]: name === 'description' ? value : value.trim() };
    setValues(next);
    setRefusal('');
    if (name in wrong) setWrong({ ...wrong, [name]: check(next, status)[name] });
  };

  const submit = async (event) => {
    event.preventDefault();
    const found = check(v, status);
    setWrong(found);
    setRefusal('');
    const first = Object.keys(found)[0];
    if (first === 'relay_port') setShown(true);
    if (first) return requestAnimationFrame(() => form.current.elements[first].focus());
    const controller = new AbortController();
    setBusy(controller);
    try {
      const got = await openHole(wishOf(v), controller);
      toast({ text: t('said_open', { name: nameOf(v), outer: `${got.public_ip}:${got.external_port}` }) });
      closeDialog(form.current);
    } catch (error) {
      if (!form.current) return; // closed meanwhile: the gateway forgets the wish
      setBusy(null);
      const again = () => set({ adding: v });
      if (sessionEnded(error, again)) return closeDialog(form.current);
      if (error.status === 409) {
        setShown(true);
        setWrong({ relay_port: ['refused', { error: error.message }] });
      } else {
        setRefusal(error.status > 0 ? t('refused', { error: error.message }) : errorText(error));
      }
    }
  };

  const field = (name) => ({ name, value: v[name], onInput: change, error: wrong[name] && t(...wrong[name]) });
  const known = [...new Set([...mappings.values()].map((m) => m.internal_ip))];
  const lans = status.lans.map(lanText).join(', ');
  const [from, to] = status.relay_ports;
  return (
    <Dialog title={t('add_title')} onClose={onClose}>
      <form ref={form} onSubmit={submit} noValidate>
        <p>{t('add_what')}</p>
        <fieldset class="choice">
          <legend>{t('protocol')}</legend>
          {['TCP', 'UDP'].map((p) => (
            <label key={p}>
              <input type="radio" name="protocol" value={p} checked={v.protocol === p} onChange={change} />
              <span>{p}</span>
            </label>
          ))}
        </fieldset>
        <Field {...field('internal_ip')} label={t('ip')} hint={t('ip_hint', { lans })} inputmode="decimal" list="known" autofocus />
        <datalist id="known">
          {known.map((ip) => (
            <option key={ip} value={ip} />
          ))}
        </datalist>
        <Field {...field('internal_port')} label={t('lan_port')} inputmode="numeric" hint={mappings.has(`${v.protocol}/${v.internal_ip}/${v.internal_port}`) && t('exists')} />
        <Field {...field('amount')} label={t('lifetime')} inputmode="numeric">
          <select name="unit" aria-label={t('lifetime')} value={v.unit} onChange={change}>
            {Object.keys(UNITS).map((unit) => (
              <option key={unit} value={unit}>
                {t(unit)}
              </option>
            ))}
          </select>
        </Field>
        <Field {...field('description')} label={t('description')} note={t('optional')} />
        <details open={shown} onToggle={(e) => setShown(e.currentTarget.open)}>
          <summary>{t('more')}</summary>
          <Field {...field('relay_port')} label={t('relay')} note={t('optional')} hint={t('relay_hint', { from, to })} inputmode="numeric" />
        </details>
        <p class="refusal" role="alert">
          {refusal}
        </p>
        <footer>
          <button type="button" onClick={(e) => closeDialog(e.currentTarget)}>
            {t('cancel')}
          </button>
          <button class="main" disabled={busy}>
            {t(busy ? 'submitting' : 'submit')}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
