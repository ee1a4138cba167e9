# SPDX-License-Identifier: GPL-2.0-or-later
"""A home line: the laboratory with our STUN server and gateway at their places, and what stands at its ends."""
import contextlib
import os
import re
import socket
import threading
import time

from lab.topology import PATIENCE, Lab

PUBLIC, ROUTER = "203.0.113.1", "192.168.1.1"
STUN, STUN_OTHER, STUN2 = "198.51.100.1", "198.51.100.2", "198.51.100.11"
LAN1, LAN2, STRANGER, STRANGER2 = "192.168.1.10", "192.168.1.11", "192.0.2.66", "192.0.2.77"
ACCEPT = ["--accept-chain", "inet filter forward"]
# What a gateway says last of its start: what the carrier's NAT does.
CHECKED = ["NAT UDP mapping", "NAT TCP mapping"]
# Full cone, and the outer port is never the inner one.
FULL_CONE = {"mapping": "ei", "filtering": "ei", "ports": "random"}
IPTABLES_RULES = """
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A INPUT -i lan -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A FORWARD -i lan -o wan -j ACCEPT
COMMIT
*nat
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
"""


class Home(Lab):
    """Lab with a dual-address STUN server; gateway() starts the gateway in the router.

    The environment's STUNWAY_FIREWALL (iptables-nft, iptables-legacy) makes it a home whose router and gateway both
    work with that instead of nftables.
    """

    def __init__(self, nat=None, **options):
        super().__init__(nat=FULL_CONE if nat is None else nat, **options)
        self.iptables = os.environ.get("STUNWAY_FIREWALL")
        self.accept = ["--firewall", self.iptables, "--accept-chain", "ip filter FORWARD"] if self.iptables else ACCEPT

    def up(self):
        super().up()
        try:
            if self.iptables:
                self.nft("router", "flush ruleset")
                self.run("router", [f"{self.iptables}-restore"], input=IPTABLES_RULES)
            self.stun = self.spawn("stun", [self.program("server"), "--ipv4", STUN, "--ipv4", STUN_OTHER],
                                   ready=f"listening tcp {STUN_OTHER}:3479")
        except BaseException:
            self.down()
            raise

    def program(self, name):
        return os.path.join(self.build, f"stunway-{name}")

    def state_file(self):
        """A path for a state file that no gateway had before, so that each begins anew unless it is told otherwise."""
        self._states = getattr(self, "_states", 0) + 1
        return f"{self.directory}/state-{self._states}/gateway.json"

    def gateway(self, *more, stun=(STUN,), accept=True, ready="line UDP: public address", state=None, **spawn):
        argv = [self.program("gateway"), "--wan", "wan", "--lan", "lan", "--log-level", "debug",
                "--state", state or self.state_file()]
        for server in stun:
            argv += ["--stun", server]
        return self.spawn("router", argv + (self.accept if accept else self.accept[:-2]) + list(more), ready=ready, **spawn)

    def ruleset(self):
        if self.iptables:
            rules = None
            # iptables-nft-save asks in several parts, and somebody may change something meanwhile: what it says twice is so.
            while rules != (rules := re.sub(r"^#.*\n|\[\d+:\d+\]", "", self.run("router", [f"{self.iptables}-save"]).stdout, flags=re.M)):
                pass
            return rules
        return self.nft("router", "list ruleset")

    def _elements(self, kind, name):
        """What a map or set of ours holds, without spaces. Without /etc/protocols nft lists protocols by number."""
        match = re.search(r"elements = \{(.*?)\}", self.nft("router", f"list {kind} inet stunway {name}"), re.S)
        plain = ("".join(e.split()) for e in match.group(1).split(",")) if match else ()
        return [re.sub(r"^17\.", "udp.", re.sub(r"^6\.", "tcp.", e)) for e in plain]

    def elements(self, name):
        """A map's elements as {key: value}; with iptables what its rules say."""
        if self.iptables:
            at, then = {"inbound": (r"()-p (\w+) .*--dport (\d+)", r"DNAT --to-destination (\S+)"),
                        "hairpin": (r"-d ([\d.]+)/32 -p (\w+) .*--dport (\d+)", r"DNAT --to-destination (\S+)"),
                        "outbound": (r"-s ([\d.]+)/32 -p (\w+) .*--sport (\d+)", r"MASQUERADE --to-ports (\S+)")}[name]
            found = re.findall(rf"^-A STUNWAY-\S+ {at} -j {then}$", self.ruleset(), re.M)
            return {".".join(filter(None, [protocol, ip, port])): value.replace(":", ".") for ip, protocol, port, value in found}
        return dict(e.split(":", 1) for e in self._elements("map", name))

    def members(self, name):
        """A set's elements."""
        return set(self._elements("set", name))


class Echo:
    """An application on a LAN host: echoes what arrives on a port, UDP and TCP, and remembers from whom."""

    def __init__(self, lab, role, port):
        self.seen = []
        self.udp = lab.socket(role, socket.AF_INET, socket.SOCK_DGRAM, timeout=None)
        self.udp.bind(("", port))
        self.listener = lab.socket(role, socket.AF_INET, socket.SOCK_STREAM, timeout=None)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.listener.bind(("", port))
        self.listener.listen(8)
        for body in [self._udp, self._tcp]:
            threading.Thread(target=body, daemon=True).start()

    def _udp(self):
        while self.udp.fileno() >= 0:  # else closed: the laboratory ends
            with contextlib.suppress(OSError):  # there may be no way back
                data, peer = self.udp.recvfrom(2048)
                self.seen.append(("udp", data, peer[0]))
                self.udp.sendto(b"echo " + data, peer)

    def _tcp(self):
        while self.listener.fileno() >= 0:
            with contextlib.suppress(OSError):
                threading.Thread(target=self._answer, args=self.listener.accept(), daemon=True).start()

    def _answer(self, s, peer):
        with s, contextlib.suppress(OSError):  # who asked may have given up
            s.settimeout(5)
            data = s.recv(2048)
            self.seen.append(("tcp", data, peer[0]))
            s.sendall(b"echo " + data)


def knock_udp(lab, endpoint, data=b"hello", role="stranger", timeout=2.0, tries=3, s=None):
    """What a stranger gets back for a datagram to an outer endpoint; None for silence."""
    s = s or lab.socket(role)
    s.settimeout(timeout)
    for _ in range(tries):
        s.sendto(data, endpoint)
        try:
            answer, source = s.recvfrom(2048)
        except TimeoutError:
            continue
        except ConnectionRefusedError:
            return None
        assert source == endpoint, f"answer from {source}, not {endpoint}"
        return answer
    return None


def knock_tcp(lab, endpoint, data=b"hello", role="stranger", timeout=5.0):
    """What a stranger gets back over a connection to an outer endpoint; None when he is not let in."""
    s = lab.socket(role, socket.AF_INET, socket.SOCK_STREAM, timeout=timeout)
    try:
        s.connect(endpoint)
        s.sendall(data)
        return s.recv(2048)
    except (TimeoutError, OSError):
        return None
    finally:
        s.close()


def eventually(check, timeout=10.0, what="it"):
    """Calls check() until it gives something true, and returns that."""
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout} s")
        time.sleep(0.05)

