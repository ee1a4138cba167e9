# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-server on real sockets.

Everything stands in one network namespace, sw{pid}-server, on its loopback:

    client 127.0.0.9, 2001:db8::9  --  server 127.0.0.1, 127.0.0.2, 2001:db8::1, 2001:db8::2

STUNWAY_BUILD names another build directory than build/.
"""
import atexit
import contextlib
import ctypes
import os
import random
import re
import resource
import select
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVER = os.path.join(ROOT, os.environ.get("STUNWAY_BUILD", "build"), "stunway-server")
NETNS = f"sw{os.getpid()}-server"
WAIT = 60  # seconds until something that must come is called missing

COOKIE = 0x2112A442
BINDING, SUCCESS, ERROR, INDICATION, SHARED_SECRET = 0x0001, 0x0101, 0x0111, 0x0011, 0x0002
MAPPED, RESPONSE_ADDRESS, CHANGE, SOURCE, CHANGED = 1, 2, 3, 4, 5
ERROR_CODE, UNKNOWN, XOR_MAPPED, PADDING, RESPONSE_PORT = 9, 10, 0x20, 0x26, 0x27
SOFTWARE, FINGERPRINT, ORIGIN, OTHER = 0x8022, 0x8028, 0x802B, 0x802C

V4 = ("127.0.0.1", "127.0.0.2")
V6 = ("2001:db8::1", "2001:db8::2")
DUAL = ["--ipv4", V4[0], "--ipv4", V4[1], "--ipv6", V6[0], "--ipv6", V6[1]]


def enter(path):
    """Moves this process (its one thread) into a network namespace; children follow."""
    with open(path, "rb") as ns:
        if ctypes.CDLL(None, use_errno=True).setns(ns.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")


def remove_netns():
    subprocess.run(["ip", "netns", "del", NETNS], stderr=subprocess.DEVNULL, check=False)


def setUpModule():
    def ip(*words):
        subprocess.run(["ip", *words], check=True)

    atexit.register(remove_netns)
    signal.signal(signal.SIGTERM, lambda *_: exit(1))
    ip("netns", "add", NETNS)
    enter(f"/run/netns/{NETNS}")
    ip("link", "set", "lo", "up")
    for address in [*V6, "2001:db8::9"]:
        ip("addr", "add", f"{address}/128", "dev", "lo", "nodad")
    ip("addr", "add", "192.0.2.1/32", "dev", "lo")


class Message:
    """One STUN message, read apart."""

    def __init__(self, data):
        self.data = data
        self.type, length, cookie = struct.unpack(">HHI", data[:8])
        self.id = data[4:20]
        self.attrs = {}
        at = 20
        assert length == len(data) - 20, "length field"
        while at < len(data):
            kind, n = struct.unpack(">HH", data[at:at + 4])
            self.attrs.setdefault(kind, data[at + 4:at + 4 + n])
            at += 4 + (n + 3) // 4 * 4
        assert at == len(data), "attributes fill the message"

    def address(self, kind):
        value = self.attrs[kind]
        port, ip = struct.unpack(">H", value[2:4])[0], value[4:]
        if kind == XOR_MAPPED:
            port ^= COOKIE >> 16
            ip = bytes(a ^ b for a, b in zip(ip, self.id))
        return socket.inet_ntop(socket.AF_INET6 if value[1] == 2 else socket.AF_INET, ip), port

    def code(self):
        value = self.attrs[ERROR_CODE]
        return value[2] * 100 + value[3]

    def unknown(self):
        value = self.attrs[UNKNOWN]
        return list(struct.unpack(f">{len(value) // 2}H", value))


def request(*attrs, kind=BINDING, cookie=struct.pack(">I", COOKIE)):
    """The bytes of a message; attrs are (type, value). A cookie of other bytes makes an RFC 3489 one."""
    body = b"".join(struct.pack(">HH", t, len(v)) + v + b"\0" * (-len(v) % 4) for t, v in attrs)
    return struct.pack(">HH", kind, len(body)) + cookie + os.urandom(12) + body


def classic(*attrs, kind=BINDING):
    return request(*attrs, kind=kind, cookie=b"old!")


def change(flags):
    return CHANGE, struct.pack(">I", flags)


class Server:
    """A running stunway-server, ready; its log lines are kept as they come. Without a limit unless args name one."""

    def __init__(self, *args, ready=True, rate=("--rate", "0"), **popen):
        self.lines = []
        self.news = threading.Condition()
        self.process = subprocess.Popen([SERVER, *rate, *args], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, **popen)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        if ready:
            self.line(r"\[I\] listening ")

    def read(self):
        for line in self.process.stderr:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.lines.append(None)  # the end
            self.news.notify_all()

    def line(self, pattern, after=0):
        """Waits for a log line from index after on."""
        def found():
            return next((l for l in self.lines[after:] if l and re.search(pattern, l)), None)

        with self.news:
            self.news.wait_for(lambda: found() or None in self.lines, WAIT)
            if not found():
                raise AssertionError(f"no log line {pattern!r} in {self.lines}")
            return found()

    def counts(self, stop=None):
        """The counters now (SIGUSR1), or those said at the end when stopped by a signal, which must exit 0."""
        with self.news:
            after = len(self.lines)
        self.process.send_signal(stop or signal.SIGUSR1)
        line = self.line(r"\[I\] counts ", after)
        if stop:
            assert self.process.wait(WAIT) == 0, f"exit {self.process.returncode}: {self.lines}"
        return {k: int(v) for k, v in re.findall(r"([a-z-]+)=(\d+)", line)}

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()


class Case(unittest.TestCase):
    def serve(self, *args, **popen):
        server = Server(*args, **popen)
        self.addCleanup(server.close)
        return server

    def udp(self, local=None, v6=False):
        s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(s.close)
        s.bind((local or ("2001:db8::9" if v6 else "127.0.0.9"), 0))
        s.settimeout(WAIT)
        return s

    def tcp(self, to, local="127.0.0.9"):
        s = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(s.close)
        s.settimeout(WAIT)
        s.bind((local if ":" not in to[0] else "2001:db8::9", 0))
        s.connect(to)
        return s

    def receive(self, s, asked):
        """The answer to these bytes, from whom. Over UDP nothing else may have come before it, nor too many bytes."""
        data, source = s.recvfrom(65535)
        m = Message(data)
        self.assertEqual(m.id, asked[4:20], "an answer to something else")
        headers = 48 if s.family == socket.AF_INET6 else 28
        self.assertLessEqual(headers + len(data), 2.5 * (headers + len(asked)))
        return m, source[:2]

    def ask(self, s, to, data):
        s.sendto(data, to)
        return self.receive(s, data)

    def stream(self, s, count=1):
        """So many whole messages of a connection."""
        out = []
        for _ in range(count):
            head = self.exactly(s, 20)
            out.append(Message(head + self.exactly(s, struct.unpack(">H", head[2:4])[0])))
        return out

    def exactly(self, s, n):
        data = b""
        while len(data) < n:
            more = s.recv(n - len(data))
            self.assertTrue(more, f"closed after {len(data)} of {n} bytes")
            data += more
        return data

    def ask_tcp(self, s, data=None):
        data = data or request()
        s.sendall(data)
        m = self.stream(s)[0]
        self.assertEqual(m.id, data[4:20])
        return m

    def assert_closed(self, s):
        try:
            self.assertEqual(s.recv(1), b"", "bytes instead of the end")
        except ConnectionResetError:
            pass

    def assert_silent(self, s, to, data):
        """Nothing comes for these bytes: the socket answers before and after, in the order asked."""
        self.assertEqual(self.ask(s, to, request())[0].type, SUCCESS)
        s.sendto(data, to)
        self.assertEqual(self.ask(s, to, request())[0].type, SUCCESS)

    def assert_refused(self, m, attribute):
        self.assertEqual((m.type, m.code(), set(m.unknown())), (ERROR, 420, {attribute}))


class Udp(Case):
    def four(self, addresses):
        return [(a, p) for a in addresses for p in (3478, 3479)]

    def test_binding(self):
        """a Binding is answered with the mapped address, origin and other address, at each of the eight sockets"""
        self.serve(*DUAL)
        for v6, addresses in ((False, V4), (True, V6)):
            s = self.udp(v6=v6)
            for to in self.four(addresses):
                m, source = self.ask(s, to, request())
                self.assertEqual((m.type, source), (SUCCESS, to))
                self.assertEqual(m.address(XOR_MAPPED), s.getsockname()[:2])
                self.assertEqual(m.address(MAPPED), s.getsockname()[:2])
                self.assertEqual(m.address(ORIGIN), to)
                self.assertEqual(m.address(OTHER), (addresses[to[0] == addresses[0]], 3479 if to[1] == 3478 else 3478))

    def test_change_request(self):
        """CHANGE-REQUEST is answered from the address and port asked for, from each of the eight sockets"""
        self.serve(*DUAL)
        for v6, addresses in ((False, V4), (True, V6)):
            s = self.udp(v6=v6)
            for to in self.four(addresses):
                for flags in (0, 2, 4, 6):
                    want = (addresses[(to[0] == addresses[1]) ^ bool(flags & 4)], 3478 + ((to[1] == 3479) ^ bool(flags & 2)))
                    m, source = self.ask(s, to, request(change(flags)))
                    self.assertEqual((m.type, source, m.address(ORIGIN)), (SUCCESS, want, want))
                    m, source = self.ask(s, to, classic(change(flags)))
                    self.assertEqual((m.type, source, m.address(SOURCE)), (SUCCESS, want, want))

    def test_classic(self):
        """an RFC 3489 client gets MAPPED-ADDRESS, SOURCE-ADDRESS and CHANGED-ADDRESS and nothing it cannot know"""
        self.serve(*DUAL)
        s = self.udp()
        m, _ = self.ask(s, (V4[0], 3478), classic())
        self.assertEqual(set(m.attrs), {MAPPED, SOURCE, CHANGED})
        self.assertEqual(m.address(MAPPED), s.getsockname())
        self.assertEqual(m.address(CHANGED), (V4[1], 3479))

    def test_one_to_one_nat(self):
        """behind a 1:1 NAT the local addresses are bound and the public ones are told"""
        server = self.serve("--ipv4", f"198.51.100.1/{V4[0]}", "--ipv4", f"198.51.100.2/{V4[1]}", "--ports", "5000,6000")
        server.line(r"listening udp 198\.51\.100\.2:6000 local=127\.0\.0\.2:6000")
        m, source = self.ask(self.udp(), (V4[0], 5000), request(change(6)))
        self.assertEqual(source, (V4[1], 6000))
        self.assertEqual(m.address(ORIGIN), ("198.51.100.2", 6000))
        self.assertEqual(m.address(OTHER), ("198.51.100.2", 6000))
        self.assertEqual(self.ask_tcp(self.tcp((V4[0], 6000))).address(OTHER), ("198.51.100.2", 5000))

    def test_no_configuration(self):
        """without configuration every local address answers plain Binding, from the address asked"""
        server = self.serve()
        server.line(r"listening udp 0\.0\.0\.0:3478$")
        server.line(r"listening tcp \[::\]:3478$")
        for address in ("127.0.0.1", "127.0.0.77", "192.0.2.1", "::1", V6[1]):
            v6 = ":" in address
            m, source = self.ask(self.udp("::" if v6 else "0.0.0.0", v6), (address, 3478), request())
            self.assertEqual((m.type, source), (SUCCESS, (address, 3478)))
            self.assertFalse({ORIGIN, OTHER} & set(m.attrs))
            m, source = self.ask(self.udp(v6=v6), (address, 3478), classic())
            self.assertEqual((source, m.address(SOURCE)), ((address, 3478), (address, 3478)))
            self.assertNotIn(CHANGED, m.attrs)
            c = self.tcp((address, 3478))
            self.assertEqual(self.ask_tcp(c).address(XOR_MAPPED), c.getsockname()[:2])
        m, _ = self.ask(self.udp(), ("127.0.0.1", 3478), request(change(2)))
        self.assert_refused(m, CHANGE)

    def test_one_address(self):
        """with one address there is no OTHER-ADDRESS; the port can be changed, the address cannot"""
        self.serve("--ipv4", V4[0])
        s = self.udp()
        m, source = self.ask(s, (V4[0], 3478), request(change(2)))
        self.assertEqual((m.type, source), (SUCCESS, (V4[0], 3479)))
        self.assertNotIn(OTHER, m.attrs)
        for flags in (4, 6):
            m, source = self.ask(s, (V4[0], 3478), request(change(flags)))
            self.assert_refused(m, CHANGE)
            self.assertEqual(source, (V4[0], 3478))
        self.assertEqual(self.ask(s, (V4[0], 3478), request(change(0)))[0].type, SUCCESS)

    def test_one_port(self):
        """with one port the port cannot be changed, and only that port is bound"""
        server = self.serve("--ipv4", V4[0], "--ipv4", V4[1], "--ports", "5000")
        s = self.udp()
        self.assert_refused(self.ask(s, (V4[0], 5000), request(change(2)))[0], CHANGE)
        self.assertEqual(self.ask(s, (V4[0], 5000), request(change(4)))[1], (V4[1], 5000))
        server.counts(signal.SIGTERM)
        self.assertEqual(sum("listening" in (l or "") for l in server.lines), 4)

    def test_response_port(self):
        """RESPONSE-PORT of 2 and 4 bytes is answered at that port of the sender"""
        self.serve(*DUAL)
        s, there = self.udp(), self.udp()
        port = struct.pack(">H", there.getsockname()[1])
        for value in (port, port + b"\0\0"):
            asked = request((RESPONSE_PORT, value))
            s.sendto(asked, (V4[0], 3478))
            m, source = self.receive(there, asked)
            self.assertEqual((source, m.address(XOR_MAPPED)), ((V4[0], 3478), s.getsockname()))
        self.assertEqual(self.ask(s, (V4[0], 3478), request())[0].type, SUCCESS)  # and nothing came here before

    def test_response_address(self):
        """RESPONSE-ADDRESS is refused and nobody else hears of it"""
        self.serve(*DUAL)
        s, victim = self.udp(), self.udp()
        self.assertEqual(self.ask(victim, (V4[0], 3478), request())[0].type, SUCCESS)
        ip, port = victim.getsockname()
        m, _ = self.ask(s, (V4[0], 3478), classic((RESPONSE_ADDRESS, struct.pack(">HH", 1, port) + socket.inet_aton(ip))))
        self.assert_refused(m, RESPONSE_ADDRESS)
        self.assertEqual(self.ask(victim, (V4[0], 3478), request())[0].type, SUCCESS)  # the next it hears is its own

    def test_padding(self):
        """PADDING is answered with PADDING, and the answer is no longer than the question"""
        self.serve(*DUAL)
        for n in (88, 1472, 30000, 65000):
            asked = request((PADDING, b"x" * n))
            m, _ = self.ask(self.udp(), (V4[0], 3478), asked)
            self.assertEqual(len(m.data), len(asked))
            self.assertEqual(set(m.attrs[PADDING]), {0})

    def test_padding_in_fragments(self):
        """an answer longer than the interface's packets leaves in fragments, and short ones go on without"""
        def mtu(n):
            subprocess.run(["ip", "link", "set", "lo", "mtu", str(n)], check=True)

        mtu(1500)
        self.addCleanup(mtu, 65536)
        for args, to in ((DUAL, (V4[0], 3478)), ((), ("127.0.0.77", 3478)), (DUAL, (V6[0], 3478))):
            server = self.serve(*args)
            s = self.udp(v6=":" in to[0])
            for n in (1472, 5000, 0, 30000, 0):
                asked = request((PADDING, b"x" * n))
                self.assertEqual(self.ask(s, to, asked)[0].type, SUCCESS)
            server.counts(signal.SIGTERM)

    def test_errors(self):
        """unknown required attributes get 420 with their list, bad values 400"""
        self.serve(*DUAL)
        s = self.udp()
        m, _ = self.ask(s, (V4[0], 3478), request((0x7001, b""), (0x8888, b"optional"), (0x7002, b"xy")))
        self.assertEqual((m.type, m.code(), m.unknown()), (ERROR, 420, [0x7001, 0x7002]))
        m, _ = self.ask(s, (V4[0], 3478), request((CHANGE, b"\0\0")))
        self.assertEqual((m.type, m.code()), (ERROR, 400))

    def test_silence(self):
        """what is no Binding request draws no answer, and each is counted by its reason"""
        server = self.serve(*DUAL)
        s, to = self.udp(), (V4[0], 3478)
        binding = request()
        for data in (b"", b"x", binding[:19], binding + b"\0\0\0\0", b"\x80" + binding[1:], b"GET / HTTP/1.0\r\n\r\n",
                     request((FINGERPRINT, b"1234")), request()[:2] + b"\0\x04" + request()[4:]):
            self.assert_silent(s, to, data)
        for kind in (INDICATION, SUCCESS, ERROR):
            self.assert_silent(s, to, request(kind=kind))
        for kind in (SHARED_SECRET, 0x0003, 0x3EEF & ~0x0110):
            self.assert_silent(s, to, classic(kind=kind))
        counts = server.counts(signal.SIGTERM)
        self.assertEqual((counts["not-stun"], counts["not-request"], counts["unknown-method"]), (8, 3, 3))
        self.assertEqual(counts["answered"], 2 * 14)

    def test_hostile(self):
        """thousands of random and bent datagrams leave the server answering"""
        server = self.serve(*DUAL)
        dice = random.Random(1)
        s, noise = self.udp(), self.udp()
        for i in range(3000):
            data = bytearray(request(change(dice.choice((0, 2, 4, 6))), (dice.randrange(65536), b"x" * dice.randrange(40))))
            for _ in range(dice.randrange(4)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            noise.sendto(bytes(data) if i % 3 else dice.randbytes(dice.randrange(200)), (V4[0], 3478))
            if i % 50 == 0:
                self.assertEqual(self.ask(s, (V4[0], 3478), request())[0].type, SUCCESS)
        self.assertEqual(self.ask(s, (V4[0], 3478), request())[0].type, SUCCESS)
        server.counts(signal.SIGTERM)


class Workers(Case):
    TO = (V4[0], 3478)

    def answered(self, server, count):
        """How many answers each of so many workers gave."""
        server.counts()
        lines = [server.line(rf"\[I\] worker number={i} ") for i in range(count)]
        return [int(re.search(r" answered=(\d+)", line).group(1)) for line in lines]

    def test_right_sockets(self):
        """with two workers every socket answers from the address and port asked for, whoever asks"""
        server = self.serve(*DUAL, "--workers", "2")
        for client in range(1, 41):
            s = self.udp(f"127.0.1.{client}")
            for to in [(a, p) for a in V4 for p in (3478, 3479)]:
                for flags in (0, 2, 4, 6):
                    want = (V4[(to[0] == V4[1]) ^ bool(flags & 4)], 3478 + ((to[1] == 3479) ^ bool(flags & 2)))
                    m, source = self.ask(s, to, request(change(flags)))
                    self.assertEqual((m.type, source, m.address(XOR_MAPPED)), (SUCCESS, want, s.getsockname()))
            s.close()
        shares = self.answered(server, 2)
        self.assertEqual(sum(shares), 40 * 16)
        self.assertTrue(all(0.3 * sum(shares) < n < 0.7 * sum(shares) for n in shares), shares)

    def test_no_configuration(self):
        """several workers serve every local address without configuration, too"""
        server = self.serve("--workers", "3")
        for client in range(1, 21):
            m, source = self.ask(self.udp(f"127.0.1.{client}"), ("127.0.0.77", 3478), request())
            self.assertEqual((m.type, source), (SUCCESS, ("127.0.0.77", 3478)))
        m, source = self.ask(self.udp(v6=True), (V6[1], 3478), request())
        self.assertEqual((m.type, source), (SUCCESS, (V6[1], 3478)))
        self.assertEqual(sum(self.answered(server, 3)), 21)

    def test_one_source_one_worker(self):
        """all of a source's datagrams reach one worker, whatever its port; of IPv6 all of a /64's"""
        for v6, to in ((False, self.TO), (True, (V6[0], 3478))):
            server = self.serve(*DUAL, "--workers", "4")
            for _ in range(30):
                self.ask(self.udp(v6=v6), to, request())
            if v6:
                self.ask(self.udp(V6[1], v6=True), to, request())  # of the same /64
            self.assertEqual(sorted(self.answered(server, 4)), [0, 0, 0, 30 + v6])
            server.counts(signal.SIGTERM)

    def test_alone(self):
        """a second server on the same ports is refused, also with workers, who share them"""
        self.serve(*DUAL, "--workers", "2")
        for workers in ("1", "2"):
            r = subprocess.run([SERVER, *DUAL, "--workers", workers], capture_output=True, text=True, timeout=WAIT, check=False)
            self.assertEqual(r.returncode, 1)
            self.assertIn(f"cannot bind udp {V4[1]}:3479: Address already in use, held by stunway-server", r.stderr)


class Limit(Case):
    TO = (V4[0], 3478)

    def test_rate(self):
        """who asks too much gets --rate answers a second, on whichever socket, and the rest is counted; others are answered"""
        server = self.serve(*DUAL, "--workers", "2", "--rate", "50")
        s, began = self.udp(), time.monotonic()
        for i in range(400):
            s.sendto(request(), (V4[i % 2], 3478 + i // 2 % 2))
        self.assertEqual(self.ask(self.udp("127.0.0.10"), self.TO, request())[0].type, SUCCESS)
        deadline = time.monotonic() + WAIT
        while (counts := server.counts())["rate-limited"] + counts["answered"] < 401:
            self.assertLess(time.monotonic(), deadline)
        most = 50 * (1 + time.monotonic() - began)
        self.assertTrue(50 <= counts["answered"] - 1 <= most, (counts, most))
        for _ in range(counts["answered"] - 1):
            s.recv(2000)
        s.setblocking(False)
        with self.assertRaises(BlockingIOError):
            s.recv(2000)

    def test_queue_full(self):
        """what came while the socket's queue was full is counted, and the server answers on"""
        server = self.serve(*DUAL, "--workers", "1")
        s = self.udp()
        server.process.send_signal(signal.SIGSTOP)
        with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as f:
            deadline = time.monotonic() + WAIT
            while f.read().rsplit(")", 1)[1].split()[0] != "T":
                self.assertLess(time.monotonic(), deadline)
                f.seek(0)
        for _ in range(20000):
            s.sendto(b"not STUN", self.TO)
        server.process.send_signal(signal.SIGCONT)
        while (counts := server.counts())["queue-full"] + counts["not-stun"] < 20000:
            self.assertLess(time.monotonic(), deadline)
        self.assertGreater(counts["queue-full"], 0)
        self.assertEqual(self.ask(s, self.TO, request())[0].type, SUCCESS)

    def test_ipv6_prefix(self):
        """an IPv6 source is its /64"""
        server = self.serve(*DUAL, "--rate", "50")
        began = time.monotonic()
        for address in ("2001:db8::9", V6[1]):
            s = self.udp(address, v6=True)
            for _ in range(100):
                s.sendto(request(), (V6[0], 3478))
        deadline = time.monotonic() + WAIT
        while (counts := server.counts())["rate-limited"] + counts["answered"] < 200:
            self.assertLess(time.monotonic(), deadline)
        self.assertLessEqual(counts["answered"], 50 * (1 + time.monotonic() - began))

    def test_spoofed_flood(self):
        """a flood from 100,000 forged addresses leaves an honest client answered, and memory where it was"""
        def memory():
            with open(f"/proc/{server.process.pid}/status", encoding="ascii") as f:
                return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

        subprocess.run(["ip", "route", "replace", "local", "10.0.0.0/8", "dev", "lo"], check=True)
        server = self.serve(*DUAL, "--workers", "2", "--rate", "1000")  # more than an honest one asks in all
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.addCleanup(raw.close)
        honest, payload = [self.udp(f"127.0.0.{n}") for n in range(10, 14)], request()  # of both workers
        for s in honest:
            self.assertEqual(self.ask(s, self.TO, payload)[0].type, SUCCESS)
        before = memory()
        tail = socket.inet_aton(V4[0]) + struct.pack(">HHHH", 40000, 3478, 8 + len(payload), 0) + payload
        for i in range(100000):
            head = struct.pack(">BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0)
            raw.sendto(head + struct.pack(">I", 0x0A000000 + i * 7919 % (1 << 24)) + tail, (V4[0], 0))
            if i % 50 == 0:  # no more than a queue holds is on its way
                self.assertEqual(self.ask(honest[i // 50 % len(honest)], self.TO, request())[0].type, SUCCESS)
        counts = server.counts()
        self.assertEqual(counts["rate-limited"], 0)
        self.assertGreater(counts["answered"], 20000)  # where others need the CPU the kernel drops some
        self.assertLess(memory() - before, 128)


class Tcp(Case):
    TO = (V4[0], 3478)

    def test_persistent(self):
        """a connection serves any number of Bindings, at every address and port"""
        self.serve(*DUAL)
        for to in [(a, p) for a in V4 + V6 for p in (3478, 3479)]:
            s = self.tcp(to)
            for _ in range(20):
                m = self.ask_tcp(s)
                self.assertEqual((m.address(XOR_MAPPED), m.address(ORIGIN)), (s.getsockname()[:2], to))
        s = self.tcp(self.ask_tcp(self.tcp(self.TO)).address(OTHER))
        self.assertEqual(self.ask_tcp(s).type, SUCCESS)

    def test_segments(self):
        """many messages in one segment and one message byte by byte are the same stream"""
        self.serve(*DUAL)
        s = self.tcp(self.TO)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        many = [request((SOFTWARE, b"x" * n)) for n in range(100)]
        s.sendall(b"".join(many))
        self.assertEqual([m.id for m in self.stream(s, 100)], [m[4:20] for m in many])
        one = request((SOFTWARE, b"slowly"))
        for byte in one[:-1]:
            s.send(bytes([byte]))
        self.assertEqual(select.select([s], [], [], 0)[0], [])
        s.sendall(one[-1:] + many[0] + many[1][:7])
        self.assertEqual([m.id for m in self.stream(s, 2)], [one[4:20], many[0][4:20]])
        s.sendall(many[1][7:])
        self.assertEqual(self.stream(s)[0].id, many[1][4:20])

    def test_half_close(self):
        """a client that says it has sent all still gets its answers"""
        self.serve(*DUAL)
        s = self.tcp(self.TO)
        s.sendall(request() * 150)
        s.shutdown(socket.SHUT_WR)
        self.assertEqual({m.type for m in self.stream(s, 150)}, {SUCCESS})
        self.assert_closed(s)

    def test_udp_only_attributes(self):
        """CHANGE-REQUEST, RESPONSE-PORT and PADDING get 420 on TCP, the connection stays"""
        self.serve(*DUAL)
        s = self.tcp(self.TO)
        for attr in (change(6), (RESPONSE_PORT, b"\x20\0\0\0"), (PADDING, b"x" * 500)):
            self.assert_refused(self.ask_tcp(s, request(attr)), attr[0])
        self.assertEqual(self.ask_tcp(s, request(change(0))).type, SUCCESS)

    def test_silence(self):
        """an indication draws no answer and does not end the connection"""
        server = self.serve(*DUAL)
        s = self.tcp(self.TO)
        self.ask_tcp(s)
        s.sendall(request(kind=INDICATION) + classic(kind=SHARED_SECRET))
        self.ask_tcp(s)
        self.assertEqual(server.counts()["not-request"], 1)

    def test_not_stun(self):
        """bytes that are no STUN message, or one too long, close the connection; what was asked before is answered"""
        server = self.serve(*DUAL)
        bad = (b"GET / HTTP/1.1\r\n\r\n", b"\x80", b"\0\x01\0\x03", struct.pack(">HH", BINDING, 0xFFFC), request((FINGERPRINT, b"1234")))
        for data in bad:
            s = self.tcp(self.TO)
            self.ask_tcp(s)
            s.sendall(request() + data)
            self.stream(s)
            self.assert_closed(s)
        self.assertEqual(server.counts(signal.SIGTERM)["tcp-not-stun"], len(bad))

    def test_tls_is_not_offered_rfc8489_section_6_2_3(self):
        """who begins with TLS is closed, not left waiting"""
        self.serve(*DUAL)
        s, hello = self.tcp(self.TO), ssl.MemoryBIO()
        with self.assertRaises(ssl.SSLWantReadError):
            ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="stun.example").do_handshake()
        s.sendall(hello.read())
        self.assert_closed(s)

    def test_idle(self):
        """a connection without a whole message for the idle limit is closed, also one that trickles; one that asks stays"""
        server = self.serve(*DUAL, "--tcp-idle", "3")
        mute, trickle, busy = self.tcp(self.TO), self.tcp(self.TO), self.tcp(self.TO)
        open_ones = {mute, trickle}
        rest = iter(request((SOFTWARE, b"x" * 700)))
        deadline = time.monotonic() + WAIT
        while open_ones and time.monotonic() < deadline:
            self.ask_tcp(busy)
            if trickle in open_ones:
                with contextlib.suppress(ConnectionError):
                    trickle.send(bytes([next(rest)]))
            for s in select.select(list(open_ones), [], [], 0.1)[0]:
                self.assert_closed(s)
                open_ones.remove(s)
        self.assertFalse(open_ones, "still open")
        self.ask_tcp(busy)
        self.assertEqual(server.counts()["tcp-idle"], 2)

    def test_limit_per_address(self):
        """one address holds no more connections than allowed, others still get theirs, and a closed one makes room"""
        server = self.serve(*DUAL, "--tcp-max-per-address", "3")
        mine = [self.tcp(self.TO) for _ in range(3)]
        for s in mine:
            self.ask_tcp(s)
        self.assert_closed(self.tcp(self.TO))
        other = self.tcp(self.TO, local="127.0.0.10")
        self.ask_tcp(other)
        self.assertEqual(server.counts()["tcp-refused-source"], 1)
        mine.pop().close()
        self.eventually(lambda: self.ask_tcp(self.tcp(self.TO)))
        for s in mine:
            self.ask_tcp(s)

    def test_limit_total(self):
        """there are no more connections than allowed in total; UDP does not mind"""
        server = self.serve(*DUAL, "--tcp-max", "4")
        held = [self.tcp((a, 3478), local=f"127.0.0.{20 + i}") for i, a in enumerate(V4 * 2)]
        for s in held:
            self.ask_tcp(s)
        self.assert_closed(self.tcp(self.TO, local="127.0.0.30"))
        self.assertEqual(self.ask(self.udp(), self.TO, request())[0].type, SUCCESS)
        self.assertEqual(server.counts()["tcp-refused"], 1)
        held[0].close()
        self.eventually(lambda: self.ask_tcp(self.tcp(self.TO, local="127.0.0.31")))

    def eventually(self, attempt):
        """The other side learns of a close in its own time: tries until it works."""
        deadline = time.monotonic() + WAIT
        while True:
            try:
                return attempt()
            except (AssertionError, OSError):
                if time.monotonic() > deadline:
                    raise

    def test_slow_reader(self):
        """a client that asks and never reads is closed, with little kept for it, and others are served"""
        server = self.serve(*DUAL)
        s = self.tcp(self.TO)
        sent, block = 0, request() * 200
        with self.assertRaises(ConnectionError):
            while sent < 64 << 20:
                sent += s.send(block)
        self.ask_tcp(self.tcp(self.TO))
        self.assertEqual(server.counts()["tcp-slow"], 1)

    def queued(self, s):
        """Bytes of a connection's answers in the kernel, on both sides (those not acknowledged yet count twice)."""
        mine = f"{s.getsockname()[1]:04X}"
        with open("/proc/self/net/tcp", encoding="ascii") as table:
            rows = [line.split() for line in table][1:]
        return sum(int(row[4].split(":")[row[1].endswith(":" + mine)], 16) for row in rows
                   if mine in (row[1].split(":")[1], row[2].split(":")[1]))

    def test_unread_answers_wait(self):
        """answers that the kernel has no room for wait for a client that reads late"""
        server = self.serve(*DUAL)
        s = socket.socket()
        self.addCleanup(s.close)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(WAIT)
        s.connect(self.TO)
        length, asked = len(self.ask_tcp(s).data), []
        deadline = time.monotonic() + WAIT
        held = 0
        while held < 10000:
            self.assertLess(time.monotonic(), deadline, "nothing waits")
            if server.counts()["answered"] == 1 + len(asked):
                held = len(asked) * length - self.queued(s)
                more = [request() for _ in range(20 if held < 10000 else 0)]
                asked += more
                s.sendall(b"".join(more))
        self.assertEqual([m.id for m in self.stream(s, len(asked))], [m[4:20] for m in asked])
        self.ask_tcp(s)

    def test_out_of_descriptors(self):
        """out of descriptors the server neither spins nor stops answering, and accepts again when there are some"""
        server = self.serve(*DUAL)
        pid = server.process.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 3,) * 2)
        waiting = [self.tcp(self.TO) for _ in range(10)]
        for s in waiting[:3]:
            self.ask_tcp(s)
        udp, until = self.udp(), time.monotonic() + 1
        while time.monotonic() < until:
            self.assertEqual(self.ask(udp, self.TO, request())[0].type, SUCCESS)
        failed = server.counts()["tcp-accept-failed"]
        self.assertGreater(failed, 0)
        self.assertLess(failed, 100, "spins")
        for s in waiting[:3]:
            s.close()
        self.ask_tcp(waiting[3])

    def test_no_tcp(self):
        """with --no-tcp there is no TCP"""
        self.serve(*DUAL, "--no-tcp")
        self.assertEqual(self.ask(self.udp(), self.TO, request())[0].type, SUCCESS)
        with self.assertRaises(ConnectionRefusedError):
            self.tcp(self.TO)


class Program(Case):
    def run_server(self, *args, before=()):
        return subprocess.run([*before, SERVER, *args], capture_output=True, text=True, timeout=WAIT, check=False)

    def test_wrong_usage(self):
        """a wrong option or value is named and exits 2"""
        for args in (["--ipv4", "1.2.3"], ["--ipv4", V6[0]], ["--ipv4", "0.0.0.0"], ["--ipv4", "1.2.3.4/"],
                     ["--ipv4", "1.2.3.4/5.6.7.8/9.9.9.9"], ["--ipv6", "1.2.3.4"], ["--ipv6", "::/::1"],
                     ["--ipv4", V4[0], "--ipv4", V4[0]], ["--ipv4", V4[0], "--ipv4", V4[1], "--ipv4", "127.0.0.3"],
                     ["--ports", "0"], ["--ports", "65536"], ["--ports", "3478,"], ["--ports", "1,2,3"], ["--ports", "7,7"],
                     ["--ports", "+5"], ["--ports", "99999999999999999999"], ["--tcp-max", "0"], ["--tcp-max", "x"],
                     ["--tcp-max-per-address", "-1"], ["--tcp-idle", "0"], ["--tcp-idle", "1.5"], ["--user", "no-such-user"],
                     ["--workers", "0"], ["--workers", "65"], ["--rate", "-1"], ["--rate", "1000001"], ["--log-level", "loud"], ["--log-target", "printer"], ["--frobnicate"], ["operand"]):
            r = self.run_server(*args)
            self.assertEqual((r.returncode, r.stdout), (2, ""), args)
            self.assertIn(f"'{args[-1]}'", r.stderr)
        r = self.run_server("--ports")
        self.assertEqual(r.returncode, 2)
        self.assertIn("--ports needs a value", r.stderr)

    def config(self, text):
        """A configuration file that says this; its path."""
        file = tempfile.NamedTemporaryFile("w", prefix="stunway-", suffix=".conf", encoding="ascii")
        self.addCleanup(file.close)
        os.chmod(file.name, 0o644)
        file.write(text)
        file.flush()
        return file.name

    def test_config(self):
        """--config names an INI file: keys are the options, what the command line says wins"""
        path = self.config("[server]\nipv4 = 127.0.0.1\nipv4 = 127.0.0.2\nports = 5000,5001\nno-tcp = yes\nuser = nobody\n")
        server = self.serve("--config", path)
        self.assertEqual(self.ask(self.udp(), (V4[0], 5000), request(change(6)))[1], (V4[1], 5001))
        server.counts(signal.SIGTERM)
        self.assertEqual(sum("listening" in (l or "") for l in server.lines), 4)
        server = self.serve("--config", path, "--ipv4", "127.0.0.3", "--ports", "6000")
        server.counts(signal.SIGTERM)
        self.assertEqual([l.split("listening ")[1] for l in server.lines if l and "listening" in l], ["udp 127.0.0.3:6000"])

    def test_wrong_config(self):
        """a wrong file is named with line, key and value and exits 2; the default one may be absent, a named one may not"""
        for text, message in (("[server]\nports = 0\n", ":2: ports '0': must be a port"),
                              ("[server]\nipv4 = 127.0.0.1\n  ipv4 = 127.0.0.2\n", ":3: begins with a blank"),
                              ("[server]\nfrobnicate = 1\n", ":2: key 'frobnicate': no such key"),
                              ("[gateway]\nwan = eth0\n", ":1: section '[gateway]': must be [server]")):
            path = self.config(text)
            r = self.run_server("--config", path)
            self.assertEqual((r.returncode, r.stdout), (2, ""), text)
            self.assertIn(path + message, r.stderr)
        for path in ("/no/such.conf", "/", "/dev/zero"):
            r = self.run_server("--config", path)
            self.assertEqual(r.returncode, 2, r.stderr)
            self.assertIn(f"--config '{path}': ", r.stderr)

    def test_help(self):
        """--help and --version go to stdout and exit 0"""
        r = self.run_server("--help")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        for word in ("--ipv4", "--ipv6", "--ports", "--no-tcp", "--tcp-max", "--tcp-max-per-address", "--tcp-idle", "--workers", "--rate",
                     "--user", "--config", "--log-level", "--log-target"):
            self.assertIn(word, r.stdout)
        r = self.run_server("--version")
        self.assertEqual(r.returncode, 0)
        self.assertRegex(r.stdout, r"^stunway-server \d+\.\d+\.\d+\n$")

    def test_port_taken(self):
        """a port that is taken is named with who holds it, and the exit code is 1"""
        for kind, word in ((socket.SOCK_DGRAM, "udp"), (socket.SOCK_STREAM, "tcp")):
            with socket.socket(socket.AF_INET, kind) as holder:
                holder.bind((V4[1], 3479))
                if word == "tcp":
                    holder.listen()
                r = self.run_server(*DUAL)
            self.assertEqual(r.returncode, 1)
            self.assertRegex(r.stderr, rf"cannot bind {word} 127\.0\.0\.2:3479: .*, held by \S+ \(pid {os.getpid()}\)")
            self.assertNotIn("listening", r.stderr)

    def test_foreign_address(self):
        """an address that is not this host's is named, exit code 1"""
        r = self.run_server("--ipv4", "198.51.100.77")
        self.assertEqual(r.returncode, 1)
        self.assertIn("198.51.100.77:3478", r.stderr)

    def test_permission(self):
        """a port it may not have, and a user it may not become, exit 4"""
        before = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--"]
        r = self.run_server("--ports", "80", before=before)
        self.assertEqual(r.returncode, 4, r.stderr)
        self.assertIn("0.0.0.0:80", r.stderr)
        r = self.run_server("--user", "nobody", before=before)
        self.assertEqual(r.returncode, 4, r.stderr)
        self.assertIn("nobody", r.stderr)

    def test_user(self):
        """--user is who it is once it listens, in every respect"""
        server = self.serve("--ports", "80", "--ipv4", V4[0], "--user", "nobody", extra_groups=[0, 4242])
        with open(f"/proc/{server.process.pid}/status", encoding="ascii") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f)
        self.assertEqual(set(status["Uid"].split()), {"65534"})
        self.assertEqual(set(status["Gid"].split()), {"65534"})
        self.assertFalse({"0", "4242"} & set(status["Groups"].split()))
        self.assertEqual(status["CapEff"], "0" * 16)
        self.assertEqual(self.ask(self.udp(), (V4[0], 80), request())[0].type, SUCCESS)

    def test_signals(self):
        """SIGUSR1 logs the counters, SIGTERM and SIGINT too and exit 0, with connections open"""
        for stop in (signal.SIGTERM, signal.SIGINT):
            server = self.serve(*DUAL)
            s = self.tcp((V4[0], 3478))
            self.ask_tcp(s)
            self.assertEqual(self.ask(self.udp(), (V4[0], 3478), request(change(6)))[0].type, SUCCESS)
            counts = server.counts()
            self.assertEqual((counts["answered"], counts["tcp-accepted"]), (2, 1))
            self.assertEqual(server.counts(stop)["answered"], 2)
            self.assert_closed(s)
        self.serve(*DUAL)  # the addresses are free again at once

    def test_log_level(self):
        """--log-level error leaves only errors"""
        server = Server(*DUAL, "--log-level", "error", ready=False)
        self.addCleanup(server.close)
        s = self.udp()
        s.settimeout(0.2)
        for _ in range(5 * WAIT):  # no log line to wait for: asks until there is an answer
            s.sendto(request(), (V4[0], 3478))
            with contextlib.suppress(OSError):
                if Message(s.recv(2000)).type == SUCCESS:
                    break
        else:
            self.fail("no answer")
        server.process.terminate()
        self.assertEqual(server.process.wait(WAIT), 0)
        server.reader.join()
        self.assertEqual(server.lines, [None])
