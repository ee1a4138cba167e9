# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may map what, the same endpoint from inside as from outside, and lines that need no hole."""
import re
import signal
import socket
import time
import unittest

from lab.home import *
from pmp import Pmp, TCP, UDP


class Access(unittest.TestCase):
    """--access, quotas, and who is served at all."""

    @classmethod
    def setUpClass(cls):
        cls.home = cls.enterClassContext(Home())
        cls.gateway = cls.home.gateway(
            "--access", "deny 20000-20999 192.168.1.10/32 0-65535", "--access", f"allow 20000-21999 {LAN1} 1024-65535",
            "--access", f"deny 0-65535 {LAN1} 0-65535", "--access", "allow 0-65535 192.168.1.0/24 80",
            "--access", "deny 0-65535 192.168.1.0/24 0-65535", "--max-mappings-per-client", "6", "--pool", "0")
        cls.gateway.wait_line("NAT UDP mapping")

    def test_allowed(self):
        """A request that a rule allows is served, by a relay port that the rule allows"""
        Echo(self.home, "lan1", 7001)
        pmp = Pmp(self.home)
        outers = [pmp.map(UDP, port).outer for port in range(7001, 7006)]
        self.assertEqual(knock_udp(self.home, (PUBLIC, outers[0])), b"echo hello")
        relays = [int(r) for key, r in self.home.elements("outbound").items() if key.startswith(f"udp.{LAN1}")]
        self.assertEqual((len(relays), [r for r in relays if not 21000 <= r <= 21999]), (5, []))

    def holes(self):
        """The relay ports that the carrier knows of, with their protocols."""
        inner = ((m["proto"], int(m["inner"].rsplit(":", 1)[1])) for m in self.home.dump()["mappings"])
        return {(proto, port) for proto, port in inner if 20000 <= port <= 29999}

    def test_refused(self):
        """A request that no rule allows draws result 2, opens nothing and is said in the log, not for each one"""
        before = self.holes()
        pmp = Pmp(self.home, "lan2")
        for port in range(7011, 7051):
            answer = pmp.map(UDP, port)
            self.assertEqual((answer.result, answer.outer, answer.lifetime), (2, 0, 0))
        self.assertEqual(Pmp(self.home).map(UDP, 1023).result, 2)
        self.assertEqual(pmp.map(TCP, 80).result, 0)
        self.assertEqual(self.holes() - before, {("tcp", int(self.home.elements("outbound")[f"tcp.{LAN2}.80"]))}, "only what was allowed")
        self.assertFalse([k for k in self.home.elements("outbound") if ".70" in k and LAN2 in k])
        self.gateway.wait_line("--access forbids it")
        said = [line for line in self.gateway.lines if "--access forbids it" in line]
        self.assertIn(f"{LAN2}:7011", said[0])
        self.assertLessEqual(len(said), 12)

    def test_quota(self):
        """Beyond its share a client gets result 4, others their own; what it deletes makes room"""
        pmp = Pmp(self.home)
        for port in range(7101, 7107):
            pmp.map(TCP, port)
        self.assertEqual(pmp.map(TCP, 7107).result, 4)
        self.assertEqual(Pmp(self.home, "lan2").map(UDP, 80).result, 0)
        pmp.map(TCP, 0, lifetime=0)
        self.assertEqual(pmp.map(TCP, 7107).result, 0)
        pmp.map(TCP, 0, lifetime=0)


class Neighbours(unittest.TestCase):
    """The LAN's interface has four addresses in three subnets."""

    def test_subnets(self):
        """Every subnet of the LAN's interface is served from the address that was asked, and nobody else there or elsewhere"""
        with Home() as home:
            for address in ["192.168.1.2/24", "10.9.0.1/24", "10.10.0.1/30"]:
                home.run("router", ["ip", "addr", "add", address, "dev", "lan"])
            for address in ["10.9.0.5/24", "10.10.0.2/30", "10.8.0.5/24"]:
                home.run("lan2", ["ip", "addr", "add", address, "dev", "eth0"])
            home.run("router", ["ip", "route", "add", "10.8.0.0/24", "dev", "lan"])
            home.run("customer", ["ip", "addr", "add", "192.168.1.77/32", "dev", "eth0"])
            home.run("customer", ["ip", "route", "add", ROUTER, "via", "100.64.0.2", "dev", "eth0", "onlink"])
            gateway = home.gateway()
            for at, source in [("192.168.1.2", LAN2), (ROUTER, LAN2), ("10.9.0.1", "10.9.0.5"), ("10.10.0.1", "10.10.0.2"),
                               (ROUTER, "10.9.0.5")]:
                pmp = Pmp(home, "lan2", bind=source, gateway=at)
                self.assertEqual(pmp.map(UDP, 7200).result, 0, (at, source))
                self.assertEqual(pmp.address().source, (at, 5351))
            self.assertEqual(len(home.elements("outbound")), 3, "one mapping for each address of the client")
            foreign = Pmp(home, "lan2", bind="10.8.0.5")  # on the same wire, in no subnet of the interface
            self.assertIsNone(foreign.map(UDP, 7201, timeout=0.5))
            spoofing = Pmp(home, "customer", bind="192.168.1.77")  # a LAN address that comes in by WAN
            self.assertIsNone(spoofing.map(UDP, 7202, timeout=0.5))
            gateway.stop()
            self.assertRegex("\n".join(gateway.lines), r"foreign=[1-9]")


