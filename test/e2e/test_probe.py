# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-probe behind every kind of NAT, asking our server, other people's, and servers that lie.

    customer 100.64.0.3, 2001:db8:64::3 --- carrier: natbox, or routed --- net --- stun 198.51.100.1, .2
                                                                                   stun2 198.51.100.11
                                                                                   stranger, stranger2: liars
    (in one of them router and lan1 192.168.1.10, too)

Several laboratories stand side by side. A row of a test is a NAT and all that is asked behind it: it takes the
next laboratory that is free, and its questions are asked at once.
"""
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from lab.topology import PATIENCE, Lab
from test_server import CHANGE, COOKIE, ERROR, ERROR_CODE, MAPPED, ORIGIN, OTHER, SUCCESS, UNKNOWN, XOR_MAPPED, Message

CUSTOMER, CUSTOMER6, OUTER = "100.64.0.3", "2001:db8:64::3", "203.0.113.1"
PUBLIC = "203.0.113.65"  # the customer's, too, for lines without a NAT
A4, B4, A6, B6 = "198.51.100.1", "198.51.100.2", "2001:db8:100::1", "2001:db8:100::2"
NODE4, NODE6 = "198.51.100.11", "2001:db8:100::11"  # the second of two nodes
OURS, COTURN, NODES = f"{A4}:3478", f"{A4}:5478", f"{A4}:6478"
OURS6, COTURN6, NODES6 = f"[{A6}]:3478", f"[{A6}]:5478", f"[{A6}]:6478"
CLASSIC = f"{A4}:4478"  # RFC 3489 only
ONE_ADDRESS = f"{A4}:7478"
NOBODY = f"{A4}:9"
LIARS = ("192.0.2.66", "192.0.2.77")  # stranger, stranger2
KEY = b"sixteen bytes or more\n"

BEHAVIOURS = {"ei": "endpoint-independent", "ad": "address-dependent", "apd": "address-and-port-dependent"}
CONES = {"ei": "FullCone", "ad": "RestrictedCone", "apd": "PortRestrictedCone"}
PORTS = {"preserve": "Preserved", "increment": "Increment", "decrement": "Decrement", "random": "Random"}
EXIT = {"Blocked": 3, "Unknown": 1, "Error": 1}

labs = []  # with a NAT, for rows
routed = aging = home = None  # without a NAT; with one whose mappings soon end; with a router before the NAT
lifetimes = None  # questions that take long, being asked in the background


def at_once(calls):
    """Results of functions that run side by side."""
    if not calls:
        return []
    with ThreadPoolExecutor(len(calls)) as pool:
        return [f.result() for f in [pool.submit(call) for call in calls]]


def wait_answer(lab, address, port):
    """Until there is a STUN server."""
    question = struct.pack(">HHI12s", 1, 0, COOKIE, b"is there one")
    with lab.socket("net", timeout=0.1) as s:
        for _ in range(200 * PATIENCE):
            try:
                s.sendto(question, (address, port))
                s.recv(1000)
                return
            except (TimeoutError, ConnectionRefusedError):
                pass
    raise AssertionError(f"nothing answers at {address}:{port}")


def start_servers(lab):
    ours = os.path.join(lab.build, "stunway-server")
    key = f"{lab.directory}/node.key"
    with open(key, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
        f.write(KEY)

    def node(role, ip4, ip6, peer4, peer6):
        return lab.spawn(role, [ours, "--ipv4", ip4, "--peer-ipv4", peer4, "--ipv6", ip6, "--peer-ipv6", peer6, "--ports", "6478,6479",
                                "--node-key-file", key, "--rate", "0", "--workers", "1"])

    lab.spawn("stun", [ours, "--ipv4", A4, "--ipv4", B4, "--ipv6", A6, "--ipv6", B6, "--rate", "0", "--workers", "1"])
    lab.spawn("stun", [ours, "--ipv4", A4, "--ports", "7478,7479", "--rate", "0", "--workers", "1"])
    lab.spawn("stun", ["turnserver", "-n", "--stun-only", "--no-auth", "-p", "5478", "--alt-listening-port=5479",
                       *(w for one in (A4, B4, A6, B6) for w in ("--listening-ip", one)), "--no-tls", "--no-dtls", "--no-cli",
                       "--simple-log", "--log-file=stdout", f"--pidfile={lab.directory}/turn.pid", f"--userdb={lab.directory}/turn.db"])
    lab.spawn("stun", ["stund", "-h", A4, "-a", B4, "-p", "4478", "-o", "4479"])
    nodes = [(node("stun", A4, A6, NODE4, NODE6), NODE4), (node("stun2", NODE4, NODE6, A4, A6), A4)]
    for port in (3478, 4478, 5478, 7478):
        wait_answer(lab, A4, port)
    for process, peer in nodes:
        process.wait_line(f"peer answers peer={peer}:6478", timeout=30)


def give_public_address(lab):
    lab.run("customer", ["ip", "addr", "add", f"{PUBLIC}/32", "dev", "eth0"])
    for table in ("main", "103"):  # of packets routed, of those that come from natbox
        lab.run("carrier", ["ip", "route", "add", PUBLIC, "dev", "in", "table", table])


def setUpModule():
    global routed, aging, home, lifetimes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    labs.extend(Lab(router=False) for _ in range(4))
    routed = Lab(nat=False, router=False)
    aging = Lab(nat={"udp_timeout": 12, "mapping": "apd", "filtering": "apd", "ports": "random"}, router=False)
    home = Lab(nat={"ports": "random"})
    everyone = [*labs, routed, aging, home]
    unittest.addModuleCleanup(lambda: at_once([lab.down for lab in everyone]))
    everyone[0].up()
    at_once([lab.up for lab in everyone[1:]])
    at_once([lambda lab=lab: start_servers(lab) for lab in everyone])
    at_once([lambda lab=lab: give_public_address(lab) for lab in everyone])
    pool = ThreadPoolExecutor(len(LIFETIMES))
    unittest.addModuleCleanup(pool.shutdown, wait=False)
    lifetimes = [pool.submit(question.ask, aging if nat else routed) for nat, question in LIFETIMES]


class Said:
    """What stunway-probe said, and how long it took."""

    def __init__(self, done, seconds):
        self.code, self.seconds, self.text = done.returncode, seconds, done.stdout + done.stderr
        try:
            self.json = json.loads(done.stdout)
        except ValueError:
            self.json = {}

    def __str__(self):
        return f"exit {self.code} after {self.seconds:.1f} s: {self.text}"


def probe(lab, role, server, *args, timeout=60):
    began = time.monotonic()
    done = lab.run(role, [os.path.join(lab.build, "stunway-probe"), "--json", *args, server], check=False, timeout=timeout)
    return Said(done, time.monotonic() - began)


class Question:
    """A server, options, and what the answer is to have: by key a value, a tuple of values, or a function."""

    def __init__(self, server, /, *args, role="customer", within=None, **wanted):
        self.server, self.args, self.role, self.within, self.wanted = server, args, role, within, wanted

    def ask(self, lab):
        self.said = probe(lab, self.role, self.server, *self.args)
        return self.complaints()

    def complaints(self):
        said, bad = self.said, []
        for key, want in self.wanted.items():
            have = said.json.get(key, "(none)")
            if not (want(have) if callable(want) else have in want if isinstance(want, tuple) else have == want):
                bad.append(f"{key} is {have!r}" + ("" if callable(want) else f", not {want!r}"))
        if said.code != EXIT.get(said.json.get("type"), 0):
            bad.append("the exit code does not fit the type")
        if said.json.get("type") in ("Blocked", "Error", "Unknown") and not said.json.get("info"):
            bad.append("info does not say why")
        if self.within and said.seconds > self.within:
            bad.append(f"took longer than {self.within} s")
        return [f"{' '.join((*self.args, self.server))}: {'; '.join(bad)}\n  {said}"] if bad else []


def at(*addresses):
    """Is it an endpoint at one of these?"""
    return lambda endpoint: isinstance(endpoint, dict) and endpoint["address"] in addresses and 0 < endpoint["port"] < 65536


def says(something):
    return lambda text: bool(text) == something


def verdict(mapping, filtering, outer=(OUTER,), local=CUSTOMER, port_mode=""):
    """What a NAT deserves. The filter of one that is symmetric anyway need not be waited for, but must not be wrong."""
    if mapping != "ei":
        kind, filters = "SymmetricNAT", (BEHAVIOURS[filtering], "")
    elif outer == (local,):
        kind, filters = "OpenInternet" if filtering == "ei" else "SymmetricUDPFirewall", (BEHAVIOURS[filtering],)
    else:
        kind, filters = CONES[filtering], (BEHAVIOURS[filtering],)
    return {"type": kind, "mapping": BEHAVIOURS[mapping], "filtering": filters, "external": at(*outer), "local": at(local),
            "port_mode": port_mode, "confidence": lambda c: 0.9 <= c <= 1, "server": lambda s: isinstance(s, str) and s}


def untranslated(filtering, address=PUBLIC):
    return verdict("ei", filtering, outer=(address,), local=address)


def verdict6(filtering):
    """Of IPv6, which is never translated, only filtered."""
    return untranslated(filtering, CUSTOMER6)


class Case(unittest.TestCase):
    longMessage = False

    def rows(self, *rows):
        """Rows are (natbox's options, questions)."""
        waiting, free, bad = SimpleQueue(), SimpleQueue(), []
        for lab in labs:
            free.put(lab)

        def one(nat, questions):
            lab = free.get()
            try:
                lab.start_nat(**nat)
                said = at_once([lambda q=q: q.ask(lab) for q in questions])
                bad.extend((nat, text) for texts in said for text in texts)
            finally:
                free.put(lab)

        with ThreadPoolExecutor(len(labs)) as pool:
            for done in [pool.submit(one, *row) for row in rows]:
                done.result()
        self.report(bad)

    def report(self, bad):
        for nat, text in bad:
            with self.subTest(**nat):
                self.fail(text)

    def asked(self, lab, *questions):
        """The same where the NAT, or none, is there already."""
        self.report([({}, text) for texts in at_once([lambda q=q: q.ask(lab) for q in questions]) for text in texts])


class Types(Case):
    def mapped(self, mapping):
        """All filters, all choices of ports; port modes are asked for by one at a time, the others take ports meanwhile."""
        self.rows(*(({"mapping": mapping, "filtering": filtering, "ports": ports}, [
            Question(OURS, "-p", **verdict(mapping, filtering, port_mode=PORTS[ports])),
            *(Question(server, **verdict(mapping, filtering)) for server in (COTURN, NODES)),
            Question(OURS6, "-6", **verdict6(filtering)),
        ]) for filtering in BEHAVIOURS for ports in PORTS))

    def test_endpoint_independent(self):
        """Mapped endpoint-independently it is the cone that fits the filter, whatever the choice of ports, whoever is asked."""
        self.mapped("ei")

    def test_address_dependent(self):
        """Mapped address-dependently it is SymmetricNAT, whatever the filter and the choice of ports, whoever is asked."""
        self.mapped("ad")

    def test_address_and_port_dependent(self):
        """Mapped address-and-port-dependently it is SymmetricNAT, whatever the filter and the choice of ports, whoever is asked."""
        self.mapped("apd")

    def test_firewall(self):
        """A firewall that translates nothing is OpenInternet or SymmetricUDPFirewall, as the filter is, IPv4 and IPv6, whoever is asked."""
        self.rows(*(({"mode": "firewall", "filtering": filtering}, [
            *(Question(s, "-b", PUBLIC, **untranslated(filtering)) for s in (OURS, COTURN, NODES, CLASSIC)),
            Question(OURS, **untranslated(filtering, CUSTOMER)),
            *(Question(s, "-6", **verdict6(filtering)) for s in (OURS6, COTURN6, NODES6)),
        ]) for filtering in BEHAVIOURS))

    def test_open_internet(self):
        """Where there is no NAT it is OpenInternet, IPv4 and IPv6, and ports are preserved."""
        self.asked(routed, *(Question(s, "-b", PUBLIC, **untranslated("ei")) for s in (OURS, COTURN, NODES, CLASSIC)),
                   *(Question(s, **verdict6("ei")) for s in (OURS6, COTURN6, NODES6)),
                   Question(OURS, **untranslated("ei", CUSTOMER)),
                   Question(OURS, "-p", "-b", PUBLIC, **{**untranslated("ei"), "port_mode": "Preserved"}))

    def test_classic_server(self):
        """A server that knows only RFC 3489 suffices for every type."""
        self.rows(*(({"mapping": m, "filtering": f, "ports": "random"}, [
            Question(CLASSIC, **verdict(m, f)), Question(CLASSIC, "-p", **verdict(m, f, port_mode="Random")),
        ]) for m, f in (("ei", "ei"), ("ei", "ad"), ("ei", "apd"), ("ad", "ad"), ("apd", "apd"))))

    def test_one_address(self):
        """Of a server without a second address the type is Unknown, and info says so; the outer address is known."""
        unknown = {"type": "Unknown", "external": at(OUTER), "info": says(True)}
        self.rows(*(({"mapping": m, "filtering": f, "ports": "random"}, [
            Question(ONE_ADDRESS, **unknown), Question(ONE_ADDRESS, "-p", **unknown, port_mode="Random"),
        ]) for m, f in (("ei", "ei"), ("ei", "apd"), ("apd", "apd"))))

    def test_bound(self):
        """-b takes the address and the port to ask from."""
        self.rows(({"ports": "preserve", "filtering": "apd"}, [
            Question(OURS, "-b", f"{CUSTOMER}:40000", **{
                **verdict("ei", "apd"), "local": {"address": CUSTOMER, "port": 40000}, "external": {"address": OUTER, "port": 40000}}),
            Question(OURS, "-b", CUSTOMER, **verdict("ei", "apd")),
            Question(OURS6, "-b", f"[{CUSTOMER6}]:40001", **{**verdict6("apd"), "local": {"address": CUSTOMER6, "port": 40001}}),
        ]))


class BadLines(Case):
    def test_blocked(self):
        """Without any answer it is Blocked, said in time, and exits 3: UDP blocked, everything lost, no route, nobody at the port."""
        blocked = {"type": "Blocked", "external": None, "info": says(True), "mapping": "", "filtering": "", "within": 12}
        self.rows(*(({"ports": "random", **nat}, [Question(OURS, "-t", "6", **blocked), Question(COTURN, "-t", "3", **blocked),
                                                  Question(OURS6, "-6", "-t", "6", **blocked)])
                    for nat in ({"block_udp": True}, {"loss": 100})),
                  ({}, [Question(NOBODY, "-t", "6", **blocked), Question("192.0.2.250:3478", "-t", "3", **blocked)]))
        labs[0].start_nat()
        labs[0].stop_nat()  # the carrier says "unreachable"
        self.asked(labs[0], Question(OURS, "-t", "6", **blocked))

    def test_loss(self):
        """With every fifth packet lost each way, on a long line, it is right or Unknown, never wrong, and mostly right."""
        rows, questions = [], []
        for nat in ({}, {"filtering": "ad"}, {"filtering": "apd"}, {"mapping": "apd", "filtering": "apd"}):
            mapping, filtering = nat.get("mapping", "ei"), nat.get("filtering", "ei")
            right = verdict(mapping, filtering)
            mine = [Question(server, "-t", "10", within=40, type=(right["type"], "Unknown"), mapping=(BEHAVIOURS[mapping], ""),
                             filtering=(BEHAVIOURS[filtering], "")) for server in (OURS, OURS, COTURN, NODES)]
            rows.append(({"loss": 20, "delay": 50, "ports": "random", **nat}, mine))
            questions += mine
        self.rows(*rows)
        unknown = [q.said for q in questions if q.said.json["type"] == "Unknown"]
        self.assertLessEqual(len(unknown), len(questions) // 4, "\n".join(map(str, unknown)))

    def test_reordered(self):
        """Datagrams that overtake each other or come twice change no verdict."""
        self.rows(*(({"mapping": m, "filtering": f, "ports": ports, "delay": 10, "jitter": 40, "duplicate": 30}, [
            Question(OURS, "-p", **verdict(m, f, port_mode=PORTS[ports])), *(Question(s, **verdict(m, f)) for s in (COTURN, NODES)),
        ]) for m, f, ports in (("ei", "ei", "random"), ("ei", "ad", "increment"), ("ei", "apd", "decrement"), ("apd", "apd", "random"))))


class Oddities(Case):
    def test_alg(self):
        """A gateway that writes the inner address into the answers is seen through, and told of."""
        self.rows(*(({"alg": True, "ports": "preserve", "filtering": f}, [
            Question(s, **verdict("ei", f), alg=True, info=says(True)) for s in (OURS, COTURN, NODES)
        ]) for f in BEHAVIOURS))

    def test_pools(self):
        """Several outer addresses, kept by a customer or drawn anew for each mapping, change no verdict."""
        outer = tuple(f"203.0.113.{i}" for i in (1, 2, 3))
        self.rows(*(({"outer": outer, "pooling": pooling, "mapping": m, "filtering": f, "ports": "increment"}, [
            Question(OURS, "-p", **verdict(m, f, outer=outer, port_mode="Increment")), Question(COTURN, **verdict(m, f, outer=outer)),
        ]) for pooling in ("paired", "arbitrary") for m, f in (("ei", "ei"), ("ei", "apd"), ("apd", "apd"))))

    def test_counters(self):
        """A counter that wraps, steps by more than one, or is moved on by other customers, keeps its direction."""
        self.rows(*(({"ports": ports, **nat}, [
            Question(OURS, "-p", **verdict("ei", "ei", port_mode=PORTS[ports])), Question(COTURN, **verdict("ei", "ei")),
        ]) for ports, nat in (
            ("increment", {"port_first": 65525}), ("decrement", {"port_first": 1034}), ("increment", {"port_step": 2}),
            ("decrement", {"port_step": 8}), ("increment", {"others": 9}), ("decrement", {"others": 30}),
            ("increment", {"others": 9, "port_first": 65500}), ("random", {"port_range": "1024-2047"}))))


    def test_renumbered(self):
        """A line that gets another address in the middle of it is asked anew, not called symmetric."""
        outer = (OUTER, "203.0.113.7")
        right = verdict("ei", "ad", outer=outer)
        moments, bad = (0.06, 0.13, 0.2, 0.4), []

        def one(lab, moment):
            lab.start_nat(filtering="ad", ports="random", delay=25)
            question = Question(OURS, "-t", "8", **{**right, "type": (right["type"], "Unknown"), "filtering": (right["filtering"][0], ""),
                                                    "confidence": lambda c: True, "mapping": (right["mapping"], "")})
            timer = threading.Timer(moment, lambda: lab.nat("renumber 203.0.113.7"))
            timer.start()
            bad.extend(({"moment": moment}, text) for text in question.ask(lab))
            timer.join()

        at_once([lambda pair=pair: one(*pair) for pair in zip(labs, moments)])
        self.report(bad)

    def test_linux_router(self):
        """Behind a Linux router and an open NAT it is PortRestrictedCone, also when the router itself takes what comes in from the WAN.

        An answer from the second address then makes an entry in the router's conntrack, and a question to there, later, from the
        same port another mapping: who asks one after the other from one port calls that symmetric.
        """
        right = verdict("ei", "apd", local="192.168.1.10")
        for policy in ("drop", "accept"):
            home.nft("router", f"add chain inet filter input {{ policy {policy}; }}")
            self.asked(home, *(Question(s, role="lan1", **right) for s in (OURS, COTURN, NODES, CLASSIC)))


class More(Case):
    def test_no_such_name(self):
        """A server whose name has no address is an Error, said in time."""
        self.asked(routed, Question("nobody.invalid", "-t", "2", type="Error", info=says(True), external=None, within=20))

    def test_hairpin(self):
        """--hairpin tells whether the NAT loops back, whatever the filter; without a NAT there is nothing to tell."""
        self.rows(*(({"ports": "random", "filtering": f, "hairpin": hairpin}, [
            Question(s, "--hairpin", **verdict("ei", f), hairpin=hairpin) for s in (OURS, COTURN)
        ]) for f in BEHAVIOURS for hairpin in (True, False)))
        self.asked(routed, Question(OURS, "--hairpin", "-b", PUBLIC, **untranslated("ei"), hairpin=None, hairpin_info=says(True)))

    def test_tcp(self):
        """--tcp tells how TCP is mapped, which may differ from UDP."""
        self.rows(*(({"ports": "random", "mapping": udp, "tcp_mapping": tcp}, [
            Question(s, "--tcp", **verdict(udp, "ei"), tcp_mapping=BEHAVIOURS[tcp], tcp_external=at(OUTER)) for s in (OURS, NODES)
        ]) for tcp, udp in (("ei", "ei"), ("ad", "ei"), ("apd", "ei"), ("ei", "apd"))))

    def test_tcp_unknown(self):
        """--tcp says why it does not know: one address only, nobody there."""
        unknown = {"tcp_mapping": "", "tcp_info": says(True)}
        self.rows(({"ports": "random"}, [Question(ONE_ADDRESS, "--tcp", type="Unknown", **unknown, tcp_external=at(OUTER)),
                                         Question(CLASSIC, "--tcp", **verdict("ei", "ei"), **unknown, tcp_external=None)]))


def seconds(low, high):
    return lambda s: isinstance(s, (int, float)) and low <= s <= high


LIFETIMES = [  # behind the aging NAT, or behind none; the answer is 12 s
    *((True, Question(s, "--lifetime", "--lifetime-max", "15", type="SymmetricNAT", lifetime_s=seconds(11, 14),
                      lifetime_min_s=seconds(10, 12), lifetime_max_s=seconds(12, 15))) for s in (OURS, COTURN)),
    (True, Question(CLASSIC, "--lifetime", type="SymmetricNAT", lifetime_s=None, lifetime_info=says(True))),
    (False, Question(OURS, "--lifetime", "--lifetime-max", "10", "-b", PUBLIC, type="OpenInternet", lifetime_s=None, lifetime_max_s=None,
                     lifetime_min_s=seconds(9, 10), lifetime_info=says(True))),
]


# --- servers that lie ---

def attribute(kind, value, length=None):
    return struct.pack(">HH", kind, len(value) if length is None else length) + value + b"\0" * (-len(value) % 4)


def address(kind, endpoint, asked):
    ip, port = socket.inet_aton(endpoint[0]), endpoint[1]
    if kind == XOR_MAPPED:
        ip, port = bytes(a ^ b for a, b in zip(ip, asked.id)), port ^ COOKIE >> 16
    return attribute(kind, struct.pack(">xBH", 1, port) + ip)


def message(asked, *attributes, kind=SUCCESS, id=None):
    body = b"".join(attributes)
    return struct.pack(">HH", kind, len(body)) + (id or asked.id) + body


class Liar(threading.Thread):
    """A STUN server of two addresses and two ports; lie(liar, asked, at, source) yields (at whom it is sent from, bytes).

    Who is asked and who answers is a pair of bits: which address, which port.
    """

    def __init__(self, lab, port, lie):
        super().__init__(daemon=True)
        self.port, self.lie, self.ends, self.asked = port, lie, False, 0
        self.sockets = {(a, p): lab.socket(role) for a, role in enumerate(("stranger", "stranger2")) for p in (0, 1)}
        for key, s in self.sockets.items():
            s.bind(self.endpoint(key))
        self.start()

    def endpoint(self, key):
        return LIARS[key[0]], self.port + key[1]

    def run(self):
        whose = {s: key for key, s in self.sockets.items()}
        while not self.ends:
            for s in select.select(list(whose), [], [], 0.1)[0]:
                data, source = s.recvfrom(2000)
                asked = Message(data)
                self.asked += 1
                for key, answer in self.lie(self, asked, whose[s], source):
                    self.sockets[key].sendto(answer, source)

    def stop(self):
        self.ends = True
        self.join()
        for s in self.sockets.values():
            s.close()

    def whence(self, asked, at):
        flags = struct.unpack(">I", asked.attrs[CHANGE])[0] if CHANGE in asked.attrs else 0
        return at[0] ^ (flags >> 2 & 1), at[1] ^ (flags >> 1 & 1)

    def honest(self, asked, at, source, other=None, key=None, **how):
        """(whence, the answer), as it should be; other: its second address, if it lies about it."""
        key = key or self.whence(asked, at)
        other = other or self.endpoint((1 - at[0], 1 - at[1]))
        told = (XOR_MAPPED, source), (MAPPED, source), (ORIGIN, self.endpoint(key)), (OTHER, other)
        return key, message(asked, *(address(kind, endpoint, asked) for kind, endpoint in told), **how)


def honest(liar, asked, at, source):
    yield liar.honest(asked, at, source)


def wrong_id(liar, asked, at, source):
    yield liar.honest(asked, at, source, id=asked.id[:4] + os.urandom(12))


def truncated(liar, asked, at, source):
    key, answer = liar.honest(asked, at, source)
    for length in range(len(answer)):
        yield key, answer[:length]


def overlapping(liar, asked, at, source):
    """Lengths of attributes that point back, beyond the end, or into the next one."""
    key, answer = liar.honest(asked, at, source)
    for offset in (20, 32, 44, 56):
        for length in (0, 1, 7, 9, 20, 0xFFFF, 0xFFF0, len(answer)):
            yield key, answer[:offset + 2] + struct.pack(">H", length) + answer[offset + 4:]
    yield key, message(asked, *[attribute(MAPPED, b"")] * 300)
    yield key, message(asked, attribute(XOR_MAPPED, b"\0\1\0\0", length=0xFFFC))


def other_family(liar, asked, at, source):
    value = struct.pack(">xBH", 2, source[1]) + os.urandom(16)
    yield liar.whence(asked, at), message(asked, attribute(XOR_MAPPED, value), attribute(MAPPED, value))


def unasked(liar, asked, at, source):
    """Answers from where nothing was asked, nor wanted: the second port."""
    key = liar.whence(asked, at)
    yield liar.honest(asked, at, source, key=(key[0], 1 - key[1]))


def flood(liar, asked, at, source):
    """A thousand datagrams of junk before the answer, of the first four questions."""
    key, answer = liar.honest(asked, at, source)
    for i in range(1000 if liar.asked <= 4 else 0):
        yield key, (answer[:8] + os.urandom(12) + answer[20:], os.urandom(60), b"", answer[:30])[i % 4]
    yield key, answer


def spoofed(liar, asked, at, source):
    """Another's address, from all the wrong ports and with wrong ids, before the answer; and the answer twice."""
    key, answer = liar.honest(asked, at, source)
    _, false = liar.honest(asked, at, (CUSTOMER, 7))
    for wrong in set(liar.sockets) - {key}:
        yield wrong, false[:8] + os.urandom(12) + false[20:]
    yield key, answer
    yield key, answer


def no_change(liar, asked, at, source):
    """It knows of no CHANGE-REQUEST and answers from where it was asked."""
    yield liar.honest(asked, at, source, key=at)


def refuses_change(liar, asked, at, source):
    if CHANGE in asked.attrs:
        error = attribute(ERROR_CODE, b"\0\0\4\x14Unknown"), attribute(UNKNOWN, struct.pack(">H", CHANGE))
        yield at, message(asked, *error, kind=ERROR)
    else:
        yield liar.honest(asked, at, source)


def server_error(liar, asked, at, source):
    yield at, message(asked, attribute(ERROR_CODE, b"\0\0\5\0Out of order"), kind=ERROR)


def no_address(liar, asked, at, source):
    yield liar.whence(asked, at), message(asked)


def echo(liar, asked, at, source):
    yield at, asked.data


def other(endpoint):
    """OTHER-ADDRESS names what is not the server's second address, in every answer."""
    def lie(liar, asked, at, source):
        yield liar.honest(asked, at, source, other=endpoint(liar, source))
    return lie


def changes_its_mind(liar, asked, at, source):
    """Another second address in each answer; the true one in the first."""
    yield liar.honest(asked, at, source, other=None if liar.asked == 1 else ("192.0.2.66", 20000 + liar.asked))


class Liars(Case):
    TRUTH = "RestrictedCone"
    NEVER_WRONG = (TRUTH, "Unknown", "Error", "Blocked")
    LIES = {  # what may be said: none of them makes it wrong
        honest: (TRUTH,), wrong_id: ("Blocked",), truncated: ("Blocked", "Unknown", "Error"), overlapping: NEVER_WRONG,
        other_family: ("Blocked", "Unknown", "Error"), unasked: ("Blocked", "Unknown"), flood: (TRUTH,), spoofed: (TRUTH,),
        no_change: ("Unknown",), refuses_change: ("Unknown",), server_error: ("Error",), no_address: ("Blocked", "Unknown", "Error"),
        echo: ("Blocked",), changes_its_mind: (TRUTH, "Unknown"),
    }
    OTHERS = {
        "itself": lambda liar, source: liar.endpoint((0, 0)), "its other port": lambda liar, source: liar.endpoint((0, 1)),
        "loopback": lambda liar, source: ("127.0.0.1", 3478), "nowhere": lambda liar, source: ("0.0.0.0", 0),
        "a multicast": lambda liar, source: ("224.0.0.1", 3478), "broadcast": lambda liar, source: ("255.255.255.255", 3479),
        "the client": lambda liar, source: source, "nobody": lambda liar, source: ("192.0.2.250", 3479),
        "the client's neighbour": lambda liar, source: ("100.64.0.2", 3479), "port 0": lambda liar, source: (LIARS[1], 0),
    }

    def tell(self, lies):
        """lies: name → (function, types it may end with). All behind one NAT, each server on ports of its own."""
        lab = labs[0]
        lab.start_nat(mapping="ei", filtering="ad", ports="random")
        liars, questions = [], []
        for i, (name, (lie, types)) in enumerate(lies.items()):
            liars.append(Liar(lab, 3478 + 10 * i, lie))
            self.addCleanup(liars[-1].stop)
            questions.append((name, Question(f"{LIARS[0]}:{liars[-1].port}", "-t", "6", type=types, within=30)))
        answers = at_once([lambda q=q: q.ask(lab) for _, q in questions])
        self.report([({"lie": name}, text) for (name, _), texts in zip(questions, answers) for text in texts])
        for (name, question), liar in zip(questions, liars):
            with self.subTest(lie=name):
                self.assertIsNone(lab.natbox.poll())
                self.assertGreater(liar.asked, 0, f"{name}: nothing was asked")
                self.assertLess(liar.asked, 400, f"{name}: {liar.asked} questions are a flood")
        return {name: q.said for name, q in questions}

    def test_lies(self):
        """Servers that lie, stammer, shout or refuse never make a wrong verdict, and never last longer than the timeout."""
        said = self.tell({lie.__name__: (lie, types) for lie, types in self.LIES.items()})
        self.assertIn("500", said["server_error"].json["info"])

    def test_wrong_other_address(self):
        """A second address that is none of the server's never makes a wrong verdict."""
        self.tell({name: (other(endpoint), (self.TRUTH, "Unknown", "Error")) for name, endpoint in self.OTHERS.items()})


class WhatTookLong(Case):
    def test_lifetime(self):
        """--lifetime finds how long a mapping lives, by our server or coturn's; without a NAT, or without RESPONSE-PORT, it says so."""
        self.report([({}, text) for asked in lifetimes for text in asked.result()])


if __name__ == "__main__":
    unittest.main()
