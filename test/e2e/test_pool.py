# SPDX-License-Identifier: GPL-2.0-or-later
"""Holes that stand ready, servers that fail and come back, keepalives that fit the carrier, web servers that hold TCP ports."""
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
import unittest

from lab.home import *
from pmp import Pmp, TCP, UDP

WEB = "198.51.100.1"
# Answers one STUN question a connection, then closes it.
CLOSING_STUN = """
import socket, struct, threading
def serve(c, peer):
    with c:
        c.settimeout(5)
        try:
            q = c.recv(20, socket.MSG_WAITALL)
            x = struct.pack("!HHBBH", 0x0020, 8, 0, 1, peer[1] ^ 0x2112)
            ip = bytes(a ^ b for a, b in zip(socket.inet_aton(peer[0]), b"\\x21\\x12\\xa4\\x42"))
            c.sendall(b"\\1\\1\\0\\x0c" + q[4:20] + x + ip)
            print("answered", flush=True)
        except OSError:
            pass
l = socket.create_server(("198.51.100.11", 3478), backlog=64)
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=l.accept(), daemon=True).start()
"""
# A web server that keeps connections; says each request, and its first line of each connection.
WEB_SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        print("HEAD", self.path, "host=" + self.headers.get("Host", "-"), "agent=" + self.headers.get("User-Agent", "-"),
              "peer=%s:%d" % self.client_address, flush=True)
    def log_message(self, *_):
        pass
s = http.server.ThreadingHTTPServer((sys.argv[1], 80), Handler)
print("listening", flush=True)
s.serve_forever()
"""


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
        """While STUN servers are 400 ms away a new mapping is answered from the pool within 250 ms, and it fills up again"""
        with Home({**FULL_CONE, "delay": 200}) as home:
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
                self.assertEqual(knock(home, (PUBLIC, answer.outer), timeout=5), b"echo hello")
            print("# answers from the pool:", ", ".join(f"{t * 1000:.1f} ms" for t in took))
            self.assertLess(max(took), 0.25)
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
            gateway = home.gateway("--pool", "8", "--watch", "300")
            for protocol in ["UDP", "TCP"]:
                gateway.wait_line(f"NAT {protocol} mapping=")
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
                self.assertEqual(pmp.raw(ask, 10).result, 0)
            home.nat("renumber 203.0.113.7")
            gateway.wait_line("public address=203.0.113.7", timeout=10)
            moved = time.monotonic()
            eventually(lambda: self.moved(gateway) == 100, 6, "100 changes")
            took = time.monotonic() - moved
            print(f"# 100 mappings re-learned {took:.2f} s after the line")
            self.assertLess(took, 2)
            most = max(sum(t <= other < t + 1 for other in times) for t in times)
            print(f"# at most {most} questions within a second, {len(times)} in all")
            self.assertGreater(most, 50, "the server was asked at all")
            self.assertLess(most, 150, "100 and a burst of 20; what is delayed on its way comes closer together")


class Keepalive(unittest.TestCase):
    def test_short_lifetime(self):
        """A carrier that forgets after 15 s keeps all mappings although --keepalive is 60: the interval is found, no client pays"""
        with Home({**FULL_CONE, "udp-timeout": 15}) as home:
            gateway = home.gateway("--keepalive", "60", "--watch", "5")
            Echo(home, "lan1", 7300)
            pmp = Pmp(home)
            outer = pmp.map(UDP, 7300).outer
            gateway.wait_line("a silent port was lost", timeout=45)
            self.assertEqual(knock_udp(home, (PUBLIC, outer)), b"echo hello")
            self.assertEqual(pmp.map(UDP, 7300).outer, outer)
            self.assertFalse([line for line in gateway.lines if "hole changed" in line])
            interval = int(re.search(r"keepalive: UDP=(\d+)", usr1(gateway, "mappings count=")).group(1))
            self.assertLess(interval, 13000)

    def test_long_lifetime(self):
        """A carrier that keeps silent ports is asked as seldom as --keepalive allows"""
        with Home() as home:
            gateway = home.gateway("--keepalive", "15")
            gateway.wait_line("keepalive UDP interval=15.0 s", timeout=50)


class Anchor(unittest.TestCase):
    def test_closing_server(self):
        """Where the STUN server closes each TCP connection a web server holds the port, through keepalives and its own restart"""
        with Home({**FULL_CONE, "tcp-transitory": 3}) as home:
            home.spawn("stun2", [sys.executable, "-c", CLOSING_STUN], ready="listening")
            web = home.spawn("stun", [sys.executable, "-c", WEB_SERVER, WEB], ready="listening")
            gateway = home.gateway("--keepalive", "5", "--watch", "5", "--tcp-keepalive", WEB,
                                   stun=(f"udp:{STUN}", f"tcp:{STUN2}"))
            web.wait_line("HEAD /", timeout=30)
            line = web.wait_line("agent=stunway-gateway/")
            self.assertIn(f"host={WEB}", line)
            Echo(home, "lan1", 7400)
            pmp = Pmp(home)
            outer = pmp.map(TCP, 7400).outer
            self.assertEqual(eventually(lambda: knock_tcp(home, (PUBLIC, outer)), 5), b"echo hello")
            web.wait_line(f"peer={PUBLIC}:{outer}", timeout=12)
            mark = len(web.lines)
            for _ in range(2):
                line = web.wait_line(f"peer={PUBLIC}:{outer}", timeout=12, after=mark)
                mark = len(web.lines)
                self.assertEqual(knock_tcp(home, (PUBLIC, outer)), b"echo hello")
            self.assertEqual(pmp.map(TCP, 7400).outer, outer)
            web.stop(signal.SIGKILL)
            web = home.spawn("stun", [sys.executable, "-c", WEB_SERVER, WEB], ready="listening")
            eventually(lambda: knock_tcp(home, (PUBLIC, pmp.map(TCP, 7400).outer)), 20, "a stranger's way in")
            web.wait_line(f"peer={PUBLIC}:{pmp.map(TCP, 7400).outer}", timeout=20)
            self.assertEqual(gateway.stop(), 0)


if __name__ == "__main__":
    unittest.main()
