# SPDX-License-Identifier: GPL-2.0-or-later
"""Random faults at a home line, and what must be true all the while: a driver, seeded.

    python3 test/e2e/chaos.py SEED FAULTS [ABILITY...]

The driver plays the clients, the line, the carrier and whoever has the router's root password, and remembers what each client was
told. The same seed gives the same faults in the same order. FAULTS names them all; a row that needs an ability of the
gateway is left out without it (ABILITIES).

What must be true (looked at every CHECK_EVERY faults and at the end; a passing breach may last SETTLE_S):
  - the gateway lives, and a SIGTERM ends it with 0, leaving the ruleset as it was
  - no lease that a client holds, by its last answer, is missing in the gateway's table (SIGUSR1)
  - nothing is there that nobody asked for: neither a lease, nor an element, nor a flow with our mark
  - no two mappings have one relay port
  - there is one table and one accept rule of ours
At the end, when nothing disturbs any more: each mapping that a client wants is granted, and a stranger reaches it at the outer
endpoint the client was told last; after the gateway's end nothing is left.
"""
import collections
import os
import random
import re
import signal
import socket
import struct
import sys
import time

if __name__ == "__main__":
    sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), os.path.dirname(os.path.abspath(__file__))]

from lab.home import *
from lab.topology import LabError, ROUTER_RULES, _ip
from pmp import Pmp, TCP, UDP

# What a gateway may be able to do, and the options that make it.
ABILITIES = {
    "state": lambda home: ["--state", os.path.join(home.directory, "gateway.json")],  # leases outlive its end
    "heal": lambda home: [],  # rebuilds its firewall, follows the WAN's address
}
ABLE = tuple(filter(None, os.environ.get("STUNWAY_CHAOS_ABLE", "heal,state").split(",")))

PORTS = range(7000, 7008)
CLIENTS = {"lan1": LAN1, "lan2": LAN2}
CHECK_EVERY = 10
SETTLE_S = 30
PATIENCE_S = 0.15  # how long a client waits here for its answer; a later one is heard later
MARK = 0x400000


class Broken(AssertionError):
    """Something that must be true is not."""


class Wish:
    """A mapping as its client sees it."""

    def __init__(self, home, role, opcode, port):
        self.pmp = Pmp(home, role)
        self.opcode, self.port = opcode, port
        self.key = ("tcp" if opcode == TCP else "udp", CLIENTS[role], port)
        self.wanted = False  # by the client
        self.sure = "gone"  # held, gone, or maybe: the last word went unanswered
        self.asked = self.lease = 0  # seconds
        self.told_until = self.hold_until = 0
        self.outer = None

    def ask(self, lifetime):
        if lifetime == 0 or self.sure == "gone":
            self.sure = "maybe"
        self.wanted = lifetime > 0
        self.asked = lifetime
        self.hold_until = max(self.hold_until, time.monotonic() + lifetime)
        try:
            self.pmp.send(struct.pack("!BBHHHI", 0, self.opcode, 0, self.port, self.outer or 0, lifetime))
        except OSError:
            pass  # the LAN is down

    def hear(self, timeout=0.0):
        """Takes in all answers that are there, the first within the timeout. Returns whether the last word was answered."""
        answered = False
        while True:
            answer = self.pmp.receive(timeout or 1e-4)
            if answer is None:
                return answered
            timeout = 0
            if answer.opcode != 0x80 | self.opcode or answer.internal != self.port:
                raise Broken(f"{self.key}: another's answer {answer.data.hex()}")
            if answer.result == 0 and (answer.lifetime > 0) == self.wanted:
                answered = True
                self.told(answer)
            elif answer.result not in (0, 3):
                raise Broken(f"{self.key}: result {answer.result}")

    def told(self, answer):
        now = time.monotonic()
        if answer.lifetime == 0:
            self.sure, self.outer = "gone", None
        else:
            self.sure, self.outer, self.lease = "held", answer.outer, answer.lifetime
            self.told_until = now + answer.lifetime


