# SPDX-License-Identifier: GPL-2.0-or-later
"""One gateway with 10, 1,000 and 10,000 UDP mappings, beside Debian's miniupnpd-nftables with as many in the same run.

    lan1 maps, lan2 asks opcode 0 -- router: the gateway -- carrier: natbox -- stunway-server

  add, renew       mappings granted a second, 32 asked at a time
  others wait      opcode 0 asked every 5 ms from another host while the first maps and renews, and in quiet: the slowest answers. The bar
                   is 20 ms; a control beside the gateway that only echoes shows what is the machine's
  turns            of the gateway's loop meanwhile (bench/turns.c): the longest by the clock, of its own CPU time, and held, that is CPU and
                   sleep in the kernel without what others had of the CPU; how many held over 20 ms. The bar is that none does
  deleting         all of a size's mappings by one request, the largest last
  memory           Private_Dirty, more than without mappings, for each; the bar is 2 KiB (sockets are the kernel's)
  idle CPU         of the process while it only holds: 10,000 holes ask every 20 s; miniupnpd holds nothing
  new flows        datagrams of new flows a second of CPU from the line through the router to the LAN, the sender's work in it; all arrive

miniupnpd gets no holes: what it grants ends at the router, so its adding costs no round trip. It is stopped when a step takes it
longer than STUNWAY_BENCH_PATIENCE seconds (60). Other sizes: STUNWAY_BENCH_SIZES=10,100
"""
import mmap
import os
import random
import re
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, "test/e2e")
from lab.home import FULL_CONE, ROUTER, STUN, STUN_OTHER, Home, eventually  # noqa: E402
from pmp import Pmp  # noqa: E402

SIZES = [int(n) for n in os.environ.get("STUNWAY_BENCH_SIZES", "10,1000,10000").split(",")]
PATIENCE_S = float(os.environ.get("STUNWAY_BENCH_PATIENCE", "60"))
WINDOW = 32
FLOWS = 20000
QUIET_S = 20
RENEWALS = 2000  # at least
WAN_IP = "100.64.0.2"
FIRST = 10001  # internal ports

MINIUPNPD_CHAINS = """
table inet filter {
    chain miniupnpd { }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
    chain dstnat { type nat hook prerouting priority dstnat; jump prerouting_miniupnpd; }
    chain srcnat { type nat hook postrouting priority srcnat - 1; jump postrouting_miniupnpd; }
}
insert rule inet filter forward jump miniupnpd
"""
# ext_ip is only a word that it tells; it accepts none that is reserved.
MINIUPNPD_CONFIG = """
ext_ifname=wan
ext_ip=1.2.3.4
listening_ip=lan
enable_natpmp=yes
enable_upnp=no
min_lifetime=120
max_lifetime=86400
clean_ruleset_interval=0
uuid=12345678-0000-0000-0000-000000000000
allow 1024-65535 192.168.1.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


class TooSlow(Exception):
    pass


class Mapper:
    """Asks for many mappings, WINDOW at a time, each again after a second without an answer."""

    def __init__(self, home):
        self.socket = Pmp(home).socket
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.outer = {}

    def ask(self, port):
        self.socket.sendto(struct.pack("!BBHHHI", 0, 1, 0, port, port, 3600), (ROUTER, 5351))

    def map(self, ports):
        """Seconds until all are granted."""
        began = time.monotonic()
        left, waiting = list(reversed(ports)), {}
        while left or waiting:
            while left and len(waiting) < WINDOW:
                port = left.pop()
                self.ask(port)
                waiting[port] = time.monotonic()
            self.socket.settimeout(0.2)
            try:
                data = self.socket.recv(100)
                _, opcode, result, _, port, outer = struct.unpack("!BBHIHH", data[:12])
                if result != 0:
                    raise TooSlow(f"result {result}")
                if waiting.pop(port, None):
                    self.outer[port] = outer
            except TimeoutError:
                pass
            now = time.monotonic()
            for port in [p for p, at in waiting.items() if now - at > 1]:
                self.ask(port)
                waiting[port] = now
            if now - began > PATIENCE_S:
                raise TooSlow(f"{len(ports) - len(left) - len(waiting)} in {PATIENCE_S:.0f} s")
        return time.monotonic() - began

    def delete_all(self):
        """By one request; seconds until it is answered."""
        began = time.monotonic()
        self.socket.settimeout(2)
        while time.monotonic() - began < PATIENCE_S:
            self.socket.sendto(struct.pack("!BBHHHI", 0, 1, 0, 0, 0, 0), (ROUTER, 5351))
            try:
                if self.socket.recv(100)[:4] == b"\0\x81\0\0":
                    return time.monotonic() - began
            except TimeoutError:
                pass
        raise TooSlow(f"deletions in {PATIENCE_S:.0f} s")


CONTROL = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("192.168.1.1", 5399))
print("bound", flush=True)
while True:
    s.sendto(*s.recvfrom(100))
"""


