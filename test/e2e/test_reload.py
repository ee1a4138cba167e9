# SPDX-License-Identifier: GPL-2.0-or-later
"""What SIGHUP changes while the gateway runs: the permanent mappings and the hook. The rest of the options: test_service.py."""
import os
import signal
import time
import unittest

from lab.home import *
from pmp import Pmp, TCP, UDP
from test_state import listed, stored


def section(name, protocol, ip, port, relay=None):
    return f"[mapping {name}]\nprotocol = {protocol}\ninternal_ip = {ip}\ninternal_port = {port}\n" + (f"relay_port = {relay}\n" if relay else "")


class Reload(unittest.TestCase):
    def setUp(self):
        self.home = self.enterContext(Home())
        self.state = self.home.state_file()
        self.conf = f"{self.home.directory}/gateway.conf"

    def write(self, *parts):
        with open(self.conf, "w", encoding="ascii") as file:
            file.write("[gateway]\nstate-lazy = 1\n" + "".join(parts))
        os.chmod(self.conf, 0o600)  # the helper alone may read it

    def start(self, *parts):
        self.write(*parts)
        self.gateway = self.home.gateway("--config", self.conf, "--accept-chain", "inet filter input", state=self.state, ready=CHECKED)

    def reload(self, *parts, changed):
        self.write(*parts)
        mark = len(self.gateway.lines)
        self.gateway._popen.send_signal(signal.SIGHUP)
        line = self.gateway.wait_line("configuration read again", after=mark)
        self.assertIn(f'changed="{changed}"', line)
        self.assertFalse([line for line in self.gateway.lines[mark:] if "[E]" in line])


class Sections(Reload):
    def reached(self, *key):
        """A mapping's outer port, when a stranger reaches what is behind it."""
        knock = knock_tcp if key[0] == "TCP" else knock_udp

        def there():
            m = listed(self.gateway).get(key)
            outer = m and m["state"] == "open" and int(m["outer"].rsplit(":", 1)[1])
            return outer and knock(self.home, (PUBLIC, outer)) == b"echo hello" and outer
        return eventually(there, 15, f"{key} is reached")

    def test_sections(self):
        """Sections that are gone end, new ones begin, changed ones are made anew, the others do not notice"""
        for role, port in [("lan1", 7401), ("lan1", 7402), ("router", 7403), ("lan2", 7404)]:
            Echo(self.home, role, port)
        web, game = section("web", "tcp", LAN1, 7401, 25000), section("game", "udp", LAN1, 7402)
        box = section("box", "udp", LAN2, 7404)
        self.start(web, game, box)
        before = {key: self.reached(*key) for key in [("TCP", 7401), ("UDP", 7402), ("UDP", 7404)]}
        flow = self.home.socket("stranger")
        self.assertEqual(knock_udp(self.home, (PUBLIC, before["UDP", 7402]), s=flow), b"echo hello")
        mark = len(self.gateway.lines)
        self.reload(web, section("box", "udp", LAN2, 7404, 25001), section("ssh", "tcp", ROUTER, 7403), changed="[mapping NAME]")
        self.reached("TCP", 7403)
        self.reached("UDP", 7404)
        self.assertEqual(self.reached("TCP", 7401), before["TCP", 7401])
        self.assertFalse([line for line in self.gateway.lines[mark:] if ":7401" in line and "] hole" in line], "the hole stayed as it was")
        eventually(lambda: knock_udp(self.home, (PUBLIC, before["UDP", 7402]), s=flow, timeout=0.3) is None, what="the end of the old flow")
        rules = self.home.elements("inbound")
        self.assertEqual((len(rules), rules["tcp.25000"], rules["udp.25001"]), (3, f"{LAN1}.7401", f"{LAN2}.7404"))
        eventually(lambda: set(stored(self.state)) == {("TCP", 7401), ("TCP", 7403), ("UDP", 7404)}, 10, "the state file")

    def test_a_clients_becomes_permanent(self):
        """A section for what a client has already makes that permanent: same ports, and no longer the client's to delete"""
        self.start()
        Echo(self.home, "lan1", 7410)
        pmp = Pmp(self.home)
        granted = {op: pmp.map(op, 7410).outer for op in [UDP, TCP]}
        relays = self.home.elements("outbound")
        self.reload(section("a", "udp", LAN1, 7410), section("b", "tcp", LAN1, 7410), changed="[mapping NAME]")
        self.assertEqual(self.reached("UDP", 7410), granted[UDP])
        self.reached("TCP", 7410)
        self.assertEqual(self.home.elements("outbound"), relays)
        self.assertEqual({m["expires"] for m in listed(self.gateway).values()}, {"never"})
        self.assertEqual(pmp.map(UDP, 7410, lifetime=0).result, 2)

    def test_a_relay_port_that_a_client_has(self):
        """A section that wants the relay port of a client's mapping gets it; the client keeps its mapping, and hears of another port"""
        self.start()
        Echo(self.home, "lan1", 7411)
        Echo(self.home, "lan2", 7420)
        pmp = Pmp(self.home)
        old = pmp.map(UDP, 7411)
        relay = self.home.elements("outbound")[f"udp.{LAN1}.7411"]
        time.sleep(1.1)  # so that an epoch that goes on is greater than the seconds since
        began = time.monotonic()
        self.reload(section("box", "udp", LAN2, 7420, relay), changed="[mapping NAME]")
        self.reached("UDP", 7420)
        self.assertNotEqual(self.reached("UDP", 7411), old.outer)
        self.assertNotEqual(self.home.elements("outbound")[f"udp.{LAN1}.7411"], relay)
        self.assertEqual(self.home.elements("inbound")[f"udp.{relay}"], f"{LAN2}.7420")
        again = pmp.map(UDP, 7411)
        self.assertEqual(again.result, 0)
        self.assertLessEqual(again.epoch, time.monotonic() - began)

    def test_access(self):
        """What --access forbids from now on are clients' mappings, not the configuration's own"""
        Echo(self.home, "lan1", 7401)
        web = section("web", "tcp", LAN1, 7401)
        self.start(web)
        outer = self.reached("TCP", 7401)
        self.assertEqual(Pmp(self.home).map(TCP, 7402).result, 0)
        self.reload(f"access = deny 0-65535 {LAN1} 0-65535\n", web, changed="--access")
        self.assertEqual(set(listed(self.gateway)), {("TCP", 7401)})
        self.assertEqual(self.reached("TCP", 7401), outer)

    def test_wrong(self):
        """A mistake in a section changes nothing"""
        Echo(self.home, "lan1", 7401)
        self.start(section("web", "tcp", LAN1, 7401))
        outer = self.reached("TCP", 7401)
        self.write(section("web", "tcp", LAN1, 7402), section("game", "icmp", LAN1, 7402))
        self.gateway._popen.send_signal(signal.SIGHUP)
        self.gateway.wait_line("configuration not read again, all stays as it is")
        self.assertEqual(self.reached("TCP", 7401), outer)


