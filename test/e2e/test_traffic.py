# SPDX-License-Identifier: GPL-2.0-or-later
"""What is counted of each mapping: exactly what crossed the line, of a known number of packets and bytes."""
import re
import signal
import socket
import unittest

from lab.home import *
from pmp import Pmp, TCP, UDP

HEADERS = 28  # IPv4's and UDP's, without options
ZERO = ((0, 0), (0, 0), 0)


def look(gateway):
    """The gateway's table: {"udp 192.168.1.10:7001": ((bytes, packets) in, out, connections)}, and the total as ""."""
    before = len(gateway.lines)
    gateway._popen.send_signal(signal.SIGUSR1)
    gateway.wait_line("traffic of all", after=before)
    counts = {}
    for line in gateway.lines[before:]:
        said = re.search(r"traffic (?:of all|protocol=(\w+) client=(\S+)) .*in=(\d+)/(\d+) out=(\d+)/(\d+) connections=(\d+)", line)
        if said:
            n = [int(x) for x in said.groups()[2:]]
            counts[f"{said[1].lower()} {said[2]}" if said[1] else ""] = ((n[0], n[1]), (n[2], n[3]), n[4])
    return counts


def of(gateway, protocol, port, client=LAN1):
    return look(gateway).get(f"{protocol} {client}:{port}", ZERO)


def send(home, endpoint, count, size, role="stranger", s=None):
    """So many datagrams of so many bytes in one flow, each answered by an Echo with 5 bytes more."""
    s = s or home.socket(role)
    s.settimeout(5 * PATIENCE)
    for _ in range(count):
        s.sendto(b"x" * size, endpoint)
        s.recvfrom(2048)
    return s