class Hairpin(unittest.TestCase):
    """The outer endpoint from inside: behind the carrier's NAT, which turns nothing back itself."""

    @classmethod
    def setUpClass(cls):
        cls.home = cls.enterClassContext(Home(nat={**FULL_CONE, "hairpin": "off"}))
        cls.before = cls.home.ruleset()
        # Some of these flush the carrier, and ask for the port that was preferred: no spare holes.
        cls.gateway = cls.home.gateway("--pool", "0", ready=[*CHECKED, "line TCP: public address"])

    def mapped(self, opcode, port, role="lan1"):
        """The outer endpoint of a new mapping, when the LAN may use it too."""
        outer = Pmp(self.home, role).map(opcode, port).outer
        key = f"{'udp' if opcode == UDP else 'tcp'}.{PUBLIC}.{outer}"
        eventually(lambda: key in self.home.elements("hairpin"), what=f"{key} in the map hairpin")
        return PUBLIC, outer

    def test_from_the_lan(self):
        """A LAN host, the mapped client itself and the router reach the client by the outer endpoint, UDP and TCP"""
        echo = Echo(self.home, "lan1", 7301)
        udp, tcp = self.mapped(UDP, 7301), self.mapped(TCP, 7301)
        # Where the bridge asks netfilter a frame never leaves by the port it came in by: then not the client itself.
        for bridge_asks, roles in [("1", ["lan2", "router"]), ("0", ["lan2", "lan1", "router"])]:
            self.home.run("router", ["sysctl", "-q", f"net.bridge.bridge-nf-call-iptables={bridge_asks}"], check=False)
            for role in roles:
                self.assertEqual(knock_udp(self.home, udp, role=role), b"echo hello", (bridge_asks, role))
                self.assertEqual(knock_tcp(self.home, tcp, role=role), b"echo hello", (bridge_asks, role))
        self.assertEqual({source for _, _, source in echo.seen}, {ROUTER}, "the way back is by the router")
        self.assertEqual(knock_udp(self.home, udp), b"echo hello")
        self.assertEqual(knock_tcp(self.home, tcp), b"echo hello")
        self.assertEqual(echo.seen[-1][2], STRANGER, "who comes from outside keeps his address")

    def test_only_that_endpoint(self):
        """Other ports of the public address, the other protocol and the line's neighbours are not turned to the client"""
        echo = Echo(self.home, "lan1", 7302)
        udp = self.mapped(UDP, 7302)
        self.assertIsNone(knock_tcp(self.home, udp, role="lan2", timeout=0.3))
        self.assertIsNone(knock_udp(self.home, (PUBLIC, udp[1] ^ 1), role="lan2", timeout=0.3, tries=1))
        # a neighbour on the line who sends the public address to us: no LAN host
        self.home.run("customer", ["ip", "route", "replace", PUBLIC, "via", "100.64.0.2", "dev", "eth0"])
        self.addCleanup(self.home.run, "customer", ["ip", "route", "del", PUBLIC])
        self.home.run("carrier", ["ip", "link", "set", "dev", "customer", "type", "bridge_slave", "isolated", "off"])
        self.home.run("carrier", ["ip", "link", "set", "dev", "router", "type", "bridge_slave", "isolated", "off"])
        self.assertIsNone(knock_udp(self.home, udp, role="customer", timeout=0.3, tries=1))
        self.assertEqual(echo.seen, [])

    def test_older_flow(self):
        """A LAN host's flow to the outer endpoint that stood before the mapping is turned to the client too"""
        Echo(self.home, "lan1", 7305)
        early = self.home.socket("lan2")
        before = self.mapped(UDP, 7305)
        Pmp(self.home).map(UDP, 7305, lifetime=0)
        self.assertIsNone(knock_udp(self.home, before, role="lan2", s=early, timeout=0.3, tries=1))
        self.assertEqual(self.mapped(UDP, 7305), before, "the carrier's mapping outlives ours")
        self.assertEqual(knock_udp(self.home, before, role="lan2", s=early), b"echo hello")

    def test_young_flow(self):
        """A connection made as soon as there is a way is not scrubbed with those that stood before"""
        Echo(self.home, "lan1", 7307)
        s = self.home.socket("lan2", socket.AF_INET, socket.SOCK_STREAM)
        s.connect(self.mapped(TCP, 7307))
        Pmp(self.home, "lan2").map(UDP, 7308)  # what waits to be scrubbed is with the next mapping
        time.sleep(1.2)  # and each second
        flows = self.home.run("router", ["conntrack", "-L", "-p", "tcp", "--orig-src", LAN2, "--orig-dst", PUBLIC]).stdout
        self.assertIn(f"src={LAN1}", flows)
        s.sendall(b"later")
        self.assertEqual(s.recv(100), b"echo later")

    def test_another_had_it(self):
        """An outer endpoint that the carrier gave to another mapping before is the new one's"""
        echo = Echo(self.home, "lan1", 7306)
        outer = self.mapped(UDP, 7306)
        Pmp(self.home).map(UDP, 7306, lifetime=0)
        self.home.nft("router", f"add element inet stunway hairpin {{ udp . {PUBLIC} . {outer[1]} : {LAN2} . 7999 }}")
        self.assertEqual(Pmp(self.home).map(UDP, 7306).outer, outer[1])
        eventually(lambda: self.home.elements("hairpin")[f"udp.{PUBLIC}.{outer[1]}"] == f"{LAN1}.7306", what="the right client")
        self.assertEqual(knock_udp(self.home, outer, role="lan2"), b"echo hello")
        self.assertTrue(echo.seen)

    def test_it_follows(self):
        """When the hole moves the LAN's way follows, and it goes with the mapping"""
        Echo(self.home, "lan1", 7303)
        pmp = Pmp(self.home)
        first = self.mapped(UDP, 7303)
        self.assertEqual(knock_udp(self.home, first, role="lan2"), b"echo hello")
        self.home.nat("flush")  # another outer port for each hole
        moved = eventually(lambda: pmp.map(UDP, 7303).outer != first[1] and (PUBLIC, pmp.map(UDP, 7303).outer), 20, "a move")
        eventually(lambda: f"udp.{PUBLIC}.{moved[1]}" in self.home.elements("hairpin"), what="hairpin's change")
        self.assertNotIn(f"udp.{PUBLIC}.{first[1]}", self.home.elements("hairpin"))
        flow = self.home.socket("lan2")
        self.assertEqual(knock_udp(self.home, moved, b"in", role="lan2", s=flow), b"echo in")
        pmp.map(UDP, 7303, lifetime=0)
        self.assertNotIn(f"udp.{PUBLIC}.{moved[1]}", self.home.elements("hairpin"))
        self.assertIsNone(knock_udp(self.home, moved, b"out", role="lan2", s=flow, timeout=0.3, tries=1))

    def test_outbound(self):
        """From the mapped port, and only from there, a client's flows leave by the advertised port: UDP and TCP"""
        for opcode, kind in [(UDP, socket.SOCK_DGRAM), (TCP, socket.SOCK_STREAM)]:
            outer = Pmp(self.home).map(opcode, 7304).outer
            at_stranger = self.home.socket("stranger", socket.AF_INET, kind)
            at_stranger.bind((STRANGER, 9304))
            if kind == socket.SOCK_STREAM:
                at_stranger.listen(4)
            sources = []
            for role in ["lan1", "lan2"]:  # the second host's flow has the same source port
                s = self.home.socket(role, socket.AF_INET, kind)
                s.bind(("", 7304))
                s.connect((STRANGER, 9304))
                if kind == socket.SOCK_STREAM:
                    connection, source = at_stranger.accept()
                    connection.sendall(b"back")
                    connection.close()
                else:
                    s.send(b"out")
                    source = at_stranger.recvfrom(100)[1]
                    at_stranger.sendto(b"back", source)
                self.assertEqual(s.recv(100), b"back", role)
                sources.append(source)
            self.assertEqual(sources[0], (PUBLIC, outer))
            self.assertNotEqual(sources[1][1], outer)


