# SPDX-License-Identifier: GPL-2.0-or-later
"""Other people's STUN clients, behind every kind of NAT, against stunway-server.

    customer 100.64.0.3, .4 --- carrier: natbox, or routed --- net --- stun
    2001:db8:64::3

Two servers stand on stun, each with two addresses of IPv4 and two ports:

    plain       198.51.100.1, .2 (and 2001:db8:100::1, ::2)
    translated  198.51.100.21, .22, which nftables there turns into 10.9.0.1, .2: a 1:1 NAT, so PUBLIC/LOCAL

The clients are Debian's: `stun` of stun-client (vovida, RFC 3489), `turnutils_stunclient` and `turnutils_natdiscovery`
of coturn (RFC 5780). They wait for silence, for seconds; so those of one NAT run at the same time.
"""
import os
import re
import unittest
from concurrent.futures import ThreadPoolExecutor

from lab.topology import Lab

CUSTOMER, CUSTOMER_2, OUTER = "100.64.0.3", "100.64.0.4", "203.0.113.1"
PLAIN, TRANSLATED, IPV6 = "198.51.100.1", "198.51.100.21", "2001:db8:100::1"
OTHER = {PLAIN: "198.51.100.2", TRANSLATED: "198.51.100.22", IPV6: "2001:db8:100::2"}
ONE_TO_ONE = """
table ip one_to_one {
    chain in {
        type nat hook prerouting priority dstnat;
        dnat to ip daddr map { 198.51.100.21 : 10.9.0.1, 198.51.100.22 : 10.9.0.2 }
    }
    chain out {
        type nat hook postrouting priority srcnat;
        snat to ip saddr map { 10.9.0.1 : 198.51.100.21, 10.9.0.2 : 198.51.100.22 }
    }
}
"""
EI, AD, APD = "Endpoint Independent", "Address Dependent", "Address and Port Dependent"

lab = None


def start_servers():
    server = os.path.join(lab.build, "stunway-server")
    lab.run("customer", ["ip", "addr", "add", f"{CUSTOMER_2}/10", "dev", "eth0"])
    for public, local in ((TRANSLATED, "10.9.0.1"), (OTHER[TRANSLATED], "10.9.0.2")):
        lab.run("net", ["ip", "route", "add", public, "via", PLAIN, "dev", "stun", "onlink"])
        lab.run("stun", ["ip", "addr", "add", f"{local}/32", "dev", "lo"])
    lab.nft("stun", ONE_TO_ONE)
    lab.spawn("stun", [server, "--ipv4", PLAIN, "--ipv4", OTHER[PLAIN], "--ipv6", IPV6, "--ipv6", OTHER[IPV6], "--workers", "2"],
              ready=f"listening tcp [{OTHER[IPV6]}]:3479")
    lab.spawn("stun", [server, "--ipv4", f"{TRANSLATED}/10.9.0.1", "--ipv4", f"{OTHER[TRANSLATED]}/10.9.0.2", "--workers", "1"],
              ready=f"listening tcp {OTHER[TRANSLATED]}:3479 local=10.9.0.2:3479")


class Heard:
    """What turnutils_* print, read apart: an answer is {"origin", "other", "reflexive"} with (address, port) each."""

    WORDS = {"Response origin": "origin", "Other addr": "other", "UDP reflexive addr": "reflexive"}

    def __init__(self, text):
        self.text = text
        self.answers = []
        for part in text.split("RFC 5780 response")[1:]:
            found = re.findall(r"IPv[46]\. ([A-Za-z ]+?)\s*(?:: )?: (\S+):(\d+)$", part, re.M)
            self.answers.append({self.WORDS[words]: (ip, int(port)) for words, ip, port in found if words in self.WORDS})
        self.mapping = self.verdict("Mapping")
        self.filtering = self.verdict("Filtering")

    def verdict(self, kind):
        match = re.search(rf"NAT with (.*) {kind}!", self.text)
        return match.group(1) if match else None


def client(*argv, seconds=20):
    """The client's output; one that waits for ever is ended after these seconds."""
    done = lab.run("customer", ["timeout", str(seconds), *argv], check=False, timeout=seconds + 10)
    return done.stdout + done.stderr


