// SPDX-License-Identifier: GPL-2.0-or-later
// A gateway to try the page on: the routes and events of the real one over a made-up line, which a scenario shapes.
//   node test/mock.js [SCENARIO [PORT]]      serves dist/; scenarios are the functions below
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const DIST = join(fileURLToPath(new URL('..', import.meta.url)), 'dist');
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-cache',
};

const iso = (ms) => new Date(ms).toISOString().replace(/\.\d+Z/, 'Z');
const keyOf = (m) => `${m.protocol}/${m.internal_ip}/${m.internal_port}`;

export function mapping(some = {}) {
  return {
    protocol: 'TCP', internal_ip: '192.168.1.10', internal_port: 6881, relay_port: 26780, public_ip: '203.0.113.1', remote_port: 43006,
    until: Date.now() + 3541000, origin: 'nat-pmp', state: 'open', since: iso(Date.now() - 600000), lifetime: 3600, description: '', rtt_ms: 12, trouble: '',
    traffic: { in_bytes: 0, in_packets: 0, out_bytes: 0, out_packets: 0, connections: 0 }, ...some,
  };
}

const traffic = (inBytes, outBytes, connections) => ({ in_bytes: inBytes, in_packets: Math.ceil(inBytes / 1200), out_bytes: outBytes, out_packets: Math.ceil(outBytes / 1200), connections });
const nat = (some = {}) => ({ direct: false, mapping: 'endpoint-independent', filtering: 'endpoint-independent', verdict: 'suited', ...some });
const server = (some = {}) => ({ protocol: 'UDP', host: 'stun.example.org', address: '198.51.100.1:3478', state: 'well', rtt_ms: 12, answered: 812, failed: 3, keeps_tcp: null, ...some });

// A day with a busy evening, two renumberings and half an hour without an answer.
function day() {
  const now = Math.floor(Date.now() / 300000) * 300000;
  return Array.from({ length: 288 }, (_, i) => {
    const busy = Math.max(0, Math.sin((i / 288) * 6.3 - 2)) ** 2;
    const wave = 1 + 0.35 * Math.sin(i * 1.7) + 0.2 * Math.sin(i * 0.37);
    const silent = i > 170 && i < 176;
    return {
      time: iso(now - (287 - i) * 300000), rtt_ms: silent ? null : 11 + 14 * busy * wave, in_bytes: silent ? 0 : Math.round(9e7 * busy * wave),
      out_bytes: silent ? 0 : Math.round(1.6e8 * busy * wave + 3e6), connections: Math.round(20 * busy), mappings: 4, outer_changes: i === 60 ? 1 : i === 176 ? 2 : 0,
    };
  });
}

const someMappings = () => [
  mapping({ traffic: traffic(182e6, 731e6, 24), description: 'qBittorrent' }),
  mapping({ protocol: 'UDP', relay_port: 27200, remote_port: 39021, traffic: traffic(94.2e6, 1.31e9, 112), description: 'qBittorrent' }),
  mapping({ internal_ip: '192.168.1.20', internal_port: 443, relay_port: 20443, remote_port: 51544, until: null, lifetime: 0, origin: 'config', description: 'Home server', traffic: traffic(3.1e6, 42.8e6, 3) }),
  mapping({ protocol: 'UDP', internal_ip: '192.168.1.31', internal_port: 9308, relay_port: 21877, public_ip: '', remote_port: 0, state: 'punching', origin: 'pcp', until: Date.now() + 7190000, lifetime: 7200, description: 'PlayStation' }),
];

const someLog = () => [
  ['info', 'stunway-gateway 0.1.0 wan=eth0 lan=br-lan firewall=nftables'],
  ['info', 'line UDP: public address 203.0.113.1, mapping endpoint-independent, filtering endpoint-independent'],
  ['info', 'mapping open protocol=TCP internal=192.168.1.10:6881 outer=203.0.113.1:43006'],
  ['warn', 'STUN server silent host=stun2.example.net address=198.51.100.11:3478'],
].map(([level, text], i) => ({ time: iso(Date.now() - (40 - i * 9) * 60000), level, text }));

