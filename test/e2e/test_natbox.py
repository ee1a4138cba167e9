# SPDX-License-Identifier: GPL-2.0-or-later
"""natbox, seen from real sockets on both sides of it.

    customer 100.64.0.3 --- carrier: natbox, outer 203.0.113.1 --- net --- stun .1 .2, stranger, stranger2
    (router, lan1 too)

One laboratory serves all tests; each starts natbox anew. That a packet is not let in is never concluded from
silence: natbox must count it, by the expected reason, and the receiver must have nothing.
"""
import errno
import json
import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

from lab.topology import PATIENCE, ROOT, Lab, LabError, namespaces, sweep

STUN, STUN_2, STRANGER, CUSTOMER = "198.51.100.1", "198.51.100.2", "192.0.2.66", "100.64.0.3"
STUN6, STRANGER6, CUSTOMER6 = "2001:db8:100::1", "2001:db8:2::66", "2001:db8:64::3"
OUTER = "203.0.113.1"
BEHAVIOURS = ["ei", "ad", "apd"]
IP_RECVERR, IP_MTU_DISCOVER, IP_PMTUDISC_DO, MSG_ERRQUEUE = 11, 10, 2, 0x2000

lab = None


def setUpModule():
    global lab
    lab = Lab()
    lab.up()


def tearDownModule():
    lab.down()


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def until(condition, timeout=10 * PATIENCE):
    """Waits for condition() to be true; returns what it returned last."""
    deadline = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return value


class NatboxTest(unittest.TestCase):
    """What the tests share."""

    def setUp(self):
        self.sockets = []

    def tearDown(self):
        for s in self.sockets:
            if s.type == socket.SOCK_STREAM:  # a reset: no TIME_WAIT, no late segments in the next test
                try:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                except OSError:
                    pass
            s.close()
        self.assertIsNone(lab.natbox.poll(), "natbox has died:\n" + "\n".join(lab.natbox.lines))
        self.assertEqual(lab.stop_nat(), 0)

    def keep(self, s):
        self.sockets.append(s)
        return s

    def udp(self, role, address, port=0):
        s = self.keep(lab.socket(role, family_of(address), socket.SOCK_DGRAM))
        s.bind((address, port))
        return s

    def tcp(self, role, address, port=0):
        s = self.keep(lab.socket(role, family_of(address), socket.SOCK_STREAM))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind((address, port))
        return s

    def listener(self, role, address, port=0):
        s = self.tcp(role, address, port)
        s.listen()
        return s

    def drain(self, s, quiet):
        """Reads until nothing comes for `quiet` seconds; returns how many datagrams that were."""
        count = 0
        while select.select([s], [], [], quiet)[0]:
            s.recv(2000)
            count += 1
        return count

    def outer_udp(self, client, server):
        """Where a datagram of the client's comes from, seen by the server."""
        token = os.urandom(8)
        client.sendto(token, server.getsockname()[:2])
        data, source = server.recvfrom(100)
        self.assertEqual(data, token)
        return source[:2]

    def connect(self, client, server):
        """Connects to a listener; returns the accepted connection and the address it came from."""
        client.connect(server.getsockname()[:2])
        accepted, source = server.accept()
        accepted.settimeout(5 * PATIENCE)
        return self.keep(accepted), source[:2]

    def assert_arrives(self, sender, receiver, to):
        token = os.urandom(8)
        sender.sendto(token, to)
        data, source = receiver.recvfrom(100)
        self.assertEqual(data, token)
        return source[:2]

    def assert_dropped(self, reason, send, receiver=None):
        """send() makes natbox drop a packet for that reason, and the receiver gets nothing."""
        before = lab.dump()["counters"]["drops"][reason]
        send()
        self.assertTrue(until(lambda: lab.dump()["counters"]["drops"][reason] > before),
                        f"nothing was dropped as {reason}: {lab.dump()['counters']}")
        if receiver is not None:
            self.assertEqual(select.select([receiver], [], [], 0)[0], [], "it arrived all the same")

    def assert_refused(self, reason, sender, receiver, to):
        self.assert_dropped(reason, lambda: sender.sendto(b"unwanted", to), receiver)

    def assert_syn_refused(self, reason, role, address, to, listener):
        s = self.tcp(role, address)
        s.setblocking(False)
        self.assert_dropped(reason, lambda: self.assertEqual(s.connect_ex(to), errno.EINPROGRESS), listener)
        self.assertEqual(select.select([], [s], [], 0)[1], [], "it is connected")
        s.close()


class Mapping(NatboxTest):
    def check(self, behaviour, outers):
        """outers: of one address and port, of its other port, of the other address."""
        first, other_port, other_address = outers
        self.assertEqual(other_port == first, behaviour in ("ei", "ad"), outers)
        self.assertEqual(other_address == first, behaviour == "ei", outers)
        self.assertEqual({ip for ip, _ in outers}, {OUTER})

    def udp_mapping(self, behaviour, ports):
        lab.start_nat(mapping=behaviour, ports=ports)
        servers = [self.udp("stun", STUN), self.udp("stun", STUN), self.udp("stun", STUN_2)]
        client = self.udp("customer", CUSTOMER)
        self.check(behaviour, [self.outer_udp(client, s) for s in servers])
        again = [self.outer_udp(client, s) for s in servers]
        self.check(behaviour, again)
        for server, outer in zip(servers, again):
            self.assert_arrives(server, client, outer)

    def test_udp_ei(self):
        """UDP mapped endpoint-independently has one outer port for every destination."""
        self.udp_mapping("ei", "random")

    def test_udp_ad(self):
        """UDP mapped address-dependently has an outer port for each address."""
        self.udp_mapping("ad", "random")

    def test_udp_apd(self):
        """UDP mapped address-and-port-dependently has an outer port for each endpoint, with every port choice."""
        for ports in ["preserve", "increment", "decrement", "random"]:
            self.udp_mapping("apd", ports)

    def tcp_mapping(self, behaviour, **options):
        lab.start_nat(ports="random", **options)
        servers = [self.listener("stun", STUN), self.listener("stun", STUN), self.listener("stun", STUN_2)]
        port = 0
        outers = []
        for server in servers:
            client = self.tcp("customer", CUSTOMER, port)
            port = client.getsockname()[1]
            accepted, outer = self.connect(client, server)
            accepted.sendall(b"x" * 5000)
            self.assertTrue(client.recv(10))
            outers.append(outer)
        self.check(behaviour, outers)

    def test_tcp_follows(self):
        """TCP is mapped like UDP unless it is told otherwise."""
        for behaviour in BEHAVIOURS:
            self.tcp_mapping(behaviour, mapping=behaviour)

    def test_tcp_own(self):
        """TCP can be mapped unlike UDP."""
        for behaviour, other in zip(BEHAVIOURS, ["apd", "ei", "ei"]):
            self.tcp_mapping(behaviour, mapping=other, tcp_mapping=behaviour)

    def test_at_run_time(self):
        """A mapping behaviour set at run time holds for new destinations, mappings there stay."""
        lab.start_nat(mapping="ei", ports="random")
        servers = [self.udp("stun", STUN), self.udp("stun", STUN_2)]
        client = self.udp("customer", CUSTOMER)
        first = self.outer_udp(client, servers[0])
        lab.nat("set mapping apd")
        self.assertEqual(self.outer_udp(client, servers[0]), first)
        self.assertNotEqual(self.outer_udp(client, servers[1]), first)


