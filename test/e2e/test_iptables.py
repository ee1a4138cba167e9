# SPDX-License-Identifier: GPL-2.0-or-later
"""The mappings of test_gateway.py through the second firewall: a router whose own rules are iptables', in both forms it comes in."""
import os
import signal
import subprocess
import time
import unittest

import test_gateway
import test_rules
from lab.home import *
from pmp import Pmp, TCP, UDP

# A mapping's life as the firewall has part in it; what else a gateway does is the same with any.
SERVING = ["udp", "tcp", "outbound", "client_talks_to_the_stun_server", "two_clients_and_protocols", "only_what_was_asked",
           "neighbours_of_the_line", "delete_one", "delete_all", "clean_exit"]
LIFE = ["expiry"]
HAIRPIN = ["from_the_lan", "only_that_endpoint", "it_follows"]
OWN = ["killed", "foreign_rules", "taken_away", "faults", "automatic"]


def there(form):
    """Does this kernel know the form? iptables-legacy has tables of its own, which new kernels may be built without."""
    return subprocess.run(["unshare", "-n", form, "-t", "nat", "-S"], capture_output=True).returncode == 0


class Form:
    """What every test here is run with."""

    @classmethod
    def setUpClass(cls):
        os.environ["STUNWAY_FIREWALL"] = cls.form
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        del os.environ["STUNWAY_FIREWALL"]

    def shortDescription(self):
        return f"{self.form}: {super().shortDescription()}"


class Own(unittest.TestCase):
    """What nftables has no counterpart of."""

    def iptables(self, home, *words):
        return home.run("router", [self.form, *words]).stdout

    def test_killed(self):
        """What a killed gateway left is gone after the next start, also of another line and other chains; foreign rules stay"""
        with Home() as home:
            before = home.ruleset()
            gateway = home.gateway()
            self.assertEqual([Pmp(home).map(op, port).result for op in [UDP, TCP] for port in [7, 700, 60000]], [0] * 6)
            self.assertEqual(gateway.stop(signal.SIGKILL), -9)
            self.iptables(home, "-t", "nat", "-I", "PREROUTING", "-i", "ppp9", "-m", "comment", "--comment", "stunway", "-j", "STUNWAY-IN")
            self.assertEqual(len(home.elements("inbound")), 6)
            gateway = home.gateway("--mark", "0x10/0x30", ready="ready")
            rules = home.ruleset()
            self.assertEqual(rules.count("--comment stunway"), 6, rules)
            self.assertEqual((home.elements("inbound"), home.elements("outbound")), ({}, {}))
            self.assertNotRegex(rules, r"STUNWAY-\w+-\w+-[0-9a-f]{2}|0x400000|ppp9")
            self.assertEqual(gateway.stop(), 0)
            self.assertEqual(home.ruleset(), before)

    def test_foreign_rules(self):
        """Rules that others write between ours stay, in their order and as they were, through changes and after the end"""
        with Home() as home:
            foreign = ["-A PREROUTING -d 100.64.0.2/32 -p tcp -m tcp --dport 80 -m comment --comment \"a \\\"b\\\" stunway\" -j DNAT --to-destination 192.168.1.10:80",
                       "-A FORWARD -m comment --comment \"no stunway here\" -j DROP"]
            home.run("router", [f"{self.form}-restore", "--noflush"], input=f"*nat\n{foreign[0]}\nCOMMIT\n*filter\n{foreign[1]}\nCOMMIT\n")
            before = home.ruleset()
            gateway = home.gateway()
            self.assertEqual(Pmp(home).map(UDP, 7100).result, 0)
            while_it_runs = home.ruleset().split("\n")
            self.assertLess(*(i for i, line in enumerate(while_it_runs) if line.startswith("-A PREROUTING")))
            for line in foreign:
                self.assertIn(line, while_it_runs)
            self.assertEqual(gateway.stop(), 0)
            self.assertEqual(home.ruleset(), before)

    def test_taken_away(self):
        """What somebody did to our chains is mended, and a table that was flushed is built anew, unasked"""
        with Home() as home:
            gateway = home.gateway()
            pmp = Pmp(home)
            self.assertEqual(pmp.map(UDP, 7200).result, 0)
            held = home.elements("inbound")
            chain = re.search(r":(STUNWAY-UDP-IN-\w+)", home.ruleset()).group(1)
            for spoilt in [chain, "STUNWAY-IN"]:
                self.iptables(home, "-t", "nat", "-F", spoilt)
                time.sleep(1.1)  # the firewall is asked once a second
                self.assertEqual(pmp.map(UDP, 7200).result, 0)
                self.assertEqual(home.elements("inbound"), held)
                self.assertIn("-A STUNWAY-IN -p udp -j STUNWAY-UDP-IN", home.ruleset())
            Echo(home, "lan1", 7200)
            outer = pmp.map(UDP, 7200).outer
            self.iptables(home, "-t", "nat", "-F", "PREROUTING")
            eventually(lambda: knock_udp(home, (PUBLIC, outer), timeout=1, tries=1) == b"echo hello", what="strangers are in again")
            gateway.wait_line("[W] somebody took our mappings from the firewall")
            self.assertEqual(pmp.map(TCP, 7201).result, 0)
            self.assertEqual(gateway.stop(), 0)
            self.assertNotIn("STUNWAY", home.ruleset())

    def test_automatic(self):
        """Where a chain of iptables is to let our flows pass, --firewall auto is iptables; nftables refuses, and says why"""
        with Home() as home:
            chain = ["--accept-chain", "ip filter FORWARD"]
            gateway = home.gateway("--firewall", "auto", *chain, accept=False)
            gateway.wait_line("firewall=iptables, since nftables does not do")
            Echo(home, "lan1", 7300)
            self.assertEqual(knock_udp(home, (PUBLIC, Pmp(home).map(UDP, 7300).outer)), b"echo hello")
            self.assertEqual(gateway.stop(), 0)
            before = home.ruleset()
            done = home.run("router", [home.program("gateway"), "--wan", "wan", "--lan", "lan", "--firewall", "nftables", *chain], check=False)
            self.assertEqual(done.returncode, 4)
            self.assertIn("use --firewall iptables", done.stderr)
            self.assertEqual((home.ruleset(), home.nft("router", "list tables")), (before, "table ip filter\ntable ip nat\n"))

    def test_faults(self):
        """What cannot be is said in one line: no right, a chain of nftables, one that is not there; a dropping FORWARD is named"""
        with Home() as home:
            before = home.ruleset()
            argv = [home.program("gateway"), "--wan", "wan", "--lan", "lan", "--stun", STUN, "--firewall", self.form]
            for wrap, chain, said in [
                    (["setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin"], "ip filter FORWARD", "no right to change the firewall"),
                    ([], "inet filter forward", "--accept-chain 'inet filter forward': with iptables it is 'ip filter CHAIN'"),
                    ([], "ip filter -F", "--accept-chain 'ip filter -F'"), ([], "ip filter NOWHERE", "is --accept-chain right")]:
                done = home.run("router", [*wrap, *argv, "--accept-chain", chain], check=False)
                self.assertEqual(done.returncode, 4, done.stderr)
                self.assertIn(said, done.stderr)
                self.assertEqual(home.ruleset(), before)
            gateway = home.gateway(accept=False)
            self.assertIn("chain 'ip filter FORWARD' drops by default", gateway.wait_line("drops by default"))
            self.assertEqual(gateway.stop(), 0)


