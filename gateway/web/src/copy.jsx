// SPDX-License-Identifier: GPL-2.0-or-later
import { toast } from './toast.jsx';
import { t } from './i18n.js';
import { IconButton } from './icon.jsx';

// http://router is no secure context, where the clipboard's own interface is not to be had.
function copyByHand(text) {
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'aside';
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  focused?.focus();
  return done;
}

async function copy(text) {
  let done = false;
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      done = true;
    }
  } catch {
    // refused: by hand, then
  }
  done ||= copyByHand(text);
  toast({ text: t(done ? 'copied' : 'copy_failed', { what: text }) });
}

export const Copy = ({ what }) => <IconButton icon="copy" label={t('copy_what', { what })} onClick={() => copy(what)} />;