class Hook(Reload):
    def setUp(self):
        super().setUp()
        self.told_at = f"{self.home.directory}/told"
        with open(self.told_at, "w", encoding="ascii"):
            os.chmod(self.told_at, 0o666)  # the hook runs as nobody

    def hook(self, name):
        """The line that makes a program the hook; the program notes its name, the event and the client's port."""
        path = f"{self.home.directory}/{name}"
        with open(path, "w", encoding="ascii") as file:
            file.write(f'#!/bin/sh\necho "{name} $STUNWAY_EVENT $STUNWAY_INTERNAL_PORT" >>{self.told_at}\n')
        os.chmod(path, 0o755)
        return f"hook = {path}\n"

    def told(self):
        with open(self.told_at, encoding="ascii") as file:
            return [tuple(line.split()) for line in file]

    def test_hook(self):
        """Another hook is told from the next event on, none is told nothing, and one that comes first of what is open"""
        a, b, c = self.hook("a"), self.hook("b"), self.hook("c")
        self.start(a)
        pmp = Pmp(self.home)
        self.assertEqual(pmp.map(UDP, 7001).result, 0)
        eventually(lambda: self.told() == [("a", "open", "7001")], what="a")
        self.reload(b, changed="--hook")
        self.assertEqual(pmp.map(UDP, 7002).result, 0)
        self.assertEqual(pmp.map(UDP, 7001, lifetime=0).result, 0)
        eventually(lambda: sorted(self.told()[1:]) == [("b", "close", "7001"), ("b", "open", "7002")], what="b")
        self.reload(changed="--hook")
        self.assertEqual(pmp.map(UDP, 7003).result, 0)
        time.sleep(0.5)
        self.assertEqual(len(self.told()), 3)
        self.reload(c, changed="--hook")
        eventually(lambda: sorted(self.told()[3:]) == [("c", "open", "7002"), ("c", "open", "7003")], what="c")
        self.reload(c, changed="")
        self.assertEqual(pmp.map(UDP, 7003, lifetime=0).result, 0)
        eventually(lambda: self.told()[5:] == [("c", "close", "7003")], what="c again")

    def test_timeout(self):
        """Another --hook-timeout counts from the next event on"""
        slow = f"{self.home.directory}/slow"
        with open(slow, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexec sleep 100\n")
        os.chmod(slow, 0o755)
        self.start(f"hook = {slow}\n")
        self.reload(f"hook = {slow}\nhook-timeout = 1\n", changed="--hook-timeout")
        self.assertEqual(Pmp(self.home).map(UDP, 7001).result, 0)
        self.gateway.wait_line("hook was ended: it took longer than 1 s event=open")


if __name__ == "__main__":
    unittest.main()
