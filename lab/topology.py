#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The laboratory: a small Internet of network namespaces with a carrier's NAT in it.

  stun 198.51.100.1, .2          stun2 198.51.100.11    stranger 192.0.2.66     stranger2 192.0.2.77
       2001:db8:100::1, ::2            |                     2001:db8:2::66         |
            |                          |                          |                 |
            +--------------------------+---- net -----------------+-----------------+   a plain IP router
                                              |
                                       carrier: natbox    outer 203.0.113.1 (203.0.113.0/24 is routed to it)
                                              |           inside 100.64.0.1/10, 2001:db8:64::1/64
                            +-----------------+-----------------+
                            |                                   |
              wan 100.64.0.2                              customer 100.64.0.3, 2001:db8:64::3
                  router: nftables, masquerade
              lan 192.168.1.1/24 (bridge)
                            |
                  +---------+---------+
            lan1 192.168.1.10   lan2 192.168.1.11

As a module:

    with Lab(nat={"mapping": "ei", "ports": "random"}) as lab:
        lab.run("lan1", ["ping", "-c1", "198.51.100.1"])

As a program, to play with: up, exec ROLE COMMAND..., nat COMMAND..., sweep; see --help.
"""
import argparse
import atexit
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NETNS_DIR = "/run/netns"
CLONE_NEWNET = 0x40000000
# A timeout says when what comes on a machine of its own is called missing; others work beside it, and it is waited for so many times longer.
PATIENCE = 4

GATEWAY = "192.0.2.1"  # net's address on each of its lines
HOSTS = {  # directly on net: their addresses
    "stun": ["198.51.100.1", "198.51.100.2", "2001:db8:100::1", "2001:db8:100::2"],
    "stun2": ["198.51.100.11", "2001:db8:100::11"],
    "stranger": ["192.0.2.66", "2001:db8:2::66"],
    "stranger2": ["192.0.2.77", "2001:db8:2::77"],
}
CARRIER = "192.0.2.2"
LANS = {"lan1": "192.168.1.10", "lan2": "192.168.1.11"}
BEHIND_ROUTER = ["router", "lan1", "lan2"]
ROLES = ["net", "carrier", "customer", *HOSTS, *BEHIND_ROUTER]

ROUTER_RULES = """
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iifname { "lan", "lo" } accept
        meta l4proto { icmp, icmpv6 } accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "lan" oifname "wan" accept
    }
}
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname "wan" masquerade
    }
}
"""

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """Something in the laboratory did not do as told; the message has its output."""


def inside(namespace, function):
    """Calls function() in a network namespace (by full name): its sockets and processes belong there.

    It runs in a thread of its own, so that the caller never leaves where it is.
    """
    result = {}

    def body():
        try:
            fd = os.open(f"{NETNS_DIR}/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(fd, CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, f"setns to {namespace}: {os.strerror(number)}")
            finally:
                os.close(fd)
            result["value"] = function()
        except BaseException as error:  # handed to the caller
            result["error"] = error

    thread = threading.Thread(target=body, name=f"in {namespace}")
    thread.start()
    thread.join()
    if "error" in result:
        raise result["error"]
    return result["value"]


def start(namespace, argv, **options):
    """subprocess.Popen in a namespace. `ip netns exec` and `ip -n` remount /, which not every chroot allows."""
    return inside(namespace, lambda: subprocess.Popen(argv, **options))


class Process:
    """A program running in a namespace; its stdout and stderr come together as lines."""

    def __init__(self, namespace, argv, env=None, cwd=None):
        self.argv = [str(a) for a in argv]
        self.lines = []
        self.ended = False
        self._news = threading.Condition()
        self._popen = start(namespace, self.argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        self.pid = self._popen.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._popen.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()

    def _tail(self):
        return "\n".join(self.lines[-40:])

    def wait_line(self, text, timeout=10, after=0):
        """The first line (from index `after` on) that contains text; LabError when none comes."""
        timeout *= PATIENCE
        deadline = time.monotonic() + timeout
        seen = after
        with self._news:
            while True:
                for line in self.lines[seen:]:
                    if text in line:
                        return line
                seen = max(seen, len(self.lines))
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    why = f"ended with {self._popen.poll()}" if self.ended else f"{timeout} s passed"
                    raise LabError(f"{self.argv[0]}: {why} before a line with {text!r}:\n{self._tail()}")
                self._news.wait(left)

    def sanitizer(self):
        """What ASan, LSan, UBSan or TSan said in it, "" for nothing."""
        for i, line in enumerate(self.lines):
            if re.search(r"(ERROR|WARNING): \w+Sanitizer|: runtime error: ", line):
                return f"{self.argv[0]}:\n" + "\n".join(self.lines[i:i + 40])
        return ""

    def poll(self):
        """The return code, None while it runs."""
        return self._popen.poll()

    def wait(self, timeout=10):
        """Waits for its own end; returns the return code."""
        code = self._popen.wait(timeout * PATIENCE)
        self._reader.join(2 * PATIENCE)
        return code

    def stop(self, signal=signal.SIGTERM, timeout=10):
        """Sends the signal, waits; after the timeout SIGKILL. Returns the return code; again is harmless."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal)
            try:
                self._popen.wait(timeout * PATIENCE)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        self._reader.join(2 * PATIENCE)
        return self._popen.returncode


