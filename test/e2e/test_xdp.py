# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-server --xdp: the same conversations as over sockets, byte for byte.

Two worlds with the same addresses, one server answering before the network stack, one by sockets:

    fast   client 198.18.0.9 ...  eth0 -- veth -- eth0  server 198.18.0.1, 198.18.0.2   --xdp eth0
           2001:db8::9                                  2001:db8::1, 2001:db8::2
    slow   the same, without --xdp

A client's socket is a pair, one in each world: what it sends goes to both servers, and both must
say the same. All is asked once more in generic mode, where the fast server's addresses stand at a bridge
over eth0, which has no native mode.
"""
import ctypes
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest
import zlib

import test_server as ts
from lab.topology import inside, start, _delete
from test_server import (CHANGE, PADDING, RESPONSE_PORT, SOFTWARE, SUCCESS, WAIT, Message, change, classic, request)

ETHTOOL_STXCSUM, SIOCETHTOOL = 0x17, 0x8946
V4, V6 = ("198.18.0.1", "198.18.0.2"), ("2001:db8::1", "2001:db8::2")
SERVER = [*(f"{a}/24" for a in V4), *(f"{a}/64" for a in V6)]
CLIENTS = [*(f"198.18.0.{n}/24" for n in range(9, 12)), "2001:db8::9/64"]
DUAL = ["--ipv4", V4[0], "--ipv4", V4[1], "--ipv6", V6[0], "--ipv6", V6[1]]
WORLDS = ("fast", "slow")


def ns(world, role):
    return f"sw{os.getpid()}-{world}{role}"


def ip_in(namespace, *lines):
    with start(namespace, ["ip", "-batch", "-"], stdin=subprocess.PIPE, text=True) as p:
        p.communicate("\n".join(lines) + "\n")
    assert p.returncode == 0, lines


def feature(command, value):
    """ethtool(8) for eth0 of this namespace."""
    wanted = ctypes.create_string_buffer(struct.pack("II", command, value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCETHTOOL, struct.pack("16sP16x", b"eth0", ctypes.addressof(wanted)))


def bpf(command, attr):
    """bpf(2); the descriptor it gives."""
    number = {"x86_64": 321, "aarch64": 280, "riscv64": 280}[os.uname().machine]
    fd = ctypes.CDLL(None, use_errno=True).syscall(number, command, ctypes.create_string_buffer(attr, 128), len(attr))
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"bpf command {command}")
    return fd


def pass_all(namespace):
    """An XDP program that passes everything on, at eth0: a veth takes what its peer's XDP sends only where it has one itself."""
    code = ctypes.create_string_buffer(struct.pack("<BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0))  # r0 = XDP_PASS; exit
    licence = ctypes.create_string_buffer(b"GPL")
    prog = bpf(5, struct.pack("<IIQQIIQ", 6, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0) + b"\0" * 32)
    link = inside(namespace, lambda: bpf(28, struct.pack("<IIII", prog, socket.if_nametoindex("eth0"), 37, 1 << 2)))
    os.close(prog)
    unittest.addModuleCleanup(os.close, link)


def addresses_at(device, addresses):
    """Lines for ip(8)."""
    return [f"addr add {a} dev {device}" + (" nodad" if ":" in a else "") for a in addresses]


def make_world(world):
    server, client = ns(world, "server"), ns(world, "client")
    a, b = f"sa{os.getpid()}", f"sb{os.getpid()}"
    for line in (f"netns add {server}", f"netns add {client}", f"link add {a} type veth peer name {b}",
                 f"link set {a} name eth0 netns {server}", f"link set {b} name eth0 netns {client}"):
        subprocess.run(["ip", *line.split()], check=True)
    for namespace, addresses in ((server, SERVER), (client, CLIENTS)):
        ip_in(namespace, "link set lo up", "link set eth0 up", *addresses_at("eth0", addresses))
    inside(client, lambda: feature(ETHTOOL_STXCSUM, 0))  # whole checksums, as a network has them
    pass_all(client)


def setUpModule():
    ts.V4, ts.V6, ts.DUAL = V4, V6, DUAL
    signal.signal(signal.SIGTERM, lambda *_: exit(1))
    unittest.addModuleCleanup(_delete, [ns(w, r) for w in WORLDS for r in ("server", "client")])
    for world in WORLDS:
        make_world(world)


def fast_enough(asked):
    """Is this question one of those that XDP answers, if it is answered with success?"""
    m = Message(asked)
    return len(asked) <= 128 and PADDING not in m.attrs and all(k in (CHANGE, RESPONSE_PORT) or k >= 0x8000 for k in m.attrs)


class Twin:
    """A UDP socket in both worlds, at the same address and port."""

    def __init__(self, v6, local):
        self.family = socket.AF_INET6 if v6 else socket.AF_INET
        self.both = [inside(ns(w, "client"), lambda: socket.socket(self.family, socket.SOCK_DGRAM)) for w in WORLDS]
        self.both[0].bind((local, 0))
        self.both[1].bind((local, self.both[0].getsockname()[1]))
        self.asked = {}

    def sendto(self, data, to):
        self.asked[data[4:20]] = data
        for s in self.both:
            s.sendto(data, to)

    def recvfrom(self, size):
        fast, slow = (s.recvfrom(size) for s in self.both)
        if fast != slow:
            raise AssertionError(f"fast says {fast}, slow says {slow}")
        return fast

    def recv(self, size):
        return self.recvfrom(size)[0]

    def getsockname(self):
        return self.both[0].getsockname()

    def settimeout(self, seconds):
        for s in self.both:
            s.settimeout(seconds)

    def close(self):
        for s in self.both:
            s.close()


class Servers:
    """The server of each world."""

    def __init__(self, args, interface, **options):
        self.both = []
        for world in WORLDS:
            more = ["--xdp", interface] if world == "fast" else []
            self.both.append(inside(ns(world, "server"), lambda: ts.Server(*args, *more, **options)))
        self.fast, self.slow = self.both

    def __getattr__(self, name):
        return getattr(self.fast, name)

    def counts(self, stop=None):
        """The fast one's; all but those of XDP are the slow one's, too."""
        def differs():
            return any(fast[k] != slow[k] for k in fast if not k.startswith("xdp-"))
        deadline = time.monotonic() + WAIT
        slow, fast = self.slow.counts(stop), self.fast.counts()
        while differs() and time.monotonic() < deadline:  # an answer of XDP's overtakes what its sockets have not read yet
            time.sleep(0.05)
            fast = self.fast.counts()
        if stop:
            fast = self.fast.counts(stop)
        if differs():
            raise AssertionError(f"fast counts {fast}, slow counts {slow}")
        return fast

    def close(self):
        for s in self.both:
            s.close()


class Case(ts.Case):
    interface = "eth0"
    says = r"\[I\] xdp interface=eth0 mode=native addresses=[1-4]$"

    def serve(self, *args, **options):
        servers = Servers(args, self.interface, **options)
        self.addCleanup(servers.close)
        servers.line(self.says)
        return servers

    def udp(self, local=None, v6=False):
        s = Twin(v6, local.replace("127.0", "198.18") if local else "2001:db8::9" if v6 else "198.18.0.9")
        self.addCleanup(s.close)
        s.settimeout(WAIT)
        return s


class Conversations(Case):
    """Those of test_server over UDP; what XDP answered is counted."""

    def serve(self, *args, **options):
        servers = super().serve(*args, **options)
        self.servers, self.expected = servers, 0
        return servers

    def receive(self, s, asked):
        m, source = super().receive(s, asked)
        self.expected += m.type == SUCCESS and fast_enough(asked)
        return m, source

    def tearDown(self):
        if self.servers.process.poll() is None:
            self.servers.counts(signal.SIGTERM)
        line = [l for l in self.servers.lines if l and "[I] counts " in l][-1]
        self.assertEqual(int(re.search(r"xdp-answered=(\d+)", line).group(1)), self.expected)

    def tcp(self, to, local=None):
        s = inside(ns("fast", "client"), lambda: socket.create_connection(to, WAIT))
        self.addCleanup(s.close)
        return s

    def test_fingerprint_and_software(self):
        """FINGERPRINT is checked and given, SOFTWARE and unknown optional attributes change nothing"""
        self.serve(*DUAL)
        for v6, to in ((False, (V4[0], 3478)), (True, (V6[1], 3479))):
            s = self.udp(v6=v6)
            for attrs in ((), (change(6),), ((SOFTWARE, b"x" * 13),), ((SOFTWARE, b"tailnode"), (0x9999, b"xyz"), change(2))):
                asked = request(*attrs, (ts.FINGERPRINT, b"\0" * 4))
                asked = asked[:-4] + struct.pack(">I", zlib.crc32(asked[:-8]) ^ 0x5354554E)
                m, _ = self.ask(s, to, asked)
                self.assertEqual(m.type, SUCCESS)
                self.assertEqual(struct.unpack(">I", m.attrs[ts.FINGERPRINT])[0], zlib.crc32(m.data[:-8]) ^ 0x5354554E)
                self.ask(s, to, request(*attrs))
                s.sendto(asked[:-1] + bytes([asked[-1] ^ 1]), to)  # no answer, as the next one shows
            self.ask(s, to, classic())

    def test_one_to_one_nat(self):
        """fast and slow: behind a 1:1 NAT the public addresses are told"""
        self.serve("--ipv4", f"198.51.100.1/{V4[0]}", "--ipv4", f"198.51.100.2/{V4[1]}", "--ports", "5000,6000")
        m, source = self.ask(self.udp(), (V4[0], 5000), request(change(6)))
        self.assertEqual((source, m.address(ts.ORIGIN), m.address(ts.OTHER)), ((V4[1], 6000), ("198.51.100.2", 6000), ("198.51.100.2", 6000)))

    def test_headers(self):
        """TTL, DF, identification and checksums are those of the sockets"""
        self.serve(*DUAL)
        for v6, protocol, to in ((False, 0x0800, V4[0]), (True, 0x86DD, V6[0])):
            captures = []
            for world in WORLDS:
                c = inside(ns(world, "client"), lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol)))
                self.addCleanup(c.close)
                c.bind(("eth0", protocol))
                c.settimeout(WAIT)
                captures.append(c)
            # A server's checksums are left to the driver, too: not so here
            inside(ns("slow", "server"), lambda: feature(ETHTOOL_STXCSUM, 0))
            self.ask(self.udp(v6=v6), (to, 3478), request())
            frames = []
            for c in captures:
                frame = b""
                while frame[(54 if v6 else 34):][:2] != struct.pack(">H", 3478):
                    frame = c.recv(2000)
                frames.append(bytearray(frame[14:]))
                if v6:
                    frames[-1][1:4] = b"\0\0\0"  # the flow label is of the sender's choice
            self.assertEqual(*frames)


