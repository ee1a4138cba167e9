# SPDX-License-Identifier: GPL-2.0-or-later
"""NAT-PMP as a client speaks it, byte by byte, for the gateway's tests."""
import socket
import struct
import time

from lab.home import PATIENCE, ROUTER

UDP, TCP = 1, 2  # opcodes


class Answer:
    """A NAT-PMP answer, taken apart."""

    def __init__(self, data, source):
        self.data, self.source = data, source
        self.version, self.opcode, self.result, self.epoch = struct.unpack("!BBHI", data[:8])
        self.address = socket.inet_ntoa(data[8:12]) if len(data) == 12 else None
        self.internal = None
        if len(data) == 16:
            self.internal, self.outer, self.lifetime = struct.unpack("!HHI", data[8:16])


class Pmp:
    """A NAT-PMP client on a LAN host that says just what it is told to."""

    def __init__(self, lab, role="lan1", bind=None, gateway=ROUTER):
        self.gateway = gateway
        self.socket = lab.socket(role)
        if bind:
            self.socket.bind((bind, 0))

    def send(self, data):
        self.socket.sendto(data, (self.gateway, 5351))

    def receive(self, timeout=5 * PATIENCE):
        """An Answer, None when none comes."""
        self.socket.settimeout(timeout)
        try:
            return Answer(*self.socket.recvfrom(2048))
        except TimeoutError:
            return None

    def raw(self, data, timeout=5 * PATIENCE):
        self.send(data)
        return self.receive(timeout)

    def address(self, timeout=5 * PATIENCE):
        self.send(b"\0\0")
        return self.answer(lambda a: a.opcode == 0x80, timeout)

    def map(self, opcode, port, lifetime=3600, timeout=10 * PATIENCE, wish=0):
        self.send(struct.pack("!BBHHHI", 0, opcode, 0, port, wish, lifetime))
        return self.answer(lambda a: a.opcode == 0x80 | opcode and a.internal == port, timeout)

    def answer(self, fits, timeout):
        """The first that fits: what comes late to an earlier question is not taken for it."""
        deadline = time.monotonic() + timeout
        while answer := self.receive(max(deadline - time.monotonic(), 1e-3)):
            if fits(answer):
                return answer
        return None

    def silent_after(self, data):
        """Whether a datagram draws no answer: the next question's answer is the first that comes."""
        self.send(data)
        self.send(b"\0\x63")  # an opcode that is echoed
        return self.receive().opcode == 0x80 | 0x63


def listen_to_announcements(home, role="lan1"):
    """A socket that hears what the gateway multicasts on the LAN."""
    s = home.socket(role)
    s.bind(("", 5350))
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.0.1") + socket.inet_aton("0.0.0.0"))
    return s


def announcement(s, timeout=5 * PATIENCE):
    s.settimeout(timeout)
    return Answer(*s.recvfrom(100))