class Chaos:
    def __init__(self, seed, faults, able=ABLE, say=lambda text: None):
        self.random = random.Random(seed)
        self.seed, self.faults, self.able, self.say = seed, faults, set(able), say
        self.story = collections.deque(maxlen=40)
        self.deck = []  # faults yet to come, so that each has its turn in a short run
        self.later = []  # [(when, what is to be undone or done then)]
        self.counts = collections.Counter()
        self.public, self.wan_ip = PUBLIC, "100.64.0.2"
        self.gateway = None

    # --- the run ---

    def run(self):
        with Home() as self.home:
            try:
                self._begin()
                for n in range(1, self.faults + 1):
                    self._one()
                    if n % CHECK_EVERY == 0:
                        self._until(lambda: self.breaches(False), SETTLE_S, f"after fault {n}")
                self._end()
            except (Broken, LabError, OSError) as error:
                raise Broken(f"seed {self.seed}, {sum(self.counts.values())} faults of {self.faults}: {error}\nlast faults:\n  "
                             + "\n  ".join(self.story) + "\ngateway:\n  " + "\n  ".join(self.gateway.lines[-60:] if self.gateway else [])) from error

    def _begin(self):
        home = self.home
        self.stun = {"stun": home.stun, "stun2": self._stun2()}
        self.before = self._tables()
        self.echoes = [Echo(home, role, port) for role in CLIENTS for port in PORTS]
        self.wishes = {w.key: w for w in (Wish(home, role, op, port) for role in CLIENTS for op in (UDP, TCP) for port in PORTS)}
        self.began = time.monotonic()
        self._start_gateway()
        self.gateway.wait_line("NAT UDP mapping")
        self.gateway.wait_line("NAT TCP mapping")

    def _stun2(self):
        return self.home.spawn("stun2", [self.home.program("server"), "--ipv4", STUN2], ready=f"listening tcp {STUN2}:3478")

    def _start_gateway(self):
        options = [o for ability in sorted(self.able) for o in ABILITIES[ability](self.home)]
        self.gateway = self.home.gateway("--watch", "1", "--keepalive", "5", *options, stun=(STUN, STUN2), ready="[I] ready")

    def _one(self):
        if not self.deck:
            self.deck = [row for row in FAULTS for _ in range(row.often) if row.needs is None or row.needs in self.able]
            self.random.shuffle(self.deck)
        row = self.deck.pop()
        wish = self.random.choice(list(self.wishes.values()))
        chance = self.random.random()
        self.counts[row.name] += 1
        note = row.do(self, wish, chance)
        self.tell(f"{row.name} {note or ''}")
        self._pass(self.random.random() * 0.3)

    def tell(self, text):
        self.story.append(f"{time.monotonic() - self.began:7.2f} {text}")
        self.say(self.story[-1])

    def _pass(self, seconds):
        """Time goes by: what is due happens, and clients renew when half their lease is over."""
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            due, self.later = [d for d in self.later if d[0] <= now], [d for d in self.later if d[0] > now]
            for _, what in due:
                what()
            for wish in self.wishes.values():
                if wish.wanted and wish.sure == "held" and now > wish.told_until - wish.lease / 2:
                    wish.ask(wish.asked)
                    wish.hear(PATIENCE_S)
            if now >= until:
                return
            time.sleep(min(0.05, until - now))

    def after(self, seconds, what):
        self.later.append((time.monotonic() + seconds, what))

    def undo_all(self):
        while self.later:
            pending, self.later = self.later, []
            for _, what in sorted(pending, key=lambda d: d[0]):
                what()

    # --- what must be true ---

    def table(self):
        """The gateway's own: {(protocol, client, port): (relay, state)}, and the list of relay ports."""
        mark = len(self.gateway.lines)
        self.gateway._popen.send_signal(signal.SIGUSR1)
        self.gateway.wait_line("NAT-PMP answered=", timeout=5, after=mark)
        found = re.findall(r"\bmapping protocol=(\S+) client=([\d.]+):(\d+) relay=(\d+) outer=\S+ state=(\S+)",
                           "\n".join(self.gateway.lines[mark:]))
        return [((p.lower(), ip, int(port)), int(relay), state) for p, ip, port, relay, state in found]

    def breaches(self, calm):
        """What is not true now. calm: nothing disturbs, all elements are to be there."""
        for wish in self.wishes.values():
            wish.hear()
        table, now = self.table(), time.monotonic()
        held = {key: relay for key, relay, _ in table}
        found = [f"two mappings on one relay port: {key} {relay}" for key, relay, _ in table
                 if [(k[0], r) for k, r, _ in table].count((key[0], relay)) > 1]
        for key, wish in self.wishes.items():
            if wish.sure == "held" and wish.wanted and now < wish.told_until - 1 and key not in held:
                found.append(f"forgotten: {key}, told outer {wish.outer} for {wish.told_until - now:.0f} s more")
            if key in held and (wish.sure == "gone" or now > wish.hold_until + 5):
                found.append(f"leaked lease: {key} ({wish.sure})")
        found += [f"nobody's lease: {key}" for key in held if key not in self.wishes]
        wanted = {f"{p}.{relay}": f"{ip}.{port}" for (p, ip, port), relay in held.items()}
        inbound = self.home.elements("inbound")
        outbound = {f"{k.split('.', 1)[0]}.{v}": k.split(".", 1)[1] for k, v in self.home.elements("outbound").items()}
        for name, there in [("inbound", inbound), ("outbound", outbound)]:
            found += [f"leaked element of {name}: {k} : {v}" for k, v in there.items() if wanted.get(k) != v]
            found += [f"missing element of {name}: {k} : {v}" for k, v in wanted.items() if calm and k not in there]
        rules = self.home.ruleset()
        counts = rules.count("table inet stunway"), rules.count('comment "stunway"')
        return found + ([f"tables and accept rules: {counts}"] if counts != (1, 1) else [])

    def _until(self, breaches, seconds, what):
        """Gives what passes some time to pass."""
        deadline = time.monotonic() + seconds
        while True:
            if self.gateway.poll() is not None:
                raise Broken(f"the gateway ended by itself with {self.gateway.poll()}")
            found = breaches()
            if not found:
                return
            if time.monotonic() > deadline:
                raise Broken(f"{what} for {seconds} s: " + "; ".join(found))
            self._pass(0.25)

    def _end(self):
        self.undo_all()
        self.tell("the end: nothing disturbs any more")
        self._until(lambda: self.breaches(False), SETTLE_S, "at the end")
        self._until(self._unreachable, 60, "at the end, asked again and again")
        self._until(lambda: self.breaches(True), SETTLE_S, "at the end")
        self.tell(f"{sum(w.wanted for w in self.wishes.values())} mappings reached")
        self._stop_gateway()

    def _unreachable(self):
        """Wanted mappings that no stranger reaches where the client was told."""
        found = []
        for wish in [w for w in self.wishes.values() if w.wanted]:
            wish.ask(3600)
            wish.hear(PATIENCE_S)
        for wish in [w for w in self.wishes.values() if w.wanted]:
            knock = knock_tcp(self.home, (self.public, wish.outer or 1), timeout=2) if wish.opcode == TCP else \
                knock_udp(self.home, (self.public, wish.outer or 1), timeout=1, tries=2)
            if wish.sure != "held" or knock != b"echo hello":
                found.append(f"{wish.key} {wish.sure}, told {self.public}:{wish.outer}: {knock}")
        return found

    def _stop_gateway(self):
        code = self.gateway.stop()
        if code != 0:
            raise Broken(f"SIGTERM ended it with {code}")
        if self._tables() != self.before:
            raise Broken("SIGTERM left in the ruleset:\n" + self.home.ruleset())
        left = [line for line in self._flows() if f"mark={MARK} " in line]
        if left:
            raise Broken("SIGTERM left flows:\n" + "\n".join(left))

    def _tables(self):
        """The ruleset, whatever the order in which its tables were made."""
        return sorted(re.split(r"(?m)^(?=table )", self.home.ruleset()))

    def _flows(self):
        return self.home.run("router", ["conntrack", "-L"], check=False).stdout.splitlines()

    # --- faults of the gateway's life ---

    def _forgotten(self):
        """A gateway without a memory was started: its epoch tells the clients, who ask for everything again (RFC 6886 section 3.6)."""
        if "state" in self.able:
            for wish in self.wishes.values():  # renewals are written lazily: a restart may give the whole time again
                wish.hold_until = time.monotonic() + wish.asked
            return
        for wish in self.wishes.values():
            wish.hear()
            wish.sure = "maybe" if wish.wanted else "gone"
            wish.told_until = wish.hold_until = 0
            if wish.wanted:
                wish.ask(wish.asked)

    def _again(self, seconds):
        """It stays away for so long; nothing else happens meanwhile but time."""
        time.sleep(seconds)
        self._start_gateway()
        self._forgotten()

    def kill(self, _wish, chance):
        self.gateway.stop(signal.SIGKILL)
        self._again(chance * 0.5)

    def term(self, _wish, chance):
        if not self.later:  # or the ruleset may be another's for the moment
            self._stop_gateway()
        else:
            self.gateway.stop()
        self._again(chance * 0.5)

    # --- clients and strangers ---

    def map(self, wish, chance):
        wish.hear()
        wish.ask([20, 120, 3600][int(chance * 3)])
        wish.hear(PATIENCE_S)
        return f"{wish.key} {wish.sure} {wish.outer}"

    def delete(self, wish, _chance):
        wish.hear()
        wish.ask(0)
        if wish.hear(PATIENCE_S) and ".".join(map(str, wish.key)) in self.home.elements("outbound"):
            raise Broken(f"{wish.key} is deleted, but not from the firewall")
        return f"{wish.key} {wish.sure}"

    def vanish(self, wish, _chance):
        wish.wanted = False
        wish.sure = "maybe"
        return str(wish.key)

    def flood(self, wish, chance):
        bad = [b"", b"\0", b"\2\1" + bytes(58), b"\0\1" + bytes(14), b"\0\x80" + bytes(10), os.urandom(40), struct.pack("!BBHHHI", 0, UDP, 0, 0, 0, 60)]
        pmp = Pmp(self.home, "lan1")
        stranger = self.home.socket("stranger")
        try:
            for i in range(200):
                pmp.send(bad[i % len(bad)])
                stranger.sendto(os.urandom(20), (self.public, 1024 + int(chance * 60000) + i))
        except OSError:
            pass  # the LAN is down, or the NAT says no
        pmp.socket.close()
        stranger.close()

    def talk(self, wish, _chance):
        """A stranger begins a flow, if he can."""
        s = self.home.socket("stranger")
        knocked = knock_udp(self.home, (self.public, wish.outer), timeout=0.05, tries=1, s=s) if wish.outer and wish.opcode == UDP else None
        s.close()
        return f"{wish.key} {knocked}"

    # --- the carrier and the STUN servers ---

    def renumber(self, _wish, chance):
        self.public = f"203.0.113.{1 + int(chance * 250)}"
        self.home.nat(f"renumber {self.public}")
        return self.public

    def burst(option, worst):
        def fault(self, _wish, chance):
            value = 1 + int(chance * worst)
            self.home.nat(f"set {option} {value}")
            self.after(0.5 + chance * 2, lambda: self.home.nat(f"set {option} 0"))
            return value
        return fault

    def outage(self, _wish, chance):
        self.home.nat(f"drop udp to {STUN}" if chance < 0.5 else f"drop tcp to {STUN}")
        self.after(1 + chance * 2, lambda: self.home.nat("undrop"))

    def stun_dies(self, _wish, chance):
        role = "stun" if chance < 0.5 else "stun2"
        if self.stun[role] is None:
            return "is dead already"
        self.stun[role].stop(signal.SIGKILL)
        self.stun[role] = None

        def back():
            if role == "stun2":
                self.stun[role] = self._stun2()
            else:
                self.stun[role] = self.home.spawn("stun", [self.home.program("server"), "--ipv4", STUN, "--ipv4", STUN_OTHER],
                                                  ready=f"listening tcp {STUN_OTHER}:3479")
        self.after(chance * 4, back)
        return role

    # --- the router ---

    def wan_down(self, _wish, chance):
        _ip(["link set dev wan down"], self.home.ns("router"))
        self.after(chance * 2, self._wan_up)

    def _wan_up(self):
        _ip(["link set dev wan up", "route replace default via 100.64.0.1"], self.home.ns("router"))

    def wan_moves(self, _wish, chance):
        old, self.wan_ip = self.wan_ip, f"100.64.1.{2 + int(chance * 250)}"
        if self.wan_ip == old:
            return "to where it is"
        _ip(["link set dev wan up", f"addr del {old}/10 dev wan", f"addr add {self.wan_ip}/10 dev wan",
             "route replace default via 100.64.0.1"], self.home.ns("router"))
        return self.wan_ip

    def lan_down(self, _wish, chance):
        _ip(["link set dev lan down"], self.home.ns("router"))
        self.after(chance, lambda: _ip(["link set dev lan up"], self.home.ns("router")))

    def conntrack_flush(self, _wish, _chance):
        self.home.run("router", ["conntrack", "-F"])

    def ruleset_flush(self, _wish, _chance):
        self.home.nft("router", "flush ruleset\n" + ROUTER_RULES)

    def table_deleted(self, _wish, _chance):
        self.home.nft("router", "add table inet stunway\ndelete table inet stunway")

    def elements_deleted(self, _wish, chance):
        name = "inbound" if chance < 0.5 else "outbound"
        self.home.nft("router", f"add table inet stunway\nadd map inet stunway {name} {KINDS[name]}\nflush map inet stunway {name}")
        return name

    def accept_rule_deleted(self, _wish, _chance):
        self.home.nft("router", "delete table inet filter\n" + ROUTER_RULES.split("table ip nat")[0])


