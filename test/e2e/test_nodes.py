# SPDX-License-Identifier: GPL-2.0-or-later
"""Two stunway-servers of one public address each, as one server of two.

The addresses are those of stuntools' example: node A behind a 1:1 NAT for IPv4, both nodes with IPv6 of their own.

    client 192.0.2.9, 2001:db8:1::9 --- net --- nat 47.109.81.121 --- a 192.168.10.12, 2408:4006:1220:2ba6:d306:e:d6d1:ee70
    stranger 192.0.2.66 ---------------' '----- b 47.108.66.80, 2408:4006:1220:2ba6:d306:e:d6d1:ee71

STUNWAY_BUILD names another build directory than build/.
"""
import atexit
import hashlib
import hmac
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

from lab import topology
from lab.home import eventually
from lab.topology import Lab, inside
from test_server import (CHANGE, CHANGED, COOKIE, MAPPED, ORIGIN, OTHER, PADDING, RESPONSE_PORT, SERVER, SOURCE, SUCCESS, WAIT,
                         XOR_MAPPED, Message, Case, Server, change, classic, request)

PREFIX = f"sw{os.getpid()}x90"
ROLES = ["net", "client", "stranger", "nat", "a", "b"]
A4, A4_LOCAL, B4 = "47.109.81.121", "192.168.10.12", "47.108.66.80"
A6, B6 = "2408:4006:1220:2ba6:d306:e:d6d1:ee70", "2408:4006:1220:2ba6:d306:e:d6d1:ee71"
CLIENT4, CLIENT6, STRANGER4 = "192.0.2.9", "2001:db8:1::9", "192.0.2.66"
MANY = "198.18.5"  # .0/24 is the client's, too
ADDRESSES = {False: (A4, B4), True: (A6, B6)}
KEY = b"ahjiuy68tfgcj987"
DIRECTORY = f"{tempfile.gettempdir()}/{PREFIX}-nodes"
DEAD = 16  # seconds of silence
NAT_RULES = f"""
table ip nat {{
    chain prerouting {{ type nat hook prerouting priority dstnat; ip daddr {A4} udp dport {{ 3478, 3479 }} dnat to {A4_LOCAL}
                        ip daddr {A4} tcp dport {{ 3478, 3479 }} dnat to {A4_LOCAL}; }}
    chain postrouting {{ type nat hook postrouting priority srcnat; ip saddr {A4_LOCAL} oifname "up" snat to {A4}; }}
}}
"""


def ns(role):
    return f"{PREFIX}-{role}"