class Asker:
    """Asks from lan2 every 5 ms: the gateway for its address, and by turns a control that only echoes, beside it in the router."""

    def __init__(self, home):
        home.spawn("router", ["python3", "-c", CONTROL], ready="bound")
        self.pmp, self.control = Pmp(home, "lan2"), Pmp(home, "lan2")
        self.control.socket.connect((ROUTER, 5399))
        self.pmp.socket.connect((ROUTER, 5351))

    def _ask(self, s, times, done):
        while not done.is_set():
            began = time.monotonic()
            s.send(b"\0\0")
            try:
                s.recv(100)
            except TimeoutError:
                pass
            took = time.monotonic() - began
            times.append(took * 1000)
            done.wait(max(0, 0.005 - took))

    def during(self, work):
        """The result of work(), the milliseconds of the gateway's answers meanwhile, and of the control's."""
        done, times, control = threading.Event(), [], []
        threads = [threading.Thread(target=self._ask, args=[s, to, done])
                   for s, to in [(self.pmp.socket, times), (self.control.socket, control)]]
        for thread in threads:
            thread.start()
        try:
            return work(), times, control
        finally:
            done.set()
            for thread in threads:
                thread.join()


class Turns:
    """What bench/turns.c, preloaded, measures in a file."""

    def __init__(self, home):
        self.path = os.path.join(home.directory, "turns")
        with open(self.path, "wb") as f:
            f.write(bytes(48))
        self.file = open(self.path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 48)
        self.env = {**os.environ, "TURNS": self.path, "LD_PRELOAD": os.path.join(os.path.abspath(home.build), "bench", "libturns.so")}

    def taken(self):
        """A text of the turns since this was asked last."""
        count, wall, cpu, held, longer, total = struct.unpack("=6Q", self.map[:48])
        self.map[:48] = bytes(48)
        return f"turns: {count:>6} of {total / max(count, 1):5.0f} us, longest {wall / 1000:6.1f} cpu {cpu / 1000:5.1f} held {held / 1000:5.1f} ms, over 20: {longer}"


def slowest(times):
    return f"{sorted(times)[len(times) * 99 // 100]:6.1f} {max(times):6.1f}"