class Counted(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = Home()
        cls.home.up()
        try:
            cls.gateway = cls.home.gateway("--accept-chain", "inet filter input")
            cls.gateway.wait_line("NAT UDP mapping")
        except BaseException:
            cls.home.down()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.home.down()

    def mapped(self, opcode, port):
        answer = Pmp(self.home).map(opcode, port)
        self.assertEqual(answer.result, 0)
        return PUBLIC, answer.outer

    def test_udp(self):
        """Of UDP each packet and byte with its headers counts, both ways, and each stranger's flow once"""
        Echo(self.home, "lan1", 7001)
        outer = self.mapped(UDP, 7001)
        send(self.home, outer, 10, 100)
        send(self.home, outer, 5, 1000, role="stranger2")
        expected = ((10 * (100 + HEADERS) + 5 * (1000 + HEADERS), 15), (10 * (105 + HEADERS) + 5 * (1005 + HEADERS), 15), 2)
        counts = look(self.gateway)
        self.assertEqual(counts[f"udp {LAN1}:7001"], expected)
        self.assertGreaterEqual(counts[""], expected)

    def test_one_way(self):
        """Datagrams that nobody answers are one connection, however many"""
        outer = self.mapped(UDP, 7008)
        quiet = self.home.socket("lan1")
        quiet.bind(("", 7008))
        s = self.home.socket("stranger")
        for _ in range(8):
            s.sendto(b"x" * 50, outer)
        eventually(lambda: of(self.gateway, "udp", 7008) == ((8 * (50 + HEADERS), 8), (0, 0), 1), what="eight datagrams")

    def test_tcp(self):
        """Of TCP connections each counts once, and the bytes are at least the payload and at most that and its headers"""
        Echo(self.home, "lan1", 7002)
        outer = self.mapped(TCP, 7002)
        for _ in range(6):
            self.assertEqual(knock_tcp(self.home, outer, b"y" * 1000), b"echo " + b"y" * 1000)
        arrived, left, connections = of(self.gateway, "tcp", 7002)
        self.assertEqual(connections, 6)
        for (size, packets), payload in [(arrived, 1000), (left, 1005)]:
            self.assertTrue(6 * 3 <= packets <= 6 * 8, packets)  # SYN, data, FIN; and acknowledgements
            self.assertTrue(6 * payload + packets * 40 <= size <= 6 * payload + packets * 60, (size, packets))

    def test_not_let_in(self):
        """What the router's own firewall drops is neither a packet nor a connection"""
        outer = self.mapped(UDP, 7003)
        self.home.nft("router", "insert rule inet filter forward udp dport 7003 drop")
        for _ in range(3):
            self.assertIsNone(knock_udp(self.home, outer, timeout=0.2, tries=2))
        self.assertEqual(of(self.gateway, "udp", 7003), ZERO)

    def test_begun_inside(self):
        """What the client begins from its mapped port counts both ways, and is no connection"""
        self.mapped(UDP, 7004)
        at = self.home.socket("stranger")
        at.bind((STRANGER, 9004))
        at.settimeout(5 * PATIENCE)
        client = self.home.socket("lan1")
        client.bind(("", 7004))
        client.settimeout(5 * PATIENCE)
        for _ in range(4):
            client.sendto(b"z" * 200, (STRANGER, 9004))
            _, source = at.recvfrom(2048)
            at.sendto(b"z" * 300, source)
            client.recvfrom(2048)
        self.assertEqual(of(self.gateway, "udp", 7004), ((4 * (300 + HEADERS), 4), (4 * (200 + HEADERS), 4), 0))

    def test_not_counted(self):
        """What stays in the LAN, by the outer endpoint too, another port's or host's flows, and the holes' keepalive are not counted"""
        Echo(self.home, "lan1", 7005)
        outer = self.mapped(UDP, 7005)
        self.mapped(TCP, 7005)
        before = look(self.gateway)[""]
        self.home.nft("router", 'insert rule inet filter forward iifname "lan" oifname "lan" accept')  # bridges may ask netfilter
        self.assertEqual(knock_udp(self.home, (LAN1, 7005), role="lan2"), b"echo hello")
        eventually(lambda: knock_udp(self.home, outer, role="lan2") == b"echo hello", what="hairpin")
        self.assertEqual(knock_udp(self.home, outer, role="router"), b"echo hello")
        at = self.home.socket("stranger")
        at.bind((STRANGER, 9005))
        at.settimeout(5 * PATIENCE)
        for role, port in [("lan1", 7006), ("lan2", 7005)]:
            s = self.home.socket(role)
            s.bind(("", port))
            s.sendto(b"out", (STRANGER, 9005))
            _, source = at.recvfrom(100)
            at.sendto(b"back", source)
            s.settimeout(5 * PATIENCE)
            s.recvfrom(100)
        self.assertEqual(look(self.gateway)[""], before)

    def test_ended(self):
        """Of a mapping that ended nothing is told any more, and the total keeps what it had"""
        Echo(self.home, "lan1", 7007)
        send(self.home, self.mapped(UDP, 7007), 3, 100)
        before = look(self.gateway)
        self.assertEqual(before[f"udp {LAN1}:7007"][2], 1)
        Pmp(self.home).map(UDP, 7007, lifetime=0)
        after = look(self.gateway)
        self.assertNotIn(f"udp {LAN1}:7007", after)
        self.assertEqual(after[""], before[""])
        for name in ["traffic_in", "traffic_out", "connections"]:
            self.assertFalse([e for e in self.home.members(name) if ".7007" in e])


class Lasting(unittest.TestCase):
    """What others do to the ruleset, and restarts."""

    def test_flushed(self):
        """After nft flush ruleset it counts on, and no number falls; one set's flush is mended too"""
        with Home() as home:
            gateway = home.gateway()
            gateway.wait_line("NAT UDP mapping")
            Echo(home, "lan1", 7101)
            outer = PUBLIC, Pmp(home).map(UDP, 7101).outer
            each = (100 + HEADERS, 105 + HEADERS)
            send(home, outer, 4, 100)
            self.assertEqual(of(gateway, "udp", 7101), ((4 * each[0], 4), (4 * each[1], 4), 1))
            for packets, take in [(7, "flush ruleset"), (10, "flush set inet stunway traffic_out")]:
                before = len(gateway.lines)
                home.nft("router", take)
                gateway.wait_line("built anew", after=before)
                gateway.wait_line("firewall complete", after=before)
                send(home, outer, 3, 100)
                self.assertEqual(of(gateway, "udp", 7101)[:2], ((packets * each[0], packets), (packets * each[1], packets)), take)

    def test_restart(self):
        """After a restart of the gateway the same mapping counts from 0"""
        with Home() as home:
            state = home.state_file()
            gateway = home.gateway(state=state)
            gateway.wait_line("NAT UDP mapping")
            Echo(home, "lan1", 7102)
            outer = PUBLIC, Pmp(home).map(UDP, 7102).outer
            send(home, outer, 4, 100)
            self.assertEqual(of(gateway, "udp", 7102)[0][1], 4)
            gateway.stop()
            gateway = home.gateway(state=state)
            gateway.wait_line("firewall complete")
            self.assertEqual(of(gateway, "udp", 7102), ZERO)
            send(home, outer, 2, 100)
            self.assertEqual(of(gateway, "udp", 7102), ((2 * (100 + HEADERS), 2), (2 * (105 + HEADERS), 2), 1))

    def test_service_on_the_router(self):
        """A mapping to a service on the router itself counts as others do"""
        with Home() as home:
            with open(f"{home.directory}/gateway.ini", "w") as f:
                for name, ip, protocol in [("web", ROUTER, "tcp"), ("dns", "wan", "udp")]:
                    f.write(f"[mapping {name}]\nprotocol = {protocol}\ninternal_ip = {ip}\ninternal_port = 7103\nrelay_port = 20400\n")
            Echo(home, "router", 7103)
            gateway = home.gateway("--config", f"{home.directory}/gateway.ini", "--accept-chain", "inet filter input")
            outer = {}
            for protocol in ["UDP", "TCP"]:
                line = gateway.wait_line(f"hole open: protocol={protocol}")
                outer[protocol] = PUBLIC, int(re.search(rf"outer={PUBLIC}:(\d+)", line)[1])
            gateway.wait_line("firewall complete")
            eventually(lambda: knock_tcp(home, outer["TCP"]), what="reaching it")
            send(home, outer["UDP"], 5, 100)
            counts = look(gateway)
            self.assertEqual(counts["udp 100.64.0.2:7103"], ((5 * (100 + HEADERS), 5), (5 * (105 + HEADERS), 5), 1))
            self.assertEqual(counts[f"tcp {ROUTER}:7103"][2], 1)
            self.assertGreater(counts[f"tcp {ROUTER}:7103"][1][0], 10 + 3 * 40)

    def test_not_by_iptables(self):
        """A firewall that does not count says so"""
        with Home() as home:
            home.nft("router", "flush ruleset")
            gateway = home.gateway("--firewall", "none", accept=False, ready="ready")
            gateway._popen.send_signal(signal.SIGUSR1)
            gateway.wait_line("traffic is not all counted: --firewall none does not count per mapping")


if __name__ == "__main__":
    unittest.main()