def natdiscovery(*argv):
    return Heard(client("turnutils_natdiscovery", *argv))


def at_once(*calls):
    """Results of (function, argument...) that run side by side."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [f.result() for f in [pool.submit(*call) for call in calls]]


class Case(unittest.TestCase):
    ROUTED = False  # the carrier only routes

    @classmethod
    def setUpClass(cls):
        global lab
        lab = Lab(nat=False if cls.ROUTED else {}, router=False)
        lab.up()
        cls.addClassCleanup(lab.down)
        start_servers()

    def assert_verdict(self, text, verdict):
        """What `stun` says in its line "Primary: ..."."""
        self.assertRegex(text, rf"(?m)^Primary: {verdict}")

    def everything(self, verdict, mapping, filtering, outer=OUTER):
        """All clients against both servers: stun's verdict, natdiscovery's two, the addresses told. IPv6 is filtered likewise."""
        servers = (PLAIN, TRANSLATED)
        calls = [(client, "stun", s) for s in servers] + [(natdiscovery, "-m", s) for s in servers]
        calls += [(natdiscovery, "-f", s) for s in (*servers, IPV6)] + [(natdiscovery, "-m", IPV6)]
        *v, m1, m2, f1, f2, f6, m6 = at_once(*calls)
        for text in v:
            self.assert_verdict(text, verdict)
        for server, m, f in zip(servers, (m1, m2), (f1, f2)):
            with self.subTest(server=server):
                self.assertEqual((m.mapping, f.filtering), (mapping, filtering), m.text + f.text)
                self.assert_answers(m, server, outer)
                self.assert_answers(f, server, outer)
        self.assertEqual((m6.mapping, f6.filtering), (EI, filtering), m6.text + f6.text)
        self.assert_answers(m6, IPV6, "2001:db8:64::3")

    def assert_answers(self, heard, server, outer):
        first = heard.answers[0]
        self.assertEqual((first["origin"], first["other"]), ((server, 3478), (OTHER[server], 3479)), heard.text)
        self.assertEqual({a["reflexive"][0] for a in heard.answers}, {outer}, heard.text)
        self.assertIn("No ALG: Mapped == XOR-Mapped", heard.text)


class Routed(Case):
    """No NAT."""

    ROUTED = True

    def test_open_internet(self):
        """OpenInternet: no NAT, nothing filtered"""
        self.everything("Open", EI, EI, outer=CUSTOMER)

    def test_stunclient(self):
        """turnutils_stunclient without a NAT: plain, RESPONSE-PORT with a change of both, PADDING of 1,500 bytes with a change of both"""
        for server in (PLAIN, TRANSLATED):
            heard = Heard(client("turnutils_stunclient", server))
            other = (OTHER[server], 3479)
            self.assertEqual([a["origin"] for a in heard.answers], [(server, 3478), other, other], heard.text)
            self.assertEqual({a["other"] for a in heard.answers}, {other})
            self.assertEqual({a["reflexive"][0] for a in heard.answers}, {CUSTOMER})

    def test_natdiscovery_padding(self):
        """turnutils_natdiscovery -P: fragments, in both directions, from all sockets"""
        calls = [(natdiscovery, "-m", "-f", "-P", s) for s in (PLAIN, TRANSLATED, IPV6)]
        for heard in at_once(*calls):
            self.assertEqual((heard.mapping, heard.filtering), (EI, EI), heard.text)


class Behind(Case):
    """natbox in the carrier."""

    def nat(self, **options):
        lab.start_nat(**options)

    def test_full_cone(self):
        """FullCone"""
        self.nat(mapping="ei", filtering="ei", ports="random")
        self.everything("Independent Mapping, Independent Filter", EI, EI)

    def test_restricted_cone(self):
        """RestrictedCone"""
        self.nat(mapping="ei", filtering="ad", ports="random")
        self.everything("Independent Mapping, Address Dependent Filter", EI, AD)

    def test_port_restricted_cone(self):
        """PortRestrictedCone"""
        self.nat(mapping="ei", filtering="apd", ports="random")
        self.everything("Independent Mapping, Port Dependent Filter", EI, APD)

    def test_symmetric(self):
        """Symmetric"""
        self.nat(mapping="apd", filtering="apd", ports="random")
        self.everything("Dependent Mapping", APD, APD)

    def test_symmetric_by_address(self):
        """Symmetric by address only

        natdiscovery says "and port" here: for its last question it takes OTHER-ADDRESS from the second answer instead of
        the first, so that it asks the first address at another port and compares with what the second address saw.
        """
        self.nat(mapping="ad", filtering="ad", ports="random")
        m, v = at_once((natdiscovery, "-m", PLAIN), (client, "stun", PLAIN))
        self.assertEqual(m.mapping, APD)
        self.assertEqual([a["origin"] for a in m.answers], [(PLAIN, 3478), (OTHER[PLAIN], 3478), (PLAIN, 3479)])
        self.assertEqual(m.answers[0]["reflexive"], m.answers[2]["reflexive"])
        self.assertNotEqual(m.answers[0]["reflexive"], m.answers[1]["reflexive"])
        self.assert_verdict(v, "Dependent Mapping")

    def test_symmetric_udp_firewall(self):
        """SymmetricUDPFirewall: no NAT, but a stateful filter"""
        self.nat(mode="firewall", filtering="apd")
        self.everything("Firewall", EI, APD, outer=CUSTOMER)

    def test_blocked(self):
        """Blocked: no UDP at all"""
        self.nat(block_udp=True)
        v, m, f = at_once((client, "stun", PLAIN), (natdiscovery, "-m", PLAIN), (natdiscovery, "-f", TRANSLATED))
        self.assert_verdict(v, "Blocked")
        for heard in (m, f):
            self.assertEqual((heard.answers, heard.mapping, heard.filtering), ([], None, None))
            self.assertIn("STUN receive timeout", heard.text)

    def test_stunclient_behind_nat(self):
        """turnutils_stunclient behind a NAT gets its first answer

        Its second question wants the answer at its next local port (RESPONSE-PORT), which no NAT has mapped, and it waits for
        it without a limit: so no NAT lets it get further, and it has to be ended.
        """
        self.nat(mapping="ei", filtering="ei")
        for server in (PLAIN, TRANSLATED):
            heard = stunclient_first(server)
            self.assertEqual(heard.answers[0]["origin"], (server, 3478), heard.text)
            self.assertEqual(heard.answers[0]["reflexive"][0], OUTER)

    def test_natdiscovery_lifetime(self):
        """turnutils_natdiscovery -t: a mapping that lives is answered at its port (RESPONSE-PORT), one that timed out is not"""
        self.nat(mapping="ei", filtering="ei", ports="random", udp_timeout=3)
        alive, dead = at_once((natdiscovery, "-t", "-T", "1", PLAIN), (natdiscovery, "-t", "-T", "5", TRANSLATED))
        self.assertEqual(len(alive.answers), 2, alive.text)
        self.assertNotEqual(alive.answers[0]["reflexive"], alive.answers[1]["reflexive"])
        self.assertEqual(len(dead.answers), 1, dead.text)
        self.assertIn("STUN receive timeout", dead.text)

    def test_natdiscovery_hairpin_and_collision(self):
        """turnutils_natdiscovery -H and -c: the mapped address it is told works from inside; two customers are told apart"""
        self.nat(mapping="ei", filtering="ei", hairpin=True)
        hairpin, collision = at_once((natdiscovery, "-H", PLAIN), (natdiscovery, "-c", "-A", CUSTOMER_2, TRANSLATED))
        self.assertIn("successful hairpinning", hairpin.text)
        self.assertEqual(len(collision.answers), 2, collision.text)
        one, two = (a["reflexive"] for a in collision.answers)
        self.assertEqual((one[0], two[0]), (OUTER, OUTER))
        self.assertNotEqual(one, two)



def stunclient_first(server):
    """What turnutils_stunclient prints of its first answer."""
    process = lab.spawn("customer", ["stdbuf", "-oL", "turnutils_stunclient", server], ready="UDP reflexive addr")
    process.stop()
    return Heard("\n".join(process.lines))
