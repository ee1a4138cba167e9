// SPDX-License-Identifier: GPL-2.0-or-later
// What a person chose, kept in this browser; browsers that keep nothing lose only that.
import { languageNames, speak } from './i18n.js';

export const recall = (name) => {
  try {
    return localStorage.getItem(`stunway-${name}`);
  } catch {
    return null;
  }
};

export const remember = (name, value) => {
  try {
    localStorage.setItem(`stunway-${name}`, value);
  } catch {
    // private windows
  }
};

export const chosenLanguage = () =>
  [recall('language'), ...navigator.languages].map((l) => String(l).slice(0, 2)).find((l) => l in languageNames) || 'en';

export async function useLanguage(name) {
  await speak(name);
  document.documentElement.lang = name === 'zh' ? 'zh-CN' : name;
}

export function useTheme(name) {
  const root = document.documentElement.dataset;
  if (name === 'auto') delete root.theme;
  else root.theme = name;
}
