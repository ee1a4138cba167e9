# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-probe's time to a verdict, beside Debian's `stun` (stun-client) behind the same NAT in the same run.

    customer --- carrier: natbox, 25 ms each way --- stun: stunway-server, two addresses

One laboratory for each type; both ask the same server. Time is from fork to exit, the median of all rounds; "start" is what the
program takes for --version alone. Round trips are the time without that, in the ping's measured there. The bars: what rests on
answers takes at most 3 round trips, what rests on silence at most 1 s. SymmetricNAT as a type rests on answers; that its filter is
shut, which is waited for, on silence.

STUNWAY_BENCH_ROUNDS (7) makes it longer.
"""
import json
import os
import re
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from lab.topology import Lab

ROUNDS = int(os.environ.get("STUNWAY_BENCH_ROUNDS", "7"))
A, B = "198.51.100.1", "198.51.100.2"
DELAY_MS = 25
BAR_ROUND_TRIPS, BAR_SECONDS = 3, 1.0
OWN_WORK = 0.25  # round trips for what the machine does between them
TYPES = [  # type (and what about it), natbox's options, what `stun` calls it, whether it rests on silence
    ("OpenInternet", {"mode": "firewall", "filtering": "ei"}, "Open", False),
    ("FullCone", {"filtering": "ei"}, "Independent Mapping, Independent Filter", False),
    ("SymmetricNAT, open", {"mapping": "apd", "filtering": "ei"}, "Dependent Mapping", False),
    ("SymmetricNAT, shut", {"mapping": "apd", "filtering": "apd"}, "Dependent Mapping", True),
    ("RestrictedCone", {"filtering": "ad"}, "Independent Mapping, Address Dependent Filter", True),
    ("PortRestrictedCone", {"filtering": "apd"}, "Independent Mapping, Port Dependent Filter", True),
    ("SymmetricUDPFirewall", {"mode": "firewall", "filtering": "apd"}, "Firewall", True),
    ("Blocked", {"block_udp": True}, "Blocked", True),
]


def timed(lab, *argv):
    """(seconds from fork to exit, what it printed)."""
    began = time.monotonic()
    done = lab.run("customer", argv, check=False, timeout=60)
    return time.monotonic() - began, done.stdout


class Place:
    """A laboratory with the NAT of one type, and what was measured there."""

    def __init__(self, name, nat, stun_name, silence):
        self.name, self.stun_name, self.silence = name, stun_name, silence
        self.lab = Lab(nat={"ports": "random", "delay": DELAY_MS, **nat}, router=False)
        self.probe, self.stun = [], []
        self.wrong = {"stunway-probe": 0, "stun": 0}

    def up(self):
        self.lab.up()
        program = os.path.join(self.lab.build, "stunway-server")
        self.lab.spawn("stun", [program, "--ipv4", A, "--ipv4", B, "--rate", "0", "--workers", "1"], ready=f"listening tcp {B}:3479")
        pings = self.lab.run("customer", ["ping", "-c", "5", "-i", "0.2", A]).stdout
        self.rtt = statistics.median(float(ms) for ms in re.findall(r"time=([\d.]+)", pings)) / 1000

    def run_probe(self):
        seconds, out = timed(self.lab, os.path.join(self.lab.build, "stunway-probe"), "--json", A)
        self.probe.append(seconds)
        self.wrong["stunway-probe"] += json.loads(out or "{}").get("type") != self.name.split(",")[0]

    def run_stun(self, number):
        seconds, out = timed(self.lab, "stun", A, "-p", str(20000 + 2 * number))
        self.stun.append(seconds)
        self.wrong["stun"] += f"Primary: {self.stun_name}" not in out


def line(place, start):
    ours, theirs = statistics.median(place.probe), statistics.median(place.stun)
    trips = (ours - start) / place.rtt
    holds = ours <= BAR_SECONDS if place.silence else trips <= BAR_ROUND_TRIPS + OWN_WORK
    bar = f"{BAR_SECONDS:g} s" if place.silence else f"{BAR_ROUND_TRIPS} round trips"
    wrong = ", ".join(f"{name} wrong {n} times" for name, n in place.wrong.items() if n)
    print(f"  {place.name:<22}{ours * 1000:6.0f} ms  ({min(place.probe) * 1000:.0f} to {max(place.probe) * 1000:.0f})"
          f"{trips:8.1f} {theirs * 1000:9.0f} ms {theirs / ours:7.1f}   {bar}: {'yes' if holds else 'NO'}   {wrong}")


def main():
    places = [Place(*row) for row in TYPES]
    try:
        for place in places:
            place.up()
        starts = [timed(places[0].lab, os.path.join(places[0].lab.build, "stunway-probe"), "--version")[0] for _ in range(15)]
        for i in range(ROUNDS):
            for place in places:
                place.run_probe()
            with ThreadPoolExecutor(len(places)) as pool:  # it waits more than it works: side by side
                for done in [pool.submit(place.run_stun, i) for place in places]:
                    done.result()
    finally:
        for place in places:
            place.lab.down()
    start = statistics.median(starts)
    print(f"Time to verdict, {ROUNDS} rounds, medians; round trip {statistics.median(p.rtt for p in places) * 1000:.0f} ms;"
          f" start {start * 1000:.1f} ms of it")
    print(f"  {'':<22}{'stunway-probe (least to most)':<28} {'trips':>6} {'stun':>12} {'ratio':>7}   bar")
    for place in places:
        line(place, start)


if __name__ == "__main__":
    sys.exit(main())