class ForeignChains(unittest.TestCase):
    """What the router's own firewall does to our flows, on to the LAN and to itself."""

    @classmethod
    def setUpClass(cls):
        cls.home = cls.enterClassContext(Home())

    def named(self, *options, rules=""):
        """The chains named at start, forward and input."""
        if rules:
            self.home.nft("router", rules)
        try:
            gateway = self.home.gateway(*options, accept=False, ready="ready")
            gateway.stop()
        finally:
            if rules:
                self.home.nft("router", "delete table inet other")
        said = [re.findall("'([^']*)'", line.split("drops by default")[0]) for level in ["[W]", "[I]"]
                for line in gateway.lines if level in line and "drops by default" in line]
        return [name for names in said for name in names]

    def test_obstacles(self):
        """Forward and input chains that would drop our flows are named, those that let them pass are not"""
        accept = "--accept-chain"
        self.assertEqual(self.named(), ["inet filter forward", "inet filter input"])
        self.assertEqual(self.named(accept, "inet filter forward"), ["inet filter input"])
        self.assertEqual(self.named(accept, "inet filter forward", accept, "inet filter input"), [])
        hook = "table inet other {{ chain {0} {{ type filter hook {0} priority 10; policy {1}; {2}; }}; }}"
        for way in ["input", "forward"]:
            for policy, rules, drops in [
                    ("accept", "counter", False), ("drop", "tcp dport 22 accept", True), ("accept", "counter drop", True),
                    ("accept", "ct state established accept; reject with icmpx admin-prohibited", True),
                    ("accept", "tcp dport 23 drop", False), ("drop", "ct status dnat accept", False),
                    ("drop", "ct mark & 0x00400000 == 0x00400000 accept", False),
                    ("drop", "ct mark & 0x00800000 == 0x00800000 accept", True)]:
                names = self.named(rules=hook.format(way, policy, rules))
                self.assertEqual(f"inet other {way}" in names, drops, (way, policy, rules))

    def test_service_on_the_router(self):
        """A mapping to the router's own address passes an input chain that drops, by --accept-chain; nothing else does"""
        Echo(self.home, "router", 7400)
        for accepts, udp, tcp in [([], None, None), (["inet filter input"], b"echo hello", b"echo hello")]:
            gateway = self.home.gateway(*(word for chain in accepts for word in ["--accept-chain", chain]))
            # What the rule of such a mapping is: requests come from LAN hosts only. A UDP service on every address
            # answers strangers from the line's.
            outside = ("100.64.0.2", 20400)
            self.home.nft("router", f"""add element inet stunway inbound {{ udp . 20400 : {outside[0]} . 7400 }}
                                        add element inet stunway inbound {{ tcp . 20400 : {ROUTER} . 7400 }}""")
            self.assertEqual(knock_udp(self.home, outside, role="carrier", **({"timeout": 0.4, "tries": 1} if udp is None else {})), udp)
            self.assertEqual(knock_tcp(self.home, outside, role="carrier", timeout=0.4 if tcp is None else 5), tcp)
            self.assertIsNone(knock_udp(self.home, ("100.64.0.2", 7400), role="carrier", timeout=0.3, tries=1))
            gateway.stop()


