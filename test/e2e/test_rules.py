# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may map what, the same endpoint from inside as from outside, and lines that need no hole."""
import re
import socket
import unittest

from lab.home import *
from lab.topology import LabError
from pmp import Pmp, TCP, UDP


class Access(unittest.TestCase):
    """--access, quotas, and who is served at all."""

    @classmethod
    def setUpClass(cls):
        cls.home = Home()
        cls.home.up()
        try:
            cls.gateway = cls.home.gateway(
                "--access", "deny 20000-20999 192.168.1.10/32 0-65535", "--access", f"allow 20000-21999 {LAN1} 1024-65535",
                "--access", f"deny 0-65535 {LAN1} 0-65535", "--access", "allow 0-65535 192.168.1.0/24 80",
                "--access", "deny 0-65535 192.168.1.0/24 0-65535", "--max-mappings-per-client", "6")
            cls.gateway.wait_line("NAT UDP mapping")
        except BaseException:
            cls.home.down()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.home.down()

    def test_allowed(self):
        """A request that a rule allows is served, by a relay port that the rule allows"""
        Echo(self.home, "lan1", 7001)
        pmp = Pmp(self.home)
        outers = [pmp.map(UDP, port).outer for port in range(7001, 7006)]
        self.assertEqual(knock_udp(self.home, (PUBLIC, outers[0])), b"echo hello")
        relays = [int(r) for key, r in self.home.elements("outbound").items() if key.startswith(f"udp.{LAN1}")]
        self.assertEqual((len(relays), [r for r in relays if not 21000 <= r <= 21999]), (5, []))

    def test_refused(self):
        """A request that no rule allows draws result 2, opens nothing and is said in the log, not for each one"""
        before = len(self.home.dump()["mappings"])
        pmp = Pmp(self.home, "lan2")
        for port in range(7011, 7051):
            answer = pmp.map(UDP, port)
            self.assertEqual((answer.result, answer.outer, answer.lifetime), (2, 0, 0))
        self.assertEqual(Pmp(self.home).map(UDP, 1023).result, 2)
        self.assertEqual(pmp.map(TCP, 80).result, 0)
        self.assertLessEqual(len(self.home.dump()["mappings"]), before + 1)
        self.assertFalse([k for k in self.home.elements("outbound") if ".70" in k and LAN2 in k])
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


if __name__ == "__main__":
    unittest.main()