class Filtering(NatboxTest):
    def udp_filtering(self, behaviour, mapping="ei"):
        lab.start_nat(mapping=mapping, filtering=behaviour)
        server, other_port = self.udp("stun", STUN), self.udp("stun", STUN)
        other_address, stranger = self.udp("stun", STUN_2), self.udp("stranger", STRANGER)
        client = self.udp("customer", CUSTOMER)
        outer = self.outer_udp(client, server)
        self.assertEqual(self.assert_arrives(server, client, outer), server.getsockname())
        admitted = {"ei": [other_port, other_address, stranger], "ad": [other_port], "apd": []}[behaviour]
        for sender in [other_port, other_address, stranger]:
            if sender in admitted:
                self.assertEqual(self.assert_arrives(sender, client, outer), sender.getsockname())
            else:
                self.assert_refused("filtered", sender, client, outer)
        if mapping == "ei":
            for sender in [other_port, other_address, stranger]:  # who was spoken to may answer, whatever the filter
                self.assertEqual(self.outer_udp(client, sender), outer)
                self.assert_arrives(sender, client, outer)
        elif behaviour != "ei":  # who was spoken to through another mapping may use that one only
            other = self.outer_udp(client, stranger)
            self.assertNotEqual(other, outer)
            self.assert_arrives(stranger, client, other)
            self.assert_refused("filtered", stranger, client, outer)

    def test_udp_ei(self):
        """Endpoint-independent filtering lets everybody reach a UDP mapping."""
        self.udp_filtering("ei")

    def test_udp_ad(self):
        """Address-dependent filtering lets an address in that was spoken to, from any port."""
        self.udp_filtering("ad")

    def test_udp_apd(self):
        """Address-and-port-dependent filtering lets in only the endpoint spoken to."""
        self.udp_filtering("apd")

    def test_udp_independent_of_mapping(self):
        """Filtering is independent of mapping: each filter works with an address-and-port-dependent mapping."""
        for behaviour in BEHAVIOURS:
            self.udp_filtering(behaviour, mapping="apd")

    def tcp_filtering(self, behaviour, mapping="ei"):
        lab.start_nat(mapping=mapping, tcp_filtering=behaviour, filtering="apd" if behaviour == "ei" else "ei")
        server = self.listener("stun", STUN)
        client = self.tcp("customer", CUSTOMER)
        held, outer = self.connect(client, server)
        listener = self.listener("customer", CUSTOMER, client.getsockname()[1])
        for role, address, admitted in [("stun", STUN, behaviour != "apd"), ("stun", STUN_2, behaviour == "ei"),
                                        ("stranger", STRANGER, behaviour == "ei")]:
            if not admitted:
                self.assert_syn_refused("filtered", role, address, outer, listener)
                continue
            caller = self.tcp(role, address)
            caller.connect(outer)
            accepted, source = listener.accept()
            self.assertEqual(source, caller.getsockname())
            accepted.sendall(b"welcome")
            self.assertEqual(caller.recv(10), b"welcome")
            self.keep(accepted)
        held.sendall(b"still here")
        self.assertEqual(client.recv(20), b"still here")
        if behaviour == "apd" and mapping == "ei":  # the path itself works: called by the inside it is open
            stranger = self.listener("stranger", STRANGER)
            self.connect(self.tcp("customer", CUSTOMER, client.getsockname()[1]), stranger)

    def test_tcp_ei(self):
        """Endpoint-independent filtering lets a stranger's SYN reach a held TCP mapping."""
        self.tcp_filtering("ei")

    def test_tcp_ad(self):
        """Address-dependent filtering lets a SYN in from an address with a living connection."""
        self.tcp_filtering("ad")

    def test_tcp_apd(self):
        """Address-and-port-dependent filtering lets no new SYN in."""
        self.tcp_filtering("apd")

    def test_tcp_ei_symmetric(self):
        """A stranger let in through an address-and-port-dependent TCP mapping is answered from the same port."""
        self.tcp_filtering("ei", mapping="apd")

    def test_unsolicited(self):
        """What is sent to an outer port nobody holds is dropped silently, UDP, TCP and ping."""
        lab.start_nat()
        stranger = self.udp("stranger", STRANGER)
        listener, client = self.listener("customer", CUSTOMER, 40001), self.udp("customer", CUSTOMER, 40000)
        self.assert_refused("no-mapping", stranger, client, (OUTER, 40000))
        self.assert_syn_refused("no-mapping", "stranger", STRANGER, (OUTER, 40001), listener)
        self.assert_dropped("no-mapping", lambda: lab.run("stranger", ["ping", "-c1", "-W1", OUTER], check=False))
        self.assertEqual(lab.dump()["counters"]["answered"], 0)
        server = self.udp("stun", STUN)
        self.assertEqual(self.outer_udp(client, server), (OUTER, 40000))
        self.assert_arrives(stranger, client, (OUTER, 40000))

    def test_icmp_unreachable(self):
        """With --icmp-unreachable the sender of UDP not let in is told so, the port's or the host's."""
        lab.start_nat(filtering="ad", icmp_unreachable=True)
        client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        outer = self.outer_udp(client, server)
        for port, error in [(outer[1] - 1, errno.ECONNREFUSED), (outer[1], errno.EHOSTUNREACH)]:
            stranger = self.udp("stranger", STRANGER)
            stranger.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            stranger.connect((OUTER, port))
            stranger.send(b"knock")
            with self.assertRaises(OSError) as caught:
                stranger.recv(10)
            self.assertEqual(caught.exception.errno, error)


