// SPDX-License-Identifier: GPL-2.0-or-later
// The gateway's routes. What goes wrong is thrown as a Refusal, with the gateway's own words where it gave some.

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status; // 0: nobody answered
  }
}

export async function call(method, path, body, signal) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      signal,
      cache: 'no-cache',
      headers: body ? { 'Content-Type': 'application/json' } : {},
      body: body && JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refusal(0, '');
  }
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refusal(answer.status, String(data.error || `HTTP ${answer.status}`));
  return data;
}

export const keyOf = (m) => `${m.protocol}/${m.internal_ip}/${m.internal_port}`;

export const addMapping = (wish, signal) => call('POST', 'mappings', wish, signal);
export const deleteMapping = (m) => call('DELETE', `mappings/${keyOf(m)}`);
