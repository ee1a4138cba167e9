# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-server --xdp: CPU time per answer, beside an XDP echo (the limit), the sockets and coturn, in one run.

    load 198.19.x.x  -- veth --  198.18.0.1, .2     a pair of namespaces for each, as in bench_server

What XDP does is done in the interface's receive thread (threaded NAPI), whose run time is measured. It and the other side's
are on the load's core, so that frames come to it by the batch and it is not woken for each. The echo's frames are no answers, so it is counted by the frames sent
back, and XDP is asked at the same fixed rate beside it. Program alone: the kernel's own account (kernel.bpf_stats_enabled), which
contains its two looks at the clock.

STUNWAY_BENCH_SECONDS and STUNWAY_BENCH_ROUNDS (10) make it longer.
"""
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time

from bench.bench_server import (A1, A2, KINDS, LOAD_CORE, SERVER_CORE, Bed, Server, found, ksoftirqd, measured, program, run_ns)
from lab.topology import start

SECONDS = float(os.environ.get("STUNWAY_BENCH_SECONDS", "0.3"))
ROUNDS = int(os.environ.get("STUNWAY_BENCH_ROUNDS", "10"))
RATE = 200000
PINS = f"/sys/fs/bpf/sw{os.getpid()}"
STATS = "/proc/sys/kernel/bpf_stats_enabled"


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
    os.sched_setscheduler(made, os.SCHED_BATCH, os.sched_param(0))  # it waits until the load has sent a batch
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

    def frames(self):
        """Sent back so far."""
        out = run_in(self.bed.server, "ip", "-json", "-s", "link", "show", "eth0")
        return json.loads(out)[0]["stats64"]["tx"]["packets"]

    def once(self, kind, rate):
        """(microseconds a frame sent back, frames a second, what load says)."""
        frames, ns = self.frames(), run_ns(self.thread)
        said = self.bed.run_load(3478, kind, changed=3479, seconds=SECONDS, more=["--rate", str(rate), "--window", "60000"])
        frames, ns = self.frames() - frames, run_ns(self.thread) - ns
        return ns / frames / 1000, frames / said["seconds"], said


class Echo(Fast):
    def begin(self):
        attach(self.bed.server, "echo")


class Stunway(Fast):
    def begin(self):
        process = self.bed.spawn([program("stunway-server"), "--ipv4", A1, "--ipv4", A2, "--workers", "1", "--rate", "1000000", "--xdp", "eth0"])
        deadline = time.monotonic() + 10
        while "xdp" not in run_in(self.bed.server, "ip", "link", "show", "eth0"):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)

    def alone(self, kind):
        """Nanoseconds of the program itself, in the round that was disturbed least."""
        def account():
            attached = json.loads(run_in(self.bed.server, "bpftool", "-j", "net"))[0]["xdp"][0]["id"]
            seen = json.loads(run_in(self.bed.server, "bpftool", "-j", "prog", "show", "id", str(attached)))
            return seen.get("run_time_ns", 0), seen.get("run_cnt", 0)

        with open(STATS, "w") as f:
            f.write("1")
        try:
            seen = [account()]
            for _ in range(ROUNDS):
                self.once(kind, RATE)
                seen.append(account())
        finally:
            with open(STATS, "w") as f:
                f.write("0")
        return min((b[0] - a[0]) / (b[1] - a[1]) for a, b in zip(seen, seen[1:]))


def middle(values):
    low, mid, high = statistics.quantiles(values, n=4)
    return f"{mid:5.2f}  ({low:.2f} to {high:.2f})"


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
        print(f"CPU time per answer, one server core, {ROUNDS} rounds of {SECONDS:g} s, median and quartiles")
        for kind, name in KINDS.items():
            runs = {x: [] for x in (fast, echo, *servers)}
            for _ in range(ROUNDS):
                for x in (echo, fast):
                    runs[x].append(x.once(kind, RATE))
                for s in servers:
                    time.sleep(0.1)  # what the one before still has to say
                    runs[s].append(measured(bed, s, kind, softirqs, seconds=SECONDS))
            print(f"  {name}   the program alone {fast.alone(kind):.0f} ns")
            for x, done in runs.items():
                ratio = [r[0] / e[0] for r, e in zip(done, runs[echo])]
                print(f"    {x.name:<15} {middle([r[0] for r in done])} us   of the echo {middle(ratio)}"
                      f"   {statistics.median(r[1] for r in done) / 1000:4.0f} k/s, verified {sum(r[2]['answered'] for r in done)}")


if __name__ == "__main__":
    main()