def borrowed(name):
    method = getattr(ts.Udp, name)

    def test(self):
        method(self)
    test.__doc__ = f"fast and slow: {method.__doc__}"
    return test


# All of them but no_configuration, which --xdp excludes, padding_in_fragments, which is about sockets, and
# hostile, whose noise nobody waits for: test/unit's test_xdp has a million such frames.
Conversations.four = ts.Udp.four
for _name in ("binding", "change_request", "classic", "one_address", "one_port", "response_port", "response_address", "padding",
              "errors", "silence"):
    setattr(Conversations, f"test_{_name}", borrowed(f"test_{_name}"))


class Generic(Conversations):
    """The same where the kernel runs the program, on packets of its own: at a bridge the driver cannot."""

    interface = "br0"
    says = r"\[W\] xdp interface=br0 mode=generic addresses=[1-4]: slower, since the driver has no native mode now: "

    def shortDescription(self):
        return f"generic mode: {super().shortDescription()}"

    @classmethod
    def setUpClass(cls):
        server = ns("fast", "server")
        cls.addClassCleanup(ip_in, server, "link del br0", *addresses_at("eth0", SERVER))
        ip_in(server, "addr flush dev eth0", "link add br0 type bridge forward_delay 0", "link set eth0 master br0", "link set br0 up",
              *addresses_at("br0", SERVER))


