# SPDX-License-Identifier: GPL-2.0-or-later
"""The web interface under people who mean no good, or do two things at once."""
import concurrent.futures
import os
import re
import signal
import socket
import time
import unittest

from lab.home import *
from lab.topology import inside
from test_api import Web, PORT


def rss_kb(gateway):
    with open(f"/proc/{gateway.pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


class Waiting(unittest.TestCase):
    def test_ended(self):
        """A POST that waits for its hole hears at once that its mapping was deleted, or made a permanent one"""
        with Home() as home:
            conf = os.path.join(home.directory, "gateway.conf")
            with open(conf, "w") as file:
                file.write("[gateway]\n")
            gateway = home.gateway("--pool", "0", "--config", conf)
            for line in CHECKED:
                gateway.wait_line(line)
            home.stun.stop(signal.SIGKILL)
            web = Web(home)
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                waiting = [pool.submit(web.post, "UDP", port) for port in (7001, 7002)]
                eventually(lambda: {("UDP", LAN1, 7001), ("UDP", LAN1, 7002)} <= web.mappings().keys(), 5, "the mappings that wait")
                self.assertEqual(web.delete("UDP", 7001).status, 200)
                deleted = waiting[0].result(timeout=10)
                self.assertEqual(deleted.status, 503)
                self.assertIn("deleted", deleted.error)
                self.assertFalse(waiting[1].done())
                with open(conf, "w") as file:
                    file.write(f"[gateway]\n[mapping x]\nprotocol = udp\ninternal_ip = {LAN1}\ninternal_port = 7002\n")
                os.kill(gateway.pid, signal.SIGHUP)
                self.assertEqual(waiting[1].result(timeout=10).status, 503)
                self.assertEqual(web.mappings()["UDP", LAN1, 7002]["origin"], "config")


class Slow(unittest.TestCase):
    def test_nobody_reads(self):
        """Many who ask for all mappings and take no answer: what waits for them is bounded, and others are served"""
        with Home() as home:
            gateway = home.gateway("--max-mappings", "1100", "--max-mappings-per-client", "1100", "--stun-rate", "10000", "--pool", "0",
                                   "--log-level", "warn", ready=None)
            web = Web(home)
            eventually(lambda: try_status(web), 20, "the web interface")
            eventually(lambda: web.get("/status").json["nat"]["udp"]["verdict"] == "suited", 20, "the verdict")

            def some(first):
                web = Web(home, ["lan1", "lan2"][first % 2])
                connection = web.connect()
                for port in range(first, 11000, 14):
                    body = {"protocol": "UDP", "internal_ip": LAN1, "internal_port": port}
                    self.assertEqual(web.ask("POST", "/mappings", body, connection).status, 200)
                connection.close()

            with concurrent.futures.ThreadPoolExecutor(14) as pool:
                for done in [pool.submit(some, 10000 + i) for i in range(14)]:
                    done.result()
            before = rss_kb(gateway)
            slow = []
            for i in range(120):
                def connect():
                    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                    return s
                s = inside(home.ns("lan2"), connect)
                s.connect((ROUTER, PORT))
                s.sendall(b"GET /mappings HTTP/1.1\r\nHost: " + ROUTER.encode() + b"\r\n\r\n")
                slow.append(s)
            time.sleep(1)
            grown = rss_kb(gateway) - before
            print(f"# 120 who do not read: RSS grew by {grown} KiB", flush=True)
            self.assertEqual(web.get("/status").status, 200)
            self.assertLess(grown, 30 << 10)
            for s in slow:
                s.close()
            eventually(lambda: web.get("/mappings").status == 200, 10, "an answer for somebody else")


def try_status(web):
    try:
        return web.get("/status").status == 200
    except OSError:
        return False


if __name__ == "__main__":
    unittest.main()