OWN = "203.0.113.5"  # WAN's, where it is public


def public_wan(home, address=OWN):
    """Gives the line a public address; the carrier routes it."""
    for line in ["addr flush dev wan", f"addr add {address}/32 dev wan", "route replace default via 100.64.0.1 dev wan onlink"]:
        home.run("router", ["ip", *line.split()])
    for table in ["main", "103"]:
        home.run("carrier", ["ip", "route", "replace", f"{address}/32", "dev", "in", "table", table])


class Public(unittest.TestCase):
    """A line with a public address needs no hole."""

    @classmethod
    def setUpClass(cls):
        cls.home = cls.enterClassContext(Home(nat=False))
        public_wan(cls.home)
        cls.gateway = cls.home.gateway("--keepalive", "5", "--access", "deny 7777 0.0.0.0/0 0-65535",
                                       ready=[f"line {protocol}: public address={OWN}" for protocol in ["UDP", "TCP"]])

    def test_said(self):
        """The log and the table of mappings say that there is no NAT, and that strangers are let in"""
        self.gateway.wait_line("no NAT UDP filtering=endpoint-independent")
        self.gateway.wait_line("no NAT TCP")
        self.gateway._popen.send_signal(signal.SIGUSR1)
        line = self.gateway.wait_line("line UDP: public=")
        self.assertIn(f"public={OWN} nat=none mapping=endpoint-independent filtering=endpoint-independent", line)
        self.assertIn("nat=none", self.gateway.wait_line("line TCP: public="))

    def test_asked_port(self):
        """The asked port is given when it is free, and reached from outside and inside, UDP and TCP"""
        Echo(self.home, "lan1", 7501)
        pmp = Pmp(self.home)
        self.assertEqual(pmp.address().address, OWN)
        for opcode, knock in [(UDP, knock_udp), (TCP, knock_tcp)]:
            self.assertEqual(pmp.map(opcode, 7501, wish=40501).outer, 40501)
            for role in ["stranger", "stranger2", "lan2", "router"]:
                self.assertEqual(knock(self.home, (OWN, 40501), role=role), b"echo hello", (opcode, role))
            self.assertEqual(pmp.map(opcode, 7501, wish=40599).outer, 40501, "a renewal keeps its port")

    def test_another_port(self):
        """A port that another mapping, a program of the router's or a rule has, or a low one, is not given: another is"""
        taken = self.home.socket("router")
        taken.bind((OWN, 40502))
        self.assertEqual(Pmp(self.home, "lan2").map(UDP, 7502, wish=40503).outer, 40503)
        for wish in [40502, 40503, 7777, 1023, 0]:
            answer = Pmp(self.home).map(UDP, 7510 + wish % 89, wish=wish)
            self.assertEqual(answer.result, 0)
            self.assertIn(answer.outer, range(20000, 30000), wish)

    def test_no_keepalive(self):
        """No mapping asks a STUN server anything: only the watch holes do"""
        self.home.nft("router", """table inet count {
            set asks { type inet_service; size 1024; flags dynamic; }
            chain output { type filter hook output priority 0; udp dport 3478-3479 update @asks { udp sport }; }
        }""")
        self.addCleanup(self.home.nft, "router", "delete table inet count")
        for wish in range(40510, 40514):
            self.assertEqual(Pmp(self.home).map(UDP, wish, wish=wish).outer, wish)
        seen = len(self.gateway.lines)
        time.sleep(6)  # longer than --keepalive
        asks = self.home.nft("router", "list set inet count asks")
        self.assertIn("elements", asks, "the watch hole asks")
        self.assertNotIn("4051", asks)
        self.assertFalse([line for line in self.gateway.lines[seen:] if "[W]" in line or "[E]" in line])


