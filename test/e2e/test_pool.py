# SPDX-License-Identifier: GPL-2.0-or-later
"""Holes that stand ready, and STUN servers that fail and come back."""
import os
import signal
import socket
import struct
import threading
import time
import unittest

from lab.home import *
from pmp import Pmp, TCP, UDP

def usr1(gateway, words):
    """A line of the state that SIGUSR1 draws."""
    mark = len(gateway.lines)
    gateway._popen.send_signal(signal.SIGUSR1)
    return gateway.wait_line(words, after=mark)


def ready(gateway, n):
    """Whether the pool has n holes of each protocol ready."""
    return f"pool: UDP={n} TCP={n} " in usr1(gateway, "mappings count=")


class Pool(unittest.TestCase):
    def test_at_once(self):
        """While STUN servers are 800 ms away a new mapping is answered from the pool before they could be asked, and it fills up again"""
        with Home({**FULL_CONE, "delay": 400}) as home:
            gateway = home.gateway("--pool", "3")
            eventually(lambda: ready(gateway, 3), 25, "a full pool")
            pmp = Pmp(home)
            took = []
            for op in [UDP, TCP, UDP, TCP, UDP, TCP]:
                Echo(home, "lan1", 7000 + len(took))
                began = time.monotonic()
                answer = pmp.map(op, 7000 + len(took))
                took.append(time.monotonic() - began)
                self.assertEqual(answer.result, 0)
                knock = knock_udp if op == UDP else knock_tcp
                self.assertEqual(knock(home, (PUBLIC, answer.outer), timeout=10), b"echo hello")
            print("# answers from the pool:", ", ".join(f"{t * 1000:.1f} ms" for t in took))
            self.assertLess(max(took), 0.8)
            eventually(lambda: ready(gateway, 3), 10, "a full pool")
            self.assertEqual(len(home.elements("outbound")), 6, "spare holes are no rules")
            self.assertEqual(gateway.stop(), 0)

    def test_renumbered_pool(self):
        """A hole of the pool that is another since the carrier renumbered is not handed out as it was"""
        with Home() as home:
            gateway = home.gateway("--watch", "1")
            eventually(lambda: ready(gateway, 2), 10, "a full pool")
            home.nat("renumber 203.0.113.7")
            gateway.wait_line("public address=203.0.113.7")
            pmp = Pmp(home)
            Echo(home, "lan1", 7100)
            answer = pmp.map(UDP, 7100)
            self.assertEqual(knock_udp(home, ("203.0.113.7", answer.outer)), b"echo hello")

    def test_no_place(self):
        """The pool takes no place of a mapping: the last relay port and the last of --max-mappings are the clients'"""
        with Home() as home:
            gateway = home.gateway("--max-mappings", "4", "--relay-ports", "25000-25002", "--pool", "64")
            gateway.wait_line("NAT TCP mapping")
            eventually(lambda: "pool: UDP=3 TCP=3 " in usr1(gateway, "mappings count="), 10, "a pool of the whole range")
            pmp = Pmp(home)
            self.assertEqual([pmp.map(op, p).result for op, p in [(UDP, 1), (UDP, 2), (UDP, 3), (UDP, 4), (TCP, 1), (TCP, 2)]],
                             [0, 0, 0, 4, 0, 4])
            eventually(lambda: "pool: UDP=0 TCP=0 " in usr1(gateway, "mappings count="), 10, "an empty pool")
            self.assertEqual(pmp.map(UDP, 1, lifetime=0).result, 0)
            self.assertEqual(pmp.map(UDP, 5).result, 0)

    def test_not_suited(self):
        """Behind a NAT that is not suited there is no pool and no scout"""
        with Home({"mapping": "apd", "filtering": "apd", "ports": "random"}) as home:
            gateway = home.gateway("--pool", "8", "--watch", "300", ready=CHECKED)
            files = len(os.listdir(f"/proc/{gateway.pid}/fd"))
            time.sleep(1.5)
            self.assertLessEqual(len(os.listdir(f"/proc/{gateway.pid}/fd")), files)
            self.assertIn("pool: UDP=0 TCP=0 ", usr1(gateway, "mappings count="))


