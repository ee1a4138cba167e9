# SPDX-License-Identifier: GPL-2.0-or-later
"""The web interface under people who mean no good, or do two things at once."""
import collections
import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import time
import unittest

from lab.home import *
from lab.topology import inside
from pmp import Pmp, TCP, UDP
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
                deleted = waiting[0].result(timeout=20)  # it would wait for half a minute
                self.assertEqual(deleted.status, 503)
                self.assertIn("deleted", deleted.error)
                self.assertFalse(waiting[1].done())
                with open(conf, "w") as file:
                    file.write(f"[gateway]\n[mapping x]\nprotocol = udp\ninternal_ip = {LAN1}\ninternal_port = 7002\n")
                os.kill(gateway.pid, signal.SIGHUP)
                self.assertEqual(waiting[1].result(timeout=20).status, 503)
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
            time.sleep(6)  # so long they may wait
            grown = rss_kb(gateway) - before
            print(f"# 120 who do not read: RSS grew by {grown} KiB", flush=True)
            self.assertEqual(web.get("/status").status, 200)
            statuses = collections.Counter()
            for s in slow:
                s.settimeout(10 * PATIENCE)
                statuses[s.recv(12)] += 1
                s.close()
            size = len(web.get("/mappings").body)
            print(f"# {dict(statuses)}, of {size} bytes each", flush=True)
            self.assertGreater(statuses[b"HTTP/1.1 200"], 0)
            self.assertLess(statuses[b"HTTP/1.1 200"] * size, 10 << 20)  # 4 MiB, and what the kernel took
            self.assertEqual(statuses[b"HTTP/1.1 200"] + statuses[b"HTTP/1.1 503"], len(slow))
            if home.build.endswith("/build"):  # a sanitizer keeps what was freed
                self.assertLess(grown, 20 << 10)
            eventually(lambda: web.get("/mappings").status == 200, 10, "an answer for somebody else")


class Named(unittest.TestCase):
    def test_address(self):
        """--http-host may be an address that is not ours, as behind a forwarded port: browsers put the port behind it"""
        with Home() as home:
            home.gateway("--http-host", "198.18.0.5", ready="web interface listening on 192.168.1.1")
            web = Web(home)
            eventually(lambda: try_status(web), 10, "the web interface")
            for host, status in [("198.18.0.5:9699", 200), ("198.18.0.5", 200), ("198.18.0.6:9699", 403), ("198.18.0.5.evil.example", 403)]:
                self.assertEqual(web.get("/status", Host=host).status, status, host)


class Races(unittest.TestCase):
    SECONDS = 15

    def test_same_keys(self):
        """POST, DELETE, NAT-PMP and permanent mappings want the same ports, clients vanish, LAN, firewall and carrier change: at the end all is of one piece"""
        with Home() as home:
            conf = os.path.join(home.directory, "gateway.conf")
            with open(conf, "w") as file:
                file.write("[gateway]\n")
            gateway = home.gateway("--config", conf, "--log-level", "info")
            for line in CHECKED:
                gateway.wait_line(line)
            until = time.monotonic() + self.SECONDS
            answers = collections.Counter()

            def person(seed):
                web, luck = Web(home, ["lan1", "lan2"][seed % 2]), random.Random(seed)
                while time.monotonic() < until:
                    protocol, port = luck.choice(["UDP", "TCP"]), luck.randrange(1, 7)
                    more = luck.choice([{}, {}, {"relay_port": 5000 + luck.randrange(8)}, {"lifetime": 1}, {"description": "é" * 31}])
                    try:
                        c = web.connect(8)
                        if luck.random() < 0.5:
                            body = {"protocol": protocol, "internal_ip": LAN1, "internal_port": port, **more}
                            c.request("POST", "/mappings", json.dumps(body), {"Content-Type": "application/json"})
                        else:
                            c.request("DELETE", f"/mappings/{protocol}/{LAN1}/{port}")
                        if luck.random() < 0.6:
                            answers[c.getresponse().status] += 1
                        c.sock.close()
                    except (OSError, http.client.HTTPException):
                        time.sleep(0.05)  # the LAN is away

            def client():
                pmp, luck = Pmp(home), random.Random(7)
                while time.monotonic() < until:
                    with contextlib.suppress(OSError):  # the LAN is away, or a hole is not open yet
                        pmp.map(luck.choice([UDP, TCP]), luck.randrange(7), lifetime=luck.choice([0, 0, 60, 3600]), timeout=0.3)

            def reload(luck):
                mapping = f"[mapping x]\nprotocol = udp\ninternal_ip = {LAN1}\ninternal_port = {luck.randrange(1, 7)}\nrelay_port = {5000 + luck.randrange(8)}\n"
                with open(conf, "w") as file:
                    file.write("[gateway]\n" + luck.choice(["", mapping]))
                os.kill(gateway.pid, signal.SIGHUP)

            def flap(_):
                home.run("router", ["ip", "addr", "flush", "dev", "lan"])
                home.run("router", ["ip", "addr", "add", f"{ROUTER}/24", "dev", "lan"])

            def world():
                luck = random.Random(3)
                while time.monotonic() < until:
                    time.sleep(luck.uniform(0.3, 1))
                    luck.choice([reload, flap, lambda _: home.nft("router", "flush table inet stunway"),
                                 lambda luck: home.nat(f"renumber 203.0.113.{luck.choice([1, 7])}")])(luck)

            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                for done in [pool.submit(person, seed) for seed in range(4)] + [pool.submit(client), pool.submit(world)]:
                    done.result()
            print(f"# answers {dict(answers)}", flush=True)
            self.assertGreater(answers[200], 20)
            web = Web(home)

            def right():
                """One rule each, and as many; a hairpin each."""
                mappings = web.mappings().values()
                client = lambda m: f"{m['internal_ip']}.{m['internal_port']}"
                return all(m["state"] == "open" for m in mappings) and \
                    home.elements("inbound") == {f"{m['protocol'].lower()}.{m['relay_port']}": client(m) for m in mappings} and \
                    home.elements("hairpin") == {f"{m['protocol'].lower()}.{m['public_ip']}.{m['remote_port']}": client(m) for m in mappings}

            eventually(lambda: try_status(web) and right(), 40, "a firewall that is what the table says")
            self.assertRegex(web.get("/metrics").body.decode(), r"(?m)^stunway_gateway_api_waiting 0$")


def try_status(web):
    try:
        return web.get("/status").status == 200
    except OSError:
        return False


if __name__ == "__main__":
    unittest.main()
