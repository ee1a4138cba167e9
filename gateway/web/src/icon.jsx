// SPDX-License-Identifier: GPL-2.0-or-later
// Small pictures on a 24 x 24 grid, drawn with lines of the text's colour.

const PATHS = {
  close: 'M6 6l12 12M18 6L6 18',
  plus: 'M12 5v14M5 12h14',
  copy: 'M9 9h10v10H9zM5 15V5h10',
  trash: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13',
  route: 'M3 12h5M16 12h5M12 8a4 4 0 1 0 0 8a4 4 0 1 0 0-8',
  up: 'M12 19V5M6 11l6-6 6 6',
  down: 'M12 5v14M6 13l6 6 6-6',
  theme: 'M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18',
  unlocked: 'M6 11h12v9H6zM9 11V7a3 3 0 0 1 6-.5',
  host: 'M4 5h16v11H4zM9 20h6M12 16v4',
  router: 'M4 14h16v6H4zM8 17h.01M12 17h.01M8 14l-3-8M16 14l3-8',
  carrier: 'M4 5h16v14H4zM4 9.7h16M4 14.3h16M12 5v4.7M8 9.7v4.6M16 9.7v4.6M12 14.3v4.7',
  internet: 'M12 4a8 8 0 1 0 0 16a8 8 0 1 0 0-16M4 12h16M12 4c-5 5-5 11 0 16M12 4c5 5 5 11 0 16',
};

export const Icon = ({ name }) => (
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
    <path d={PATHS[name]} />
  </svg>
);

// A button that is only a picture; its label is read, and shown to who points at it.
export const IconButton = ({ icon, label, class: more = '', ...rest }) => (
  <button type="button" class={`bare ${more}`} aria-label={label} title={label} {...rest}>
    <Icon name={icon} />
  </button>
);

// The state of a thing, told by shape as well as by colour.
const SHAPES = {
  good: <circle cx="6" cy="6" r="4.5" />,
  fair: <path d="M6 1l5.2 9.5H.8z" />,
  bad: <path d="M2 2l8 8M10 2l-8 8" class="stroked" />,
  wait: <circle cx="6" cy="6" r="4" class="stroked" />,
};

export const Mark = ({ tone }) => (
  <svg class={`mark ${tone}`} viewBox="0 0 12 12" aria-hidden="true">
    {SHAPES[tone]}
  </svg>
);