class Ports(NatboxTest):
    def outer_ports(self, server, count):
        return [self.outer_udp(self.udp("customer", CUSTOMER), server)[1] for _ in range(count)]

    def test_preserve(self):
        """preserve keeps the inner port; when another customer has it, it takes the next free one."""
        lab.start_nat(ports="preserve")
        server = self.udp("stun", STUN)
        self.assertEqual(self.outer_udp(self.udp("customer", CUSTOMER, 40000), server)[1], 40000)
        self.assertEqual(self.outer_udp(self.udp("router", "100.64.0.2", 40000), server)[1], 40001)
        self.assertEqual(self.outer_udp(self.udp("router", "100.64.0.2", 40001), server)[1], 40002)

    def test_preserve_outside_range(self):
        """preserve takes a port of the range when the inner one is outside it."""
        lab.start_nat(ports="preserve", port_range="50000-50009")
        server = self.udp("stun", STUN)
        self.assertEqual(self.outer_udp(self.udp("customer", CUSTOMER, 40000), server)[1], 50000)
        self.assertEqual(self.outer_udp(self.udp("customer", CUSTOMER, 50005), server)[1], 50005)

    def test_increment(self):
        """increment counts up through the range and wraps."""
        lab.start_nat(ports="increment", port_range="5000-5002")
        server = self.udp("stun", STUN)
        self.assertEqual(self.outer_ports(server, 2), [5000, 5001])
        lab.nat("flush")
        self.assertEqual(self.outer_ports(server, 3), [5002, 5000, 5001])

    def test_decrement(self):
        """decrement counts down through the range and wraps."""
        lab.start_nat(ports="decrement", port_range="5000-5002")
        server = self.udp("stun", STUN)
        self.assertEqual(self.outer_ports(server, 2), [5002, 5001])
        lab.nat("flush")
        self.assertEqual(self.outer_ports(server, 3), [5000, 5002, 5001])

    def test_counter(self):
        """A counter begins where it is told, steps, wraps at the end of the range, and leaves ports to other customers."""
        lab.start_nat(ports="increment", port_first=65533, port_step=2)
        server = self.udp("stun", STUN)
        self.assertEqual(self.outer_ports(server, 4), [65533, 65535, 1025, 1027])
        lab.start_nat(ports="decrement", others=9)
        ports = self.outer_ports(server, 20)
        gaps = [a - b for a, b in zip(ports, ports[1:])]
        self.assertTrue(all(1 <= gap <= 10 for gap in gaps), gaps)
        self.assertGreater(len(set(gaps)), 3, gaps)

    def test_exhausted(self):
        """When every outer port is taken the packet is dropped and counted; a flush frees them."""
        lab.start_nat(ports="increment", port_range="5000-5002")
        server = self.udp("stun", STUN)
        self.outer_ports(server, 3)
        fourth = self.udp("customer", CUSTOMER)
        self.assert_refused("no-port", fourth, server, server.getsockname())
        lab.nat("flush")
        self.outer_udp(fourth, server)

    def test_random(self):
        """random draws ports from the range; the same seed draws the same, another seed others."""
        drawn = []
        for seed in [7, 7, 8]:
            lab.start_nat(ports="random", port_range="20000-29999", seed=seed)
            drawn.append(self.outer_ports(self.udp("stun", STUN), 12))
        first, again, other = drawn
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)
        self.assertEqual(len(set(first)), 12)
        self.assertTrue(all(20000 <= p <= 29999 for p in first))
        self.assertGreater(len({b - a for a, b in zip(first, first[1:])}), 5)

    def test_paired(self):
        """With several outer addresses and paired pooling a customer keeps one of them."""
        lab.start_nat(outer=[f"203.0.113.{i}" for i in (1, 2, 3)], pooling="paired", mapping="apd")
        servers = [self.udp("stun", STUN), self.udp("stun2", "198.51.100.11")]
        seen = {role: {self.outer_udp(self.udp(role, address), s)[0] for s in servers for _ in range(4)}
                for role, address in [("customer", CUSTOMER), ("router", "100.64.0.2")]}
        self.assertEqual([len(s) for s in seen.values()], [1, 1])
        self.assertNotEqual(seen["customer"], seen["router"])

    def test_arbitrary(self):
        """With arbitrary pooling a customer's mappings come from every outer address, and each works."""
        outer = [f"203.0.113.{i}" for i in (1, 2, 3)]
        lab.start_nat(outer=outer, pooling="arbitrary")
        server = self.udp("stun", STUN)
        seen = set()
        for _ in range(6):
            client = self.udp("customer", CUSTOMER)
            source = self.outer_udp(client, server)
            self.assert_arrives(server, client, source)
            self.assertEqual(self.outer_udp(client, server), source)
            seen.add(source[0])
        self.assertEqual(seen, set(outer))


class Time(NatboxTest):
    def gone(self, proto):
        return until(lambda: not [m for m in lab.dump()["mappings"] if m["proto"] == proto])

    def test_udp_timeout(self):
        """An idle UDP mapping ends after its time; then its outer port leads nowhere."""
        lab.start_nat(udp_timeout=2, ports="random")
        client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        outer = self.outer_udp(client, server)
        self.assert_arrives(server, client, outer)
        self.assertTrue(self.gone("udp"))
        self.assert_refused("no-mapping", server, client, outer)
        self.assertNotEqual(self.outer_udp(client, server), outer)

    def refreshed(self, inbound_refresh, send_for):
        """Does the mapping live 5 s, its time being 4 s, while send_for(client, server, outer) is called?"""
        lab.start_nat(udp_timeout=4, inbound_refresh=inbound_refresh)
        client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        outer = self.outer_udp(client, server)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            send_for(client, server, outer)
            time.sleep(0.1)
        return bool(lab.dump()["mappings"])

    def test_outbound_refresh(self):
        """Outbound packets keep a UDP mapping."""
        self.assertTrue(self.refreshed(False, lambda client, server, _: self.outer_udp(client, server)))

    def test_inbound_refresh(self):
        """Inbound packets keep a UDP mapping only with --inbound-refresh."""
        def send(_, server, outer):
            server.sendto(b"x", outer)
        self.assertTrue(self.refreshed(True, send))
        self.assertFalse(self.refreshed(False, send))

    def test_tcp_close(self):
        """A TCP connection closed by both ends leaves its mapping after a moment."""
        lab.start_nat()
        server, client = self.listener("stun", STUN), self.tcp("customer", CUSTOMER)
        accepted, outer = self.connect(client, server)
        self.assertEqual(lab.dump()["mappings"][0]["sessions"][0]["state"], "established")
        client.close()
        self.assertEqual(accepted.recv(10), b"")
        accepted.close()
        self.assertTrue(self.gone("tcp"))
        self.assert_syn_refused("no-mapping", "stun", STUN, outer, server)

    def test_tcp_reset(self):
        """A reset ends the session: the filter lets nobody in any more, the mapping goes."""
        lab.start_nat(filtering="ei")
        server, client = self.listener("stun", STUN), self.tcp("customer", CUSTOMER)
        accepted, outer = self.connect(client, server)
        listener = self.listener("customer", CUSTOMER, client.getsockname()[1])
        self.connect(self.tcp("stranger", STRANGER), _Outer(listener, outer))[0].close()
        lab.nat("flush")
        accepted, outer = self.connect(self.tcp("customer", CUSTOMER), server)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        self.assertTrue(until(lambda: lab.dump()["mappings"][0]["sessions"][0]["state"] == "closing"))
        self.assert_syn_refused("filtered", "stranger", STRANGER, outer, listener)
        self.assertTrue(self.gone("tcp"))

    def test_tcp_timeout(self):
        """An established TCP session that is idle for its time is forgotten, a half open one after its own."""
        lab.start_nat(tcp_timeout=2, tcp_transitory=2)
        server, client = self.listener("stun", STUN), self.tcp("customer", CUSTOMER)
        accepted, _ = self.connect(client, server)
        self.assertTrue(self.gone("tcp"))
        self.assert_dropped("no-mapping", lambda: accepted.sendall(b"late"))
        lab.start_nat(tcp_timeout=7440, tcp_transitory=2)
        half = self.tcp("customer", CUSTOMER)
        half.setblocking(False)
        half.connect_ex(("198.51.100.200", 9))
        self.assertTrue(until(lambda: lab.dump()["mappings"]))
        self.assertEqual(lab.dump()["mappings"][0]["sessions"][0]["state"], "opening")
        half.close()
        self.assertTrue(self.gone("tcp"))

    def test_tcp_unknown(self):
        """An outbound segment of no known session is dropped, or with --tcp-unknown rst reset."""
        lab.start_nat()
        server = self.listener("stun", STUN)
        for answer in ["drop", "rst"]:
            lab.nat(f"set tcp-unknown {answer}")
            client = self.tcp("customer", CUSTOMER)
            self.connect(client, server)
            lab.nat("flush")
            self.assert_dropped("no-session", lambda: client.sendall(b"hello?"))
            self.assertEqual(lab.dump()["mappings"], [])
            if answer == "rst":
                self.assertRaises(ConnectionResetError, client.recv, 10)
            else:
                self.assertEqual(select.select([client], [], [], 0)[0], [])