KINDS = {"inbound": "{ type inet_proto . inet_service : ipv4_addr . inet_service; }",
         "outbound": "{ type inet_proto . ipv4_addr . inet_service : inet_service; }"}

Fault = collections.namedtuple("Fault", "name often do needs", defaults=[None])

FAULTS = [
    Fault("a client maps or renews", 14, Chaos.map),
    Fault("a client deletes", 3, Chaos.delete),
    Fault("a client vanishes", 2, Chaos.vanish),
    Fault("garbage from LAN and WAN", 1, Chaos.flood),
    Fault("a stranger talks", 3, Chaos.talk),
    Fault("the carrier renumbers", 1, Chaos.renumber),
    Fault("the carrier forgets", 1, lambda c, w, x: c.home.nat("flush") and None),
    Fault("loss", 1, Chaos.burst("loss", 60)),
    Fault("delay", 1, Chaos.burst("delay", 400)),
    Fault("jitter", 1, Chaos.burst("jitter", 300)),
    Fault("the path to a STUN server breaks", 1, Chaos.outage),
    Fault("a STUN server is killed and started", 1, Chaos.stun_dies),
    Fault("gateway: kill -9", 1, Chaos.kill),
    Fault("gateway: SIGTERM", 1, Chaos.term),
    Fault("WAN down and up", 1, Chaos.wan_down),
    Fault("LAN down and up", 1, Chaos.lan_down),
    Fault("conntrack -F", 1, Chaos.conntrack_flush),
    Fault("WAN has another address", 1, Chaos.wan_moves, "heal"),
    Fault("nft flush ruleset, the router's own restored", 1, Chaos.ruleset_flush, "heal"),
    Fault("our table is deleted", 1, Chaos.table_deleted, "heal"),
    Fault("our elements are deleted", 1, Chaos.elements_deleted, "heal"),
    Fault("the router's filter is reloaded", 1, Chaos.accept_rule_deleted, "heal"),
]


def main():
    chaos = Chaos(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or ABLE, say=lambda text: print(text, flush=True))
    chaos.run()
    for name, count in chaos.counts.most_common():
        print(f"{count:6} {name}")


if __name__ == "__main__":
    main()
