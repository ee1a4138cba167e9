// SPDX-License-Identifier: GPL-2.0-or-later
import { Component, h } from 'preact';
import { spoken } from './i18n.js';

// A component drawn again only when one of its properties, or the language, is another than before.
export const memo = (draw) =>
  class extends Component {
    shouldComponentUpdate(next) {
      const same = this.language === spoken() && Object.keys(next).every((k) => next[k] === this.props[k]);
      return !same;
    }
    render(props) {
      this.language = spoken();
      return h(draw, props);
    }
  };