def run(role, argv, text=""):
    with topology.start(ns(role), argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as p:
        out, _ = p.communicate(text)
    if p.returncode:
        raise AssertionError(f"{role}: {argv}: {out}{text}")


def sysctl(values):
    for path, value in values.items():
        with open(f"/proc/sys/net/{path}", "w", encoding="ascii") as f:
            f.write(value)


def remove():
    for role in ROLES:
        subprocess.run(["ip", "netns", "del", ns(role)], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(DIRECTORY, ignore_errors=True)


def setUpModule():
    topology.sweep()
    atexit.register(remove)
    signal.signal(signal.SIGTERM, lambda *_: exit(1))
    os.makedirs(DIRECTORY)
    for role in ROLES:
        subprocess.run(["ip", "netns", "add", ns(role)], check=True)
        inside(ns(role), lambda: sysctl({"ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0",
                                         "ipv6/conf/default/accept_dad": "0", "ipv6/conf/default/dad_transmits": "0"}))
    for role in ("net", "nat"):
        inside(ns(role), lambda: sysctl({"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"}))
    # Every line: the nearer end is the gateway, host routes there tell what is behind it.
    lines = [("net", "client", "eth0", [CLIENT4, CLIENT6], []), ("net", "stranger", "eth0", [STRANGER4], []),
             ("net", "b", "eth0", [B4, B6], []), ("net", "nat", "up", [A4], [A6]), ("nat", "a", "eth0", [A4_LOCAL, A6], [])]
    for near, far, name, addresses, behind in lines:
        gateway = "192.168.10.1" if near == "nat" else "192.0.2.1"
        ends = [f"link add name {far} type veth peer name {name} netns {ns(far)}", f"link set dev {far} up",
                f"addr add {gateway}/32 dev {far}", f"addr add fe80::1/64 dev {far} nodad"]
        run(near, ["ip", "-batch", "-"], "\n".join(ends) + "\n")
        here = ["link set dev lo up", f"link set dev {name} up", f"addr add fe80::2/64 dev {name} nodad",
                *(f"addr add {a}/{128 if ':' in a else 32} dev {name}" + (" nodad" if ":" in a else "") for a in addresses)]
        run(far, ["ip", "-batch", "-"], "\n".join(here) + "\n")
        own4, own6 = next(a for a in addresses if ":" not in a), next((a for a in addresses if ":" in a), None)
        run(far, ["ip", "route", "add", "default", "via", gateway, "dev", name, "onlink", "src", own4])
        run(far, ["ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", name, *(["src", own6] if own6 else [])])
        for a in addresses + behind:
            if ":" in a:
                run(near, ["ip", "-6", "route", "add", a, "via", "fe80::2", "dev", far])
            else:
                run(near, ["ip", "route", "add", a, "dev", far])
    run("net", ["ip", "link", "set", "lo", "up"])
    run("net", ["ip", "route", "add", MANY + ".0/24", "dev", "client", "via", CLIENT4, "onlink"])
    run("client", ["ip", "route", "add", "local", MANY + ".0/24", "dev", "lo"])
    run("nat", ["nft", "-f", "-"], NAT_RULES)


def key_file(name, key, mode=0o600):
    path = f"{DIRECTORY}/{name}"
    with open(path, "wb") as f:
        f.write(key)
    os.chmod(path, mode)
    return path


# --- node.h's picture, by other hands ---

def identity(address, ports=(3478, 3479)):
    v6 = ":" in address
    ip = socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, address)
    return bytes([6 if v6 else 4]) + ip.ljust(16, b"\0") + struct.pack(">HH", *ports)


def node_message(sender, receiver, key=KEY, kind=1, port=0, run=7, peer_run=0, number=1, time_ms=None, client=None, question=b""):
    time_ms = int(time.time() * 1000) if time_ms is None else time_ms
    where = struct.pack(">BBH", 4, 0, client[1]) + socket.inet_aton(client[0]) + bytes(12) if client else bytes(20)
    head = struct.pack(">BBBBQQQQ", 0xF5, 1, kind, port, run, peer_run, number, time_ms) + where + question
    return head + hmac.new(key, identity(sender) + identity(receiver) + head, hashlib.sha256).digest()


def spoof(role, source, to, data):
    """A UDP datagram with a sender of the forger's choice."""
    udp = struct.pack(">HHHH", source[1], to[1], 8 + len(data), 0) + data
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, socket.inet_aton(source[0]), socket.inet_aton(to[0]))
    with inside(ns(role), lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)) as s:
        s.sendto(ip + udp, (to[0], 0))


class Tap:
    """Hears all IPv4 UDP that passes a namespace."""

    def __init__(self, role):
        self.s = inside(ns(role), lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)))
        self.s.settimeout(WAIT)

    def next(self, source, to, kind):
        """The next node message of a kind that goes from one address to another; its payload."""
        while True:
            packet = self.s.recv(65535)
            data = packet[(packet[0] & 15) * 4 + 8:struct.unpack(">H", packet[2:4])[0]]
            if packet[9] == 17 and packet[12:20] == socket.inet_aton(source) + socket.inet_aton(to) and data[:1] == b"\xf5" \
                    and data[2] == kind:
                return data


