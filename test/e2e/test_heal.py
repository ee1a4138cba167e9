# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-gateway where everything changes under it: the line, the LAN, the firewall (lab/topology.py)."""
import re
import signal
import time
import unittest

from clocks import Clocks
from lab.home import *
from lab.topology import ROUTER_RULES
from pmp import Pmp, TCP, UDP, announcement, listen_to_announcements


class Healing(unittest.TestCase):
    """What both kinds of tests ask."""

    def reached(self, home, outers, port, within, what):
        """Strangers reach a client's port over all of {opcode: outer}; returns how long it took."""
        began = time.monotonic()
        for op, outer in outers.items():
            if op == UDP:
                eventually(lambda: knock_udp(home, (PUBLIC, outer), timeout=0.5, tries=1), within, f"{what}: UDP")
            else:
                eventually(lambda: knock_tcp(home, (PUBLIC, outer), timeout=1), within, f"{what}: TCP")
        return time.monotonic() - began


class Firewall(Healing):
    """One home with mappings that others tear down."""

    PORTS = range(7001, 7013)

    @classmethod
    def setUpClass(cls):
        cls.home = cls.enterClassContext(Home())
        cls.gateway = cls.home.gateway(ready=CHECKED)
        cls.echo = Echo(cls.home, "lan1", 7001)
        pmp = Pmp(cls.home)
        cls.outers = {op: pmp.map(op, 7001).outer for op in [UDP, TCP]}
        for port in cls.PORTS:
            assert pmp.map(UDP, port).result == 0
        cls.whole = {m: cls.home.elements(m) for m in ["inbound", "outbound"]}
        cls.servers = cls.home.members("servers")

    def handle(self):
        """Our table's own: another after it was built anew."""
        listing = self.home.run("router", ["nft", "-a", "-t", "list", "table", "inet", "stunway"]).stdout
        return re.search(r"table inet stunway \{ # handle (\d+)", listing).group(1)

    def heals(self, script, said):
        """After an nft script all is as before within the bound, with the accept rule there once."""
        flow = self.home.socket("stranger")
        self.assertEqual(knock_udp(self.home, (PUBLIC, self.outers[UDP]), s=flow), b"echo hello")
        mark = len(self.gateway.lines)
        self.home.nft("router", script)
        began = time.monotonic()
        self.reached(self.home, self.outers, 7001, 10, "a stranger's way in")
        took = time.monotonic() - began
        print(f"# {script.strip().splitlines()[0]!r}: strangers are in again after {took:.2f} s (the bar is 2 s)")
        self.assertLess(took, 2 * PATIENCE)
        self.gateway.wait_line(said, after=mark)
        eventually(lambda: self.whole == {m: self.home.elements(m) for m in self.whole}, 2, "all mappings")
        self.assertEqual(self.home.members("servers"), self.servers)
        self.assertEqual(knock_udp(self.home, (PUBLIC, self.outers[UDP]), s=flow), b"echo hello", "a flow that was let in before")
        eventually(lambda: self.home.ruleset().count('comment "stunway"') == 1, 2, "the one accept rule")

    def test_table_deleted(self):
        """Our table is deleted: it stands again with all mappings"""
        self.heals("delete table inet stunway", "built anew")

    def test_ruleset_loaded_anew(self):
        """The whole ruleset is flushed and loaded from a file, as a firewall's restart does: ours stands again, accept rule included"""
        self.heals("flush ruleset\n" + ROUTER_RULES, "built anew")

    def test_accept_rule_gone(self):
        """The foreign firewall rebuilds its chain: our accept rule is put back, our table is left alone"""
        handle = self.handle()
        self.heals("flush chain inet filter forward\nadd rule inet filter forward ct state established,related accept\n"
                   "add rule inet filter forward iifname lan oifname wan accept", "put back")
        self.assertEqual(self.handle(), handle)

    def test_chain_gone_for_a_while(self):
        """The foreign table goes and comes back a second later: that is said, and our rule is put back when it is there"""
        mark = len(self.gateway.lines)
        self.home.nft("router", "delete table inet filter")
        self.assertIn("inet filter forward", self.gateway.wait_line("cannot be put back", after=mark))
        for _ in range(3):
            self.home.nft("router", "add table ip other; delete table ip other")
            time.sleep(0.1)
        self.assertEqual(sum("cannot be put back" in line for line in self.gateway.lines[mark:]), 1, "said once")
        self.heals(ROUTER_RULES.split("table ip nat")[0], "put back")

    def test_maps_flushed(self):
        """Our maps and our set are emptied: they fill again"""
        self.heals("flush map inet stunway inbound\nflush map inet stunway outbound", "built anew")
        self.heals("flush set inet stunway servers", "built anew")

    def test_chain_of_ours_emptied(self):
        """A chain of our table is emptied: it is written again"""
        self.heals("flush chain inet stunway open", "built anew")

    def test_others_work(self):
        """What others do in tables of their own costs a look and changes nothing of ours"""
        handle = self.handle()
        mark = len(self.gateway.lines)
        for i in range(20):
            self.home.nft("router", f"add table ip other{i}; delete table ip other{i}")
        time.sleep(0.3)
        self.assertEqual(self.handle(), handle)
        self.assertFalse([line for line in self.gateway.lines[mark:] if "somebody" in line])

    def test_stray_flow(self):
        """Who came while the rules were gone is led past the client; once they stand again he is let in on the same flow"""
        stranger = self.home.socket("stranger")
        stranger.bind((STRANGER, 9200))
        relay = self.whole["outbound"][f"udp.{LAN1}.7001"]
        self.home.nft("router", "flush map inet stunway inbound; add rule inet filter input udp dport " + relay + " accept")
        deadline = time.monotonic() + 5 * PATIENCE
        while time.monotonic() < deadline:
            stranger.sendto(b"now", (PUBLIC, self.outers[UDP]))
            stranger.settimeout(0.05)
            try:
                self.assertEqual(stranger.recvfrom(100)[0], b"echo now")
                return
            except TimeoutError:
                pass
        self.fail("the flow stays led astray")

    def test_conntrack_flushed(self):
        """conntrack -F while strangers talk: UDP and TCP holes live, and the ports stay"""
        self.home.run("router", ["conntrack", "-F"])
        self.reached(self.home, self.outers, 7001, 10, "a stranger's way in")
        pmp = Pmp(self.home)
        self.assertEqual({op: pmp.map(op, 7001).outer for op in self.outers}, self.outers)


