# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-gateway when the carrier forgets or renumbers: how soon all mappings are true again, and what it does not hold at all."""
import re
import signal
import time
import unittest

from lab.home import *
from pmp import Pmp, TCP, UDP

BAR_S = 4
NOISE_S = 8  # of a busy machine


def outers(gateway):
    """What the gateway holds, as SIGUSR1 asks for it: {(protocol, client): outer}."""
    mark = len(gateway.lines)
    gateway._popen.send_signal(signal.SIGUSR1)
    gateway.wait_line("NAT-PMP answered=", after=mark)
    found = (re.search(r"] mapping protocol=(\w+) client=(\S+) relay=\d+ outer=(\S+)", line) for line in gateway.lines[mark:])
    return {(m.group(1), m.group(2)): m.group(3) for m in found if m}


class Relearning(unittest.TestCase):
    def lab(self, alone=False):
        home = Home()
        home.up()
        self.addCleanup(home.down)
        if alone:
            home.stun.stop()
            home.stun = home.spawn("stun", [home.program("server"), "--ipv4", STUN], ready=f"listening tcp {STUN}:3478")
        return home

    def relearned(self, home, gateway, udp, tcp, event):
        """The seconds from an event until all mappings are others; and what was logged since."""
        for protocol in ["UDP", "TCP"]:
            gateway.wait_line(f"carrier's NAT {protocol}")
        pmp = Pmp(home)
        asked = [(UDP, 7001 + i) for i in range(udp)] + [(TCP, 8001 + i) for i in range(tcp)]
        self.assertEqual({pmp.map(*q).result for q in asked}, {0})
        relays = home.elements("outbound")
        time.sleep(3)  # TCP connections give a second answer: they stand
        old = outers(gateway)
        self.assertEqual(len(old), udp + tcp)
        mark, began = len(gateway.lines), time.monotonic()
        home.nat(event)

        def all_others():
            now = outers(gateway)
            return all(now.get(key, outer) != outer for key, outer in old.items())

        eventually(all_others, 20, "the last mapping's new outer port")
        took = time.monotonic() - began
        print(f"# {event}: {udp} UDP and {tcp} TCP mappings learned anew in {took:.2f} s (the bar is {BAR_S} s)")
        self.assertLess(took, BAR_S + NOISE_S)
        self.assertEqual(home.elements("outbound"), relays)
        now = outers(gateway)
        address = now["TCP", f"{LAN1}:8001"].rpartition(":")
        Echo(home, "lan1", 8001)
        self.assertEqual(knock_tcp(home, (address[0], int(address[2]))), b"echo hello")
        return gateway.lines[mark:]

    def gateway(self, home, *more, stun=(STUN,)):
        return home.gateway("--watch", "2", "--max-mappings-per-client", "200", *more, stun=stun)

    def test_forgotten(self):
        """A carrier that forgets all mappings without a word: TCP's are others as soon as UDP's, and no server is blamed"""
        home = self.lab()
        gateway = self.gateway(home, stun=(STUN, STUN_OTHER))
        lines = self.relearned(home, gateway, 50, 50, "flush")
        self.assertFalse([line for line in lines if "is silent over TCP" in line])

    def test_forgotten_one_server(self):
        """Likewise with one server, over whose only connection nothing can be asked while the old one stands"""
        home = self.lab(alone=True)
        self.relearned(home, self.gateway(home), 0, 100, "flush")

    def test_renumbered_one_server(self):
        """100 TCP mappings get another address, and one server tells"""
        home = self.lab(alone=True)
        self.relearned(home, self.gateway(home), 0, 100, "renumber 203.0.113.7")


class Silence(unittest.TestCase):
    def test_line_back(self):
        """After a silence that the line's own hole outlived all others are asked: some may have been forgotten meanwhile"""
        with Home({**FULL_CONE, "ports": "preserve"}) as home:
            gateway = home.gateway("--watch", "1", "--pool", "0")
            gateway.wait_line("carrier's NAT UDP")
            pmp = Pmp(home)
            self.assertEqual({pmp.map(UDP, port).result for port in range(7001, 7009)}, {0})
            relays = sorted(int(port) for port in home.elements("outbound").values())
            home.run("router", ["ip", "addr", "add", "100.64.0.9/10", "dev", "wan"])
            home.nft("router", "insert rule ip nat postrouting ip saddr 100.64.0.9 accept")
            others = [home.socket("router") for _ in relays]
            for other, port in zip(others, relays):
                other.bind(("100.64.0.9", port))
            mark = len(gateway.lines)
            home.nft("router", "table inet silence { chain out { type filter hook output priority 0; udp dport 3478 udp sport != { %s } drop; }; }"
                     % ", ".join(map(str, relays)))
            gateway.wait_line("line UDP: STUN servers fell silent", timeout=20, after=mark)
            home.nat("flush")
            for other in others:  # another subscriber comes by the ports that were kept
                other.sendto(b"mine now", (STRANGER, 9))
            home.nft("router", "delete table inet silence")
            gateway.wait_line("line UDP: public address", timeout=20, after=mark)
            began = time.monotonic()
            eventually(lambda: all(int(outer.rpartition(":")[2]) not in relays for outer in outers(gateway).values()), 30, "the last new port")
            took = time.monotonic() - began
            print(f"# {took:.2f} s after the line was back")
            self.assertLess(took, 5 + NOISE_S)


class Rate(unittest.TestCase):
    def test_no_more_than_can_be_held(self):
        """Mappings that --stun-rate cannot hold are refused, and those that are granted are held"""
        with Home() as home:
            gateway = home.gateway("--stun-rate", "1", "--pool", "0")
            gateway.wait_line("carrier's NAT UDP")
            pmp = Pmp(home)
            results = [pmp.map(UDP, port).result for port in range(7001, 7013)]
            self.assertEqual(results, [0] * 8 + [4] * 4)  # 1 a second, asked each 10 s, less a fifth
            gateway.wait_line("raise --stun-rate if they are yours")
            held = outers(gateway)
            time.sleep(12)
            self.assertEqual(outers(gateway), held)
            self.assertEqual(pmp.map(UDP, 7001).result, 0)
            self.assertEqual(pmp.map(UDP, 7002, lifetime=0).result, 0)
            self.assertEqual(pmp.map(UDP, 7012).result, 0)
            self.assertFalse([line for line in gateway.lines if "questions to STUN server" in line])


if __name__ == "__main__":
    unittest.main()
