# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTTP API of stunway-gateway as scripts and the page use it: every route, right and wrong, against the real one."""
import concurrent.futures
import gzip
import http.client
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import unittest

from lab.home import *
from lab.topology import inside
from pmp import Pmp, TCP, UDP

PORT = 9699
OPCODES = {"UDP": UDP, "TCP": TCP}


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self):
        assert self.headers["Content-Type"] == "application/json", self.headers["Content-Type"]
        return json.loads(self.body)

    @property
    def error(self):
        assert self.json["status"] == "error", self.json
        return self.json["error"]


class Web:
    """A client on a LAN host."""

    def __init__(self, home, role="lan1", address=ROUTER):
        self.home, self.role, self.address = home, role, address

    def connect(self, timeout=120):
        connection = http.client.HTTPConnection(self.address, PORT, timeout=timeout)
        s = inside(self.home.ns(self.role), lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        s.settimeout(timeout)
        s.connect((self.address, PORT))
        connection.sock = s
        return connection

    def ask(self, method, path, body=None, connection=None, **headers):
        if isinstance(body, dict):
            body = json.dumps(body)
        if body is not None:
            headers.setdefault("Content_Type", "application/json")
        mine = connection or self.connect()
        mine.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = Answer(mine.getresponse())
        if not connection:
            mine.close()
        return answer

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def mappings(self):
        return {(m["protocol"], m["internal_ip"], m["internal_port"]): m for m in self.get("/mappings").json}

    def post(self, protocol="UDP", port=7000, ip=LAN1, **more):
        return self.ask("POST", "/mappings", {"protocol": protocol, "internal_ip": ip, "internal_port": port, **more})

    def delete(self, protocol="UDP", port=7000, ip=LAN1):
        return self.ask("DELETE", f"/mappings/{protocol}/{ip}/{port}")


class Events:
    """Listens to GET /events; what came is in .all as (event, data)."""

    def __init__(self, web):
        self.all = []
        self.connection = web.connect(timeout=None)
        self.connection.request("GET", "/events")
        self.response = self.connection.getresponse()
        assert self.response.headers["Content-Type"] == "text/event-stream"
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        event = None
        try:
            for line in self.response:
                line = line.decode().rstrip("\n")
                if line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: "):
                    self.all.append((event, json.loads(line[6:])))
        except (OSError, ValueError, http.client.HTTPException):
            pass  # closed: the test is over

    def wait(self, event, fits=lambda data: True, timeout=15):
        return eventually(lambda: next((d for e, d in list(self.all) if e == event and fits(d)), None), timeout, f"event {event}")


class Serving(unittest.TestCase):
    """One home whose gateway has a permanent mapping; tests use ports of their own."""

    @classmethod
    def setUpClass(cls):
        cls.home = Home()
        cls.home.up()
        try:
            conf = os.path.join(cls.home.directory, "gateway.conf")
            with open(conf, "w") as file:
                file.write(f"[gateway]\n[mapping web]\nprotocol = tcp\ninternal_ip = {LAN2}\ninternal_port = 443\nrelay_port = 20443\n")
            cls.gateway = cls.home.gateway("--config", conf, "--accept-chain", "inet filter input", "--access", f"deny 1024-65535 {LAN1}/32 6666-6666")
            cls.gateway.wait_line("NAT UDP mapping")
            cls.gateway.wait_line("NAT TCP mapping")
        except BaseException:
            cls.home.down()
            raise
        cls.web = Web(cls.home)

    @classmethod
    def tearDownClass(cls):
        cls.home.down()

    def test_reached(self):
        """A stranger reaches what a POST opened, UDP and TCP, on a LAN host; GET shows it; DELETE shuts it"""
        echo = Echo(self.home, "lan1", 7001)
        for protocol, knock in [("UDP", knock_udp), ("TCP", knock_tcp)]:
            made = self.web.post(protocol, 7001, lifetime=600, description="Zürich 東京 <b>")
            self.assertEqual(made.status, 200, made.body)
            made = made.json
            self.assertEqual((made["status"], made["internal_ip"], made["internal_port"], made["public_ip"], made["lifetime"]),
                             ("success", LAN1, 7001, PUBLIC, 600))
            outer = made["public_ip"], made["external_port"]
            self.assertEqual(knock(self.home, outer, b"knock"), b"echo knock")
            self.assertIn((protocol.lower(), b"knock", STRANGER), echo.seen)
            there = self.web.mappings()[protocol, LAN1, 7001]
            self.assertEqual((there["public_ip"], there["remote_port"]), outer)
            self.assertEqual((there["relay_port"], there["origin"], there["state"]), (made["relay_port"], "web", "open"))
            self.assertEqual((there["lifetime"], there["description"], there["trouble"]), (600, "Zürich 東京 <b>", ""))
            self.assertTrue(540 <= there["expires_in"] <= 600, there)
            self.assertRegex(there["expire_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            deleted = self.web.delete(protocol, 7001)
            self.assertEqual((deleted.status, deleted.json), (200, {"status": "success"}))
            self.assertNotIn((protocol, LAN1, 7001), self.web.mappings())
            self.assertIsNone(knock(self.home, outer, b"again", timeout=0.5))

    def test_router_itself(self):
        """A mapping for a service on the router itself, by the router's LAN address, is reached"""
        Echo(self.home, "router", 7002)
        made = self.web.post("TCP", 7002, ip=ROUTER)
        self.assertEqual(made.status, 200, made.body)
        self.assertEqual(knock_tcp(self.home, (PUBLIC, made.json["external_port"])), b"echo hello")

    def test_script(self):
        """natpmp-stun's scripts: urllib, a protocol in small letters, its keys in GET"""
        script = f"""
import json, urllib.request
def call(method, path, body=None):
    request = urllib.request.Request("http://{ROUTER}:{PORT}" + path, json.dumps(body).encode() if body else None,
                                     {{"Content-Type": "application/json"}}, method=method)
    return json.load(urllib.request.urlopen(request, timeout=60))
made = call("POST", "/mappings", {{"protocol": "tcp", "internal_ip": "{LAN1}", "internal_port": 7003, "lifetime": 3600}})
mine = [m for m in call("GET", "/mappings") if m["internal_port"] == 7003]
gone = call("DELETE", "/mappings/tcp/{LAN1}/7003")
print(json.dumps([made, mine, gone]))
"""
        made, mine, gone = json.loads(self.home.run("lan1", [sys.executable, "-c", script]).stdout)
        self.assertLessEqual({"status", "internal_ip", "internal_port", "public_ip", "external_port", "relay_port", "lifetime"}, set(made))
        self.assertEqual(len(mine), 1)
        self.assertEqual({k: mine[0][k] for k in ["protocol", "internal_ip", "internal_port", "relay_port", "public_ip", "remote_port"]},
                         {"protocol": "TCP", "internal_ip": LAN1, "internal_port": 7003, "relay_port": made["relay_port"],
                          "public_ip": PUBLIC, "remote_port": made["external_port"]})
        self.assertEqual(gone, {"status": "success"})

    def test_relay_port(self):
        """A relay port that was asked for is had, also outside --relay-ports; another's, another one and the configuration's are 409"""
        made = self.web.post(port=7004, relay_port=45000)
        self.assertEqual((made.status, made.json["relay_port"]), (200, 45000))
        taken = self.web.post(port=7005, relay_port=45000)
        self.assertEqual(taken.status, 409)
        self.assertIn("relay_port 45000", taken.error)
        self.assertEqual(self.web.post(port=7004, relay_port=45001).status, 409)
        again = self.web.post(port=7004, relay_port=45000, lifetime=7200, description="again")
        self.assertEqual((again.status, again.json["external_port"]), (200, made.json["external_port"]))
        self.assertEqual([self.web.mappings()["UDP", LAN1, 7004][k] for k in ["lifetime", "description"]], [7200, "again"])
        for answer in [self.web.post("TCP", 443, ip=LAN2), self.web.post("TCP", 7006, relay_port=20443), self.web.delete("TCP", 443, ip=LAN2)]:
            self.assertEqual(answer.status, 409, answer.body)
        there = self.web.mappings()["TCP", LAN2, 443]
        self.assertEqual([there[k] for k in ["origin", "lifetime", "expire_time", "expires_in", "relay_port"]], ["config", 0, None, None, 20443])
        held = self.home.socket("router")
        held.bind(("100.64.0.2", 46000))
        self.assertEqual(self.web.post(port=7007, relay_port=46000).status, 409)
        own = {int(line.split()[1].split(":")[1], 16) for line in self.home.run("router", ["cat", "/proc/net/tcp"]).stdout.splitlines()
               if line.split()[1].startswith("02004064:")} - set(range(20000, 30000))
        self.assertTrue(own, "the watch hole's connection")
        for port in own:
            self.assertEqual(self.web.post("TCP", 7007, relay_port=port).status, 409, "the gateway asks about the line from there")

    def test_refused(self):
        """What is wrong is answered by its status, in JSON, and the value is named; nothing is opened"""
        before = set(self.web.mappings())
        good = {"protocol": "UDP", "internal_ip": LAN1, "internal_port": 7008}
        for status, named, body in [(400, "lifetime 0", {**good, "lifetime": 0}), (400, "lifetime 86401", {**good, "lifetime": 86401}),
                                    (400, "internal_ip \"8.8.8.8\"", {**good, "internal_ip": "8.8.8.8"}),
                                    (400, "192.168.1.255", {**good, "internal_ip": "192.168.1.255"}),
                                    (400, "192.168.1.0", {**good, "internal_ip": "192.168.1.0"}),
                                    (400, "100.64.0.2", {**good, "internal_ip": "100.64.0.2"}),
                                    (400, "internal_port \"7\"", {**good, "internal_port": "7"}), (400, "internal_port 0", {**good, "internal_port": 0}),
                                    (400, "protocol \"SCTP\"", {**good, "protocol": "SCTP"}), (400, "\"port\" is not known", {**good, "port": 1}),
                                    (400, "relay_port 80", {**good, "relay_port": 80}), (400, "description", {**good, "description": "a" * 65}),
                                    (400, "no JSON", "{"), (400, "no JSON object", "[]"), (400, "missing", "{}"),
                                    (403, "--access", {**good, "internal_port": 6666})]:
            answer = self.web.ask("POST", "/mappings", body)
            self.assertEqual(answer.status, status, answer.body)
            self.assertIn(named, answer.error)
        for path, status in [("/mappings/UDP/192.168.1.10/7999", 404), ("/mappings/UDP/192.168.1.10/0", 400), ("/mappings/X/192.168.1.10/1", 400),
                             ("/mappings/UDP/x/1", 400), ("/mappings/UDP/192.168.1.10", 404), ("/mappings/UDP/192.168.1.10/1/2", 404)]:
            answer = self.web.ask("DELETE", path)
            self.assertEqual(answer.status, status, (path, answer.body))
            self.assertTrue(answer.error)
        self.assertIn("UDP 192.168.1.10:7999", self.web.delete("UDP", 7999).error)
        body = json.dumps(good)
        self.assertEqual(self.web.ask("POST", "/mappings", body, Content_Type="text/plain").status, 415)
        self.assertEqual(self.web.ask("POST", "/mappings", body, Origin="http://evil.example").status, 403)
        self.assertEqual(self.web.ask("POST", "/mappings", body, Host="evil.example").status, 403)
        self.assertEqual(self.web.ask("POST", "/mappings", body + " " * 5000).status, 413)
        self.assertEqual(self.web.ask("PUT", "/mappings", body).status, 405)
        self.assertEqual(self.web.get("/nothing").status, 404)
        self.assertEqual(set(self.web.mappings()), before)

    def test_status(self):
        """GET /status: what the line is, what the NAT is like, who is asked"""
        s = self.web.get("/status").json
        self.assertEqual((s["public_ip"], s["wan"], s["lans"]), (PUBLIC, {"interface": "wan", "ip": "100.64.0.2"},
                                                                 [{"interface": "lan", "ip": ROUTER, "prefix": 24}]))
        self.assertEqual(s["nat"]["udp"], {"direct": False, "mapping": "endpoint-independent", "filtering": "endpoint-independent", "verdict": "suited"})
        self.assertEqual(s["nat"]["tcp"]["verdict"], "suited")
        self.assertEqual({(x["protocol"], x["host"], x["address"], x["state"]) for x in s["servers"]},
                         {("UDP", STUN, f"{STUN}:3478", "well"), ("TCP", STUN, f"{STUN}:3478", "well")})
        self.assertEqual((s["hold_max"], s["relay_ports"], s["firewall"]), (86400, [20000, 29999], self.home.iptables or "nftables"))
        self.assertEqual(s["login"], {"required": False, "logged_in": True})
        self.assertEqual(s["counts"]["mappings"], len(self.web.mappings()))
        self.assertEqual(Web(self.home, "router", "127.0.0.1").get("/status").status, 200)

    def test_head_and_etag(self):
        """HEAD has no body; the same text again is 304; what changed is not"""
        first = self.web.get("/history")
        self.assertEqual(self.web.get("/history", If_None_Match=first.headers["ETag"]).status, 304)
        self.assertEqual(self.web.ask("HEAD", "/history").body, b"")
        Pmp(self.home).map(UDP, 7009)
        tag = self.web.get("/mappings").headers["ETag"]
        Pmp(self.home).map(UDP, 7010)
        self.assertEqual(self.web.get("/mappings", If_None_Match=tag).status, 200)

        def same():  # unless a mapping's second went by in between
            tag = self.web.get("/mappings", Accept_Encoding="gzip").headers["ETag"]
            return self.web.get("/mappings", Accept_Encoding="gzip", If_None_Match=tag).status == 304
        eventually(same, what="304")

    def test_history(self):
        """GET /history has the point under way, with round trips"""
        def point():
            h = self.web.get("/history").json
            self.assertEqual(h["step"], 300)
            return h["points"][-1]["rtt_ms"] and h["points"][-1]
        self.assertEqual(set(eventually(point, 15, "a round trip")),
                         {"time", "rtt_ms", "in_bytes", "out_bytes", "connections", "mappings", "outer_changes"})

    def test_metrics(self):
        """GET /metrics is Prometheus text, and every metric of the Grafana dashboard is there"""
        self.web.post(port=7011)
        answer = self.web.get("/metrics")
        self.assertEqual(answer.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        text = answer.body.decode()
        there = set(re.findall(r"^# TYPE (\S+)", text, re.M))
        self.assertEqual(there, set(re.findall(r"^# HELP (\S+) \S", text, re.M)))
        self.assertRegex(text, r'(?m)^stunway_gateway_mappings\{protocol="udp",origin="web",state="open"\} [1-9]')
        self.assertRegex(text, r"(?m)^stunway_gateway_holes_opened_total [1-9]")
        self.assertRegex(text, r"(?m)^process_resident_memory_bytes [1-9]\d{5}")
        with open(os.path.join(os.path.dirname(__file__), "../../packaging/grafana/stunway-gateway.json")) as file:
            shown = re.findall(r"(?:stunway|process)_\w+", " ".join(re.findall(r'"expr": "(.*)"', file.read())))
        self.assertGreater(len(set(shown)), 10)
        self.assertLessEqual(set(shown), there)

    def test_events(self):
        """GET /events: natpmpc's mapping is seen, its end, a POST's, the log; /events/recent has the log too"""
        events = Events(self.web)
        self.home.run("lan1", ["natpmpc", "-g", ROUTER, "-a", "0", 7012, "udp", 3600])
        seen = events.wait("mapping", lambda d: d["mapping"]["internal_port"] == 7012 and not d["gone"] and d["mapping"]["state"] == "open")
        self.assertEqual(seen["mapping"]["origin"], "nat-pmp")
        Pmp(self.home).map(UDP, 7012, lifetime=0)
        gone = events.wait("mapping", lambda d: d["mapping"]["internal_port"] == 7012 and d["gone"])
        self.assertEqual(gone["mapping"], {"protocol": "UDP", "internal_ip": LAN1, "internal_port": 7012})
        self.web.post("TCP", 7013, description="new")
        events.wait("mapping", lambda d: d["mapping"].get("description") == "new" and d["mapping"]["state"] == "open")
        line = events.wait("log", lambda d: "client=192.168.1.10:7013" in d["text"])
        self.assertEqual(line["level"], "info")
        events.wait("status")
        self.assertIn(line, self.web.get("/events/recent").json)

    def test_traffic(self):
        """What a stranger sends is counted, and told to who listens"""
        Echo(self.home, "lan1", 7014)
        outer = PUBLIC, self.web.post(port=7014).json["external_port"]
        events = Events(self.web)
        self.assertEqual(knock_udp(self.home, outer, b"x" * 1000), b"echo " + b"x" * 1000)
        def mine(data):
            return any(m["internal_port"] == 7014 and m["traffic"]["in_bytes"] >= 1028 and m["traffic"]["out_bytes"] >= 1033 and
                       m["traffic"]["connections"] >= 1 for m in data)
        events.wait("traffic", mine)
        self.assertGreaterEqual(self.web.mappings()["UDP", LAN1, 7014]["traffic"]["in_bytes"], 1028)

    def test_together(self):
        """Many POSTs of the same mapping at once are answered all, and alike"""
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            answers = [a.result() for a in [pool.submit(self.web.post, "TCP", 7015) for _ in range(6)]]
        self.assertEqual({a.status for a in answers}, {200})
        self.assertEqual(len({a.json["external_port"] for a in answers}), 1)


class Moving(unittest.TestCase):
    def test_renumbering(self):
        """The carrier renumbers: who listens sees the new outer endpoint, the status, and a change is counted"""
        with Home() as home:
            home.gateway().wait_line("NAT TCP mapping")
            web = Web(home)
            self.assertEqual(web.post(port=7000).json["public_ip"], PUBLIC)
            events = Events(web)
            home.nat("renumber 203.0.113.7")
            events.wait("mapping", lambda d: d["mapping"]["public_ip"] == "203.0.113.7" and d["mapping"]["state"] == "open", 30)
            events.wait("status", lambda d: d["public_ip"] == "203.0.113.7", 30)
            self.assertRegex(web.get("/metrics").body.decode(), r"(?m)^stunway_gateway_holes_changed_total [1-9]")
            eventually(lambda: web.get("/history").json["points"][-1]["outer_changes"], 15, "a change in the history")


class Limits(unittest.TestCase):
    def test_quotas(self):
        """A client's quota is 429, all mappings used 503, and each says which option it was"""
        with Home() as home:
            home.gateway("--max-mappings", "3", "--max-mappings-per-client", "2").wait_line("NAT TCP mapping")
            web = Web(home)
            self.assertEqual([web.post(port=p).status for p in [7001, 7002]], [200, 200])
            quota = web.post(port=7003)
            self.assertEqual(quota.status, 429)
            self.assertIn("--max-mappings-per-client", quota.error)
            self.assertEqual(web.post(port=7001, ip=LAN2).status, 200)
            full = web.post(port=7002, ip=LAN2)
            self.assertEqual(full.status, 503)
            self.assertEqual([quota.headers["Retry-After"], full.headers["Retry-After"]], [None, None])  # nobody knows when one ends
            self.assertIn("--max-mappings", full.error)
            self.assertEqual(web.post(port=7001).status, 200)

    def test_unsuited(self):
        """A NAT that maps by destination is 503 in words"""
        with Home(nat={"mapping": "apd", "filtering": "apd", "ports": "random"}) as home:
            home.gateway(stun=(STUN, STUN2)).wait_line("NAT UDP mapping")
            web = Web(home)
            eventually(lambda: web.get("/status").json["nat"]["udp"]["verdict"] == "unsuited", 15, "the verdict")
            answer = web.post()
            self.assertEqual(answer.status, 503)
            self.assertIn("maps by destination", answer.error)

    def test_thousand(self):
        """1,000 mappings: all are told in order, packed, to many at once, some of whom leave; and who listens hears of each"""
        with Home() as home:
            home.gateway("--max-mappings", "1100", "--max-mappings-per-client", "1100", "--stun-rate", "10000", "--pool", "0", "--log-level", "info").wait_line("NAT TCP mapping")
            web = Web(home)
            events = Events(web)

            def some(first):  # 14 at a time, 7 of each of two hosts: each waits for the disk and for conntrack's walk
                web = Web(home, ["lan1", "lan2"][first % 2])
                connection = web.connect()
                for port in range(first, 11000, 14):
                    body = {"protocol": "UDP", "internal_ip": LAN1, "internal_port": port}
                    answer = web.ask("POST", "/mappings", body, connection)
                    self.assertEqual(answer.status, 200, answer.body)
                connection.close()

            began = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(14) as pool:
                for done in [pool.submit(some, 10000 + i) for i in range(14)]:
                    done.result()
            print(f"# 1,000 POSTs in {time.monotonic() - began:.1f} s", flush=True)
            began = time.monotonic()
            plain = web.get("/mappings")
            print(f"# GET /mappings: {len(plain.body)} bytes in {(time.monotonic() - began) * 1000:.0f} ms", flush=True)
            self.assertEqual([m["internal_port"] for m in plain.json], list(range(10000, 11000)))
            heard = lambda: {d["mapping"]["internal_port"] for e, d in list(events.all) if e == "mapping" and d["mapping"].get("state") == "open"}
            eventually(lambda: len(heard()) == 1000, 20, "1,000 events")
            self.packed(web)

    def packed(self, web):
        ports = list(range(10000, 11000))

        def ask(i):
            mine = Web(web.home, ["lan1", "lan2"][i % 2])
            if i % 4 == 0:  # and goes
                connection = mine.connect()
                connection.request("GET", "/mappings")
                connection.sock.close()
                return ports
            answer = mine.get("/mappings", Accept_Encoding="gzip")
            self.assertEqual(answer.headers["Content-Encoding"], "gzip")
            self.assertLess(len(answer.body), 60000)
            return [m["internal_port"] for m in json.loads(gzip.decompress(answer.body))]

        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            for told in pool.map(ask, range(40)):
                self.assertEqual(told, ports)


class Silent(unittest.TestCase):
    """STUN falls silent: what waits holds nobody up."""

    def test_silent(self):
        """A POST waits while STUN is silent and others are served; a client that goes leaves nothing; then it is 503 in words"""
        with Home() as home:
            gateway = home.gateway("--pool", "0", "--fault-grace", "10", "--lease", "60")
            gateway.wait_line("NAT UDP mapping")
            gateway.wait_line("NAT TCP mapping")
            web, pmp = Web(home), Pmp(home)
            known = pmp.map(UDP, 7000)
            home.stun.stop(signal.SIGKILL)
            leaving = web.connect()
            body = json.dumps({"protocol": "UDP", "internal_ip": LAN1, "internal_port": 7001})
            leaving.request("POST", "/mappings", body, {"Content-Type": "application/json"})
            eventually(lambda: ("UDP", LAN1, 7001) in web.mappings(), 5, "the mapping that waits")
            self.assertEqual(web.mappings()["UDP", LAN1, 7001]["state"], "punching")
            leaving.sock.close()
            eventually(lambda: ("UDP", LAN1, 7001) not in web.mappings(), 5, "the end of the mapping whose client left")
            staying = concurrent.futures.ThreadPoolExecutor(1).submit(web.post, "TCP", 7002)
            eventually(lambda: ("TCP", LAN1, 7002) in web.mappings(), 5, "the mapping that waits")
            for _ in range(20):
                self.assertEqual(pmp.map(UDP, 7000).outer, known.outer)
            self.assertFalse(staying.done())
            answer = staying.result(timeout=100)
            self.assertEqual(answer.status, 503)
            self.assertEqual(answer.headers["Retry-After"], "10")
            self.assertIn("no STUN server answers", answer.error)
            self.assertIn("TCP 192.168.1.10:7002", answer.error)

    @unittest.skipUnless(os.environ.get("STUNWAY_LONG"), "half a minute, with --long")
    def test_waits_half_a_minute(self):
        """A POST waits for half a minute and no longer, and leaves no mapping"""
        with Home() as home:
            home.gateway("--pool", "0").wait_line("NAT TCP mapping")
            home.stun.stop(signal.SIGKILL)
            web = Web(home)
            began = time.monotonic()
            answer = web.post()
            self.assertEqual(answer.status, 503)
            self.assertIn("no STUN server answers", answer.error)
            self.assertTrue(29 < time.monotonic() - began < 45, time.monotonic() - began)
            self.assertEqual(web.mappings(), {})

    def test_end(self):
        """At the end of the gateway whoever waits is let go, and nothing leaks"""
        with Home() as home:
            gateway = home.gateway("--pool", "0")
            gateway.wait_line("NAT TCP mapping")
            web = Web(home)
            events = Events(web)
            home.stun.stop(signal.SIGKILL)
            waiting = web.connect()
            waiting.request("POST", "/mappings", json.dumps({"protocol": "UDP", "internal_ip": LAN1, "internal_port": 7001}),
                            {"Content-Type": "application/json"})
            events.wait("mapping", lambda d: d["mapping"]["internal_port"] == 7001)
            gateway.stop()
            self.assertEqual(gateway.poll(), 0)
            self.assertEqual(gateway.sanitizer(), "")
            with self.assertRaises((http.client.HTTPException, OSError)):
                waiting.getresponse()