class Nodes(Case):
    def setUp(self):
        self.key = key_file("key", KEY + b"\n")

    def node(self, role, *args, keys=None, v6=True, ready=True):
        """Starts a node of stuntools' example."""
        here = {"a": ["--ipv4", f"{A4}/{A4_LOCAL}", "--peer-ipv4", B4], "b": ["--ipv4", B4, "--peer-ipv4", A4]}[role]
        if v6:
            here += {"a": ["--ipv6", A6, "--peer-ipv6", B6], "b": ["--ipv6", B6, "--peer-ipv6", A6]}[role]
        files = [w for k in keys or [self.key] for w in ("--node-key-file", k)]
        server = inside(ns(role), lambda: Server(*here, *files, *args, ready=ready))
        self.addCleanup(server.close)
        return server

    def both(self, **options):
        a, b = self.node("a", **options), self.node("b", **options)
        for node, peers in ((a, (B4, f"[{B6}]")), (b, (A4, f"[{A6}]"))):
            self.found(node, peers if options.get("v6", True) else peers[:1])
        return a, b

    def found(self, node, peers, after=0):
        for peer in peers:
            node.line(f"peer answers peer={peer}:3478".replace("[", r"\[").replace("]", r"\]"), after)

    def client(self, v6=False, role="client"):
        address = (CLIENT6 if v6 else CLIENT4) if role == "client" else STRANGER4
        s = inside(ns(role), lambda: socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM))
        self.addCleanup(s.close)
        s.bind((address, 0))
        s.settimeout(WAIT)
        return s

    def tap(self, role="net"):
        tap = Tap(role)
        self.addCleanup(tap.s.close)
        return tap

    def silent(self, s, to=(B4, 3478)):
        """Nothing waits at this socket: the next it hears is the answer to its next question."""
        self.ask(s, to, request())


