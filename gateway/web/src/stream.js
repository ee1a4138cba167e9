// SPDX-License-Identifier: GPL-2.0-or-later
// Server-sent events, read by fetch and not by EventSource: that hides the gateway's comment lines, and they alone tell
// a quiet line from a router that has gone without a word.

const SILENCE_MS = 40000; // the gateway says something every 15 s

// Calls event(name, data) for each event until the stream ends, which is thrown. Aborting the controller ends it too.
export async function listen(url, controller, opened, event) {
  let watchdog;
  const heard = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => controller.abort(), SILENCE_MS);
  };
  heard();
  try {
    const answer = await fetch(url, {
      signal: controller.signal,
      cache: 'no-store',
      headers: { Accept: 'text/event-stream' },
    });
    if (!answer.ok || !answer.body) throw new Error(`HTTP ${answer.status}`);
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    let rest = '';
    opened();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Error('end of stream');
      heard();
      const blocks = (rest + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) parse(block, event);
    }
  } finally {
    clearTimeout(watchdog);
  }
}

function parse(block, event) {
  let name = 'message';
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^(\w+): ?(.*)$/.exec(line) || [];
    if (field === 'event') name = value;
    if (field === 'data') data.push(value);
  }
  if (data.length) event(name, JSON.parse(data.join('\n')));
}