class Line(Healing):
    """One home a test: the line and the LANs come, go and change."""

    LAN_OF = ["link set dev lan1 master lan", "link set dev lan2 master lan"]

    def ip(self, home, *lines, role="router"):
        home.run(role, ["ip", "-batch", "-"], input="\n".join(lines) + "\n")

    def mapped(self, home, *options, port=7001, **more):
        """A gateway with a UDP and a TCP mapping of lan1's echo: (gateway, pmp, outers)."""
        gateway = home.gateway("--watch", "1", *options, ready=CHECKED, **more)
        Echo(home, "lan1", port)
        pmp = Pmp(home)
        outers = {op: pmp.map(op, port).outer for op in [UDP, TCP]}
        self.reached(home, outers, port, 5, "at first")
        return gateway, pmp, outers

    def healed(self, home, pmp, gateway, port=7001, relays=None, within=15):
        """Renewals and strangers are well again; the relay ports are the same."""
        def all_in():
            answers = {op: pmp.map(op, port, timeout=1) for op in [UDP, TCP]}
            if not all(a and a.result == 0 for a in answers.values()):
                return None
            return knock_udp(home, (PUBLIC, answers[UDP].outer), timeout=0.5, tries=1) and \
                knock_tcp(home, (PUBLIC, answers[TCP].outer), timeout=1)
        began = time.monotonic()
        eventually(all_in, within, "the mappings")
        print(f"# {self.shortDescription()!r}: healed after {time.monotonic() - began:.2f} s")
        if relays:
            self.assertEqual(home.elements("outbound"), relays)

    def test_address_changes(self):
        """The line gets another address: the holes move there with their relay ports"""
        with Home() as home:
            gateway, pmp, outers = self.mapped(home)
            relays = home.elements("outbound")
            s = listen_to_announcements(home)
            self.ip(home, "addr del 100.64.0.2/10 dev wan", "addr add 100.64.0.9/10 dev wan", "route replace default via 100.64.0.1")
            gateway.wait_line("line wan=wan address=100.64.0.9")
            self.healed(home, pmp, gateway, relays=relays)
            self.assertEqual(announcement(s).address, PUBLIC)
            inner = {m["inner"].split(":")[0] for m in home.dump()["mappings"] if m["inner"].split(":")[1] in relays.values()}
            self.assertIn("100.64.0.9", inner)
            self.assertEqual(gateway.stop(), 0)

    def test_redial(self):
        """The line's interface vanishes and comes back as another with another address: nothing is lost (PPPoE redial)"""
        with Home() as home:
            gateway, pmp, outers = self.mapped(home, "--fault-grace", "5")
            relays = home.elements("outbound")
            self.ip(home, "link del wan")
            gateway.wait_line("no interface wan=wan")
            began = time.monotonic()
            self.assertEqual({op: pmp.map(op, 7001).outer for op in outers}, outers, "a renewal always succeeds")
            self.assertIsNone(pmp.map(UDP, 7002, timeout=0.5))
            self.assertIsNone(pmp.address(timeout=0.5))
            time.sleep(max(0, began + 5.2 - time.monotonic()))
            self.assertEqual(eventually(lambda: pmp.map(UDP, 7003, timeout=0.5), what="an answer").result, 3)
            self.wan_back(home, "100.64.0.8")
            self.healed(home, pmp, gateway, relays=relays)
            self.assertEqual(pmp.map(UDP, 7002).result, 0)
            self.assertEqual(pmp.address().address, PUBLIC)

    def wan_back(self, home, address, name="wan"):
        port = "router" if name == "wan" else name
        self.ip(home, f"link add name {port} type veth peer name {name} netns {home.ns('router')}",
                f"link set dev {port} master in", f"link set dev {port} up", role="carrier")
        self.ip(home, f"link set dev {name} up", f"addr add {address}/10 dev {name}", "route replace default via 100.64.0.1 dev " + name)

    def test_same_address_again(self):
        """The line loses its address for a moment and gets it again: the outer ports stay"""
        with Home() as home:
            gateway, pmp, outers = self.mapped(home)
            self.ip(home, "addr del 100.64.0.2/10 dev wan")
            gateway.wait_line("interface wan=wan has no IPv4 address: waiting")
            time.sleep(3)  # longer than a question takes to fail
            self.ip(home, "addr add 100.64.0.2/10 dev wan", "route replace default via 100.64.0.1")
            self.reached(home, outers, 7001, 10, "by the old ports")
            self.assertEqual({op: pmp.map(op, 7001).outer for op in outers}, outers)
            self.assertFalse([line for line in gateway.lines if "hole lost" in line])

    def test_starts_without_line(self):
        """Started before there is a line it waits, says so, and serves when the line comes up"""
        with Home() as home:
            self.ip(home, "link del wan")
            gateway = home.gateway(ready="ready")
            gateway.wait_line("no interface wan=wan: there are lan, lan1, lan2; waiting for it")
            pmp = Pmp(home)
            self.assertIsNone(pmp.map(UDP, 7001, timeout=0.5))
            self.ip(home, f"link add name router type veth peer name wan netns {home.ns('router')}", "link set dev router master in",
                    "link set dev router up", role="carrier")
            self.ip(home, "link set dev wan up")
            gateway.wait_line("interface wan=wan has no IPv4 address: waiting")
            self.ip(home, "addr add 100.64.0.2/10 dev wan", "route replace default via 100.64.0.1")
            Echo(home, "lan1", 7001)
            self.healed(home, pmp, gateway)
            self.assertEqual(gateway.stop(), 0)

    def test_default_route_moves(self):
        """Without --wan the line is where the default route leads: to another interface, firewall included, and back"""
        with Home() as home:
            argv = [home.program("gateway"), "--watch", "1", "--stun", STUN, "--log-level", "debug", *ACCEPT]
            gateway = home.spawn("router", argv, ready="NAT TCP mapping")
            home.nft("router", 'add rule ip nat postrouting oifname "lte" masquerade; add rule inet filter forward iifname lan oifname lte accept')
            Echo(home, "lan1", 7001)
            pmp = Pmp(home)
            self.healed(home, pmp, gateway)
            relays = home.elements("outbound")
            self.wan_back(home, "100.64.0.7", "lte")
            gateway.wait_line("line wan=lte address=100.64.0.7")
            self.healed(home, pmp, gateway, relays=relays)
            self.assertIn('iifname "lte"', home.nft("router", "list table inet stunway"))
            self.assertFalse([line for line in gateway.lines if "lan=wan" in line], "what was the line is no LAN")
            self.ip(home, "route replace default via 100.64.0.1 dev wan", "link del lte")
            self.healed(home, pmp, gateway, relays=relays)
            self.assertIn('iifname "wan"', home.nft("router", "list table inet stunway"))

    def test_lan_recreated(self):
        """The LAN's bridge is deleted and made again: NAT-PMP is served there on, and mappings live"""
        with Home() as home:
            gateway, pmp, outers = self.mapped(home)
            self.ip(home, "link del lan")
            gateway.wait_line("no interface lan=lan")
            mark = len(gateway.lines)
            self.ip(home, "link add name lan type bridge forward_delay 0", *self.LAN_OF, "addr add 192.168.1.1/24 dev lan", "link set dev lan up")
            gateway.wait_line("serving NAT-PMP lan=lan address=192.168.1.1", after=mark)
            self.assertEqual(eventually(lambda: pmp.map(UDP, 7001, timeout=1)).outer, outers[UDP])
            self.reached(home, outers, 7001, 10, "after the bridge came back")

    def test_lan_address(self):
        """A LAN address added later is answered from at once, its subnet's clients are neighbours, and no longer when it goes"""
        with Home() as home:
            home.gateway()
            self.ip(home, "addr add 192.168.7.1/24 dev lan")
            self.ip(home, "addr add 192.168.7.9/24 dev eth0", role="lan2")
            pmp = Pmp(home, "lan2", bind="192.168.7.9", gateway="192.168.7.1")
            answer = eventually(lambda: pmp.address(timeout=0.5), what="an answer from the new address")
            self.assertEqual((answer.address, answer.source[0]), (PUBLIC, "192.168.7.1"))
            self.ip(home, "addr del 192.168.7.1/24 dev lan")
            again = Pmp(home, "lan2", bind="192.168.7.9", gateway="192.168.1.1")
            self.ip(home, "route replace 192.168.7.9/32 dev lan")
            eventually(lambda: again.address(timeout=0.5) is None, what="silence")

    def test_lan_later(self):
        """A LAN that comes up later is served, also where none is named"""
        with Home() as home:
            argv = [home.program("gateway"), "--wan", "wan", "--stun", STUN]
            gateway = home.spawn("router", argv, ready="public address")
            home.nft("router", 'insert rule inet filter input iifname "lan2" accept')
            self.ip(home, "link set dev lan2 nomaster", "addr add 192.168.9.1/24 dev lan2")
            self.ip(home, "addr add 192.168.9.9/24 dev eth0", role="lan2")
            gateway.wait_line("lan=lan2 address=192.168.9.1")
            pmp = Pmp(home, "lan2", bind="192.168.9.9", gateway="192.168.9.1")
            self.assertEqual(eventually(lambda: pmp.map(UDP, 7001, timeout=1)).result, 0)