class Servers(unittest.TestCase):
    def test_failover(self):
        """When a server dies its holes go elsewhere within one keepalive and stay; when it returns it is asked again"""
        with Home() as home:
            home.stun.stop()
            first = home.spawn("stun", [home.program("server"), "--ipv4", STUN], ready=f"listening tcp {STUN}:3479")
            home.spawn("stun2", [home.program("server"), "--ipv4", STUN2], ready=f"listening tcp {STUN2}:3479")
            gateway = home.gateway("--keepalive", "5", "--watch", "1", stun=(STUN, STUN2))
            pmp = Pmp(home)
            outers = {(op, port): pmp.map(op, port).outer for op in [UDP, TCP] for port in range(7200, 7206)}
            first.stop(signal.SIGKILL)
            for protocol in ["UDP", "TCP"]:
                eventually(lambda: "state=silent" in usr1(gateway, f"STUN server {protocol} {STUN}:"), 15, f"silence over {protocol}")
            time.sleep(6)
            self.assertFalse([line for line in gateway.lines if "hole lost" in line])
            Echo(home, "lan1", 7200)
            self.assertEqual(knock_udp(home, (PUBLIC, pmp.map(UDP, 7200).outer)), b"echo hello")
            self.assertEqual({key: pmp.map(*key).outer for key in outers}, outers)
            home.spawn("stun", [home.program("server"), "--ipv4", STUN], ready=f"listening tcp {STUN}:3479")
            gateway.wait_line(f"STUN server {STUN}:3478 answers again over UDP", timeout=45)

    def count_questions(self, home):
        """A STUN server at STUN2 that answers over UDP; returns the list of the kernel's times of its questions."""
        s, times = home.socket("stun2", timeout=None), []
        s.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        s.bind((STUN2, 3478))

        def serve():
            try:
                while True:
                    question, ancillary, _, peer = s.recvmsg(100, 100)
                    times.append(sum(x * y for x, y in zip(struct.unpack("ll", ancillary[0][2]), (1, 1e-9))))
                    port, ip = peer[1] ^ 0x2112, bytes(a ^ b for a, b in zip(socket.inet_aton(peer[0]), b"\x21\x12\xa4\x42"))
                    s.sendto(b"\1\1\0\x0c" + question[4:20] + struct.pack("!HHBBH4s", 0x20, 8, 0, 1, port, ip), peer)
            except OSError:
                pass  # closed: the laboratory ends

        threading.Thread(target=serve, daemon=True).start()
        return times

    def moved(self, gateway):
        """How many mappings are open at the new address."""
        mark = len(gateway.lines)
        usr1(gateway, "NAT-PMP answered=")
        return sum("outer=203.0.113.7:" in line and "state=open" in line for line in gateway.lines[mark:])

    def test_hundred(self):
        """With two servers, each asked at most 100 times a second, 100 mappings are re-learned within 2 s of the line's move"""
        with Home() as home:
            times = self.count_questions(home)
            gateway = home.gateway("--watch", "1", "--max-mappings-per-client", "100", "--log-level", "info", stun=(STUN, f"udp:{STUN2}"))
            gateway.wait_line("NAT UDP mapping")
            pmp = Pmp(home)
            asks = [struct.pack("!BBHHHI", 0, UDP, 0, 8000 + i, 0, 3600) for i in range(100)]
            for ask in asks:
                self.assertEqual(pmp.raw(ask).result, 0)
            home.nat("renumber 203.0.113.7")
            gateway.wait_line("public address=203.0.113.7")
            moved = time.monotonic()
            eventually(lambda: self.moved(gateway) == 100, 6, "100 changes")
            took = time.monotonic() - moved
            print(f"# 100 mappings re-learned {took:.2f} s after the line")
            self.assertLess(took, 2 * PATIENCE)
            most = max(sum(t <= other < t + 1 for other in times) for t in times)
            print(f"# at most {most} questions within a second, {len(times)} in all")
            self.assertGreater(most, 50, "the server was asked at all")
            self.assertLess(most, 150, "100 and a burst of 20; what is delayed on its way comes closer together")

    def test_moved_server(self):
        """When none of a name's addresses answers the name is looked up again, and the holes go where it says"""
        with Home() as home:
            dns = home.socket("stranger", timeout=25 * PATIENCE)
            dns.bind((STRANGER, 53))
            conf = f"{home.directory}/resolv.conf"
            with open(conf, "w", encoding="ascii") as f:
                f.write(f"nameserver {STRANGER}\noptions timeout:30 attempts:1\n")
            gateway = home.spawn("router", ["unshare", "-m", "sh", "-c", f'mount --bind {conf} /etc/resolv.conf && exec "$@"', "sh",
                                            home.program("gateway"), "--wan", "wan", "--lan", "lan", "--stun", "stun.example.org",
                                            *ACCEPT], ready="ready")
            self.answer(dns, STUN2)
            self.answer(dns, STUN)
            gateway.wait_line(f"public address={PUBLIC}", timeout=15)
            self.assertEqual(Pmp(home).map(UDP, 7250).result, 0)

    def answer(self, dns, ip):
        query, client = dns.recvfrom(512)
        question = query[12:query.index(b"\0", 12) + 5]
        dns.sendto(query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" +
                   socket.inet_aton(ip), client)
