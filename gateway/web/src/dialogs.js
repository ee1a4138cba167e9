// SPDX-License-Identifier: GPL-2.0-or-later
// What only those load who change something.
export { AddForm } from './form.jsx';
export { Login } from './login.jsx';