class Sleep(Healing):
    def test_suspended(self):
        """A machine that slept asks every hole at once, and leases ran on meanwhile"""
        with Home() as home:
            clocks = Clocks(home)
            gateway = home.gateway("--watch", "300", "--keepalive", "300", env=clocks.env)
            gateway.wait_line("NAT TCP mapping")
            Echo(home, "lan1", 7001)
            pmp = Pmp(home)
            old = {op: pmp.map(op, 7001, lifetime=36000).outer for op in [UDP, TCP]}
            pmp.map(UDP, 7002, lifetime=120)
            home.nat("flush")  # the carrier did not wait for us
            mark = len(gateway.lines)
            clocks.set(slept=3600)
            gateway.wait_line("the machine slept for 3600 s", after=mark)
            gateway.wait_line(f"mapping expired: protocol=UDP client={LAN1}:7002", after=mark)
            for protocol in ["UDP", "TCP"]:
                gateway.wait_line(f"hole changed: protocol={protocol} client={LAN1}:7001", timeout=20, after=mark)
            new = {op: pmp.map(op, 7001).outer for op in old}
            self.assertTrue(all(new[op] != old[op] for op in old))
            self.reached(home, new, 7001, 5, "after the sleep")


class Renumbering(Healing):
    COUNT = 100

    def table(self, gateway):
        """The gateway's lines about its mappings, as SIGUSR1 asks for them."""
        mark = len(gateway.lines)
        gateway._popen.send_signal(signal.SIGUSR1)
        gateway.wait_line("NAT-PMP answered=", after=mark)
        return [line for line in gateway.lines[mark:] if "] mapping protocol=" in line]

    def test_hundred(self):
        """The carrier renumbers 100 live mappings: all are learned anew, the firewall is right, it is announced"""
        new = "203.0.113.7"
        with Home() as home:
            gateway = home.gateway("--watch", "2", "--max-mappings-per-client", "200", stun=(STUN, STUN_OTHER), ready=CHECKED)
            pmp = Pmp(home)
            asked = [(op, port) for port in range(7001, 7001 + self.COUNT // 2) for op in [UDP, TCP]]
            self.assertEqual({pmp.map(*q).result for q in asked}, {0})
            relays = home.elements("outbound")
            s = listen_to_announcements(home)
            mark, began = len(gateway.lines), time.monotonic()
            home.nat(f"renumber {new}")
            suspected = None
            learned = 0
            while learned < self.COUNT and time.monotonic() - began < 20 * PATIENCE:
                if suspected is None and any("hole is checked again" in line or new in line for line in gateway.lines[mark:]):
                    suspected = time.monotonic()
                time.sleep(0.1)
                learned = sum(f"outer={new}:" in line for line in self.table(gateway))
            took, since = time.monotonic() - began, time.monotonic() - (suspected or began)
            print(f"# {learned} of {self.COUNT} learned anew {took:.2f} s after the event (the bar is 4 s), {since:.2f} s after the suspicion (2 s)")
            self.assertEqual(learned, self.COUNT)
            self.assertLess(took, 4 * PATIENCE)
            self.assertEqual(home.elements("outbound"), relays)
            eventually(lambda: announcement(s).address == new, 5, "the announcement")
            Echo(home, "lan1", 7001)
            for op, knock in [(UDP, knock_udp), (TCP, knock_tcp)]:
                self.assertEqual(knock(home, (new, pmp.map(op, 7001).outer)), b"echo hello")


if __name__ == "__main__":
    unittest.main()
