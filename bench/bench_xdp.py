# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-server --xdp: CPU time per answer, beside an XDP echo (the limit), the sockets and coturn, in one run.

    load 198.19.x.x  -- veth --  198.18.0.1, .2     a pair of namespaces for each, as in bench_server

What XDP does is done in the interface's receive thread (threaded NAPI), whose run time is measured. It, the other side's and the
load share the load's core by turns, real-time and giving it up after each batch: so frames come by the batch, and nobody else's work is
between them. XDP and the echo are loaded at once, whole batches in turn, so that whatever slows the machine slows both; a ratio is
of the two in one round. Sockets are loaded right after, real-time too and as fast as they answer, and stand beside XDP's of the same round.
Program alone: bench/xdp_alone.c.

STUNWAY_BENCH_SECONDS (0.1) and STUNWAY_BENCH_ROUNDS (30) make it longer.
"""
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from bench.bench_server import (A1, A2, KINDS, LOAD_CORE, SERVER_CORE, Bed, Server, found, ksoftirqd, measured, program, real_time,
                                run_ns)
from lab.topology import start

SECONDS = float(os.environ.get("STUNWAY_BENCH_SECONDS", "0.1"))
ROUNDS = int(os.environ.get("STUNWAY_BENCH_ROUNDS", "30"))
PINS = f"/sys/fs/bpf/sw{os.getpid()}"
BARS = {"8489": 1.35, "3489": 1.6, "change": 1.35}  # of the echo, at most
PEER_BAR = 12  # times XDP, at least, for the best of stund and coturn
ALONE_BAR = 200  # ns, at most


def run_in(namespace, *argv):
    with start(namespace, argv, stdout=subprocess.PIPE, text=True) as p:
        out = p.communicate()[0]
    assert p.returncode == 0, (argv, out)
    return out


def threads():
    """The receive threads of all interfaces called eth0."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as f:
                if f.read().startswith("napi/eth0"):
                    found.add(int(pid))
        except OSError:
            pass
    return found


def thread_on(namespace, core):
    """Gives eth0 there, which has an XDP program by now, a receive thread on this core; its pid."""
    before = threads()
    run_in(namespace, "unshare", "-m", "sh", "-c", "mount -t sysfs sysfs /sys && echo 1 >/sys/class/net/eth0/threaded")
    made, = threads() - before
    os.sched_setaffinity(made, {core})
    os.sched_setscheduler(made, os.SCHED_RR, os.sched_param(1))  # as the load has
    return made


def attach(namespace, name):
    run_in(namespace, "bpftool", "net", "attach", "xdpdrv", "pinned", f"{PINS}/{name}", "dev", "eth0")


class Fast:
    """A bed whose interface answers by itself; the time of its thread."""

    def __init__(self, stack, name, tag):
        self.name = name
        self.bed = stack.enter_context(Bed(tag))
        attach(self.bed.load, "pass")
        thread_on(self.bed.load, LOAD_CORE)
        self.begin()
        self.thread = thread_on(self.bed.server, LOAD_CORE)

    def once(self, kind):
        """(microseconds an answer, answers a second, what load says)."""
        ns = run_ns(self.thread)
        said = self.bed.run_load(3478, kind, changed=3479, seconds=SECONDS, first=True, more=["--yield", *self.more])
        ns = run_ns(self.thread) - ns
        assert said["answered"] > 0 and said["bad"] == 0, (self.name, kind, said)
        return ns / said["answered"] / 1000, said["answered"] / said["seconds"], said


class Echo(Fast):
    more = ["--echo"]

    def begin(self):
        attach(self.bed.server, "echo")


class Stunway(Fast):
    more = []

    def begin(self):
        process = self.bed.spawn([program("stunway-server"), "--ipv4", A1, "--ipv4", A2, "--workers", "1", "--rate", "1000000", "--xdp", "eth0"])
        deadline = time.monotonic() + 10
        while "xdp" not in run_in(self.bed.server, "ip", "link", "show", "eth0"):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)


def middle(values):
    low, mid, high = statistics.quantiles(values, n=4)
    return f"{mid:5.2f}  ({low:.2f} to {high:.2f})"


def one_round(bed, fast, echo, servers, kind, softirqs):
    with ThreadPoolExecutor(2) as both:
        done = {x: both.submit(x.once, kind) for x in (echo, fast)}
        done = {x: d.result() for x, d in done.items()}
    for s in servers:
        real_time(s.process.pid, True)
        done[s] = measured(bed, s, kind, softirqs, seconds=SECONDS, first=True)
        real_time(s.process.pid, False)
    return done


def report(kind, name, rounds, fast, echo, servers):
    print(f"  {name}   load average {os.getloadavg()[0]:.1f}")
    for x in (fast, echo, *servers):
        us = [r[x][0] for r in rounds]
        print(f"    {x.name:<15} {middle(us)} us   of the echo {middle([r[x][0] / r[echo][0] for r in rounds])}"
              f"   of XDP {middle([r[x][0] / r[fast][0] for r in rounds])}"
              f"   {statistics.median(r[x][1] for r in rounds) / 1000:4.0f} k/s, verified {sum(r[x][2]['answered'] for r in rounds)}")
    of_echo = statistics.median(r[fast][0] / r[echo][0] for r in rounds)
    best = min(statistics.median(r[s][0] / r[fast][0] for r in rounds) for s in servers if s.name != "sockets")
    print(f"    XDP of the echo {of_echo:.2f}, bar: at most {BARS[kind]}; best peer of XDP {best:.1f}, bar: at least {PEER_BAR}", flush=True)


def main():
    run_in_root = lambda *argv: subprocess.run(argv, check=True)
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        stack.callback(lambda: subprocess.run(["rm", "-rf", PINS], check=False))
        run_in_root("bpftool", "prog", "loadall", program("bench/echo.bpf.o"), PINS, "type", "xdp")
        fast, echo = Stunway(stack, "stunway --xdp", "x1"), Echo(stack, "XDP echo", "x2")
        bed = stack.enter_context(Bed())
        servers = [Server("sockets", [program("stunway-server"), "--ipv4", A1, "--ipv4", A2, "--workers", "1", "--rate", "1000000"], 3478),
                   Server("stund", [found("stund"), "-h", A1, "-a", A2, "-p", "4478", "-o", "4479"], 4478),
                   Server("coturn", [found("turnserver"), "-n", "-S", "-L", A1, "-L", A2, "-p", "5478", "--alt-listening-port=5479",
                                     "--no-tls", "--no-dtls", "--no-cli", "--log-file=/dev/null", "--simple-log",
                                     f"--pidfile={scratch}/pid", f"--userdb={scratch}/db"], 5478)]
        for s in servers:
            s.start(bed)
        softirqs = ksoftirqd(SERVER_CORE)
        print(f"The program alone, best round; bar: at most {ALONE_BAR} ns", flush=True)
        run_in_root(program("bench/xdp_alone"))
        print(f"CPU time per answer, one core, {ROUNDS} rounds of {SECONDS:g} s, median and quartiles")
        for kind, name in KINDS.items():
            rounds = [one_round(bed, fast, echo, servers, kind, softirqs) for _ in range(ROUNDS)]
            report(kind, name, rounds, fast, echo, servers)


if __name__ == "__main__":
    main()