// Each shapes a gateway as mock() makes it.
export const scenarios = {
  healthy(g) {
    g.put(...someMappings());
    g.log = someLog();
    g.points = day();
  },
  empty() {},
  asking(g) {
    for (const p of ['udp', 'tcp']) g.status.nat[p] = nat({ mapping: '', filtering: '', verdict: 'asking' });
    Object.assign(g.status, { public_ip: null, public_ip_since: null });
  },
  down(g) {
    scenarios.healthy(g);
    Object.assign(g.status, { public_ip: null, public_ip_since: null });
    g.status.wan.ip = null;
    for (const m of g.mappings.values()) Object.assign(m, { state: 'lost', trouble: 'no-line', public_ip: '', remote_port: 0 });
  },
  lost(g) {
    scenarios.healthy(g);
    const troubles = ['firewall', 'relay-port', 'stun-silent', 'no-line'];
    [...g.mappings.values()].forEach((m, i) => Object.assign(m, { state: 'lost', trouble: troubles[i] }));
  },
  unsuited(g) {
    for (const p of ['udp', 'tcp']) g.status.nat[p] = nat({ mapping: 'address-and-port-dependent', filtering: 'address-and-port-dependent', verdict: 'unsuited' });
    g.put(mapping({ state: 'lost', trouble: 'nat-unsuited', public_ip: '', remote_port: 0 }));
  },
  filtered(g) {
    g.status.nat.udp = nat({ filtering: 'address-and-port-dependent' });
    g.status.nat.tcp = nat({ filtering: '' });
    g.put(mapping({ protocol: 'UDP', trouble: 'filtered' }), mapping());
  },
  direct(g) {
    for (const p of ['udp', 'tcp']) g.status.nat[p] = nat({ direct: true });
    g.status.wan.ip = g.status.public_ip;
    g.put(mapping({ remote_port: 6881, relay_port: 6881 }));
  },
  password(g) {
    scenarios.healthy(g);
    g.password = 'correct horse';
  },
  many(g) {
    for (let i = 0; i < 1000; i++)
      g.put(mapping({ protocol: i % 2 ? 'UDP' : 'TCP', internal_ip: `192.168.1.${10 + (i >> 3)}`, internal_port: 6000 + i, relay_port: 20000 + i, remote_port: 30000 + 7 * i, state: i % 50 ? 'open' : 'punching', traffic: traffic(i * 1e5, i * 3e5, i % 9) }));
    g.points = day();
  },
  hostile(g) {
    const evil = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>';
    g.put(mapping({ description: evil }), mapping({ internal_port: 2, description: '\u202eevil\u0000' + 'W'.repeat(60) }));
    g.status.name = evil;
    g.status.servers[0].host = evil;
    g.log = [{ time: iso(Date.now()), level: 'warn', text: evil }];
    g.status.traffic = evil;
  },
};

const freshStatus = () => ({
  version: '0.1.0', uptime: 273600, name: 'router', public_ip: '203.0.113.1', public_ip_since: iso(Date.now() - 5 * 3600000),
  wan: { interface: 'eth0', ip: '100.64.0.2' }, lans: [{ interface: 'br-lan', ip: '192.168.1.1', prefix: 24 }], epoch: 273600,
  nat: { udp: nat(), tcp: nat({ filtering: '' }) },
  servers: [
    server(), server({ protocol: 'TCP', keeps_tcp: true, rtt_ms: 13, answered: 402, failed: 0 }),
    server({ host: 'stun2.example.net', address: '198.51.100.11:3478', state: 'silent', rtt_ms: null, answered: 40, failed: 12 }),
    server({ protocol: 'TCP', host: 'stun3.example.net', address: '198.51.100.40:3478', state: 'unknown', rtt_ms: null, answered: 0, failed: 0, keeps_tcp: null }),
  ],
  keepalive: { udp: 20, tcp: 20 }, pool: { udp: 2, tcp: 2 }, nat_pmp: { answered: 12, dropped: 0, refused: 0 }, firewall: 'nftables', traffic: '', hold_max: 86400, relay_ports: [20000, 29999],
});