class _Outer:
    """A listener known by its outer endpoint."""

    def __init__(self, listener, outer):
        self.listener, self.outer = listener, outer

    def getsockname(self):
        return self.outer

    def accept(self):
        return self.listener.accept()


class Icmp(NatboxTest):
    def test_ping(self):
        """ping goes through, from the customer, through the router's NAT too, and by IPv6."""
        lab.start_nat(ports="random")
        for role, to in [("customer", STUN), ("lan1", STUN_2), ("customer", STUN6)]:
            out = lab.run(role, ["ping", "-c3", "-i0.05", "-W2", to]).stdout
            self.assertIn("3 received", out)
        kinds = {(m["proto"], m["outer"] == m["inner"]) for m in lab.dump()["mappings"]}
        self.assertEqual(kinds, {("icmp", False), ("icmp", True)})

    def test_ping_timeout(self):
        """An echo mapping ends after its time."""
        lab.start_nat(icmp_timeout=1)
        lab.run("customer", ["ping", "-c1", STUN])
        self.assertEqual(lab.dump()["mappings"][0]["proto"], "icmp")
        self.assertTrue(until(lambda: not lab.dump()["mappings"]))

    def error_of(self, s, function, *arguments):
        with self.assertRaises(OSError) as caught:
            function(*arguments)
        return caught.exception.errno

    def test_port_unreachable(self):
        """A closed port's ICMP error reaches the inner socket, through the router's NAT too, and by IPv6."""
        lab.start_nat(ports="random")
        for role, to in [("customer", STUN), ("lan1", STUN), ("customer", STUN6)]:
            s = self.keep(lab.socket(role, family_of(to)))
            s.connect((to, 9))
            s.send(b"anybody?")
            self.assertEqual(self.error_of(s, s.recv, 10), errno.ECONNREFUSED, role)

    def test_port_unreachable_out(self):
        """The inner host's ICMP error reaches the outside sender, as coming from the outer endpoint."""
        for mapping in ["ei", "apd"]:
            lab.start_nat(mapping=mapping, ports="random")
            client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
            outer = self.outer_udp(client, server)
            client.close()
            server.connect(outer)
            server.send(b"still there?")
            self.assertEqual(self.error_of(server, server.recv, 10), errno.ECONNREFUSED)
        lab.start_nat(ports="random")
        client, server, stranger = (self.udp("customer", CUSTOMER), self.udp("stun", STUN),
                                    self.udp("stranger", STRANGER))
        outer = self.outer_udp(client, server)
        client.close()
        stranger.connect(outer)  # of a sender the inside never spoke to
        stranger.send(b"anybody?")
        self.assertEqual(self.error_of(stranger, stranger.recv, 10), errno.ECONNREFUSED)

    def queued_error(self, s):
        """(type, code, info, offender) of the ICMP error queued on a socket."""
        poller = select.poll()
        poller.register(s, select.POLLERR)
        self.assertTrue(poller.poll(5000), "no error came")
        _, ancillary, _, _ = s.recvmsg(100, 512, MSG_ERRQUEUE)
        data = next(d for level, kind, d in ancillary if level == socket.IPPROTO_IP and kind == IP_RECVERR)
        _, _, kind, code, _, info, _ = struct.unpack("=IBBBBII", data[:16])
        return kind, code, info, socket.inet_ntoa(data[20:24])

    def test_time_exceeded(self):
        """A packet that runs out of hops beyond the NAT tells its sender, UDP and TCP."""
        lab.start_nat(ports="random")
        s = self.udp("customer", CUSTOMER)
        s.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 3)  # carrier, natbox' other side, net
        s.sendto(b"how far?", (STUN, 9))
        self.assertEqual(self.queued_error(s), (11, 0, 0, "192.0.2.1"))
        t = self.tcp("customer", CUSTOMER)
        t.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        t.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 3)
        self.assertEqual(self.error_of(t, t.connect, (STUN, 9)), errno.EHOSTUNREACH)

    def test_fragmentation_needed(self):
        """A path's smaller MTU is told to the inner sender."""
        lab.start_nat(ports="random")
        s = self.udp("customer", CUSTOMER)
        s.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        s.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        lab.run("net", ["ip", "link", "set", "dev", "stun2", "mtu", "1400"])
        try:
            s.sendto(b"x" * 1460, ("198.51.100.11", 9))
            self.assertEqual(self.queued_error(s), (3, 4, 1400, "192.0.2.1"))
        finally:
            lab.run("net", ["ip", "link", "set", "dev", "stun2", "mtu", "1500"])

    def test_error_of_no_session(self):
        """An ICMP error that quotes no known session is dropped and counted; one that does passes."""
        lab.start_nat(outer=[OUTER, "203.0.113.2"], pooling="arbitrary")
        client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        outer = self.outer_udp(client, server)
        client.connect(server.getsockname())
        raw = self.keep(lab.socket("stranger", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))

        def send(source, destination, to=OUTER):
            quote = ipv4(17, source[0], destination[0], struct.pack(">HHHH", source[1], destination[1], 8, 0))
            raw.sendto(icmp(3, 3, quote), (to, 0))
        self.assert_dropped("no-session", lambda: send(outer, (STUN_2, 53)), client)
        self.assert_dropped("no-session", lambda: send((OUTER, 1), server.getsockname()), client)
        self.assert_dropped("no-session", lambda: send(outer, server.getsockname(), "203.0.113.2"), client)
        send(outer, server.getsockname())
        self.assertEqual(self.error_of(client, client.recv, 10), errno.ECONNREFUSED)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def icmp(kind, code, body):
    return struct.pack(">BBHI", kind, code, checksum(struct.pack(">BBHI", kind, code, 0, 0) + body), 0) + body


