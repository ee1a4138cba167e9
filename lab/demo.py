# SPDX-License-Identifier: GPL-2.0-or-later
"""The show of script/demo: one screen that a person understands. Every line it prints was done for real."""
import os
import re
import random
import signal
import subprocess
import sys
import threading
import time

from lab.forward import Forward
from lab.home import Echo, FULL_CONE, Home, LAN1, PUBLIC, ROUTER, STRANGER, STUN, eventually, knock_tcp, knock_udp
from lab.topology import LabError

PORT = 6881  # what the client asks for
UI_PORT = 9699
RENUMBERED = "203.0.113.7"
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ

PICTURE = f"""\
  stranger {STRANGER}        STUN server {STUN}
        └────── the Internet ──────┘
                    │
        carrier's NAT, outer address {PUBLIC}, random ports
                    │ 100.64.0.0/10: nobody can reach you from outside
        your router 100.64.0.2, stunway-gateway; its firewall drops what comes in
                    │ {ROUTER}
        LAN client {LAN1}, an application on port {PORT}"""


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def title(text):
    print("\n" + paint("1", text), flush=True)


def good(text):
    print(f"  {paint('32', '✓')} {text}", flush=True)


class Failed(Exception):
    """A step of the show did not do what it should."""


def must(value, what):
    if not value:
        raise Failed(what)
    return value


def ask(home, protocol):
    """The client asks with natpmpc; shows the request and the answer. Returns (public address, outer port)."""
    argv = ["natpmpc", "-g", ROUTER, "-a", "0", str(PORT), protocol, "3600"]
    out = home.run("lan1", argv, timeout=30).stdout
    address = must(re.search(r"Public IP address : (\S+)", out), f"natpmpc was told no public address:\n{out}").group(1)
    mapped = must(re.search(r"Mapped public port (\d+) .*", out), f"natpmpc got no mapping:\n{out}")
    print(f"  $ {' '.join(argv)}\n    Public IP address : {address}\n    {mapped.group(0)}", flush=True)
    return address, int(mapped.group(1))


def reach(home, echo, protocol, endpoint):
    """A stranger sends to the outer endpoint; shows what arrived at the client, and from whom."""
    words = f"hello over {protocol.upper()}".encode()
    knock = knock_udp if protocol == "udp" else knock_tcp
    answer = eventually(lambda: knock(home, endpoint, words), 15, f"an answer over {protocol} from {endpoint}")
    must(answer == b"echo " + words, f"{protocol}: the stranger read {answer!r}")
    arrived = must([s for s in echo.seen if s[0] == protocol and s[1] == words],
                   f"{protocol}: nothing arrived at the client")[-1]
    must(arrived[2] == STRANGER, f"{protocol}: it arrived from {arrived[2]}, not the stranger's address")
    good(f"stranger → {endpoint[0]}:{endpoint[1]}/{protocol}   the client read {words.decode()!r} "
         f"from {arrived[2]}, the stranger read its answer")


def table(home, gateway):
    """The mappings, as the gateway and the carrier's NAT have them."""
    mark = len(gateway.lines)
    os.kill(gateway.pid, signal.SIGUSR1)
    gateway.wait_line("NAT-PMP answered", after=mark)
    inner = {(m["proto"], m["inner"]): m["outer"] for m in home.dump()["mappings"]}
    print(f"  {'protocol':<10}{'LAN client':<22}{'relay port':<24}{'carrier gives':<22}state")
    rows = 0
    for line in gateway.lines[mark:]:
        m = re.search(r"mapping protocol=(\S+) client=(\S+) relay=(\d+) outer=(\S+) state=(\S+)", line)
        if not m:
            continue
        protocol, client, relay, outer, state = m.groups()
        true = inner.get((protocol.lower(), f"100.64.0.2:{relay}"))
        must(true == outer, f"the gateway says {outer}, the carrier's NAT {true}")
        print(f"  {protocol:<10}{client:<22}{'100.64.0.2:' + relay:<24}{outer:<22}{state}")
        rows += 1
    must(rows == 2, f"the table has {rows} mappings, not 2")