export async function mock(scenario = 'healthy', port = 0) {
  const listeners = new Set();
  const g = {
    status: freshStatus(), mappings: new Map(), log: [], points: [], password: '', delay: 300, nextOuter: null, requests: [], gone: 0, silent: false, loggedIn: false,
    put(...list) {
      for (const m of list) {
        g.mappings.set(keyOf(m), m);
        g.send('mapping', { gone: false, mapping: show(m) });
      }
    },
    drop(key) {
      const [protocol, internal_ip, internal_port] = key.split('/');
      g.mappings.delete(key);
      g.send('mapping', { gone: true, mapping: { protocol, internal_ip, internal_port: Number(internal_port) } });
    },
    change(status) {
      Object.assign(g.status, status);
      g.send('status', show.status());
    },
    say(level, text) {
      const line = { time: iso(Date.now()), level, text };
      g.log.push(line);
      g.send('log', line);
    },
    send(event, data) {
      for (const l of listeners) l.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    },
    hangUp() {
      for (const l of listeners) l.destroy();
    },
    listeners,
  };
  const show = ({ until, ...m }) => ({ ...m, expire_time: until && iso(until), expires_in: until && Math.round((until - Date.now()) / 1000) });
  show.status = () => ({ ...g.status, now: iso(Date.now()), counts: { mappings: g.mappings.size, open: 0, punching: 0, lost: 0, max: 1024, max_per_client: 64 } });

  const answer = (res, status, body, more = {}) => {
    res.writeHead(status, { ...HEADERS, 'Content-Type': 'application/json', ...more });
    res.end(JSON.stringify(body));
  };
  const refuse = (res, status, error) => answer(res, status, { status: 'error', error });

  const open = (req, res, wish) => {
    const { protocol, internal_ip, internal_port, relay_port, lifetime, description = '' } = wish;
    const taken = [...g.mappings.values()].find((m) => m.relay_port === relay_port && keyOf(m) !== keyOf(wish));
    if (taken) return refuse(res, 409, `relay_port ${relay_port} is ${keyOf(taken)}'s`);
    if (internal_port === 666) return refuse(res, 503, 'no STUN server answers');
    const hole = setTimeout(() => {
      const m = mapping({ protocol, internal_ip, internal_port, description, lifetime, origin: 'web', until: Date.now() + lifetime * 1000, since: iso(Date.now()), relay_port: relay_port || 22222, remote_port: g.nextOuter || 45678 });
      g.put(m);
      answer(res, 200, { status: 'success', internal_ip, internal_port, public_ip: m.public_ip, external_port: m.remote_port, relay_port: m.relay_port, lifetime });
    }, g.delay);
    res.on('close', () => {
      clearTimeout(hole);
      if (!res.writableEnded) g.gone++;
    });
  };

  async function serve(req, res) {
    const path = new URL(req.url, 'http://x').pathname;
    let body = '';
    for await (const chunk of req) body += chunk;
    g.requests.push(`${req.method} ${path} ${body}`);
    const loggedIn = !g.password || (req.headers.cookie || '').includes('stunway=in');
    const changes = req.method === 'DELETE' || (req.method === 'POST' && path === '/mappings');
    if (changes && !loggedIn) return refuse(res, 401, 'log in first');
    if (changes && req.headers.origin !== undefined && new URL(req.headers.origin).host !== req.headers.host) return refuse(res, 403, `Origin ${req.headers.origin}`);
    if (req.method === 'POST' && req.headers['content-type'] !== 'application/json') return refuse(res, 415, 'Content-Type');
    switch (`${req.method} ${path}`) {
      case 'GET /status': return answer(res, 200, { ...show.status(), login: { required: Boolean(g.password), logged_in: loggedIn } });
      case 'GET /mappings': return answer(res, 200, [...g.mappings.values()].map(show));
      case 'GET /history': return answer(res, 200, { step: 300, points: g.points });
      case 'GET /events/recent': return answer(res, 200, g.log);
      case 'POST /mappings': return open(req, res, JSON.parse(body));
      case 'POST /logout': return answer(res, 200, { status: 'success' }, { 'Set-Cookie': 'stunway=; Path=/; Max-Age=0' });
      case 'POST /login':
        if (JSON.parse(body).password !== g.password) return refuse(res, 401, 'wrong password');
        return answer(res, 200, { status: 'success' }, { 'Set-Cookie': 'stunway=in; HttpOnly; SameSite=Strict; Path=/' });
      case 'GET /events':
        res.writeHead(200, { ...HEADERS, 'Content-Type': 'text/event-stream' });
        res.write('retry: 2000\n\n');
        listeners.add(res);
        res.on('close', () => listeners.delete(res));
        return undefined;
    }
    if (req.method === 'DELETE') {
      const key = decodeURIComponent(path.slice('/mappings/'.length));
      if (!g.mappings.has(key)) return refuse(res, 404, `no mapping ${key}`);
      g.drop(key);
      return answer(res, 200, { status: 'success' });
    }
    return file(path, res);
  }

  async function file(path, res) {
    try {
      const name = path === '/' ? 'index.html' : path.slice(1);
      const plain = await readFile(join(DIST, name.replace(/\//g, '_')));
      res.writeHead(200, { ...HEADERS, 'Content-Type': TYPES[extname(name)] || 'text/plain', 'Content-Encoding': 'gzip' });
      res.end(gzipSync(plain, { level: 9 }));
    } catch {
      refuse(res, 404, `no ${path}`);
    }
  }

  const http = createServer((req, res) => {
    if (g.silent) return req.socket.destroy();
    serve(req, res).catch((error) => refuse(res, 500, String(error)));
  });
  const timers = [setInterval(() => listeners.forEach((l) => l.write(': still here\n\n')), 15000)];
  scenarios[scenario](g);
  await new Promise((done) => http.listen(port, '127.0.0.1', done));
  g.url = `http://127.0.0.1:${http.address().port}/`;
  g.close = () => {
    timers.forEach(clearInterval);
    g.hangUp();
    http.closeAllConnections();
    return new Promise((done) => http.close(done));
  };
  // Something that moves, for those who look.
  g.live = () =>
    timers.push(setInterval(() => {
      const moved = [...g.mappings.values()].filter((m) => m.state === 'open').slice(0, 20);
      for (const m of moved) m.traffic = traffic(m.traffic.in_bytes + 40000 * Math.random(), m.traffic.out_bytes + 90000 * Math.random(), m.traffic.connections);
      g.send('traffic', moved.map(({ protocol, internal_ip, internal_port, traffic: t }) => ({ protocol, internal_ip, internal_port, traffic: t })));
    }, 2000));
  return g;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const g = await mock(process.argv[2], Number(process.argv[3] || 9799));
  g.live();
  console.log(g.url);
}
