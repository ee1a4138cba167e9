# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-server as an operator has it: --check, SIGHUP, what it gives up, --metrics, its manual and its unit.

In a network namespace of its own, as test_server.py.
"""
import glob
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import test_server
from manual import ManualPage
from test_server import DUAL, ROOT, SERVER, SUCCESS, V4, WAIT, Case, request

METRICS = ("127.0.0.1", 9690)
setUpModule = test_server.setUpModule


def run_server(*args):
    return subprocess.run([SERVER, *args], capture_output=True, text=True, timeout=WAIT, check=False)


class Operation(Case):
    def write(self, path, text):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)

    def config(self, text):
        directory = tempfile.mkdtemp(prefix="stunway-")
        self.addCleanup(shutil.rmtree, directory)
        os.chmod(directory, 0o755)
        path = os.path.join(directory, "server.conf")
        self.write(path, text)
        return path

    def test_check(self):
        """--check says what would be bound and done, binds nothing, and exits 0, or 2 for what is wrong"""
        with socket.create_server((V4[0], 3478)):  # taken: nobody minds
            r = run_server("--check", "--ipv4", f"198.51.100.1/{V4[0]}", "--ports", "3478", "--metrics", "[::1]:9690", "--user", "nobody")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        for words in ("would bind udp and tcp 127.0.0.1:3478, known to clients as 198.51.100.1:3478\n", "http://[::1]:9690/metrics\n",
                      "would become user nobody\n", "at most 200 times a second"):
            self.assertIn(words, r.stdout)
        path = self.config("[server]\nipv4 = 1.2.3\n")
        r = run_server("--check", "--config", path)
        self.assertEqual((r.returncode, r.stdout), (2, ""))
        self.assertIn(f"{path}:2: ipv4 '1.2.3': must be", r.stderr)
        self.assertEqual(run_server("--check", "--config", self.config("[server]\ncheck = yes\n")).returncode, 2)

    def test_reload(self):
        """SIGHUP reads the file again: rate, TCP limits and log level change, sockets stay, what needs a restart is named"""
        path = self.config("[server]\nipv4 = 127.0.0.1\nrate = 1000000\nuser = nobody\n")
        server = self.serve("--config", path, rate=())
        s, c, to = self.udp(), self.tcp((V4[0], 3478)), (V4[0], 3478)
        self.ask_tcp(c)
        for _ in range(20):
            self.ask(s, to, request())
        self.write(path, "[server]\nipv4 = 127.0.0.1\nipv4 = 127.0.0.2\nports = 5000\nrate = 3\ntcp-max-per-address = 1\nuser = root\n")
        server.process.send_signal(signal.SIGHUP)
        server.line("configuration read again .*rate=3 .*tcp-max-per-address=1 ")
        line = server.line("only a restart")
        self.assertEqual(set(re.findall(r"--[a-z0-9-]+", line)), {"--ipv4", "--ports", "--user"})
        self.ask_tcp(c)  # it is there as before
        self.assert_closed(self.tcp(to))
        other = self.udp("127.0.0.77")
        for _ in range(100):
            other.sendto(request(), to)
        deadline = time.monotonic() + WAIT
        while server.counts()["rate-limited"] < 50 and time.monotonic() < deadline:
            pass
        self.assertGreaterEqual(server.counts()["rate-limited"], 50)
        after = len(server.lines)
        self.write(path, "[server]\nipv4 = 127.0.0.1\nrate = many\n")
        server.process.send_signal(signal.SIGHUP)
        server.line(rf"{re.escape(path)}:3: rate 'many': must be", after)
        server.line("not read again, all stays", after)
        self.write(path, "[server]\nipv4 = 127.0.0.1\nlog-level = error\n")
        server.process.send_signal(signal.SIGHUP)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(WAIT), 0)
        server.reader.join()
        self.assertNotIn("counts", server.lines[-2])  # said at level info, which is no longer

    def test_reload_of_a_node(self):
        """SIGHUP works for a node that may no longer read its key; another peer and another number of keys wait for a restart"""
        path = self.config("")
        key = os.path.join(os.path.dirname(path), "node.key")
        self.write(key, "0123456789abcdef")
        os.chmod(key, 0o600)
        node = f"[server]\nipv4 = 127.0.0.1\npeer-ipv4 = 127.0.0.2\nuser = nobody\nnode-key-file = {key}\n"
        self.write(path, node)
        self.assertIn("would be one of two nodes, the other is 127.0.0.2:3478\n", run_server("--check", "--config", path).stdout)
        server = self.serve("--config", path)
        server.process.send_signal(signal.SIGHUP)
        server.line("configuration read again")
        self.write(path, node.replace("127.0.0.2", "127.0.0.3") + f"node-key-file = {key}\n")
        server.process.send_signal(signal.SIGHUP)
        self.assertEqual(set(re.findall(r"--[a-z0-9-]+", server.line("only a restart"))), {"--peer-ipv4", "--node-key-file"})

    def status(self, task):
        with open(f"{task}/status", encoding="ascii") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file)

    def test_confined(self):
        """every thread has no capability, no way to get one, and a filter of system calls, as root and as another user"""
        for user in ([], ["--user", "nobody"]):
            server = self.serve(*DUAL, "--workers", "2", "--metrics", "127.0.0.1:9690", *user)
            tasks = glob.glob(f"/proc/{server.process.pid}/task/*")
            self.assertEqual(len(tasks), 3)
            filtered = any("system calls filtered" in (line or "") for line in server.lines)
            if not filtered:
                server.line("system calls not filtered: ")  # a kernel without seccomp, or a build with sanitizers
            for status in map(self.status, tasks):
                for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                    self.assertEqual(status[kind], "0" * 16, kind)
                self.assertEqual(status["NoNewPrivs"], "1")
                self.assertEqual(status["Seccomp"], "2" if filtered else "0")
                self.assertEqual(set(status["Uid"].split()), {"65534" if user else "0"})
            for to in [(a, 3478) for a in V4]:  # and it works: UDP, TCP, metrics, counters, SIGHUP, the end
                self.assertEqual(self.ask(self.udp(), to, request())[0].type, SUCCESS)
                self.assertEqual(self.ask_tcp(self.tcp(to)).type, SUCCESS)
            self.assertEqual(self.get()[0], 200)
            server.process.send_signal(signal.SIGHUP)
            server.line("configuration read again")
            self.assertEqual(server.counts(signal.SIGTERM)["answered"], 4)

    def get(self, method="GET", path="/metrics", headers=()):
        c = http.client.HTTPConnection(*METRICS, timeout=WAIT)
        self.addCleanup(c.close)
        c.request(method, path, headers=dict(headers))
        r = c.getresponse()
        return r.status, r.read().decode()

    def test_metrics(self):
        """--metrics tells the counters as Prometheus reads them, and answers nothing else"""
        server = self.serve(*DUAL, "--metrics", "127.0.0.1:9690", "--workers", "2")
        server.line(r"metrics at http://127\.0\.0\.1:9690/metrics")
        sockets = [self.udp() for _ in range(10)]
        for s in sockets:
            self.ask(s, (V4[0], 3478), request())
        self.ask_tcp(self.tcp((V4[0], 3478)))
        status, text = self.get()
        self.assertEqual(status, 200)
        told = dict(re.findall(r"^stunway_(\w+)_total (\d+)$", text, re.M))
        self.assertEqual({k.replace("_", "-"): int(v) for k, v in told.items()}, server.counts())
        self.assertEqual((told["answered"], told["tcp_accepted"]), ("11", "1"))
        for method, path, want in (("GET", "/", 404), ("POST", "/metrics", 405), ("GET", "/metrics?a", 404)):
            self.assertEqual(self.get(method, path)[0], want)
        self.assertEqual(self.get(headers={"Content-Length": "3"})[0], 400)

    def test_metrics_bounded(self):
        """who is slow at --metrics, or one too many, or mute, keeps nobody from it"""
        self.serve(*DUAL, "--metrics", "127.0.0.1:9690")
        mute = [self.tcp(METRICS) for _ in range(50)]
        for s in mute[-4:]:
            s.sendall(b"GET /metr")
        self.assertEqual(self.get()[0], 200)
        self.assert_closed(mute[0])  # the oldest made room
        self.assertEqual(self.ask(self.udp(), (V4[0], 3478), request())[0].type, SUCCESS)
        late = time.monotonic()
        self.assert_closed(mute[-1])  # after its deadline
        self.assertLess(time.monotonic() - late, 30)
        long = self.tcp(METRICS)
        long.sendall(b"GET /metrics HTTP/1.1\r\nA: " + b"a" * 3000)
        self.assertTrue(self.exactly(long, 12).endswith(b"431"))

    def test_metrics_taken(self):
        """a port of --metrics that is taken is named, exit code 1; without --metrics there is none"""
        with socket.create_server(METRICS):
            r = run_server(*DUAL, "--metrics", "127.0.0.1:9690")
        self.assertEqual(r.returncode, 1)
        self.assertIn("cannot bind tcp 127.0.0.1:9690", r.stderr)
        self.serve(*DUAL)
        with self.assertRaises(ConnectionRefusedError):
            self.tcp(METRICS)

    def test_wrong_metrics(self):
        """a wrong address or port of --metrics is named and exits 2"""
        for value in ("9690", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "::1:9690", "[127.0.0.1]:9690", "[::1]", "x:1"):
            r = run_server("--check", "--metrics", value)
            self.assertEqual(r.returncode, 2, value)
            self.assertIn(f"--metrics '{value}': must be ADDR:PORT", r.stderr)


class Manual(ManualPage, unittest.TestCase):
    NAME = "stunway-server"
