# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-gateway with more mappings than it ends in one turn of its loop."""
import socket
import struct
import time
import unittest

from lab.home import *
from pmp import Pmp, UDP

COUNT = 700


def map_all(s, ports):
    """Asks for all that are not granted yet, 50 each 100 ms, until all are."""
    left, deadline = set(ports), time.monotonic() + 30 * PATIENCE
    s.settimeout(0.1)
    while left:
        assert time.monotonic() < deadline, f"{len(left)} of {len(ports)} were not granted"
        for port in sorted(left)[:50]:
            s.sendto(struct.pack("!BBHHHI", 0, UDP, 0, port, 0, 3600), (ROUTER, 5351))
        try:
            while True:
                answer = s.recv(100)
                if answer[:4] == b"\0\x81\0\0":
                    left.discard(struct.unpack("!H", answer[8:10])[0])
        except TimeoutError:
            pass


class Many(unittest.TestCase):
    def test_deleted_at_once(self):
        """One request deletes all; what the client maps right after it, before all of the old have ended, lives"""
        with Home() as home:
            gateway = home.gateway("--max-mappings", "2000", "--max-mappings-per-client", "2000", "--stun-rate", "1000")
            gateway.wait_line("carrier's NAT UDP")
            pmp = Pmp(home)
            map_all(pmp.socket, range(7001, 7001 + COUNT))
            self.assertEqual(len(home.elements("inbound")), COUNT)
            pmp = Pmp(home)  # the same client: no late answer to what it asked for twice comes here
            pmp.socket.sendto(struct.pack("!BBHHHI", 0, UDP, 0, 0, 0, 0), (ROUTER, 5351))
            again = {7001, 7001 + COUNT // 2, 7000 + COUNT}
            for port in again:
                pmp.socket.sendto(struct.pack("!BBHHHI", 0, UDP, 0, port, 0, 3600), (ROUTER, 5351))
            answers = {}
            while len(answers) < 1 + len(again):
                data = pmp.socket.recv(100)
                answers[struct.unpack("!H", data[8:10])[0]] = data
            self.assertEqual(answers[0][:4], b"\0\x81\0\0")
            self.assertEqual(struct.unpack("!I", answers[0][12:16])[0], 0)
            self.assertEqual({port: struct.unpack("!I", answers[port][12:16])[0] for port in again}, dict.fromkeys(again, 120))
            eventually(lambda: set(home.elements("inbound").values()) == {f"{LAN1}.{port}" for port in again}, what="the end of all others")
            Echo(home, "lan1", 7001)
            self.assertEqual(knock_udp(home, (PUBLIC, struct.unpack("!H", answers[7001][10:12])[0])), b"echo hello")


if __name__ == "__main__":
    unittest.main()