class PublicOrNot(unittest.TestCase):
    """Lines that are not what their address says, and lines that change."""

    def test_filtered(self):
        """A line without a NAT that something filters is called that"""
        with Home(nat={"mode": "firewall", "filtering": "ad"}) as home:
            public_wan(home)
            home.run("carrier", ["ip", "route", "replace", "203.0.113.0/24", "dev", "nat-out"])
            gateway = home.gateway()
            line = gateway.wait_line("no NAT UDP filtering=address-dependent")
            self.assertIn("[W]", line)
            self.assertIn("the client has sent to that address first", line)

    def test_double_nat(self):
        """A public address behind another NAT still gets holes, and the outer port is that NAT's"""
        with Home() as home:
            public_wan(home, "198.18.0.2")
            gateway = home.gateway()
            gateway.wait_line("carrier's NAT UDP mapping")
            Echo(home, "lan1", 7601)
            pmp = Pmp(home)
            answer = pmp.map(UDP, 7601, wish=40601)
            self.assertNotEqual(answer.outer, 40601)
            self.assertEqual(pmp.address().address, PUBLIC)
            self.assertEqual(knock_udp(home, (PUBLIC, answer.outer)), b"echo hello")

    def test_line_changes(self):
        """When a NAT comes before a public line its mappings get holes, and when it goes they need none again"""
        with Home(nat=False) as home:
            public_wan(home)
            gateway = home.gateway("--watch", "1")
            gateway.wait_line("line TCP: public address")
            Echo(home, "lan1", 7602)
            pmp = Pmp(home)
            for opcode in [UDP, TCP]:
                self.assertEqual(pmp.map(opcode, 7602, wish=40602).outer, 40602)
            home.start_nat(**FULL_CONE)
            for opcode, knock in [(UDP, knock_udp), (TCP, knock_tcp)]:
                outer = eventually(lambda: pmp.map(opcode, 7602).outer not in (40602, 0) and pmp.map(opcode, 7602).outer, 40, "a hole")
                eventually(lambda: knock(home, (PUBLIC, outer)) == b"echo hello", 10, "reaching it")
            for table in ["100", "102"]:
                home.run("carrier", ["ip", "route", "flush", "table", table])
            home.run("carrier", ["ip", "route", "del", "203.0.113.0/24", "dev", "nat-out"])
            for opcode, knock in [(UDP, knock_udp), (TCP, knock_tcp)]:
                eventually(lambda: pmp.map(opcode, 7602).outer == 40602, 40, "the own port")
                eventually(lambda: knock(home, (OWN, 40602)) == b"echo hello", 10, "reaching it")


if __name__ == "__main__":
    unittest.main()
