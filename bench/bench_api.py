# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-gateway's web interface: what the page and scripts cost it, and that NAT-PMP's clients do not notice.

  GET /mappings    answers a second to 4 connections, with 1,000 and 10,000 mappings: plain, packed, and with If-None-Match. Limit: the same bytes
                   from memory by a bare server of libmicrohttpd (bench/web_floor.c), asked alike in the same run
  listeners        100 of GET /events while 1,000 mappings change: renewed with another lifetime, then the carrier renumbers. Until the first and
                   the last listener has all of them. Limit: 1 s, as 100 mappings are told each 100 ms; beside it what the change takes without
                   listeners
  attack           1,000 idle connections, 10 MB bodies and slow requests

Each with the gateway's CPU time (all its threads) and RSS, the turns of its loop (bench_mappings.py tells of them) and, from
another host meanwhile, the answers to opcode 0: ms, as 99 % and the slowest, beside a control that only echoes. The bar is 10 ms
beyond the control.
"""
import gzip
import http.client
import json
import os
import re
import socket
import struct
import sys
import time

sys.path.insert(0, "test/e2e")
from bench.bench_mappings import FIRST, Asker, Mapper, Turns, cpu_s, slowest, stunway  # noqa: E402
from lab.home import FULL_CONE, ROUTER, Home, eventually  # noqa: E402
from lab.topology import inside  # noqa: E402
from test_http import CROWD  # noqa: E402

PORT, FLOOR_PORT = 9699, 9700
SIZES = [int(n) for n in os.environ.get("STUNWAY_BENCH_SIZES", "1000,10000").split(",")]
SECONDS, CONNECTIONS, LISTENERS = 5, 4, 100


def rss(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        text = f.read()
    return "RSS {:.1f} MiB, at most {:.1f}".format(*(int(re.search(rf"Vm{w}:\s+(\d+)", text)[1]) / 1024 for w in ["RSS", "HWM"]))


class Bench:
    def __init__(self, home):
        self.home, self.turns = home, Turns(home)
        self.pid = stunway(home, self.turns)
        self.asker, self.mapper = Asker(home), Mapper(home)
        self.asker.pmp.address(10)

    def load(self, *args):
        return self.home.spawn("lan1", ["python3", "bench/web_load.py", *args], ready="begins")

    def during(self, work):
        """work()'s result, the CPU seconds and a text of how the loop and others fared."""
        before = cpu_s(self.pid)
        self.turns.taken()
        result, times, control = self.asker.during(work)
        took = self.turns.taken()
        return result, cpu_s(self.pid) - before, f"others wait {slowest(times)}   control {slowest(control)}\n{'':>24}{took}\n{'':>24}{rss(self.pid)}"

    def floor(self, name, how):
        server = self.home.spawn("router", [os.path.join(self.home.build, "bench", "web_floor"), ROUTER, FLOOR_PORT, name], ready="listening")
        before = cpu_s(server.pid)
        told = self.get(FLOOR_PORT, how)
        cpu = cpu_s(server.pid) - before
        server.stop()
        return told, cpu

    def get(self, port, how):
        return json.loads(self.load("get", ROUTER, port, SECONDS, CONNECTIONS, how).wait_line('{"', SECONDS + 10))

    def answers(self):
        """Files with what /mappings is just now, plain and packed."""
        connection = http.client.HTTPConnection(ROUTER, PORT)
        connection.sock = inside(self.home.ns("lan1"), lambda: socket.create_connection((ROUTER, PORT)))
        connection.request("GET", "/mappings", headers={"Accept-Encoding": "gzip"})
        packed = connection.getresponse().read()
        files = {"plain": gzip.decompress(packed), "gzip": packed}
        for how, data in files.items():
            with open(os.path.join(self.home.directory, how), "wb") as f:
                f.write(data)
        return {**{how: os.path.join(self.home.directory, how) for how in files}, "known": "-"}

    def requests(self, size):
        files = self.answers()
        for how in ["plain", "gzip", "known"]:
            told, cpu, fared = self.during(lambda h=how: self.get(PORT, h))
            n = sum(told["statuses"].values())
            limit, limit_cpu = self.floor(files[how], how)
            least = sum(limit["statuses"].values())
            said = ", ".join(f"{n} of {status}" for status, n in told["statuses"].items())
            print(f"{size:>8} {how:>6} {n / told['seconds']:>8.0f}/s {cpu / n * 1000:>7.2f} ms CPU each, of {told['bytes'] / n / 1000:.0f} KB"
                  f" ({said}); limit {least / limit['seconds']:.0f}/s {limit_cpu / least * 1000:.2f} ms\n{'':>24}{fared}", flush=True)

    def renew(self, lifetime):
        """All mappings' lifetimes; the moment when it began, seconds until the last is granted."""
        began = time.monotonic()
        s, left = self.mapper.socket, set(range(FIRST, FIRST + 1000))
        s.settimeout(0.2)
        while left:
            for port in sorted(left)[:32]:
                s.sendto(struct.pack("!BBHHHI", 0, 1, 0, port, port, lifetime), (ROUTER, 5351))
            try:
                while True:
                    data = s.recv(100)
                    left.discard(struct.unpack("!H", data[8:10])[0])
                    if len(left) % 32 == 0:
                        break
            except TimeoutError:
                pass
        return began, time.monotonic() - began

    def renumber(self, address):
        began = time.monotonic()
        self.home.nat(f"renumber {address}")
        return began, 0

    def quiet_renumber(self, address):
        """Seconds until the gateway has all new endpoints, asked by /mappings, without listeners."""
        began, _ = self.renumber(address)
        connection = http.client.HTTPConnection(ROUTER, PORT)
        connection.sock = inside(self.home.ns("lan1"), lambda: socket.create_connection((ROUTER, PORT)))

        def count():
            connection.request("GET", "/mappings", headers={"Accept-Encoding": "gzip"})
            return gzip.decompress(connection.getresponse().read()).count(f'"public_ip":"{address}"'.encode()) >= 1000
        eventually(count, 60, "new endpoints")
        return time.monotonic() - began

    def listeners(self, what, mark, change, alone):
        load = self.load("listen", ROUTER, PORT, LISTENERS, 1000, mark)

        def work():
            began, took = change()
            told = json.loads(load.wait_line('{"', 60))
            return [at - began for at in told["whole"]], told["bytes"], took
        (whole, size, took), cpu, fared = self.during(work)
        print(f"{what}: {LISTENERS} listeners have all 1,000 after {min(whole):.2f} to {max(whole):.2f} s, {size / LISTENERS / 1000:.0f} KB each;"
              f" {alone(took)}; {cpu:.2f} s CPU\n{'':>24}{fared}", flush=True)

    def attack(self):
        _, cpu, fared = self.during(lambda: time.sleep(SECONDS))
        print(f"quiet: {cpu / SECONDS:.2f} s CPU a second\n{'':>24}{fared}", flush=True)
        attacks = [self.home.spawn(role, ["python3", "-c", CROWD, what], ready="begins") for role, what in
                   [("lan1", "idle"), ("lan1", "flood"), ("lan1", "flood"), ("lan2", "slow")]]
        attacks[0].wait_line("1000")
        _, cpu, fared = self.during(lambda: time.sleep(SECONDS))
        print(f"attack: {cpu / SECONDS:.2f} s CPU a second\n{'':>24}{fared}", flush=True)
        for attack in attacks:
            attack.stop()


def main():
    print("Web interface; others wait: ms, as 99 % and the slowest")
    with Home(FULL_CONE) as home:
        bench, had = Bench(home), 0
        for size in SIZES:
            bench.mapper.map(range(FIRST + had, FIRST + size))
            time.sleep(3)  # what is made known is to be saved, too
            had = size
            bench.requests(size)
    with Home(FULL_CONE) as home:
        bench = Bench(home)
        bench.mapper.map(range(FIRST, FIRST + 1000))
        bench.attack()
        bench.listeners("renewed", '"lifetime":7200', lambda: bench.renew(7200), lambda took: f"they were granted within {took:.2f} s; limit 1.00 s")
        alone = bench.quiet_renumber("203.0.113.7")
        bench.listeners("renumbered", '"public_ip":"203.0.113.8"', lambda: bench.renumber("203.0.113.8"), lambda _: f"without listeners {alone:.2f} s")


if __name__ == "__main__":
    main()
