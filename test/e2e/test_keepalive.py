# SPDX-License-Identifier: GPL-2.0-or-later
"""Keepalives that fit the carrier, and web servers that hold TCP ports where no STUN server does."""
import re
import signal
import sys
import unittest

from lab.home import *
from pmp import Pmp, TCP, UDP
from test_pool import usr1

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


class Keepalive(unittest.TestCase):
    def test_short_lifetime(self):
        """Where a carrier forgets after 15 s no mapping is lost with --keepalive 60; one that does not is asked as seldom as told"""
        with Home({**FULL_CONE, "udp-timeout": 15}) as home, Home() as generous:
            gateway, other = home.gateway("--keepalive", "60"), generous.gateway("--keepalive", "12")
            Echo(home, "lan1", 7300)
            pmp = Pmp(home)
            outer = pmp.map(UDP, 7300).outer
            gateway.wait_line("a silent port was lost", timeout=45)
            self.assertEqual(knock_udp(home, (PUBLIC, outer)), b"echo hello")
            self.assertEqual(pmp.map(UDP, 7300).outer, outer)
            self.assertFalse([line for line in gateway.lines if "hole changed" in line])
            interval = int(re.search(r"keepalive: UDP=(\d+)", usr1(gateway, "mappings count=")).group(1))
            self.assertLess(interval, 13000)
            other.wait_line("keepalive UDP interval=12.0 s", timeout=20)


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