def private_dirty(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return int(re.search(r"Private_Dirty:\s+(\d+)", f.read()).group(1)) * 1024


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stunway(home, turns):
    home.stun.stop()  # 10,000 holes ask it 500 times a second, more than it would answer one address
    home.stun = home.spawn("stun", [home.program("server"), "--ipv4", STUN, "--ipv4", STUN_OTHER, "--rate", "0"],
                           ready=f"listening tcp {STUN_OTHER}:3479")
    gateway = home.gateway("--max-mappings", "20000", "--stun-rate", "10000", "--max-mappings-per-client", "20000", "--relay-ports", "20000-32000",
                           "--log-level", "warn", ready=None, env=turns.env)
    return gateway.pid


def miniupnpd(home, turns):
    home.nft("router", MINIUPNPD_CHAINS)
    config = os.path.join(home.directory, "miniupnpd.conf")
    with open(config, "w", encoding="ascii") as f:
        f.write(MINIUPNPD_CONFIG)
    pid_file = os.path.join(home.directory, "miniupnpd.pid")
    home.run("router", ["miniupnpd", "-f", config, "-P", pid_file])  # it goes to the background
    return int(eventually(lambda: os.path.exists(pid_file) and open(pid_file, encoding="ascii").read(), 5, "miniupnpd's start"))


def relay_ports(home, name):
    """The ports of WAN that lead to lan1."""
    if name == "stunway":
        return [int(k.split(".")[1]) for k in home.elements("inbound")]
    return [int(p) for p in re.findall(r"udp dport (\d+) dnat", home.nft("router", "list chain inet filter prerouting_miniupnpd"))] or \
        [int(p) for p in re.findall(r"th dport (\d+)", home.nft("router", "list chain inet filter prerouting_miniupnpd"))]


def new_flows(home, ports):
    """Datagrams of new flows a second of CPU from a neighbour on the line to these ports; all must arrive at lan1. The sender's
    thread carries them all the way: the kernel forwards in its system call."""
    home.run("router", ["conntrack", "-F"])
    home.nft("lan1", "add table inet count\ndelete table inet count\n"
             "table inet count { chain arriving { type filter hook prerouting priority raw; iifname eth0 udp dport 10001-30000 counter drop; }; }")
    raw = home.socket("carrier", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    order = random.Random(1)
    packets = []
    for i in range(FLOWS):
        source = struct.pack("!BBBB", 100, 65, i >> 8 & 255, i & 255)
        packets.append(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 36, 0, 0, 64, 17, 0, source, socket.inet_aton(WAN_IP)) +
                       struct.pack("!HHHH", 5000, order.choice(ports), 16, 0) + b"new flow")
    rates = []
    for part in range(10):
        began = time.thread_time()
        for packet in packets[part * FLOWS // 10:(part + 1) * FLOWS // 10]:
            raw.sendto(packet, (WAN_IP, 0))
        rates.append(FLOWS / 10 / (time.thread_time() - began))
    raw.close()
    time.sleep(0.2)
    arrived = int(re.search(r"counter packets (\d+)", home.nft("lan1", "list table inet count")).group(1))
    home.run("router", ["conntrack", "-F"])
    if arrived != FLOWS:
        raise TooSlow(f"only {arrived} of {FLOWS} datagrams arrived")
    return max(rates)  # others on this machine only make it slower


def measure(name, start):
    """Prints a line for each size."""
    rates = {}
    with Home(FULL_CONE) as home:
        turns = Turns(home)
        pid = start(home, turns)
        asker, mapper = Asker(home), Mapper(home)
        asker.pmp.address(10)
        for _ in range(3):
            mapper.map([FIRST])  # what the first mapping brings for all
        empty, had = private_dirty(pid), 1
        for size in SIZES:
            try:
                turns.taken()
                took, *adding = asker.during(lambda: mapper.map(range(FIRST + had, FIRST + size)))
                added, had = size - had, size
                adding.append(turns.taken())
                memory = (private_dirty(pid) - empty) / (size - 1)
                renewed, *renewing = asker.during(lambda: [mapper.map(range(FIRST, FIRST + size)) for _ in range(RENEWALS // size or 1)])
                renewing.append(turns.taken())
                before = cpu_s(pid)
                time.sleep(QUIET_S)
                busy = (cpu_s(pid) - before) / QUIET_S * 60
                _, *quiet = asker.during(lambda: time.sleep(QUIET_S))
                quiet.append(turns.taken())
                ports = relay_ports(home, name)
                rates[1] = rates.get(1) or max(new_flows(home, ports[:1]) for _ in range(2))
                rates[size] = new_flows(home, ports)
            except TooSlow as error:
                print(f"{name:>10} {size:>8}  given up: {error}")
                break
            print(f"{name:>10} {size:>8} {added / took:>8.0f} {len(renewed) * size / sum(renewed):>9.0f} {memory:>8.0f} {busy:>9.2f}"
                  f" {rates[size]:>11.0f} {rates[size] / rates[1]:>6.2f}", flush=True)
            for what, (times, control, took) in [("adding", adding), ("renewing", renewing), ("quiet", quiet)]:
                print(f"{'':>19} others wait, {what + ':':<10} {slowest(times)}   control {slowest(control)}", flush=True)
                if name == "stunway":
                    print(f"{'':>19} {took}", flush=True)
        if name == "stunway" and had == SIZES[-1]:
            took, times, control = asker.during(mapper.delete_all)
            print(f"{'':>10} {had:>8} deleted in {took:.2f} s; others wait {slowest(times)}   control {slowest(control)}")
            print(f"{'':>19} {turns.taken()}", flush=True)


def main():
    print("Many mappings; others wait: ms, as 99 % and the slowest")
    print(f"{'':>10} {'mappings':>8} {'added/s':>8} {'renewed/s':>9} {'bytes':>8} {'CPU s/min':>9} {'new flows/s':>11} {'to 1':>6}")
    measure("stunway", stunway)
    measure("miniupnpd", miniupnpd)


if __name__ == "__main__":
    main()