class Example(Nodes):
    def test_change_request(self):
        """the example of stuntools: CHANGE-REQUEST is answered from the right address and port, by either node, IPv4 and IPv6"""
        a, b = self.both()
        for v6, addresses in ADDRESSES.items():
            s = self.client(v6)
            for to in [(x, p) for x in addresses for p in (3478, 3479)]:
                other = (addresses[to[0] == addresses[0]], 6957 - to[1])
                for flags in (0, 2, 4, 6):
                    want = (other[0] if flags & 4 else to[0], other[1] if flags & 2 else to[1])
                    m, source = self.ask(s, to, request(change(flags)))
                    self.assertEqual((m.type, source), (SUCCESS, want), (to, flags))
                    self.assertEqual((m.address(ORIGIN), m.address(OTHER)), (want, other))
                    self.assertEqual((m.address(XOR_MAPPED), m.address(MAPPED)), (s.getsockname()[:2],) * 2)
                    m, source = self.ask(s, to, classic(change(flags)))
                    self.assertEqual((m.type, source, m.address(SOURCE), m.address(CHANGED)), (SUCCESS, want, want, other))
        counts = [node.counts() for node in (a, b)]
        self.assertEqual([c["node-handed"] for c in counts], [16, 16])
        self.assertEqual([c["node-answered"] for c in counts], [16, 16])

    def test_tcp(self):
        """over TCP each node tells the other's address, and refuses to change"""
        self.both()
        for to, other in (((A4, 3478), (B4, 3479)), ((B4, 3479), (A4, 3478))):
            s = inside(ns("client"), lambda: socket.create_connection(to, WAIT))
            self.addCleanup(s.close)
            self.assertEqual(self.ask_tcp(s).address(OTHER), other)
            self.assert_refused(self.ask_tcp(s, request(change(4))), CHANGE)

    def test_attributes(self):
        """RESPONSE-PORT and PADDING do through the peer what they do without"""
        self.both()
        for to, other in ((A4, B4), (B4, A4)):
            s, there = self.client(), self.client()
            asked = request(change(6), (RESPONSE_PORT, struct.pack(">H", there.getsockname()[1])))
            s.sendto(asked, (to, 3478))
            m, source = self.receive(there, asked)
            self.assertEqual((source, m.address(XOR_MAPPED)), ((other, 3479), s.getsockname()))
            for n in (88, 1400, 4000):
                asked = request(change(4), (PADDING, b"x" * n))
                m, source = self.ask(s, (to, 3478), asked)
                self.assertEqual((source, len(m.data)), ((other, 3478), len(asked)))
            m, source = self.ask(s, (to, 3478), request(change(4), (0x7001, b"")))
            self.assertEqual((m.code(), source), (420, (to, 3478)))

    def test_every_worker(self):
        """questions of many senders, so through every worker, come back from the other address"""
        a, b = self.both(v6=False)
        sockets = {}
        for i in range(1, 101):
            s = inside(ns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            self.addCleanup(s.close)
            s.bind((f"{MANY}.{i}", 0))
            s.settimeout(WAIT)
            sockets[s] = (A4, B4)[i % 2]
        for _ in range(10):
            asked = {s: request(change(6)) for s in sockets}
            for s, data in asked.items():
                s.sendto(data, (sockets[s], 3478))
            for s, data in asked.items():
                m, source = self.receive(s, data)
                self.assertEqual((source, m.address(XOR_MAPPED)), ((B4 if sockets[s] == A4 else A4, 3479), s.getsockname()))
        self.assertEqual([node.counts(signal.SIGTERM)["node-answered"] for node in (a, b)], [500, 500])

    def test_strangers_bytes(self):
        """bytes that begin like a node's are counted and not answered, whoever sends them"""
        _, b = self.both(v6=False)
        s = self.client()
        for data in (b"\xf5", b"\xf5\x01" + bytes(86), os.urandom(200)[1:].join([b"\xf5", b""])):
            s.sendto(data, (B4, 3478))
        self.silent(s)
        self.assertEqual(b.counts()["node-stranger"], 3)


class Forged(Nodes):
    """Field note, fault 16: stuntools' nodes can be made to aim answers at any address."""

    def captured(self, s):
        """A hand-over from A to B, and the client's answer to it."""
        tap = self.tap()
        m, source = self.ask(s, (A4, 3478), request(change(4)))
        self.assertEqual((m.type, source), (SUCCESS, (B4, 3478)))
        return tap.next(A4, B4, 3)

    def test_replay(self):
        """a captured message sent again, as the peer or as somebody else, is counted and nothing more"""
        _, b = self.both(v6=False)
        s = self.client()
        data = self.captured(s)
        before = b.counts()
        for port in (3478, 3479, 5000):
            spoof("stranger", (A4, port), (B4, 3478), data)
            spoof("stranger", (A4, port), (B4, 3479), data)
            spoof("stranger", (STRANGER4, port), (B4, 3478), data)
        self.silent(s)
        after = b.counts()
        self.assertEqual(after["node-replayed"] - before["node-replayed"], 6)
        self.assertEqual(after["node-stranger"] - before["node-stranger"], 3)
        self.assertEqual(after["node-answered"], before["node-answered"])

    def test_altered(self):
        """a captured message altered in any byte, aimed at a victim above all, is counted and nothing more"""
        _, b = self.both(v6=False)
        s, victim = self.client(), self.client(role="stranger")
        data = self.captured(s)
        before = b.counts()
        for i in range(len(data)):
            bent = bytearray(data)
            bent[i] ^= 1 << i % 8
            if bent[0] == 0xF5:
                spoof("stranger", (A4, 3478), (B4, 3478), bytes(bent))
        aimed = data[:38] + struct.pack(">H", victim.getsockname()[1]) + socket.inet_aton(STRANGER4) + data[44:]
        spoof("stranger", (A4, 3478), (B4, 3478), aimed)
        for n in (1, 55, 88, len(data) - 1):
            spoof("stranger", (A4, 3478), (B4, 3478), data[:n])
        self.silent(s)
        self.silent(victim)
        after = b.counts()
        grown = {k: after[k] - before[k] for k in after if k.startswith("node-") and k != "node-beat" and after[k] != before[k]}
        self.assertEqual(set(grown), {"node-forged", "node-malformed"})
        self.assertEqual(sum(grown.values()), len(data) - 1 + 1 + 4)
        b.line(r"\[W\] messages from the peer's address that are not signed for us")

    def test_reflected(self):
        """a message sent back to its sender is counted and nothing more"""
        a, _ = self.both(v6=False)
        s = self.client()
        data = self.captured(s)
        before = a.counts()
        spoof("stranger", (B4, 3478), (A4, 3478), data)
        after = eventually(lambda: (now := a.counts())["node-forged"] > before["node-forged"] and now, 5, "its count")
        self.silent(s, (A4, 3478))
        self.assertEqual((after["node-forged"] - before["node-forged"], after["node-answered"]), (1, before["node-answered"]))

    def test_replay_after_restart(self):
        """what was captured before a restart, when the memory of it was lost, is counted and nothing more"""
        _, b = self.both(v6=False)
        s = self.client()
        data = self.captured(s)
        b.close()
        b = self.node("b", v6=False)
        spoof("stranger", (A4, 3478), (B4, 3478), data)
        self.found(b, [A4])
        spoof("stranger", (A4, 3478), (B4, 3478), data)
        self.silent(s)
        counts = b.counts()
        self.assertEqual((counts["node-other-run"], counts["node-answered"]), (2, 0))

    def test_refused_questions(self):
        """even with the key a node says nothing but an answer of its own to a Binding request"""
        b = self.node("b", v6=False)
        tap = self.tap()
        client, victim = self.client(), self.client(role="stranger")
        spoof("stranger", (A4, 3478), (B4, 3478), node_message(A4, B4, number=1))
        run_b = struct.unpack(">Q", tap.next(B4, A4, 1)[4:12])[0]
        there = victim.getsockname()
        questions = [b"bytes of a forger's choice", request(), request(change(2)), request((0x7001, b""), change(4)),
                     request(change(4), kind=SUCCESS), b""]
        for i, q in enumerate(questions):
            spoof("stranger", (A4, 3478), (B4, 3478),
                  node_message(A4, B4, kind=3, peer_run=run_b, number=2 + i, client=there, question=q))
        self.silent(client)
        self.silent(victim)
        self.assertEqual(b.counts()["node-refused"], len(questions))
        good = request(change(4))
        spoof("stranger", (A4, 3478), (B4, 3478),
              node_message(A4, B4, kind=3, peer_run=run_b, number=99, client=there, question=good))
        self.assertEqual(self.receive(victim, good)[1], (B4, 3478))


class Life(Nodes):
    def test_death_and_return(self):
        """a killed peer is noticed: no OTHER-ADDRESS, 420 for its address; and so is its return"""
        a, b = self.both()
        b.close()
        a.line(rf"\[W\] peer silent for {DEAD} s: no OTHER-ADDRESS, .*peer={B4}:3478")
        a.line(rf"\[W\] peer silent for {DEAD} s: no OTHER-ADDRESS, .*peer=\[{B6}\]:3478")
        for v6, (mine, _) in ADDRESSES.items():
            s = self.client(v6)
            m, source = self.ask(s, (mine, 3478), request())
            self.assertEqual((m.type, source), (SUCCESS, (mine, 3478)))
            self.assertNotIn(OTHER, m.attrs)
            self.assertNotIn(CHANGED, self.ask(s, (mine, 3478), classic())[0].attrs)
            for flags in (4, 6):
                self.assert_refused(self.ask(s, (mine, 3478), request(change(flags)))[0], CHANGE)
            self.assertEqual(self.ask(s, (mine, 3478), request(change(2)))[1], (mine, 3479))
        counts = a.counts()
        self.assertEqual((counts["node-found"], counts["node-lost"]), (2, 2))
        after = len(a.lines)
        self.node("b")
        self.found(a, (B4, f"[{B6}]"), after)
        for v6, (mine, other) in ADDRESSES.items():
            s = self.client(v6)
            self.assertEqual(self.ask(s, (mine, 3478), request())[0].address(OTHER), (other, 3479))
            self.assertEqual(self.ask(s, (mine, 3478), request(change(6)))[1], (other, 3479))

    def test_alone(self):
        """a node whose peer was never there tells nobody of it"""
        self.node("b", v6=False)
        s = self.client()
        self.assertNotIn(OTHER, self.ask(s, (B4, 3478), request())[0].attrs)
        self.assert_refused(self.ask(s, (B4, 3478), request(change(4)))[0], CHANGE)

    def test_other_address(self):
        """who waits for a peer hears of node's messages that come from another address than the peer's"""
        b = self.node("b", v6=False)
        s = self.client(role="stranger")
        s.sendto(node_message(A4, B4), (B4, 3478))
        b.line(rf"\[W\] a node's message from an address that is not the peer's from={STRANGER4}:\d+ peer={A4}:3478")
        self.silent(s)
        self.assertEqual((b.counts()["node-stranger"], b.counts()["node-beat"]), (1, 0))

    def test_clock_skew(self):
        """a clock that is more than 30 s off is named with how much, once a minute, and its messages refused"""
        b = self.node("b", v6=False)
        now = int(time.time() * 1000)
        for i, off in enumerate((95000, -95000, 40000)):
            spoof("stranger", (A4, 3478), (B4, 3478), node_message(A4, B4, number=i + 1, time_ms=now + off))
        line = b.line(r"\[W\] peer's clock is \d+\.\d s ahead of ours, more than the 30 s allowed")
        self.assertRegex(line, rf"clock is 9[0-5]\.\d s ahead .* peer={A4}:3478 skew-ms=\+9\d{{4}} ")
        for i, off in enumerate((25000, -25000)):
            spoof("stranger", (A4, 3478), (B4, 3478), node_message(A4, B4, number=i + 4, time_ms=now + off))
        self.silent(self.client())
        counts = b.counts()
        self.assertEqual((counts["node-skewed"], counts["node-beat"]), (3, 2))
        self.assertEqual(sum("peer's clock" in (l or "") for l in b.lines), 1)

    def test_other_key(self):
        """nodes with different keys do not find each other, and say why"""
        a = self.node("a", v6=False)
        b = self.node("b", v6=False, keys=[key_file("other", os.urandom(64))])
        for node in (a, b):
            node.line(r"\[W\] messages from the peer's address that are not signed for us: does it have the same key")
            counts = node.counts()
            self.assertEqual((counts["node-found"], counts["node-beat"]), (0, 0))
        self.assertNotIn(OTHER, self.ask(self.client(), (B4, 3478), request())[0].attrs)

    def test_key_rotation(self):
        """a new key comes in by one restart after the other, and every step leaves the two talking"""
        old, new = self.key, key_file("new", os.urandom(32))
        nodes = dict(zip("ab", self.both(v6=False)))
        s = self.client()
        for role, keys in (("b", [old, new]), ("a", [new, old]), ("b", [new]), ("a", [new])):
            other = "b" if role == "a" else "a"
            before = nodes[other].counts()
            nodes[role].close()
            nodes[role] = self.node(role, v6=False, keys=keys)
            self.found(nodes[role], [B4 if role == "a" else A4])
            # The other never missed it, and hands over to its new run as soon as it knows of that.
            for to, at in ((A4, B4), (B4, A4)):
                self.assertEqual(self.patiently(s, (to, 3478), request(change(4)))[1], (at, 3478))
            after = nodes[other].counts()
            self.assertEqual((after["node-lost"], after["node-forged"]), (0, before["node-forged"]))

    def patiently(self, s, to, asked, timeout=0.5, tries=20):
        """Asks again until there is an answer, as every client over UDP does."""
        s.settimeout(timeout)
        try:
            for _ in range(tries):
                s.sendto(asked, to)
                try:
                    return self.receive(s, asked)
                except TimeoutError:
                    pass
        finally:
            s.settimeout(WAIT)
        raise AssertionError(f"no answer from {to}")

    def test_loss(self):
        """5 % loss and 50 ms between the nodes: requests sent again as RFC 8489 section 6.2.1 says are all answered"""
        with Lab(nat={"mode": "firewall", "mapping": "ei", "filtering": "ei", "loss": 5, "delay": 50}, router=False) as lab:
            here, there = "100.64.0.3", "198.51.100.1"
            nodes = []
            for role, own, peer in (("customer", here, there), ("stun", there, here)):
                nodes.append(lab.spawn(role, [SERVER, "--ipv4", own, "--peer-ipv4", peer, "--node-key-file", self.key],
                                       ready="listening"))
            for node in nodes:
                node.wait_line("peer answers", WAIT)
            s = lab.socket("stranger", timeout=0.1)
            waiting, asked, again, deadline = {}, 0, 0, time.monotonic() + 60
            while asked < 300 or waiting:
                now = time.monotonic()
                self.assertLess(now, deadline, f"{len(waiting)} unanswered")
                if asked < 300:
                    m = request(change(4 if asked % 2 else 6))
                    waiting[m[4:20]] = [m, there, now, 0.5, asked]
                    s.sendto(m, (there, 3478))
                    asked += 1
                for entry in waiting.values():  # each RTO twice the last, seven in all
                    if now >= entry[2] + entry[3]:
                        self.assertLess(entry[3], 32, "given up")
                        entry[2:4] = now, entry[3] * 2
                        again += 1
                        s.sendto(entry[0], (there, 3478))
                s.settimeout(0.01)
                try:
                    data, source = s.recvfrom(2000)
                except TimeoutError:
                    continue
                m = Message(data)
                if m.id in waiting:
                    number = waiting.pop(m.id)[4]
                    self.assertEqual(source, (here, 3478 if number % 2 else 3479))
            self.assertGreater(again, 0, "nothing was lost")
            for node in nodes:
                self.assertFalse([l for l in node.lines if "silent" in l])


class Usage(Nodes):
    def test_wrong_usage(self):
        """a peer without key or address, a key file that is bad or open to others: named, exit code 2"""
        good = ["--node-key-file", self.key]
        one = ["--ipv4", "192.0.2.1"]
        cases = [
            (one + ["--peer-ipv4", B4], B4, "needs --node-key-file"),
            (["--peer-ipv4", B4, *good], B4, "there is none"),
            (["--ipv6", A6, "--peer-ipv4", B4, *good], B4, "there is none"),
            (one + ["--ipv4", "192.0.2.2", "--peer-ipv4", B4, *good], B4, "there are two"),
            (["--ipv4", f"{A4}/{A4_LOCAL}", "--peer-ipv4", A4, *good], A4, "another address"),
            (one + ["--peer-ipv4", B4, "--peer-ipv4", A4, *good], A4, "given once"),
            (one + ["--peer-ipv4", B6, *good], B6, "an IPv4 address"),
            (["--peer-ipv6", "::"], "::", "an IPv6 address"),
            (one + good, "--node-key-file", "needs --peer-ipv4"),
            (one + ["--node-key-file", f"{DIRECTORY}/none"], f"{DIRECTORY}/none", "can be read"),
            (one + ["--node-key-file", DIRECTORY], DIRECTORY, "can be read"),
            (one + good * 4 + ["--node-key-file", self.key], self.key, "at most 4"),
        ]
        for name, key, mode, why in (("short", b"x" * 15 + b"\n", 0o600, "16 to 64"), ("long", b"x" * 65, 0o600, "16 to 64"),
                                     ("longer", b"x" * 1000, 0o600, "16 to 64"), ("empty", b"", 0o600, "16 to 64"),
                                     ("open", KEY, 0o644, "others"), ("open2", KEY, 0o620, "others"), ("lines", KEY[:15] + b"\n\n" * 30, 0o604, "others")):
            path = key_file(name, key, mode)
            cases.append((one + ["--node-key-file", path], path, why))
        for args, value, why in cases:
            r = subprocess.run([SERVER, *args], capture_output=True, text=True, timeout=WAIT, check=False)
            self.assertEqual((r.returncode, r.stdout), (2, ""), args)
            self.assertIn(value, r.stderr)
            self.assertIn(why, r.stderr)

    def test_key_lengths(self):
        """keys of 16 and 64 bytes, with and without a newline at the end, and readable by the group, are taken"""
        for key, mode in ((b"k" * 16, 0o600), (b"k" * 16 + b"\n", 0o640), (b"k" * 64, 0o400), (b"k" * 64 + b"\n", 0o600)):
            self.node("b", v6=False, keys=[key_file("length", key, mode)]).close()


if __name__ == "__main__":
    unittest.main()
