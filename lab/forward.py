# SPDX-License-Identifier: GPL-2.0-or-later
"""A port of this machine's loopback that leads to a port of a role's loopback: how a browser out here sees a page in there."""
import errno
import socket
import threading

from lab.topology import inside

TRIES = 100  # ports to look at, from the first one wished for on


def _pour(source, sink):
    """Bytes one way until their end, which is passed on."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Forward:
    """Listens on 127.0.0.1:port, or the next free one (self.port), from `with` to its end."""

    def __init__(self, lab, role, port, to_port):
        self.lab, self.role, self.to_port = lab, role, to_port
        self.open = set()
        self.listener = self._listen(port)
        self.port = self.listener.getsockname()[1]

    @staticmethod
    def _listen(port):
        for candidate in range(port, port + TRIES):
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", candidate))
                listener.listen(64)
                return listener
            except OSError as error:
                listener.close()
                if error.errno != errno.EADDRINUSE:
                    raise
        raise OSError(errno.EADDRINUSE, f"no port free from {port} to {port + TRIES - 1} on 127.0.0.1")

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception):
        for s in [self.listener, *self.open]:
            try:
                s.shutdown(socket.SHUT_RDWR)  # wakes the threads that wait on it
            except OSError:
                pass
            s.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[near], daemon=True).start()

    def _serve(self, near):
        with near:
            try:
                far = inside(self.lab.ns(self.role), socket.socket)
                far.connect(("127.0.0.1", self.to_port))
            except OSError:
                return
            with far:
                pair = {near, far}
                self.open |= pair
                back = threading.Thread(target=_pour, args=[far, near], daemon=True)
                back.start()
                _pour(near, far)
                back.join()
                self.open -= pair