def _ip(lines, namespace=None, family=None):
    """Runs `ip -batch` with these lines; family: "-6" for what does not show it by an address."""
    argv = ["ip", *([family] if family else []), "-batch", "-"]
    options = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with start(namespace, argv, **options) if namespace else subprocess.Popen(argv, **options) as popen:
        _, errors = popen.communicate("\n".join(lines) + "\n")
    if popen.returncode != 0:
        raise LabError(f"{' '.join(argv)} in {namespace}:\n{errors}" + "\n".join(lines))


def _write(values):
    for path, value in values.items():
        with open(f"/proc/sys/net/{path}", "w") as f:
            f.write(value)


def _quiet_kernel(generated_link_local):
    """Sysctls of a fresh namespace: addresses usable at once, no source checks, no limit on ICMP errors."""
    _write({"ipv4/icmp_ratelimit": "0"})
    for where in ["all", "default"]:
        _write({f"ipv4/conf/{where}/rp_filter": "0", f"ipv4/conf/{where}/accept_redirects": "0",
                f"ipv4/conf/{where}/send_redirects": "0"})
        if os.path.exists("/proc/sys/net/ipv6"):
            _write({f"ipv6/conf/{where}/accept_dad": "0", f"ipv6/conf/{where}/dad_transmits": "0",
                    f"ipv6/conf/{where}/accept_ra": "0", f"ipv6/conf/{where}/router_solicitations": "0"})
    if os.path.exists("/proc/sys/net/ipv6"):
        _write({"ipv6/icmp/ratelimit": "0"})
        if not generated_link_local:
            _write({"ipv6/conf/default/addr_gen_mode": "1"})


def _forward():
    _write({"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"})


def _dead_pid(name):
    """Is this a namespace of ours whose maker has ended?"""
    match = re.match(r"sw(\d+)(x\d+)?-[a-z0-9]+$", name)
    return bool(match) and not os.path.exists(f"/proc/{match.group(1)}")


def _pids_in(namespace):
    """The processes of a network namespace."""
    try:
        there = os.stat(f"{NETNS_DIR}/{namespace}")
    except OSError:
        return []
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            s = os.stat(f"/proc/{pid}/ns/net")
        except OSError:
            continue
        if (s.st_dev, s.st_ino) == (there.st_dev, there.st_ino):
            pids.append(int(pid))
    return pids


def _delete(namespaces):
    """Ends what still runs in these namespaces and removes them; what is gone already does not matter."""
    for name in namespaces:
        for pid in _pids_in(name):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    subprocess.run(["ip", "-force", "-batch", "-"], input="".join(f"netns delete {n}\n" for n in namespaces),
                   text=True, capture_output=True)


def namespaces():
    """The names of all network namespaces."""
    try:
        return sorted(os.listdir(NETNS_DIR))
    except FileNotFoundError:
        return []


def sweep():
    """Removes the laboratories whose maker has died; returns the namespaces removed."""
    dead = [name for name in namespaces() if _dead_pid(name)]
    if dead:
        _delete(dead)
        for path in {f"{tempfile.gettempdir()}/{name.rsplit('-', 1)[0]}-lab" for name in dead}:
            shutil.rmtree(path, ignore_errors=True)
    return dead


