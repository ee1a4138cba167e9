# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks a web server from a program of its own, so that its work is in no measurement but the machine's.

  web_load.py get ADDRESS PORT SECONDS CONNECTIONS plain|gzip|known    /mappings again and again; known: with the ETag of the last answer
  web_load.py listen ADDRESS PORT LISTENERS N MARK                     /events, until each has heard of N mappings with MARK

Each prints a line of JSON; moments are of the monotonic clock.
"""
import collections
import json
import re
import selectors
import socket
import sys
import time


class Asker:
    """A connection that asks again when it is answered."""

    def __init__(self, address, how):
        self.socket = socket.create_connection(address, timeout=5)
        self.socket.setblocking(False)
        self.how, self.tag, self.statuses, self.bytes = how, b"", collections.Counter(), 0
        self.left = None
        self.head = b""
        self.ask()

    def ask(self):
        more = {"plain": b"", "gzip": b"Accept-Encoding: gzip\r\n", "known": b"If-None-Match: " + self.tag + b"\r\n" if self.tag else b""}[self.how]
        self.socket.send(b"GET /mappings HTTP/1.1\r\nHost: 192.168.1.1\r\n" + more + b"\r\n")

    def ready(self, buffer):
        got = self.socket.recv_into(buffer)
        if got == 0:
            raise ConnectionError("the server has closed")
        if self.left is None:
            self.head += bytes(buffer[:got])
            head, end, body = self.head.partition(b"\r\n\r\n")
            if not end:
                return
            self.statuses[head[9:12].decode()] += 1
            self.tag = (re.search(rb"\r\nETag: ([^\r]*)", head) or [b"", self.tag])[1]
            length = re.search(rb"\r\nContent-Length: (\d+)", head)
            self.left, got = int(length[1]) if length and head[9:12] == b"200" else 0, len(body)
            self.bytes += self.left
        self.left -= got
        if self.left == 0:
            self.left, self.head = None, b""
            self.ask()


def get(address, port, seconds, connections, how):
    with selectors.DefaultSelector() as selector:
        all_ = [Asker((address, int(port)), how) for _ in range(int(connections))]
        for asker in all_:
            selector.register(asker.socket, selectors.EVENT_READ, asker)
        buffer = memoryview(bytearray(1 << 20))
        print("begins", flush=True)
        began = time.monotonic()
        while time.monotonic() - began < float(seconds):
            for key, _ in selector.select(0.1):
                key.data.ready(buffer)
        statuses = sum((a.statuses for a in all_), collections.Counter())
        print(json.dumps({"seconds": time.monotonic() - began, "statuses": statuses, "bytes": sum(a.bytes for a in all_)}), flush=True)


class Listener:
    """Of HTTP/1.0, whose answer is no chunks."""

    def __init__(self, address, marked):
        self.socket = socket.create_connection(address, timeout=5)
        self.socket.send(b"GET /events HTTP/1.0\r\nHost: 192.168.1.1\r\n\r\n")
        while b"retry:" not in self.socket.recv(65536):
            pass
        self.socket.setblocking(False)
        self.marked, self.rest, self.heard, self.bytes = marked, b"", set(), 0

    def ready(self):
        got = self.socket.recv(1 << 20)
        if not got:
            raise ConnectionError("the server has closed")
        self.bytes += len(got)
        whole, _, self.rest = (self.rest + got).rpartition(b"\n")
        self.heard.update(self.marked.findall(whole))


def listen(address, port, listeners, n, mark):
    marked = re.compile(rb'"internal_port":(\d+),[^\n]*' + re.escape(mark.encode()))
    with selectors.DefaultSelector() as selector:
        all_ = [Listener((address, int(port)), marked) for _ in range(int(listeners))]
        for listener in all_:
            selector.register(listener.socket, selectors.EVENT_READ, listener)
        print("begins", flush=True)
        whole = []
        while len(whole) < len(all_):
            for key, _ in selector.select():
                key.data.ready()
                if len(key.data.heard) == int(n):
                    whole.append(time.monotonic())
                    key.data.heard.clear()
        print(json.dumps({"whole": whole, "bytes": sum(a.bytes for a in all_)}), flush=True)


if __name__ == "__main__":
    {"get": get, "listen": listen}[sys.argv[1]](*sys.argv[2:])
