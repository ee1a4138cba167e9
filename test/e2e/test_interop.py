# SPDX-License-Identifier: GPL-2.0-or-later
"""Other people's STUN clients, behind every kind of NAT, against stunway-server.

    customer 100.64.0.3, .4 --- carrier: natbox, or routed --- net --- stun
    2001:db8:64::3

Everything is asked twice. First of one host: two servers on stun, each with two addresses of IPv4 and two ports:

    plain       198.51.100.1, .2 (and 2001:db8:100::1, ::2)
    translated  198.51.100.21, .22, which nftables there turns into 10.9.0.1, .2: a 1:1 NAT, so PUBLIC/LOCAL

Then of two nodes, A on stun and B on stun2, each with one address of a family, and either of them is asked:

    plain       198.51.100.1 and .11 (and 2001:db8:100::1 and ::11)
    translated  198.51.100.21, which nftables on stun turns into 10.9.0.1, and .31

The clients are Debian's: `stun` of stun-client (vovida, RFC 3489), `turnutils_stunclient` and `turnutils_natdiscovery`
of coturn (RFC 5780). They wait for silence, for seconds; so those of one NAT run at the same time.
"""
import itertools
import os
import re
import unittest
from concurrent.futures import ThreadPoolExecutor

from lab.topology import Lab

CUSTOMER, CUSTOMER_2, OUTER = "100.64.0.3", "100.64.0.4", "203.0.113.1"
PLAIN, TRANSLATED, IPV6 = "198.51.100.1", "198.51.100.21", "2001:db8:100::1"
SECOND = {PLAIN: "198.51.100.2", TRANSLATED: "198.51.100.22", IPV6: "2001:db8:100::2"}  # on the same host
NODE_B = {PLAIN: "198.51.100.11", TRANSLATED: "198.51.100.31", IPV6: "2001:db8:100::11"}  # on the other
LOCAL = {TRANSLATED: "10.9.0.1", SECOND[TRANSLATED]: "10.9.0.2"}
KEY = b"sixteen bytes or more\n"
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
source_ports = itertools.count(16384, 2)  # of `stun`, which takes two; left to itself it draws them, and two draws may meet


def server(role, *argv, ready, workers=1):
    return lab.spawn(role, [os.path.join(lab.build, "stunway-server"), *argv, "--workers", str(workers)], ready=ready)


def translate(*public):
    """The 1:1 NAT on stun, for these."""
    for one in public:
        lab.run("net", ["ip", "route", "add", one, "via", PLAIN, "dev", "stun", "onlink"])
        lab.run("stun", ["ip", "addr", "add", f"{LOCAL[one]}/32", "dev", "lo"])
    lab.nft("stun", ONE_TO_ONE)


class OneHost:
    """Who is asked; what each names as its other address; how they come up."""

    SERVERS = (PLAIN, TRANSLATED)
    SERVERS6 = (IPV6,)
    OTHER = SECOND

    def start_servers(self):
        translate(TRANSLATED, SECOND[TRANSLATED])
        server("stun", "--ipv4", PLAIN, "--ipv4", SECOND[PLAIN], "--ipv6", IPV6, "--ipv6", SECOND[IPV6], workers=2,
               ready=f"listening tcp [{SECOND[IPV6]}]:3479")
        server("stun", *(w for one in (TRANSLATED, SECOND[TRANSLATED]) for w in ("--ipv4", f"{one}/{LOCAL[one]}")),
               ready=f"listening tcp {SECOND[TRANSLATED]}:3479 local={LOCAL[SECOND[TRANSLATED]]}:3479")