def ipv4(protocol, source, destination, body, total=None, first=0x45, fragment=0):
    def header(sum_):
        return struct.pack(">BBHHHBBH4s4s", first, 0, 20 + len(body) if total is None else total, 1, fragment, 64,
                           protocol, sum_, socket.inet_aton(source), socket.inet_aton(destination))
    return header(checksum(header(0))) + body


class Hairpin(NatboxTest):
    def test_off(self):
        """Without hairpinning a packet from inside to an outer endpoint is dropped."""
        lab.start_nat(hairpin=False)
        one, two, server = self.udp("customer", CUSTOMER), self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        outer = self.outer_udp(one, server)
        self.assert_refused("hairpin", two, one, outer)
        lab.nat("set hairpin on")
        self.assert_arrives(two, one, outer)

    def test_udp(self):
        """With hairpinning two customers talk through their outer endpoints, which both see."""
        lab.start_nat(hairpin=True, ports="random")
        server = self.udp("stun", STUN)
        one, two = self.udp("customer", CUSTOMER), self.udp("router", "100.64.0.2")
        outer_one, outer_two = self.outer_udp(one, server), self.outer_udp(two, server)
        self.assertEqual(self.assert_arrives(two, one, outer_one), outer_two)  # first: the router has a firewall
        self.assertEqual(self.assert_arrives(one, two, outer_two), outer_one)
        self.assertEqual(lab.dump()["counters"]["hairpinned"], 2)

    def test_filtered(self):
        """Filtering holds for hairpinned packets, too."""
        lab.start_nat(hairpin=True, filtering="apd")
        server = self.udp("stun", STUN)
        one, two = self.udp("customer", CUSTOMER), self.udp("customer", CUSTOMER)
        outer_one, outer_two = self.outer_udp(one, server), self.outer_udp(two, server)
        self.assert_refused("filtered", one, two, outer_two)
        self.assert_arrives(two, one, outer_one)  # one has opened its side with the packet refused
        self.assert_arrives(one, two, outer_two)

    def test_tcp(self):
        """A TCP connection hairpins to a held mapping."""
        lab.start_nat(hairpin=True, ports="random")
        server = self.listener("stun", STUN)
        client = self.tcp("customer", CUSTOMER)
        _, outer = self.connect(client, server)
        listener = self.listener("customer", CUSTOMER, client.getsockname()[1])
        for role, address in [("customer", CUSTOMER), ("router", "100.64.0.2")]:
            accepted, source = self.connect(self.tcp(role, address), _Outer(listener, outer))
            self.assertEqual(source[0], OUTER)
            accepted.sendall(b"x")

    def test_icmp_error(self):
        """A hairpinned packet's ICMP error comes back to its sender."""
        lab.start_nat(hairpin=True, ports="random")
        server = self.udp("stun", STUN)
        one, two = self.udp("customer", CUSTOMER), self.udp("router", "100.64.0.2")
        outer = self.outer_udp(one, server)
        one.close()
        two.connect(outer)
        two.send(b"there?")
        self.assertRaises(ConnectionRefusedError, two.recv, 10)