def show(home):
    title("What stands where")
    print(PICTURE)
    gateway = home.gateway("--watch", "1")
    for protocol in ["UDP", "TCP"]:
        gateway.wait_line(f"NAT {protocol} mapping")
    echo = Echo(home, "lan1", PORT)

    title(f"The client asks its router for port {PORT}, over UDP and TCP")
    outer = {protocol: ask(home, protocol) for protocol in ["udp", "tcp"]}

    title("A stranger reaches it")
    for protocol, endpoint in outer.items():
        reach(home, echo, protocol, endpoint)

    title("The table of mappings")
    table(home, gateway)

    title(f"The carrier renumbers the line: {PUBLIC} becomes {RENUMBERED}")
    began = time.monotonic()
    home.nat(f"renumber {RENUMBERED}")
    for protocol in ["UDP", "TCP"]:
        eventually(lambda p=protocol: [line for line in gateway.lines if "hole" in line and f"protocol={p}" in line
                                       and f"outer={RENUMBERED}:" in line], 30, f"a new outer port over {protocol}")
    print(f"  noticed, confirmed and announced to the LAN after {time.monotonic() - began:.1f} s; the client renews:")
    for protocol in ["udp", "tcp"]:
        new = ask(home, protocol)
        must(new[0] == RENUMBERED and new != outer[protocol], f"the renewal still says {new}")
        print(f"    {outer[protocol][0]}:{outer[protocol][1]} is now {new[0]}:{new[1]}")
        reach(home, echo, protocol, new)
    return gateway


def finish(gateway, home):
    must(gateway.stop() == 0, "the gateway did not exit with 0")
    must("stunway" not in home.ruleset(), "the gateway left rules behind")
    good("stunway-gateway stopped and left no rule behind")


def life(home, gateway, ended):
    """What moves while somebody looks: clients that renew, strangers who come, a carrier that renumbers every five minutes."""
    Echo(home, "lan2", 8080)
    turn = 0
    while not ended.wait(2):
        turn += 1
        try:
            if turn % 20 == 1:
                for host, port, protocol in [("lan1", PORT, "udp"), ("lan1", PORT, "tcp"), ("lan2", 8080, "tcp")]:
                    home.run(host, ["natpmpc", "-g", ROUTER, "-a", "0", str(port), protocol, "3600"], timeout=30)
            if turn % 150 == 0:
                home.nat(f"renumber 203.0.113.{random.randint(2, 250)}")
            for outer in outer_ports(gateway):
                knock = knock_udp if outer[0] == "UDP" else knock_tcp
                knock(home, outer[1:], os.urandom(random.randint(16, 1200)), timeout=1)
        except (LabError, AssertionError, OSError, subprocess.SubprocessError):
            pass  # the line is being renumbered just now


def outer_ports(gateway):
    """Where strangers reach whom, by the gateway's log."""
    found = {}
    for line in gateway.lines:
        m = re.search(r"hole (?:open|changed): protocol=(\S+) client=(\S+) relay=\d+ outer=([\d.]+):(\d+)", line)
        if m:
            found[m.group(1, 2)] = (m.group(1), m.group(3), int(m.group(4)))
    return list(found.values())


def stay(home, gateway):
    ended = threading.Event()
    mover = threading.Thread(target=life, args=[home, gateway, ended], daemon=True)
    with Forward(home, "router", UI_PORT, UI_PORT) as ui:
        title(f"Look at it: http://127.0.0.1:{ui.port}")
        print(f"""  Strangers come and go there, and every five minutes the carrier renumbers the line. Everything stays up until Ctrl-C.
  In another terminal, from here:
    python3 lab/topology.py --prefix {home.prefix} exec lan1 natpmpc -g {ROUTER} -a 0 7000 udp 3600
    python3 lab/topology.py --prefix {home.prefix} exec stranger bash
    python3 lab/topology.py --prefix {home.prefix} nat renumber 203.0.113.9
    curl http://127.0.0.1:{ui.port}/mappings""", flush=True)
        mover.start()
        try:
            signal.pause()
        except KeyboardInterrupt:
            print()
        ended.set()
        mover.join(10)


def main():
    try:
        with Home(FULL_CONE) as home:
            gateway = show(home)
            if "--once" not in sys.argv[1:]:
                stay(home, gateway)
            finish(gateway, home)
    except (Failed, LabError, AssertionError, OSError, subprocess.SubprocessError) as error:
        print(f"\n{paint('31', 'demo failed')}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