class TwoNodes:
    """The same of two nodes."""

    OTHER = {**NODE_B, **{b: a for a, b in NODE_B.items()}}
    SERVERS = tuple(one for one in OTHER if ":" not in one)
    SERVERS6 = tuple(one for one in OTHER if ":" in one)

    def start_servers(self):
        translate(TRANSLATED)
        lab.run("net", ["ip", "route", "add", NODE_B[TRANSLATED], "dev", "stun2"])
        lab.run("stun2", ["ip", "addr", "add", f"{NODE_B[TRANSLATED]}/32", "dev", "eth0"])
        key = f"{lab.directory}/node.key"
        with open(key, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
            f.write(KEY)
        nodes = []
        for pair, workers in (((PLAIN, IPV6), 2), ((TRANSLATED,), 1)):
            for role, own in (("stun", pair), ("stun2", [NODE_B[one] for one in pair])):
                argv = ["--node-key-file", key]
                for one in own:
                    family = "6" if ":" in one else "4"
                    argv += [f"--ipv{family}", f"{one}/{LOCAL[one]}" if one in LOCAL else one]
                    argv += [f"--peer-ipv{family}", self.OTHER[one]]
                nodes.append((server(role, *argv, workers=workers, ready="listening"), [self.OTHER[one] for one in own]))
        for node, peers in nodes:
            for peer in peers:
                node.wait_line(f"peer answers peer={f'[{peer}]' if ':' in peer else peer}:3478")


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


def verdict(server):
    """What `stun` says of the NAT."""
    return client("stun", server, "-p", str(next(source_ports)))


def natdiscovery(*argv):
    return Heard(client("turnutils_natdiscovery", *argv))


def at_once(*calls):
    """Results of (function, argument...) that run side by side."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [f.result() for f in [pool.submit(*call) for call in calls]]


class Case(unittest.TestCase):
    ROUTED = False  # the carrier only routes
    FIXTURE = OneHost()

    @classmethod
    def setUpClass(cls):
        global lab
        lab = Lab(nat=False if cls.ROUTED else {}, router=False)
        lab.up()
        cls.addClassCleanup(lab.down)
        lab.run("customer", ["ip", "addr", "add", f"{CUSTOMER_2}/10", "dev", "eth0"])
        cls.FIXTURE.start_servers()

    def setUp(self):
        self.servers, self.servers6, self.other = self.FIXTURE.SERVERS, self.FIXTURE.SERVERS6, self.FIXTURE.OTHER

    def shortDescription(self):
        return super().shortDescription() + (" [two nodes]" if isinstance(self.FIXTURE, TwoNodes) else "")

    def each(self, *calls, servers=None):
        """All these clients of all servers (of IPv4) at the same time; pairs of a server and its list of results."""
        servers = servers or self.servers
        results = at_once(*((call, *argv, s) for s in servers for call, *argv in calls))
        return [(s, results[i * len(calls):(i + 1) * len(calls)]) for i, s in enumerate(servers)]

    def assert_verdict(self, text, verdict):
        """What `stun` says in its line "Primary: ..."."""
        self.assertRegex(text, rf"(?m)^Primary: {verdict}")

    def everything(self, primary, mapping, filtering, outer=OUTER):
        """All clients of all servers: stun's verdict, natdiscovery's two, the addresses told. IPv6 is filtered likewise."""
        tests = (natdiscovery, "-m"), (natdiscovery, "-f")
        of4, of6 = at_once((self.each, (verdict,), *tests), (lambda: self.each(*tests, servers=self.servers6),))
        for server, (v, m, f) in of4:
            with self.subTest(server=server):
                self.assert_verdict(v, primary)
                self.assertEqual((m.mapping, f.filtering), (mapping, filtering), m.text + f.text)
                self.assert_answers(m, server, outer)
                self.assert_answers(f, server, outer)
        for server, (m, f) in of6:
            with self.subTest(server=server):
                self.assertEqual((m.mapping, f.filtering), (EI, filtering), m.text + f.text)
                self.assert_answers(m, server, "2001:db8:64::3")

    def assert_answers(self, heard, server, outer):
        first = heard.answers[0]
        self.assertEqual((first["origin"], first["other"]), ((server, 3478), (self.other[server], 3479)), heard.text)
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
        for server in self.servers:
            heard = Heard(client("turnutils_stunclient", server))
            other = (self.other[server], 3479)
            self.assertEqual([a["origin"] for a in heard.answers], [(server, 3478), other, other], heard.text)
            self.assertEqual({a["other"] for a in heard.answers}, {other})
            self.assertEqual({a["reflexive"][0] for a in heard.answers}, {CUSTOMER})

    def test_natdiscovery_padding(self):
        """turnutils_natdiscovery -P: fragments, in both directions, from all sockets"""
        for _, (heard,) in self.each((natdiscovery, "-m", "-f", "-P"), servers=(*self.servers, *self.servers6)):
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
        for server, (m, v) in self.each((natdiscovery, "-m"), (verdict,)):
            self.assertEqual(m.mapping, APD)
            self.assertEqual([a["origin"] for a in m.answers], [(server, 3478), (self.other[server], 3478), (server, 3479)])
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
        for _, (v, m, f) in self.each((verdict,), (natdiscovery, "-m"), (natdiscovery, "-f")):
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
        for server in self.servers:
            heard = stunclient_first(server)
            self.assertEqual(heard.answers[0]["origin"], (server, 3478), heard.text)
            self.assertEqual(heard.answers[0]["reflexive"][0], OUTER)

    def test_natdiscovery_lifetime(self):
        """turnutils_natdiscovery -t: a mapping that lives is answered at its port (RESPONSE-PORT), one that timed out is not"""
        self.nat(mapping="ei", filtering="ei", ports="random", udp_timeout=5)
        alive, dead = at_once((natdiscovery, "-t", "-T", "1", PLAIN), (natdiscovery, "-t", "-T", "8", TRANSLATED))
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


class NodesRouted(Routed):
    """No NAT, two nodes."""

    FIXTURE = TwoNodes()


class NodesBehind(Behind):
    """natbox in the carrier, two nodes."""

    FIXTURE = TwoNodes()


def stunclient_first(server):
    """What turnutils_stunclient prints of its first answer."""
    process = lab.spawn("customer", ["stdbuf", "-oL", "turnutils_stunclient", server], ready="UDP reflexive addr")
    process.stop()
    return Heard("\n".join(process.lines))