class Lab:
    """One laboratory; a context manager, so that nothing of it is left behind."""

    _labs = 0

    def __init__(self, nat=None, router=True, build=None, prefix=None):
        """nat: natbox's options ("tcp_mapping" or "tcp-mapping"; True and False are on and off, a list repeats the
        option), {} for the defaults; False: no NAT, the carrier only routes. router: with router, lan1, lan2.
        build: the build directory, else the environment's STUNWAY_BUILD, else "build"."""
        if prefix is None:
            Lab._labs += 1
            prefix = f"sw{os.getpid()}" + (f"x{Lab._labs}" if Lab._labs > 1 else "")
        self.prefix = prefix
        self.build = os.path.join(ROOT, build or os.environ.get("STUNWAY_BUILD") or "build")
        self.roles = [r for r in ROLES if router or r not in BEHIND_ROUTER]
        self.directory = f"{tempfile.gettempdir()}/{prefix}-lab"
        self.control = f"{self.directory}/natbox.sock"
        self.natbox = None
        self._nat = {} if nat is None else nat
        self._processes = []
        self._sockets = []
        self._old_handler = None
        self._open = False

    # --- coming and going ---

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *exception):
        self.down()

    def up(self):
        """Makes everything; when that fails nothing is left."""
        sweep()
        self._open = True
        atexit.register(self.down)
        self._catch_sigterm()
        try:
            os.makedirs(self.directory, mode=0o711, exist_ok=True)  # programs that become nobody have files in it
            self._make_namespaces()
            self._make_links()
            if self._nat is not False:
                self.start_nat(**self._nat)
        except BaseException:
            self.down()
            raise

    def down(self):
        """Ends every process, closes every socket, removes the namespaces. Again is harmless.

        LabError, when nothing is left, if a sanitizer spoke in one of the programs."""
        if not self._open:
            return
        self._open = False
        processes = list(self._processes)
        atexit.unregister(self.down)
        try:
            for s in self._sockets:
                s.close()
            self._end_processes()
        finally:
            _delete([self.ns(r) for r in self.roles])
            shutil.rmtree(self.directory, ignore_errors=True)
            if self._old_handler is not None:
                signal.signal(signal.SIGTERM, self._old_handler)
                self._old_handler = None
        said = [said for said in (p.sanitizer() for p in processes) if said]
        if said:
            raise LabError("\n".join(said))

    def _catch_sigterm(self):
        """SIGTERM becomes an exception, so that `with` and `finally` do their work."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            self._old_handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    def _end_processes(self):
        running = [p for p in reversed(self._processes) if p.poll() is None]
        for p in running:
            p._popen.terminate()
        for p in running:
            p.stop(timeout=3)
        self._processes = []

    def _make_namespaces(self):
        _ip([f"netns add {self.ns(r)}" for r in self.roles])
        for role in self.roles:
            inside(self.ns(role), lambda: _quiet_kernel(role not in ("carrier", "net")))
        for role in {"net", "carrier", "router"} & set(self.roles):
            inside(self.ns(role), _forward)

    def _make_links(self):
        self._make_net()
        self._make_carrier()
        self._make_host("customer", "100.64.0.3/10", "100.64.0.1",
                        ["addr add 2001:db8:64::3/64 dev eth0 nodad", "route add default via 2001:db8:64::1 dev eth0"])
        for role, addresses in HOSTS.items():
            own = [f"addr add {a}/{128 if ':' in a else 32} dev eth0" + (" nodad" if ":" in a else "")
                   for a in addresses]
            first6 = next(a for a in addresses if ":" in a)
            _ip(["link set dev lo up", "link set dev eth0 up", *own,
                 f"route add default via {GATEWAY} dev eth0 onlink src {addresses[0]}",
                 f"route add default via fe80::1 dev eth0 src {first6}"], self.ns(role))
        if "router" in self.roles:
            self._make_router()

    def _make_net(self):
        lines = ["link set dev lo up", "addr add 2001:db8::1/128 dev lo"]
        for role, addresses in HOSTS.items():
            lines += [f"link add name {role} type veth peer name eth0 netns {self.ns(role)}", f"link set dev {role} up",
                      f"addr add {GATEWAY}/32 dev {role}", f"addr add fe80::1/64 dev {role} nodad",
                      *(f"route add {a} dev {role}" for a in addresses)]
        lines += [f"link add name carrier type veth peer name out netns {self.ns('carrier')}", "link set dev carrier up",
                  f"addr add {GATEWAY}/32 dev carrier", "addr add fe80::1/64 dev carrier nodad",
                  f"route add 203.0.113.0/24 via {CARRIER} dev carrier onlink",
                  f"route add 100.64.0.0/10 via {CARRIER} dev carrier onlink",
                  "route add 2001:db8:64::/64 via fe80::2 dev carrier"]
        _ip(lines, self.ns("net"))

    def _make_carrier(self):
        lines = ["link set dev lo up", f"addr add {CARRIER}/32 dev out", "addr add fe80::2/64 dev out nodad",
                 "link set dev out up", f"route add default via {GATEWAY} dev out onlink",
                 "route add default via fe80::1 dev out", "link add name in type bridge forward_delay 0",
                 "addr add 100.64.0.1/10 dev in", "addr add 2001:db8:64::1/64 dev in nodad",
                 "addr add fe80::1/64 dev in nodad", "link set dev in up"]
        lines += self._line("customer", "eth0", "in")
        if "router" in self.roles:
            lines += self._line("router", "wan", "in")
        _ip(lines, self.ns("carrier"))
        # inside -> natbox -> net and back; tables without a route (no natbox) leave it to the main one
        rules = ["rule add pref 10 iif in lookup 100", "rule add pref 11 iif nat-out lookup 101",
                 "rule add pref 12 iif out lookup 102", "rule add pref 13 iif nat-in lookup 103"]
        for family in ["-4", "-6"]:
            _ip(rules, self.ns("carrier"), family)

    def _line(self, role, name, bridge):
        """A veth from a bridge here (port named like the role) to the role's interface `name`. The carrier's are
        isolated: customers meet in the NAT, not on the wire."""
        return [f"link add name {role} type veth peer name {name} netns {self.ns(role)}", f"link set dev {role} master {bridge}",
                f"link set dev {role} type bridge_slave isolated {'on' if bridge == 'in' else 'off'}",
                f"link set dev {role} up"]

    def _make_host(self, role, address, gateway, more=()):
        _ip(["link set dev lo up", "link set dev eth0 up", f"addr add {address} dev eth0",
             f"route add default via {gateway}", *more], self.ns(role))

    def _make_router(self):
        lines = ["link set dev lo up", "link set dev wan up", "addr add 100.64.0.2/10 dev wan",
                 "route add default via 100.64.0.1", "link add name lan type bridge forward_delay 0",
                 "addr add 192.168.1.1/24 dev lan", "link set dev lan up"]
        for role in LANS:
            lines += self._line(role, "eth0", "lan")
        _ip(lines, self.ns("router"))
        for role, address in LANS.items():
            self._make_host(role, f"{address}/24", "192.168.1.1")
        self.nft("router", ROUTER_RULES)

    # --- natbox ---

    def start_nat(self, **options):
        """Starts natbox in the carrier, or starts it anew with other options."""
        self.stop_nat()
        options.setdefault("outer", "203.0.113.1")
        argv = [os.path.join(self.build, "lab", "natbox"), f"--control={self.control}"]
        for key, value in options.items():
            for one in value if isinstance(value, (list, tuple)) else [value]:
                text = {True: "on", False: "off"}[one] if isinstance(one, bool) else str(one)
                argv.append(f"--{key.replace('_', '-')}={text}")
        if not os.path.exists("/dev/net/tun"):
            os.makedirs("/dev/net", exist_ok=True)
            os.mknod("/dev/net/tun", 0o666 | stat.S_IFCHR, os.makedev(10, 200))
        self.natbox = self.spawn("carrier", argv, ready="ready")
        # Where natbox is not, nothing passes: without its devices the last resort is "unreachable".
        both = ["route replace default dev nat-in table 100", "route replace default dev nat-out table 102",
                "route replace unreachable default metric 9000 table 100",
                "route replace unreachable default metric 9000 table 102"]
        _ip([*both, f"route replace default via {GATEWAY} dev out onlink table 101",
             "route replace 100.64.0.0/10 dev in table 103", "route replace 203.0.113.0/24 dev nat-out"],
            self.ns("carrier"))
        _ip([*both, "route replace default via fe80::1 dev out table 101",
             "route replace 2001:db8:64::/64 dev in table 103"], self.ns("carrier"), "-6")

    def stop_nat(self, signal=signal.SIGTERM):
        """Ends natbox; returns its return code, None when there is none. Nothing passes the carrier then."""
        if self.natbox is None:
            return None
        process, self.natbox = self.natbox, None
        return process.stop(signal)

    def nat(self, command):
        """A command to natbox; returns its answer, LabError when that is an error."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(10 * PATIENCE)
            s.connect(self.control)
            s.sendall(command.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n\n"):
                part = s.recv(65536)
                if not part:
                    raise LabError(f"natbox: {command}: the answer broke off: {answer!r}")
                answer += part
        text = answer.decode()[:-1]
        if text.startswith("error:"):
            raise LabError(f"natbox: {command}: {text.strip()}")
        return text

    def dump(self):
        """What natbox knows."""
        return json.loads(self.nat("dump"))

    # --- in the namespaces ---

    def ns(self, role):
        """The full name of a role's namespace."""
        if role not in ROLES:
            raise LabError(f"no role {role!r}; there are {', '.join(ROLES)}")
        return f"{self.prefix}-{role}"

    def run(self, role, argv, check=True, timeout=20, input=None, env=None, cwd=None):
        """Runs a program to its end; a subprocess.CompletedProcess with text. check: LabError when it fails."""
        argv = [str(a) for a in argv]
        popen = start(self.ns(role), argv, env=env, cwd=cwd, text=True, errors="replace",
                      stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with popen:
            try:
                out, err = popen.communicate(input, timeout=timeout * PATIENCE)
            except BaseException:
                popen.kill()
                raise
        done = subprocess.CompletedProcess(argv, popen.returncode, out, err)
        if check and done.returncode != 0:
            raise LabError(f"{role}: {' '.join(argv)}: ended with {done.returncode}:\n{out}{err}")
        return done

    def spawn(self, role, argv, ready=None, timeout=10, env=None, cwd=None):
        """Starts a program; returns the Process once a line of its output contains `ready` (a list: each; None: at once)."""
        process = Process(self.ns(role), argv, env, cwd)
        self._processes.append(process)
        try:
            for text in [ready] if isinstance(ready, str) else ready or ():
                process.wait_line(text, timeout)
        except LabError:
            process.stop(signal.SIGKILL)
            raise
        return process

    def socket(self, role, family=socket.AF_INET, type=socket.SOCK_DGRAM, proto=0, timeout=5 * PATIENCE):
        """A socket living in a namespace, closed at the end if not before."""
        s = inside(self.ns(role), lambda: socket.socket(family, type, proto))
        s.settimeout(timeout)
        self._sockets.append(s)
        return s

    def nft(self, role, text):
        """Runs nft commands there; returns what they print."""
        return self.run(role, ["nft", "-f", "-"], input=text + "\n").stdout


# --- the program ---

def _up(options):
    nat = dict(o.split("=", 1) if "=" in o else (o, True) for o in options.option)
    with Lab(nat=False if options.no_nat else nat, router=not options.no_router, prefix=f"sw{os.getpid()}") as lab:
        print(__doc__.split("\n\n")[1])
        print(f"\nup as {lab.prefix}: in another terminal,\n"
              f"  python3 lab/topology.py exec customer ping 198.51.100.1\n"
              f"  python3 lab/topology.py nat dump\nInterrupt to end.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass


def _the_prefix(wanted):
    """The laboratory meant: the one named, else the only one there is."""
    prefixes = sorted({n.rsplit("-", 1)[0] for n in namespaces() if n.endswith("-carrier") and n.startswith("sw")})
    if wanted:
        return wanted
    if len(prefixes) != 1:
        sys.exit(f"topology: {'several laboratories are' if prefixes else 'no laboratory is'} up"
                 f"{': name one with --prefix: ' + ', '.join(prefixes) if prefixes else ''}")
    return prefixes[0]


def _exec(options):
    lab = Lab(prefix=_the_prefix(options.prefix))
    process = start(lab.ns(options.role), options.command)
    while True:
        try:
            sys.exit(process.wait())
        except KeyboardInterrupt:
            pass  # it has it, too


def _nat(options):
    try:
        sys.stdout.write(Lab(prefix=_the_prefix(options.prefix)).nat(" ".join(options.command)))
    except (LabError, OSError) as error:
        sys.exit(f"topology: {error}")


def _sweep(_options):
    for name in sweep():
        print(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", help="which laboratory, when several are up (sw and the number printed by up)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="makes a laboratory and keeps it until interrupted")
    up.add_argument("option", nargs="*", help="natbox's, as mapping=apd ports=random")
    up.add_argument("--no-nat", action="store_true", help="the carrier only routes")
    up.add_argument("--no-router", action="store_true", help="without router, lan1 and lan2")
    up.set_defaults(run=_up)
    run = verbs.add_parser("exec", help="runs a command in a role's namespace")
    run.add_argument("role", choices=ROLES)
    run.add_argument("command", nargs=argparse.REMAINDER)
    run.set_defaults(run=_exec)
    nat = verbs.add_parser("nat", help="tells natbox something, as `nat renumber 203.0.113.7`; `nat help` lists it")
    nat.add_argument("command", nargs=argparse.REMAINDER)
    nat.set_defaults(run=_nat)
    verbs.add_parser("sweep", help="removes what died laboratories left behind").set_defaults(run=_sweep)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
