# SPDX-License-Identifier: GPL-2.0-or-later
"""A permanent mapping for a service at the line's own address (internal_ip = wan), which is not always the same, nor always there."""
import signal
import unittest

from lab.home import *
from test_state import listed, stored

FIRST, SECOND = "100.64.0.2", "100.64.1.9"


class OnWan(unittest.TestCase):
    def setUp(self):
        self.home = self.enterContext(Home())
        self.state = self.home.state_file()
        self.conf = f"{self.home.directory}/gateway.conf"
        self.echo = Echo(self.home, "router", 7404)

    def start(self, sections="", **more):
        with open(self.conf, "w", encoding="ascii") as file:
            file.write(f"[mapping vpn]\nprotocol = udp\ninternal_ip = wan\ninternal_port = 7404\n{sections}")
        self.gateway = self.home.gateway("--config", self.conf, "--watch", "1", "--state-lazy", "1", "--accept-chain", "inet filter input", state=self.state, **more)

    def line(self, *changes):
        for change in changes:
            self.home.run("router", ["ip", *change.split()])

    def to(self, address, old=None):
        self.line(*([f"addr del {old}/10 dev wan"] if old else []), f"addr add {address}/10 dev wan", "route replace default via 100.64.0.1")

    def rule(self):
        """Where the relay port leads."""
        return {value for key, value in self.home.elements("inbound").items() if key == f"udp.{self.relay}"}

    def assert_at(self, address):
        """The mapping leads to that address, and a stranger gets there."""
        eventually(lambda: listed(self.gateway)["UDP", 7404]["client"] == f"{address}:7404", 10, f"following to {address}")
        self.relay = listed(self.gateway)["UDP", 7404]["relay"]
        eventually(lambda: self.rule() == {f"{address}.7404"}, 10, "the rule")
        eventually(lambda: (m := listed(self.gateway)["UDP", 7404])["state"] == "open" and
                   knock_udp(self.home, (PUBLIC, int(m["outer"].rsplit(":", 1)[1])), timeout=1, tries=1) == b"echo hello", 10, "an echo")

    def test_follows(self):
        """It goes along with the line's address, its relay port and the file with it, also over a restart at another one"""
        self.start()
        self.assert_at(FIRST)
        relay = self.relay
        self.to(SECOND, FIRST)
        self.assert_at(SECOND)
        self.assertEqual(self.relay, relay)
        eventually(lambda: stored(self.state)["UDP", 7404]["internal_ip"] == SECOND, 10, "the state file")
        self.gateway.stop(signal.SIGKILL)
        self.to(FIRST, SECOND)
        self.start(ready="mappings restored=1 permanent=1")
        self.assert_at(FIRST)
        self.assertEqual(self.relay, relay)
        self.assertFalse([line for line in self.gateway.lines if "[E]" in line])

    def test_before_the_line(self):
        """Where the line has no address yet it leads nowhere, and to the line's own as soon as there is one"""
        self.start()
        self.assert_at(FIRST)
        relay = self.relay
        self.gateway.stop()
        self.line(f"addr del {FIRST}/10 dev wan")
        self.start(ready="ready")
        self.assertEqual(self.home.elements("inbound"), {})
        self.gateway.stop(signal.SIGKILL)
        self.start(ready="ready")  # what was written without an address is no harm
        self.assertFalse([line for line in self.gateway.lines if "[E]" in line or "left out" in line])
        self.to(SECOND)
        self.assert_at(SECOND)
        self.assertEqual(self.relay, relay)

    def test_in_the_way(self):
        """Where another mapping has that address and port it ends, and is named"""
        self.start(f"[mapping other]\nprotocol = udp\ninternal_ip = {SECOND}\ninternal_port = 7404\n")
        self.assertEqual(eventually(lambda: len(self.home.elements("inbound")) == 2), True)
        self.to(SECOND, FIRST)
        self.gateway.wait_line(f"permanent mapping ended, its host and port are another's now: protocol=UDP client={FIRST}:7404")
        self.assertEqual([m["client"] for m in listed(self.gateway).values()], [f"{SECOND}:7404"])
        eventually(lambda: set(self.home.elements("inbound").values()) == {f"{SECOND}.7404"}, 10, "one rule")


if __name__ == "__main__":
    unittest.main()