class ByHand(unittest.TestCase):
    def test_none(self):
        """--firewall none needs no right and touches no rule: holes are held, and a rule by hand lets strangers through"""
        with Home() as home:
            before = home.ruleset()
            gateway = home.spawn("router", ["setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin", home.program("gateway"),
                                            "--wan", "wan", "--lan", "lan", "--stun", STUN, "--firewall", "none"], ready="NAT UDP mapping")
            Echo(home, "lan1", 7400)
            pmp = Pmp(home)
            outer = pmp.map(UDP, 7400).outer
            relay = re.search(r"relay=(\d+)", gateway.wait_line(f"hole open: protocol=UDP client={LAN1}:7400")).group(1)
            self.assertEqual({pmp.map(UDP, 7400, lifetime=s).result for s in [0, 60] * 20}, {0})
            self.assertEqual(home.ruleset(), before)
            self.assertLess(len([line for line in gateway.lines if "cannot scrub" in line]), 15, "what clients cause is said now and then")
            home.nft("router", f"""table ip hand {{ chain in {{ type nat hook prerouting priority dstnat;
                                       iifname "wan" udp dport {relay} dnat to {LAN1}:7400; }}; }}
                                   insert rule inet filter forward ct status dnat accept""")
            self.assertEqual(knock_udp(home, (PUBLIC, outer)), b"echo hello")
            self.assertEqual(gateway.stop(), 0)


def load_tests(loader, tests, pattern):
    suite = unittest.TestSuite()
    wanted = loader.testNamePatterns
    for form in filter(there, ["iptables-nft", "iptables-legacy"]):
        for base, names in [(test_gateway.Serving, SERVING), (test_gateway.Life, LIFE), (test_rules.Hairpin, HAIRPIN), (Own, OWN)]:
            cls = type(base.__name__, (Form, base), {"form": form, "__module__": __name__})
            if form == "iptables-legacy":  # "iptables" is the other one in Debian, and once is enough for what only takes its time
                names = [n for n in names if n not in ("automatic", "expiry")]
            suite.addTests(cls(f"test_{name}") for name in names if not wanted or any(w.strip("*") in f"{form}.{name}" for w in wanted))
    if not wanted or any(w.strip("*") in "none" for w in wanted):
        suite.addTest(ByHand("test_none"))
    return suite
