# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-gateway: how long an answer takes, beside the network's own round trip; how much memory a mapping takes.

  request to answer    a new mapping, hole and all, over a line of 40 ms; limit: 1 round trip for UDP, 2 for TCP
  from the pool        the same with a hole that stands ready; limit: 10 ms
  while a hole waits   an address request while another client's hole waits for a silent server; limit: the LAN's own round trip
  memory               100 mappings held, idle
"""
import re
import statistics
import struct
import sys
import time

sys.path.insert(0, "test/e2e")
from lab.home import FULL_CONE, Home, ROUTER, STUN  # noqa: E402
from pmp import Pmp, TCP, UDP  # noqa: E402

BINDING = struct.pack("!HHI12s", 1, 0, 0x2112A442, b"stunway-bnch")
SAMPLES = 30


def ms(call):
    began = time.monotonic()
    call()
    return (time.monotonic() - began) * 1000


def quartiles(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, f"{middle:8.2f} ms  (quartiles {low:.2f} to {high:.2f})"


def line_round_trip(home):
    """From the router to the STUN server and back, by a bare socket."""
    s = home.socket("router")

    def once():
        s.sendto(BINDING, (STUN, 3478))
        s.recvfrom(200)
    once()
    return quartiles([ms(once) for _ in range(SAMPLES)])


def lan_round_trip(home):
    """From the LAN client to the router and back: an echo by the kernel, of a closed port's ICMP error."""
    def once():
        s = home.socket("lan1")
        s.connect((ROUTER, 9))
        s.send(b"x")
        try:
            s.recv(10)
        except ConnectionRefusedError:
            pass
        s.close()
    once()
    return quartiles([ms(once) for _ in range(SAMPLES)])


def request_to_answer():
    print("Request to answer, a new mapping without a pool, 40 ms line")
    with Home({**FULL_CONE, "delay": 20}) as home:
        gateway = home.gateway("--max-mappings-per-client", "1000", "--log-level", "info", "--pool", "0")
        for protocol in ["UDP", "TCP"]:
            gateway.wait_line(f"NAT {protocol} mapping")
        rtt, text = line_round_trip(home)
        print(f"  the line's round trip        {text}")
        pmp = Pmp(home)
        for name, opcode, trips in [("UDP", UDP, 1), ("TCP", TCP, 2)]:
            def once(port):
                answer = pmp.map(opcode, port)
                assert answer.result == 0, answer.data
            middle, text = quartiles([ms(lambda p=p: once(p)) for p in range(9000, 9000 + SAMPLES)])
            print(f"  {name}: request to answer       {text}  = {middle / rtt / trips:.3f} times its limit"
                  f" of {trips} round trip{'s' if trips > 1 else ''}")


def from_the_pool():
    print("Request to answer, a new mapping from the pool, 40 ms line")
    with Home({**FULL_CONE, "delay": 20}) as home:
        gateway = home.gateway("--log-level", "info", "--pool", "64")
        for protocol in ["UDP", "TCP"]:
            gateway.wait_line(f"NAT {protocol} mapping")
        time.sleep(9)  # ten holes a second
        pmp = Pmp(home)
        for name, opcode in [("UDP", UDP), ("TCP", TCP)]:
            def once(port):
                answer = pmp.map(opcode, port)
                assert answer.result == 0, answer.data
            _, text = quartiles([ms(lambda p=p: once(p)) for p in range(9000, 9000 + SAMPLES)])
            print(f"  {name}: request to answer       {text}")


def while_a_hole_waits():
    print("An address request while another client's hole waits for a silent STUN server")
    with Home() as home:
        gateway = home.gateway("--watch", "300", "--log-level", "info", "--pool", "0")
        gateway.wait_line("NAT UDP mapping")
        _, text = lan_round_trip(home)
        print(f"  the LAN's round trip         {text}")
        home.nat(f"drop udp to {STUN}")
        Pmp(home, "lan1").send(struct.pack("!BBHHHI", 0, UDP, 0, 7500, 0, 3600))
        asking = Pmp(home, "lan2")
        samples = [ms(asking.address) for _ in range(200)]
        print(f"  address request to answer    {quartiles(samples)[1]}, slowest of 200 {max(samples):.2f} ms; the bar is 10 ms")


def memory():
    print("Memory of the gateway, 50 UDP and 50 TCP mappings held, idle")
    with Home() as home:
        gateway = home.gateway("--max-mappings-per-client", "1000", "--log-level", "info")
        gateway.wait_line("NAT TCP mapping")

        def read():
            with open(f"/proc/{gateway.pid}/smaps_rollup") as f:
                text = f.read()
            return {k: int(re.search(k + r":\s+(\d+)", text).group(1)) for k in ["Rss", "Private_Dirty"]}
        empty = read()
        pmp = Pmp(home)
        for port in range(9000, 9050):
            for opcode in [UDP, TCP]:
                assert pmp.map(opcode, port).result == 0
        time.sleep(25)  # a keepalive of each
        full = read()
        for key, bar in [("Rss", 9), ("Private_Dirty", 3)]:
            print(f"  {key:<14} {full[key] / 1024:5.2f} MiB, without mappings {empty[key] / 1024:5.2f} MiB; the bar is {bar} MiB")


if __name__ == "__main__":
    request_to_answer()
    from_the_pool()
    while_a_hole_waits()
    memory()