class RunTime(NatboxTest):
    def test_renumber(self):
        """renumber gives new outer addresses; the old ones are nobody's."""
        lab.start_nat()
        client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        old = self.outer_udp(client, server)
        self.assert_arrives(server, client, old)
        lab.nat("renumber 203.0.113.7")
        self.assertEqual(lab.dump()["mappings"], [])
        self.assert_refused("not-ours", server, client, old)
        new = self.outer_udp(client, server)
        self.assertEqual(new[0], "203.0.113.7")
        self.assert_arrives(server, client, new)
        lab.nat("renumber 203.0.113.2 203.0.113.3")
        self.assertEqual(lab.dump()["outer"], ["203.0.113.2", "203.0.113.3"])

    def test_flush(self):
        """flush drops every mapping and keeps the address."""
        lab.start_nat(ports="random")
        client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        old = self.outer_udp(client, server)
        self.assert_arrives(server, client, old)
        lab.nat("flush")
        self.assert_refused("no-mapping", server, client, old)
        new = self.outer_udp(client, server)
        self.assertEqual(new[0], old[0])
        self.assertNotEqual(new, old)

    def test_loss(self):
        """loss drops about as many packets as told, in each direction; 0 and 100 are exact."""
        lab.start_nat()
        client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        outer = self.outer_udp(client, server)
        lab.nat("loss 30")
        for sender, receiver, to in [(client, server, server.getsockname()), (server, client, outer)]:
            before = lab.dump()["counters"]["drops"]["loss"]
            arrived = 0
            for i in range(400):
                sender.sendto(b"%d" % i, to)
                if i % 50 == 49:
                    arrived += self.drain(receiver, 0.02)
            arrived += self.drain(receiver, 1)
            lost = lab.dump()["counters"]["drops"]["loss"] - before
            self.assertTrue(400 <= arrived + lost < 420, (arrived, lost))  # the kernel's own multicasts count, too
            self.assertTrue(60 < lost < 200, lost)
        lab.nat("loss 100")
        self.assert_refused("loss", client, server, server.getsockname())
        lab.nat("loss 0")
        for _ in range(50):
            self.outer_udp(client, server)

    def test_delay(self):
        """delay makes a round trip last twice as much and keeps the order."""
        lab.start_nat(delay=100)
        client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        began = time.monotonic()
        outer = self.outer_udp(client, server)
        self.assert_arrives(server, client, outer)
        self.assertGreaterEqual(time.monotonic() - began, 0.2)
        for i in range(50):
            client.sendto(b"%d" % i, server.getsockname())
        self.assertEqual([int(server.recv(10)) for _ in range(50)], list(range(50)))
        self.assertGreaterEqual(float(re.search(r"time=([\d.]+)", lab.run(
            "customer", ["ping", "-c1", STUN]).stdout)[1]), 200)
        lab.nat("delay 0")
        fastest = 1
        for _ in range(20):
            began = time.monotonic()
            self.outer_udp(client, server)
            fastest = min(fastest, time.monotonic() - began)
        self.assertLess(fastest, 0.1)

    def test_jitter(self):
        """jitter makes datagrams overtake each other, both ways, and loses none."""
        lab.start_nat(jitter=50)
        client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        outer = self.outer_udp(client, server)
        for sender, receiver, to in [(client, server, server.getsockname()), (server, client, outer)]:
            for i in range(50):
                sender.sendto(b"%d" % i, to)
            arrived = [int(receiver.recv(10)) for _ in range(50)]
            self.assertNotEqual(arrived, list(range(50)))
            self.assertEqual(sorted(arrived), list(range(50)))

    def test_duplicate(self):
        """duplicate delivers about as many datagrams twice as told, both ways."""
        lab.start_nat(duplicate=30)
        client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        outer = self.outer_udp(client, server)
        self.drain(server, 0.3)
        for sender, receiver, to in [(client, server, server.getsockname()), (server, client, outer)]:
            arrived = 0
            for i in range(200):
                sender.sendto(b"%d" % i, to)
                if i % 50 == 49:
                    arrived += self.drain(receiver, 0.3)
            self.assertTrue(230 < arrived < 300, arrived)
        lab.nat("set duplicate 100")
        client.sendto(b"twin", server.getsockname())
        self.assertEqual([server.recv(10), server.recv(10)], [b"twin", b"twin"])

    def test_alg(self):
        """alg writes the inner address over the outer one in what comes in, wherever it stands, and nothing else."""
        for alg in (True, False):
            lab.start_nat(alg=alg, ports="random")
            client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
            outer = self.outer_udp(client, server)
            inner, outside = socket.inet_aton(CUSTOMER), socket.inet_aton(OUTER)
            for before in (b"", b"x", b"odd"):
                server.sendto(before + outside + b"\x00\x01" + outside + b"end", outer)
                written = inner if alg else outside
                self.assertEqual(client.recv(100), before + written + b"\x00\x01" + written + b"end")
            server.sendto(bytes(255 - b for b in outside), outer)
            self.assertEqual(client.recv(100), bytes(255 - b for b in outside))
            client.sendto(outside, server.getsockname())
            self.assertEqual(server.recv(100), outside)

    def test_block_udp(self):
        """block-udp drops UDP, both ways, and nothing else."""
        lab.start_nat()
        client, server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        outer = self.outer_udp(client, server)
        lab.nat("block-udp on")
        self.assert_refused("blocked", client, server, server.getsockname())
        self.assert_refused("blocked", server, client, outer)
        self.connect(self.tcp("customer", CUSTOMER), self.listener("stun", STUN))
        lab.run("customer", ["ping", "-c1", STUN])
        lab.nat("block-udp off")
        self.outer_udp(client, server)
        self.assert_arrives(server, client, outer)

    def test_drop(self):
        """drop makes one server silent, by address or by port, until undrop."""
        lab.start_nat()
        client = self.udp("customer", CUSTOMER)
        one, two, three = self.udp("stun", STUN), self.udp("stun", STUN), self.udp("stun", STUN_2)
        lab.nat(f"drop udp to {STUN}:{one.getsockname()[1]}")
        self.assertEqual(lab.dump()["dropping"], [f"udp to {STUN}:{one.getsockname()[1]}"])
        self.assert_refused("rule", client, one, one.getsockname())
        self.outer_udp(client, two)
        lab.nat(f"drop udp to {STUN}")
        self.assert_refused("rule", client, two, two.getsockname())
        self.outer_udp(client, three)
        listener = self.listener("stun", STUN)
        self.connect(self.tcp("customer", CUSTOMER), listener)
        lab.nat(f"drop tcp to {STUN}")
        self.assert_syn_refused("rule", "customer", CUSTOMER, listener.getsockname(), listener)
        lab.nat(f"undrop udp to {STUN}")
        self.outer_udp(client, two)
        self.assert_refused("rule", client, one, one.getsockname())
        lab.nat("undrop")
        self.outer_udp(client, one)
        self.connect(self.tcp("customer", CUSTOMER), listener)
        six = self.udp("stun", STUN6)
        lab.nat(f"drop udp to [{STUN6}]:{six.getsockname()[1]}")
        self.assert_refused("rule", self.udp("customer", CUSTOMER6), six, six.getsockname()[:2])

    def test_dump(self):
        """dump is JSON with configuration, addresses, counters, and every mapping with its sessions."""
        lab.start_nat(mapping="ad", filtering="apd", ports="random", port_range="3000-3999", loss="12.5",
                      inbound_refresh=True)
        lab.nat("loss 0")
        client, server = self.udp("customer", CUSTOMER, 40000), self.udp("stun", STUN, 3478)
        outer = self.outer_udp(client, server)
        dump = json.loads(lab.nat("dump"))
        config = dump["config"]
        self.assertEqual([config[k] for k in ("mode", "mapping", "filtering", "tcp-mapping", "ports", "port-range",
                                              "udp-timeout", "inbound-refresh", "hairpin", "loss")],
                         ["nat", "ad", "apd", "same", "random", [3000, 3999], 120, True, False, 0])
        self.assertEqual(dump["outer"], [OUTER])
        self.assertEqual(dump["counters"]["to-outside"], 1)
        (mapping,) = [m for m in dump["mappings"] if m["proto"] == "udp"]
        (session,) = mapping["sessions"]
        self.assertEqual((mapping["inner"], mapping["outer"], mapping["scope"]),
                         (f"{CUSTOMER}:40000", f"{outer[0]}:{outer[1]}", f"{STUN}:0"))
        self.assertEqual((session["remote"], session["from"]), (f"{STUN}:3478", "inside"))
        self.assertTrue(0 <= mapping["idle"] < 10 and 0 <= session["idle"] < 10)

    def test_commands(self):
        """The control client prints the answer; a bad command or value is named, with status 1."""
        lab.start_nat()
        binary = os.path.join(lab.build, "lab", "natbox")

        def control(*words):
            return lab.run("carrier", [binary, "--ctl", lab.control, *words], check=False)
        done = control("set", "filtering", "apd")
        self.assertEqual((done.returncode, done.stdout), (0, "ok\n"))
        self.assertEqual(json.loads(control("dump").stdout)["config"]["filtering"], "apd")
        for words, named in [(["set", "filtering", "tight"], "tight"), (["set", "nonsense", "1"], "nonsense"),
                             (["set", "mode", "nat"], "mode"), (["loss", "101"], "101"), (["jump"], "jump"),
                             (["renumber", "203.0.113.1", "203.0.113.300"], "203.0.113.300"), (["set"], "set OPTION"),
                             (["drop", "sctp", "to", STUN], STUN), (["drop", "udp", "to", "192.0.2.1:70000"], "70000"),
                             (["undrop", "udp", "to", STUN], STUN)]:
            done = control(*words)
            self.assertEqual(done.returncode, 1, words)
            self.assertTrue(done.stdout.startswith("error:") and named in done.stdout, done.stdout)
        self.assertRaises(LabError, lab.nat, "jump")
        s = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        s.settimeout(5 * PATIENCE)
        s.connect(lab.control)
        s.sendall(b"delay 0\nflush\nflu")  # several lines at once, and one in two parts
        s.sendall(b"sh\n")
        answer = b""
        while answer.count(b"\n\n") < 3:
            answer += s.recv(100)
        self.assertEqual(answer, b"ok\n\nok\n\nok\n\n")
        s.sendall(b"x" * 5000)  # no end of line: hung up
        try:
            self.assertEqual(s.recv(10), b"")
        except ConnectionResetError:
            pass
        self.assertEqual(lab.nat("flush"), "ok\n")

    def test_arguments(self):
        """A bad option or value is named and the status is 2; --help lists options and commands."""
        lab.start_nat()
        binary = os.path.join(lab.build, "lab", "natbox")
        outer = ["--outer", OUTER]
        for argv, named in [(["--filtering", "tight", *outer], "tight"), (["--nonsense", *outer], "--nonsense"),
                            (["--outer", "example.org"], "example.org"), (["--port-range=9-1", *outer], "9-1"),
                            (["--loss", "-1", *outer], "-1"), (["--seed", "1x", *outer], "1x"), ([], "--outer"),
                            ([*outer, "--mapping"], "--mapping"), ([*outer, "--outer", "2001:db8::1"], "2001:db8::1"),
                            (["--inside=far-too-long-a-name", *outer], "far-too-long-a-name")]:
            done = lab.run("carrier", [binary, *argv], check=False, timeout=5)
            self.assertEqual(done.returncode, 2, argv)
            self.assertIn(f"'{named}'", done.stderr)
        text = lab.run("carrier", [binary, "--help"]).stdout
        for word in ["--mapping ei|ad|apd", "--hairpin", "Fragments", "renumber ADDR..."]:
            self.assertIn(word, text)

    def test_end(self):
        """SIGTERM, SIGINT and quit end natbox with status 0; its devices and its socket vanish."""
        def links():
            return re.findall(r"nat-\w+", lab.run("carrier", ["ip", "-o", "link"]).stdout)
        for end in [lambda: lab.stop_nat(signal.SIGTERM), lambda: lab.stop_nat(signal.SIGINT),
                    lambda: (lab.nat("quit"), lab.natbox.wait(5), lab.stop_nat())[1]]:
            lab.start_nat()
            self.assertEqual(links(), ["nat-in", "nat-out"])
            self.assertEqual(end(), 0)
            self.assertTrue(until(lambda: not links()))
            self.assertFalse(os.path.exists(lab.control))
        lab.start_nat()


