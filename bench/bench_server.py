# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-server's cost, beside Debian's stun-server (vovida stund) and coturn, and a floor (bench/floor.c) in the same run.

    load 198.19.x.x  -- veth --  server 198.18.0.1, 198.18.0.2
    core 0                       core 1, its soft interrupts too (RPS)

  CPU per answer   all run at once, each is loaded in turn, many times; ratios are of neighbours in time. An answer counts when
                   verified (bench/load.c). Measured is the run time of the server's threads, to which the kernel books the
                   soft interrupts that hit them, plus ksoftirqd's of the server's core: when these have the whole core, that is all
                   there is, and "busy" shows how much of it they had.
  no loss          at 80 % of the capacity just measured
  two workers      CPU per answer beside one worker, and how they share
  start, memory    to the first answer; RSS with one worker, after the load
  micro            from datagram to answer, without sockets

STUNWAY_BENCH_SECONDS (0.1) and STUNWAY_BENCH_ROUNDS (60) make it longer.
"""
import json
import os
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from lab.topology import inside, start

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("STUNWAY_BUILD", "build"))
SECONDS = float(os.environ.get("STUNWAY_BENCH_SECONDS", "0.1"))
ROUNDS = int(os.environ.get("STUNWAY_BENCH_ROUNDS", "60"))
LOAD_CORE, SERVER_CORE = 0, 1
A1, A2 = "198.18.0.1", "198.18.0.2"
NOBODY = "02:00:00:00:00:99"  # the load's MAC as the server knows it: its own IP ignores what is sent there
KINDS = {"8489": "RFC 8489", "3489": "RFC 3489", "change": "CHANGE-REQUEST"}
TCK = os.sysconf("SC_CLK_TCK")


def program(name):
    return os.path.join(BUILD, name)


def found(*names):
    """The path of the first of these programs that there is."""
    for name in names:
        for path in (shutil.which(name), f"/usr/sbin/{name}"):
            if path and os.path.exists(path):
                return path
    sys.exit(f"bench_server: no {names[0]}: script/deps bench")


def ip(*lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)


def ip_in(namespace, *lines):
    with start(namespace, ["ip", "-batch", "-"], stdin=subprocess.PIPE, text=True) as p:
        p.communicate("\n".join(lines) + "\n")
    assert p.returncode == 0, lines


class Bed:
    """The two namespaces and the line between them."""

    def __init__(self, tag=""):
        """tag: of a second bed of this process."""
        self.tag, self.server, self.load = tag, f"sw{os.getpid()}{tag}-server", f"sw{os.getpid()}{tag}-load"
        self.processes = []

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        try:
            a, b = f"swa{os.getpid()}{self.tag}", f"swb{os.getpid()}{self.tag}"
            ip(f"netns add {self.server}", f"netns add {self.load}", f"link add {a} type veth peer name {b}")
            for device, core in ((a, SERVER_CORE), (b, LOAD_CORE)):  # who receives pays on its own core
                with open(f"/sys/class/net/{device}/queues/rx-0/rps_cpus", "w") as f:
                    f.write(f"{1 << core:x}")
            ip(f"link set {a} name eth0 netns {self.server}", f"link set {b} name eth0 netns {self.load}")
            ip_in(self.server, "link set lo up", f"addr add {A1}/24 dev eth0", f"addr add {A2}/24 dev eth0", "link set eth0 up",
                  f"neigh replace 198.18.0.254 lladdr {NOBODY} dev eth0 nud permanent", "route add default via 198.18.0.254")
            ip_in(self.load, "link set eth0 up")
            self.mac = inside(self.server, lambda: subprocess.run(
                ["ip", "-json", "link", "show", "eth0"], capture_output=True, text=True, check=True)).stdout
            self.mac = json.loads(self.mac)[0]["address"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for p in self.processes:
            p.kill()
            p.wait()
        for namespace in (self.server, self.load):
            subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL, check=False)

    def spawn(self, argv, cores=(SERVER_CORE,), **options):
        """A server, on the server's core."""
        p = start(self.server, argv, stdin=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, cores),
                  **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options})
        self.processes.append(p)
        return p

    def answers(self, address, port, timeout=10):
        """Asks, from within the server's namespace, until there is an answer; the seconds it took."""
        question = struct.pack("!HHI12s", 1, 0, 0x2112A442, b"stunway-bnch")
        began = time.monotonic()
        with inside(self.server, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as s:
            s.connect((address, port))
            s.setblocking(False)
            while time.monotonic() - began < timeout:
                try:
                    s.send(question)
                    until = time.monotonic() + 0.0005
                    while time.monotonic() < until:
                        try:
                            s.recv(2000)
                            return time.monotonic() - began
                        except BlockingIOError:
                            pass
                except ConnectionRefusedError:
                    pass
        sys.exit(f"bench_server: nothing answers at {address}:{port}")

    def run_load(self, port, kind, *, changed=None, seconds=SECONDS, first=False, more=()):
        argv = [program("bench/load"), "--device", "eth0", "--mac", self.mac, "--to", f"{A1}:{port}", "--kind", kind,
                "--seconds", str(seconds), *more]
        if kind == "change":
            argv += ["--from", f"{A2}:{changed}"]

        def settle():
            os.sched_setaffinity(0, {LOAD_CORE})
            if first:
                os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

        with start(self.load, argv, stdout=subprocess.PIPE, text=True, preexec_fn=settle) as p:
            out = p.communicate()[0]
        assert p.returncode == 0, argv
        return json.loads(out)


def run_ns(pid):
    """What the scheduler has booked to a process's threads, in nanoseconds."""
    total = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def ksoftirqd(core):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as f:
                if f.read().strip() == f"ksoftirqd/{core}":
                    return int(pid)
        except OSError:
            pass
    return None


def core_seconds(core):
    """(idle, stolen, all) seconds of a core so far; stolen: the machine below ran somebody else."""
    with open("/proc/stat") as f:
        row = next(line for line in f if line.startswith(f"cpu{core} "))
    ticks = [int(t) for t in row.split()[1:9]]
    return (ticks[3] + ticks[4]) / TCK, ticks[7] / TCK, sum(ticks) / TCK


def receive_drops(bed):
    """Datagrams the server's kernel had no room for in a socket."""
    with open(f"/proc/{bed.processes[0].pid}/net/snmp") as f:
        keys, values = [line.split() for line in f if line.startswith("Udp:")]
    return int(values[keys.index("RcvbufErrors")])


class Server:
    """One that is measured: what to run, and its ports."""

    def __init__(self, name, argv, port, kinds=tuple(KINDS)):
        self.name, self.argv, self.port, self.kinds = name, argv, port, kinds

    def start(self, bed):
        self.process = bed.spawn(self.argv)
        bed.answers(A1, self.port)


def measured(bed, server, kind, softirqs=None, **options):
    """Loads once: (microseconds of CPU per answer, answers per second, what load says, share of the time it had the core)."""
    pids = [server.process.pid, *([softirqs] if softirqs else [])]
    before = sum(map(run_ns, pids))
    done = bed.run_load(server.port, kind, changed=server.port + 1, **options)
    ns = sum(map(run_ns, pids)) - before
    assert done["answered"] > 0 and done["bad"] == 0, (server.name, kind, done)
    return ns / done["answered"] / 1000, done["answered"] / done["seconds"], done, ns / 1e9 / done["seconds"]


def spread(values):
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return middle, f"{middle:5.2f}  ({low:.2f} to {high:.2f})"


def cpu_per_answer(bed, servers):
    softirqs = ksoftirqd(SERVER_CORE)
    print(f"CPU time per verified answer, one server core, {ROUNDS} rounds of {SECONDS:g} s each, median and quartiles")
    for kind, name in KINDS.items():
        runs = {s.name: [] for s in servers}
        for _ in range(ROUNDS):
            for s in servers:
                runs[s.name].append(measured(bed, s, kind if kind in s.kinds else "8489", softirqs))
        print(f"  {name}")
        for s in servers:
            us = [r[0] for r in runs[s.name]]
            ratio = {other: spread([a[0] / b[0] for a, b in zip(runs[s.name], runs[other])])
                     for other in ("floor", "stund")}
            print(f"    {s.name:<15} {spread(us)[1]} us   of the floor {ratio['floor'][1]}   of stund {ratio['stund'][1]}"
                  f"   {statistics.median(r[1] for r in runs[s.name]) / 1000:4.0f} k/s, busy {statistics.median(r[3] for r in runs[s.name]):4.0%}"
                  f", lost {sum(r[2]['lost'] for r in runs[s.name])}")


LOSS_RUNS = 3


def real_time(pid, yes):
    """Before whatever else runs on its core, lest its time slices be taken for loss."""
    for tid in os.listdir(f"/proc/{pid}/task"):
        os.sched_setscheduler(int(tid), os.SCHED_RR if yes else os.SCHED_OTHER, os.sched_param(int(yes)))


def loss_once(bed, server, kind):
    """One second at 80 % of the capacity found just before: what is lost, and where the core's time went."""
    rate = int(0.8 * measured(bed, server, kind, seconds=0.5, first=True)[1])
    drops, core, ran = receive_drops(bed), core_seconds(SERVER_CORE), run_ns(server.process.pid)
    done = measured(bed, server, kind, seconds=1, first=True, more=["--rate", str(rate)])[2]
    idle, stolen, total = (b - a for a, b in zip(core, core_seconds(SERVER_CORE)))
    ours = (run_ns(server.process.pid) - ran) / 1e9
    others = max(0.0, 1 - (idle + stolen + ours) / total)
    return (f"{rate / 1000:4.0f} k/s, asked {done['sent']}, lost {done['lost']}, of them at the socket {receive_drops(bed) - drops};"
            f" busy {ours / total:.0%}, idle {idle / total:.0%}, others {others:.0%}, stolen {stolen / total:.0%}")


def no_loss(bed, servers):
    """Beside the floor: what the machine itself loses, by waking a core too late, is not the server's."""
    print("Loss at 80 % of the capacity measured just before, from 1000 addresses, 1 s each")
    for s in servers:
        real_time(s.process.pid, True)
    for kind, name in KINDS.items():
        for _ in range(LOSS_RUNS):
            for s in servers:
                if kind in s.kinds:
                    print(f"  {name:<15}{s.name:<16}{loss_once(bed, s, kind)}")
    for s in servers:
        real_time(s.process.pid, False)


def workers(bed, one):
    """Both workers of the second server run on the one server core: what they cost each other besides is caches."""
    softirqs = ksoftirqd(SERVER_CORE)
    with tempfile.TemporaryFile("w+") as log:
        two = Server("two workers", [program("stunway-server"), "--ipv4", A1, "--ipv4", A2, "--ports", "7478,7479", "--workers", "2",
                                     "--rate", "1000000"], 7478)
        two.process = bed.spawn(two.argv, stderr=log)
        bed.answers(A1, two.port)
        ratios, sources = [], ["--sources", "10000"]
        for _ in range(ROUNDS):
            a = measured(bed, one, "8489", softirqs, more=sources)[0]
            ratios.append(measured(bed, two, "8489", softirqs, more=sources)[0] / a)
        two.process.send_signal(signal.SIGTERM)
        two.process.wait()
        log.seek(0)
        shares = [int(n) for n in re.findall(r"worker number=\d+ answered=(\d+)", log.read())]
    print("Two workers, both on the server core, 10,000 addresses")
    print(f"  CPU per answer beside one worker {spread(ratios)[1]}; shares "
          + ", ".join(f"{n / sum(shares):.1%}" for n in shares))


def start_and_memory(bed, server):
    with open(f"/proc/{server.process.pid}/status") as f:
        mib = {k: int(v) / 1024 for k, v in re.findall(r"(\w+):\s+(\d+) kB", f.read())}
    print(f"Memory with one worker, after the load: RSS {mib['VmRSS']:.2f} MiB, of it anonymous {mib['RssAnon']:.2f} MiB")
    times = []
    for _ in range(21):
        argv = [*server.argv, "--ports", "8478,8479"]
        began = time.monotonic()
        process = bed.spawn(argv)
        bed.answers(A1, 8478)
        times.append((time.monotonic() - began) * 1000)
        process.terminate()
        process.wait()
    print(f"Start to first answer: {spread(times)[1]} ms, fork and all")


def main():
    with Bed() as bed, tempfile.TemporaryDirectory() as scratch:
        dual = ["--ipv4", A1, "--ipv4", A2]
        servers = [
            Server("floor", [program("bench/floor"), A1, "6478"], 6478, kinds=("8489", "3489")),
            Server("stunway-server", [program("stunway-server"), *dual, "--workers", "1", "--rate", "1000000"], 3478),
            Server("stund", [found("stund"), "-h", A1, "-a", A2, "-p", "4478", "-o", "4479"], 4478),
            Server("coturn", [found("turnserver"), "-n", "-S", "-L", A1, "-L", A2, "-p", "5478", "--alt-listening-port=5479",
                              "--no-tls", "--no-dtls", "--no-cli", "--log-file=/dev/null", "--simple-log",
                              f"--pidfile={scratch}/pid", f"--userdb={scratch}/db"], 5478),
        ]
        for s in servers:
            s.start(bed)
        cpu_per_answer(bed, servers)
        no_loss(bed, servers[:2])
        workers(bed, servers[1])
        start_and_memory(bed, servers[1])
    print("From datagram to answer, without sockets, limit included")
    sys.stdout.flush()
    subprocess.run([program("bench/answer_bench")], check=True)


if __name__ == "__main__":
    main()