def attached():
    """What `ip link` says of XDP at the fast server's interface."""
    with start(ns("fast", "server"), ["ip", "link", "show", "eth0"], stdout=subprocess.PIPE, text=True) as p:
        out = p.communicate()[0]
    return "xdp" in out


class Operation(Case):
    def fast(self, *args, **options):
        server = inside(ns("fast", "server"), lambda: ts.Server(*args, **options))
        self.addCleanup(server.close)
        return server

    def until(self, what):
        deadline = time.monotonic() + WAIT
        while not what():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_kill(self):
        """killing the server leaves no program attached, and so does stopping it"""
        for how in (signal.SIGKILL, signal.SIGTERM):
            server = self.fast(*DUAL, "--xdp", "eth0")
            self.assertTrue(attached())
            server.process.send_signal(how)
            server.process.wait(WAIT)
            self.until(lambda: not attached())

    def test_second(self):
        """where another XDP program is attached the server says so and exits 1"""
        self.fast(*DUAL, "--xdp", "eth0")
        second = self.fast("--ipv4", V4[0], "--ports", "5000", "--xdp", "eth0", ready=False)
        second.line(r"--xdp eth0: another XDP program is attached there")
        self.assertEqual(second.process.wait(WAIT), 1)
        self.assertTrue(attached())

    def test_wrong_interface(self):
        """an interface that is not there, or where nothing served stands, is named, exit code 1; without addresses 2"""
        for args, code, text in ((DUAL + ["--xdp", "none0"], 1, "--xdp none0: No such device"), (DUAL + ["--xdp", "lo"], 1, "--xdp lo: no Ethernet interface|--xdp lo: no address"),
                                 (["--xdp", "eth0"], 2, "--xdp 'eth0': needs --ipv4 or --ipv6")):
            server = self.fast(*args, ready=False)
            server.line(text)
            self.assertEqual(server.process.wait(WAIT), code)

    def test_capabilities(self):
        """CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN suffice at the start, and none is left; metrics go on under the filter"""
        caps = "-all,+bpf,+perfmon,+net_admin,+setuid,+setgid"
        argv = ["setpriv", f"--inh-caps={caps}", f"--bounding-set={caps}", "--", ts.SERVER, *DUAL, "--xdp", "eth0", "--user", "nobody",
                "--metrics", f"{V4[0]}:9690"]
        p = start(ns("fast", "server"), argv, stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (p.kill(), p.wait(), p.stderr.close()))
        for line in p.stderr:
            if "metrics at" in line:
                break
        with open(f"/proc/{p.pid}/status", encoding="ascii") as f:
            status = f.read()
        self.assertRegex(status, r"CapPrm:\s+0{16}\n")
        self.assertRegex(status, r"Uid:\s+65534")
        s = inside(ns("fast", "client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.addCleanup(s.close)
        s.settimeout(WAIT)
        s.bind(("198.18.0.9", 0))
        for _ in range(5):
            self.ask(s, (V4[0], 3478), request())
        with inside(ns("fast", "client"), lambda: socket.create_connection((V4[0], 9690), WAIT)) as c:
            c.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            text = b""
            while part := c.recv(65536):
                text += part
        self.assertIn(b"\nstunway_xdp_answered_total 5\n", text)
        self.assertIn(b"\nstunway_answered_total 5\n", text)

    def test_limit(self):
        """a source gets --rate answers a second, and what is beyond is dropped and counted"""
        server = self.fast(*DUAL, "--xdp", "eth0", rate=("--rate", "50"))
        s = inside(ns("fast", "client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.addCleanup(s.close)
        s.bind(("198.18.0.9", 0))
        began = time.monotonic()
        for _ in range(1000):
            s.sendto(request(), (V4[0], 3478))
        self.until(lambda: (c := server.counts())["answered"] + c["rate-limited"] >= 1000)
        counts, most = server.counts(), 50 * (2 + time.monotonic() - began)
        self.assertEqual(counts["xdp-passed"], 0)
        self.assertTrue(50 <= counts["xdp-answered"] <= most, (counts, most))

    def bpftool(self, *args):
        with start(ns("fast", "server"), ["bpftool", "-j", *args], stdout=subprocess.PIPE, text=True) as p:
            out = p.communicate()[0]
        self.assertEqual(p.returncode, 0, (args, out))
        return json.loads(out or "null")

    def test_on_and_off_under_load(self):
        """attaching and detaching under load loses no more than what is in flight"""
        server = self.fast(*DUAL, "--xdp", "eth0")
        load = Load(self)
        turns = 10
        program = self.bpftool("net")[0]["xdp"][0]["id"]
        link = next(l["id"] for l in self.bpftool("link") if l["prog_id"] == program)
        with load:
            load.more()
            self.bpftool("link", "detach", "id", str(link))
            for _ in range(turns):
                load.more()
                self.bpftool("net", "attach", "xdpdrv", "id", str(program), "dev", "eth0")
                load.more()
                self.bpftool("net", "detach", "xdpdrv", "dev", "eth0")
        counts = server.counts()
        self.assertTrue(0 < counts["xdp-answered"] < counts["answered"], counts)
        self.assertLessEqual(load.lost, (2 * turns + 1) * Load.FLIGHT)


class Load:
    """Asks, so many questions at a time, until told to end."""

    FLIGHT = 8

    def __init__(self, case):
        self.socket = inside(ns("fast", "client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        case.addCleanup(self.socket.close)
        self.socket.bind(("198.18.0.9", 0))
        self.socket.settimeout(0.5)
        self.answered = self.lost = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        waiting = set()
        while not self.stop.is_set():
            while len(waiting) < self.FLIGHT:
                asked = request()
                waiting.add(asked[4:20])
                self.socket.sendto(asked, (V4[0], 3478))
            try:
                waiting.discard(self.socket.recv(2000)[4:20])
                self.answered += 1
            except TimeoutError:
                self.lost += len(waiting)
                waiting.clear()

    def more(self):
        """Waits for a hundred answers more."""
        want, deadline = self.answered + 100, time.monotonic() + WAIT
        while self.answered < want:
            assert time.monotonic() < deadline, "no answers"
            time.sleep(0.001)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