class Firewall(NatboxTest):
    PAIRS = [(CUSTOMER, STUN, STUN_2, STRANGER), (CUSTOMER6, STUN6, "2001:db8:100::2", STRANGER6)]

    def firewall(self, behaviour, addresses, mode):
        customer, stun, stun_2, stranger_address = addresses
        lab.start_nat(mode=mode, filtering=behaviour)
        client = self.udp("customer", customer)
        inner = client.getsockname()[:2]
        server, other_port = self.udp("stun", stun), self.udp("stun", stun)
        other_address, stranger = self.udp("stun", stun_2), self.udp("stranger", stranger_address)
        self.assert_refused("no-mapping", server, client, inner)
        self.assertEqual(self.outer_udp(client, server), inner, "it is translated")
        self.assert_arrives(server, client, inner)
        admitted = {"ei": [other_port, other_address, stranger], "ad": [other_port], "apd": []}[behaviour]
        for sender in [other_port, other_address, stranger]:
            if sender in admitted:
                self.assert_arrives(sender, client, inner)
            else:
                self.assert_refused("filtered", sender, client, inner)
        lab.nat("flush")
        self.assert_refused("no-mapping", server, client, inner)

    def test_udp(self):
        """The firewall translates nothing, lets the inside out and in whom the filter says, IPv4 and IPv6."""
        for addresses in self.PAIRS:
            for behaviour in BEHAVIOURS:
                self.firewall(behaviour, addresses, "firewall")

    def test_ipv6_behind_nat(self):
        """IPv6 passes a NAT through the same firewall."""
        for behaviour in BEHAVIOURS:
            self.firewall(behaviour, self.PAIRS[1], "nat")

    def test_tcp(self):
        """TCP passes the firewall from inside; from outside the filter decides, IPv4 and IPv6."""
        for customer, stun, _, stranger_address in self.PAIRS:
            lab.start_nat(mode="firewall", filtering="ei")
            client = self.tcp("customer", customer)
            inner = client.getsockname()[:2]
            listener = self.listener("customer", customer, inner[1])
            self.assert_syn_refused("no-mapping", "stranger", stranger_address, inner, listener)
            _, source = self.connect(client, self.listener("stun", stun))
            self.assertEqual(source, inner)
            caller = self.tcp("stranger", stranger_address)
            caller.connect(inner)
            self.keep(listener.accept()[0])
            lab.nat("set filtering ad")
            self.assert_syn_refused("filtered", "stranger2", "192.0.2.77" if customer == CUSTOMER else
                                    "2001:db8:2::77", inner, listener)

    def test_icmp(self):
        """Ping and ICMP errors pass the firewall, a ping from outside does not."""
        lab.start_nat(mode="firewall")
        for (customer, stun, *_), outside in zip(self.PAIRS, ["stun", "stun"]):
            lab.run("customer", ["ping", "-c1", stun])
            self.assert_dropped("no-mapping", lambda: lab.run(outside, ["ping", "-c1", "-W1", customer], check=False))
            s = self.udp("customer", customer)
            s.connect((stun, 9))
            s.send(b"anybody?")
            self.assertRaises(ConnectionRefusedError, s.recv, 10)


class Hostile(NatboxTest):
    def setUp(self):
        super().setUp()
        lab.start_nat(icmp_unreachable=True, tcp_unknown="rst", hairpin=True)
        self.client, self.server = self.udp("customer", CUSTOMER), self.udp("stun", STUN)
        self.outer = self.outer_udp(self.client, self.server)
        self.raws = {}
        for device in ["nat-in", "nat-out"]:  # straight into natbox, past every check of the kernel
            s = self.keep(lab.socket("carrier", socket.AF_PACKET, socket.SOCK_DGRAM))
            s.bind((device, 0x0800))
            self.raws[device] = s

    def throw(self, device, packet):
        if packet:
            self.raws[device].sendto(packet, (device, 0x0800, 0, 0, b""))

    def finish(self, *reasons):
        """natbox lives, works, and has counted these."""
        self.assertTrue(until(lambda: all(lab.dump()["counters"]["drops"][r] for r in reasons)), lab.dump()["counters"])
        self.drain(self.client, 0.3)
        self.drain(self.server, 0.3)
        self.assertEqual(self.outer_udp(self.client, self.server), self.outer)
        self.assert_arrives(self.server, self.client, self.outer)

    def samples(self):
        """Sound packets of every kind, by the device they belong to."""
        port = self.server.getsockname()[1]
        udp_in = struct.pack(">HHHH", port, self.outer[1], 12, 0) + b"data"
        udp_out = struct.pack(">HHHH", self.client.getsockname()[1], port, 12, 0) + b"data"
        tcp = struct.pack(">HHIIBBHHH", 1000, 2000, 1, 1, 0x50, 0x02, 100, 0, 0)
        echo = struct.pack(">BBHHH", 8, 0, 0, 1, 1)
        quoted_in = icmp(3, 3, ipv4(17, OUTER, STUN, struct.pack(">HHHH", self.outer[1], port, 8, 7)))
        quoted_out = icmp(3, 3, ipv4(17, STUN, CUSTOMER, struct.pack(">HHHH", port, self.client.getsockname()[1], 8, 7)))
        six = struct.pack(">IHBB16s16s", 6 << 28, 12, 17, 64, socket.inet_pton(socket.AF_INET6, CUSTOMER6),
                          socket.inet_pton(socket.AF_INET6, STUN6)) + udp_out
        return [("nat-out", ipv4(17, STUN, OUTER, udp_in)), ("nat-out", ipv4(6, STUN, OUTER, tcp)),
                ("nat-out", ipv4(1, STUN, OUTER, quoted_in)), ("nat-in", ipv4(17, CUSTOMER, STUN, udp_out)),
                ("nat-in", ipv4(6, CUSTOMER, STUN, tcp)), ("nat-in", ipv4(1, CUSTOMER, STUN, echo)),
                ("nat-in", ipv4(1, CUSTOMER, STUN, quoted_out)), ("nat-in", six)]

    def test_truncated(self):
        """Packets cut at every length are dropped and counted."""
        for device, packet in self.samples():
            for length in range(1, len(packet)):
                self.throw(device, packet[:length])
        self.finish("malformed")

    def test_lying_lengths(self):
        """Packets whose headers lie about lengths are dropped and counted, at every length left."""
        for device, packet in self.samples():
            for length in range(20, len(packet)):
                cut = packet[:length]
                if packet[0] >> 4 == 4:  # the total length is right, what is inside is cut
                    cut = cut[:2] + struct.pack(">H", length) + cut[4:]
                self.throw(device, cut)
            for first in (0x40, 0x44, 0x4f, 0x00, 0x50, 0xf0):
                self.throw(device, bytes([first]) + packet[1:])
            for total in (0, 19, 20, 21, 65535):
                self.throw(device, packet[:2] + struct.pack(">H", total) + packet[4:])
        self.throw("nat-in", ipv4(6, CUSTOMER, STUN, struct.pack(">HHIIBBHHH", 1, 2, 1, 1, 0xf0, 2, 1, 0, 0)))
        self.throw("nat-in", ipv4(17, CUSTOMER, STUN, struct.pack(">HHHH", 1, 2, 7, 0)))
        self.throw("nat-in", ipv4(17, CUSTOMER, STUN, struct.pack(">HHHH", 1, 2, 9, 0)))
        self.finish("malformed")

    def test_random(self):
        """Random bytes and sound packets with random changes do no harm."""
        generator = random.Random(1)
        samples = self.samples()
        for i in range(3000):
            device, packet = generator.choice(samples)
            if i % 3 == 0:
                packet = bytes([generator.choice([0x45, 0x46, 0x60])]) + generator.randbytes(generator.randrange(120))
            else:
                packet = bytearray(packet)
                for _ in range(generator.randrange(1, 4)):
                    packet[generator.randrange(len(packet))] = generator.randrange(256)
            self.throw(device, bytes(packet))
            if i % 100 == 99:
                lab.nat("set hairpin on")  # natbox keeps up
        lab.nat("flush")
        self.drain(self.server, 1)
        self.outer = self.outer_udp(self.client, self.server)
        self.finish("malformed", "fragment", "protocol", "no-mapping")

    def test_protocols(self):
        """Fragments, other protocols and multicast are dropped and counted."""
        data = struct.pack(">HHHH", 1000, 2000, 12, 0) + b"data"
        self.throw("nat-in", ipv4(17, CUSTOMER, STUN, data, fragment=0x2000))
        self.throw("nat-in", ipv4(17, CUSTOMER, STUN, data, fragment=0x0001))
        self.finish("fragment")
        self.throw("nat-in", ipv4(47, CUSTOMER, STUN, data))
        self.throw("nat-in", ipv4(1, CUSTOMER, STUN, icmp(13, 0, b"")))
        self.finish("protocol")
        self.throw("nat-in", ipv4(17, CUSTOMER, "224.0.0.251", data))
        self.throw("nat-out", ipv4(17, STUN, "198.51.100.99", data))
        self.finish("not-ours")

    def test_fragments_of_a_socket(self):
        """A datagram over the MTU is lost and counted, one within it passes."""
        self.client.sendto(b"x" * 1472, self.server.getsockname())
        self.assertEqual(len(self.server.recv(2000)), 1472)
        self.assert_dropped("fragment", lambda: self.client.sendto(b"x" * 1473, self.server.getsockname()), self.server)

    def test_no_checksum(self):
        """A UDP datagram without a checksum stays without."""
        self.client.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
        tap = self.keep(lab.socket("stun", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP))
        self.client.sendto(b"unsummed", self.server.getsockname())
        self.assertEqual(self.server.recv(100), b"unsummed")
        seen = tap.recv(100)
        self.assertEqual((seen[-8:], seen[26:28]), (b"unsummed", b"\0\0"))


class Laboratory(unittest.TestCase):
    def test_leaves_nothing(self):
        """A laboratory that fails inside leaves no namespace, process or directory."""
        with self.assertRaises(ZeroDivisionError):
            with Lab(router=False) as other:
                process = other.spawn("stun", ["sleep", "100"])
                self.assertIn(other.ns("stun"), namespaces())
                self.assertNotEqual(other.prefix, lab.prefix)
                1 / 0
        self.assertFalse([n for n in namespaces() if n.startswith(other.prefix + "-")])
        self.assertIsNotNone(process.poll())
        self.assertFalse(os.path.exists(other.directory))

    def test_without_nat(self):
        """Without a NAT the carrier only routes: a stranger sees and reaches the customer."""
        with Lab(nat=False, router=False) as other:
            client, stranger = other.socket("customer"), other.socket("stranger")
            client.bind((CUSTOMER, 40000))
            stranger.bind((STRANGER, 40000))
            stranger.sendto(b"hello", (CUSTOMER, 40000))
            data, source = client.recvfrom(10)
            self.assertEqual((data, source), (b"hello", (STRANGER, 40000)))
            other.run("customer", ["ping", "-c1", STUN6])

    def test_swept(self):
        """What a killed laboratory left behind is removed by the next."""
        program = ("import sys, os, signal; sys.path.insert(0, sys.argv[1])\n"
                   "from lab.topology import Lab\n"
                   "lab = Lab(router=False); lab.up(); lab.spawn('stun', ['sleep', '300'])\n"
                   "print(lab.prefix, flush=True); os.kill(os.getpid(), signal.SIGKILL)")
        done = subprocess.run([sys.executable, "-c", program, ROOT], capture_output=True, text=True, timeout=30 * PATIENCE)
        prefix = done.stdout.strip()
        self.assertTrue(prefix.startswith("sw"), done.stderr)
        sweep()
        self.assertFalse([n for n in namespaces() if n.startswith(prefix + "-")])

    def test_terminated(self):
        """SIGTERM to the laboratory's program cleans up as well."""
        program = ("import sys, time; sys.path.insert(0, sys.argv[1])\n"
                   "from lab.topology import Lab\n"
                   "with Lab(router=False) as lab:\n"
                   "    print(lab.prefix, flush=True); time.sleep(60)")
        for number in [signal.SIGTERM, signal.SIGINT]:
            with subprocess.Popen([sys.executable, "-c", program, ROOT], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True) as p:
                prefix = p.stdout.readline().strip()
                self.assertTrue([n for n in namespaces() if n.startswith(prefix + "-")])
                p.send_signal(number)
                p.wait(20 * PATIENCE)
            self.assertFalse([n for n in namespaces() if n.startswith(prefix + "-")])


if __name__ == "__main__":
    unittest.main()
