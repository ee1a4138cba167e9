# SPDX-License-Identifier: GPL-2.0-or-later
"""The gateway's web server from outside: where it listens, what it refuses, who may change things, and what an attack on it does to the rest."""
import contextlib
import gzip
import os
import shutil
import signal
import socket
import statistics
import tempfile
import time
import unittest

from lab.home import LAN1, PATIENCE, ROUTER, STUN, Home, eventually
from pmp import UDP, Pmp

PORT = 9699
BODY_MAX, ARRIVE, CLIENT_IDLE_MAX = 4096, 10, 32  # gateway/face/http.h
IP_FREEBIND = 15


class Reply:
    """An answer, taken apart; status 0 when the connection ended without one."""

    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1]) if data else 0
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:] if line)}


class Http:
    """A client on one of the laboratory's hosts that says just what it is told to."""

    def __init__(self, home, role="lan1", address=ROUTER, port=PORT, timeout=15 * PATIENCE):
        self.host = f"{address}:{port}"
        self.socket = home.socket(role, socket.AF_INET, socket.SOCK_STREAM, timeout=timeout)
        self.socket.connect((address, port))

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, head_only=False):
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while b"\r\n\r\n" not in data:
                piece = self.socket.recv(65536)
                if not piece:
                    return Reply(data)
                data += piece
            reply = Reply(data)
            length = 0 if head_only or reply.status == 304 else int(reply.headers.get("content-length", 0))
            while len(reply.body) < length:
                piece = self.socket.recv(65536)
                if not piece:
                    break
                reply.body += piece
            return reply
        return Reply(b"")

    def ask(self, method="GET", path="/status", host=None, body=None, **headers):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or self.host}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        return self.receive(head_only=method == "HEAD")

    def is_closed(self, within=2.0 * PATIENCE):
        self.socket.settimeout(within)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True

    def close(self):
        self.socket.close()


# An attacker of its own, so that his work is not in the measurements.
CROWD = f"""
import socket, sys, time
def connect():
    return socket.create_connection(("{ROUTER}", {PORT}), timeout=30)
print("begins", flush=True)
if sys.argv[1] == "idle":
    held = []
    for _ in range(1000):
        try: held.append(connect())
        except OSError: pass
    print(len(held), flush=True)
    time.sleep(60)
while sys.argv[1] == "flood":
    try:
        s = connect()
        s.sendall(b"POST /logout HTTP/1.1\\r\\nHost: {ROUTER}\\r\\nContent-Type: application/json\\r\\nContent-Length: 10000000\\r\\n\\r\\n")
        s.sendall(bytes(10000000))
        assert b" 413 " in s.recv(100)
    except OSError: pass
    s.close()
s = connect()
began = time.monotonic()
try:
    for byte in b"GET / HTTP/1.1\\r\\nX-Slow: " + b"x" * 200:
        s.sendall(bytes([byte]))
        time.sleep(0.2)
        s.settimeout(0.01)
        try: assert s.recv(1)
        except TimeoutError: pass
except (OSError, AssertionError): pass
print("ended", time.monotonic() - began, flush=True)
"""


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = Home()
        cls.home.up()
        cls.addClassCleanup(cls.home.down)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="stunway-")
        self.addCleanup(shutil.rmtree, self.dir)

    def gateway(self, *more, **options):
        process = self.home.gateway("--pool", "0", *more, **options)
        self.addCleanup(process.stop)
        return process

    def ask(self, *what, role="lan1", address=ROUTER, port=PORT, **more):
        client = Http(self.home, role, address, port)
        try:
            return client.ask(*what, **more)
        finally:
            client.close()

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def listening(self):
        lines = self.home.run("router", ["ss", "-Hltn", f"sport = :{PORT}"]).stdout.splitlines()
        return sorted(line.split()[3] for line in lines)


class Serving(Case):
    """One gateway without a password for all of these."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.process = cls.home.gateway("--pool", "0", "--http-host", "nas.example")
        cls.addClassCleanup(cls.process.stop)

    def test_where(self):
        """It listens on loopback and the LAN's address, not on the line's; who comes to the LAN's address from the line is not heard"""
        self.assertEqual(self.listening(), [f"127.0.0.1:{PORT}", f"192.168.1.1:{PORT}", f"[::1]:{PORT}"])
        self.assertEqual(self.ask().status, 200)
        self.assertEqual(self.ask(role="router").status, 200)
        self.assertEqual(self.ask(role="router", address="127.0.0.1").status, 200)
        self.home.nft("router", "insert rule inet filter input iifname wan accept")
        self.addCleanup(self.home.nft, "router", "flush chain inet filter input; add rule inet filter input ct state established,related accept;"
                        "add rule inet filter input iifname { lan, lo } accept; add rule inet filter input meta l4proto icmp accept")
        self.home.run("carrier", ["ip", "route", "add", "192.168.1.0/24", "via", "100.64.0.2"])
        self.addCleanup(self.home.run, "carrier", ["ip", "route", "del", "192.168.1.0/24"])
        self.assertEqual(self.ask(role="carrier").status, 0)
        with self.assertRaises(ConnectionRefusedError):
            Http(self.home, "carrier", "100.64.0.2")

    def test_names(self):
        """A Host that is not the router's is refused (DNS rebinding), its addresses and names are not"""
        name = os.uname().nodename
        for host, status in [(ROUTER, 200), (f"{ROUTER}:80", 200), ("localhost", 200), ("127.0.0.1", 200), ("[::1]:1", 200), (name, 200),
                             (f"{name.upper()}.lan", 200), ("nas.example:9699", 200), ("evil.example", 403), (f"{name}.evil.example", 403),
                             ("192.168.1.2", 403), ("203.0.113.1", 403), ("a b", 400), ("x@localhost", 400)]:
            reply = self.ask(host=host)
            self.assertEqual((host, reply.status), (host, status))
            if status == 403:
                self.assertIn(host.encode(), reply.body)

    def test_strict(self):
        """What two readers could read in two ways is refused, and the connection ends"""
        head = f"POST /logout HTTP/1.1\r\nHost: {ROUTER}\r\n".encode()
        for wrong in [b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                      b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Content-Length: -1\r\n\r\n", b"Content-Length: +1\r\n\r\nx",
                      f"Host: {ROUTER}\r\n\r\n".encode(), b"X: a\0b\r\n\r\n", b"X: a\x07b\r\n\r\n", b"X : y\r\n\r\n", b"X\0: y\r\n\r\n",
                      b" folded: y\r\n\r\n"]:
            client = Http(self.home)
            client.send(head + wrong)
            self.assertEqual((wrong, client.receive().status), (wrong, 400))
            self.assertTrue(client.is_closed(), wrong)
            client.close()
        for line, status in [(b"GET /%00 HTTP/1.1", 400), (b"GET /a%2 HTTP/1.1", 400), (b"GET http://localhost/ HTTP/1.1", 400), (b"GET / HTTP/3.0", 505),
                             (b"GET /" + b"a" * 300 + b" HTTP/1.1", 414), (b"GET /a/b/c/d/e/f/g/h/i/j HTTP/1.1", 404), (b"GET /../etc/passwd HTTP/1.1", 404),
                             (b"BREW /status HTTP/1.1", 405), (b"OPTIONS /login HTTP/1.1", 405), (b"\x16\x03\x01 x", 400)]:
            client = Http(self.home)
            client.send(line + b"\r\nHost: " + ROUTER.encode() + b"\r\n\r\n")
            self.assertEqual((line, client.receive().status), (line, status))
            client.close()
        client = Http(self.home)  # a head without an end
        with contextlib.suppress(ConnectionError):
            client.send(b"GET / HTTP/1.1\r\nHost: " + ROUTER.encode() + b"\r\nX: " + b"a" * 20000)
        self.assertIn(client.receive().status, [0, 413, 431])
        self.assertEqual(self.ask("PUT").headers["allow"], "GET, HEAD")
        self.assertEqual(self.ask().status, 200)

    def test_foreign_pages(self):
        """A page of somebody else's cannot make a browser change anything (CSRF)"""
        good = {"body": b"{}", "Content_Type": "application/json"}
        for more, status in [({}, 200), (good, 200), ({**good, "Origin": f"http://{ROUTER}:{PORT}", "Sec_Fetch_Site": "same-origin"}, 200),
                             ({**good, "Origin": "http://evil.example"}, 403), ({**good, "Origin": "null"}, 403),
                             ({**good, "Origin": f"http://{ROUTER}"}, 403), ({**good, "Sec_Fetch_Site": "cross-site"}, 403),
                             ({**good, "Sec_Fetch_Site": "same-site"}, 403), ({"body": b"{}"}, 415), ({**good, "Content_Type": "text/plain"}, 415)]:
            self.assertEqual((more, self.ask("POST", "/logout", **more).status), (more, status))

    def test_headers(self):
        """Every answer forbids inline scripts, foreign frames and guessing of types; HEAD, ETag, 304 and gzip work on one connection"""
        for path in ["/", "/status", "/none"]:
            headers = self.ask(path=path).headers
            self.assertIn("default-src 'none'", headers["content-security-policy"])
            self.assertNotIn("unsafe", headers["content-security-policy"])
            self.assertEqual((headers["x-content-type-options"], headers["referrer-policy"]), ("nosniff", "no-referrer"))
        client = Http(self.home)
        full = client.ask(path="/")
        head = client.ask("HEAD", "/")
        self.assertEqual((head.status, head.headers["content-length"], head.body), (200, str(len(full.body)), b""))
        self.assertEqual(client.ask(path="/", If_None_Match='"x", ' + full.headers["etag"]).status, 304)
        self.assertEqual(client.ask(path="/", If_None_Match='"x"').status, 200)
        packed = client.ask(path="/", Accept_Encoding="gzip, deflate, br")
        if packed.headers.get("content-encoding") == "gzip":
            packed.body = gzip.decompress(packed.body)
        self.assertEqual(packed.body, full.body)
        client.close()

    def test_bodies(self):
        """A body over 4 KiB is refused, and what follows it on the connection is understood"""
        client = Http(self.home)
        for size, status in [(BODY_MAX, 200), (BODY_MAX + 1, 413), (10, 200), (60000, 413), (0, 200)]:
            reply = client.ask("POST", "/logout", body=b"x" * size, Content_Type="application/json")
            self.assertEqual((size, reply.status), (size, status))
        reply = client.ask("POST", "/logout", body=b"x" * 100, Content_Length=10_000_000)  # the first counts; refused before the rest is there
        self.assertEqual((reply.status, reply.headers["connection"]), (400, "close"))
        client.close()
        for path in ["/logout", "/none"]:
            client = Http(self.home)
            client.send(f"POST {path} HTTP/1.1\r\nHost: {ROUTER}\r\nContent-Length: 10000000\r\n\r\n".encode())
            self.assertEqual(client.receive().status, 413)
            self.assertTrue(client.is_closed())
            client.close()

    def connections(self, client):
        return self.home.run("router", ["ss", "-Htn", "state", "established", f"sport = :{PORT}"]).stdout.count(f"{client}:")

    def test_hostile_crowd(self):
        """1,000 idle connections, slow requests and 10 MB bodies: NAT-PMP is answered at once, the page is served, and whoever is late is ended"""
        quiet = self.times(1)
        attacks = [self.home.spawn(role, ["python3", "-c", CROWD, what], ready="begins") for role, what in
                   [("lan1", "idle"), ("lan1", "flood"), ("lan1", "flood"), ("lan2", "slow")]]
        for attack in attacks:
            self.addCleanup(attack.stop)
        attacks[0].wait_line("1000")
        # those that are not accepted yet are the kernel's, and count here too
        connections = eventually(lambda: self.connections(LAN1) <= CLIENT_IDLE_MAX + 2 and self.connections(LAN1), 10, "few enough connections")
        times, pages = self.times(5), []
        for _ in range(20):
            at = time.monotonic()
            self.assertEqual(self.ask(role="router", address="127.0.0.1").status, 200)
            pages.append((time.monotonic() - at) * 1000)
        late = float(attacks[3].wait_line("ended", timeout=20).split()[1])
        print(f"# NAT-PMP under attack: median {statistics.median(times):.2f} ms, 99 % {times[len(times) * 99 // 100]:.2f} ms, worst {times[-1]:.1f} ms "
              f"of {len(times)} (quiet: {statistics.median(quiet):.2f}, {quiet[len(quiet) * 99 // 100]:.2f}, {quiet[-1]:.1f}); a page: median "
              f"{statistics.median(pages):.1f} ms; connections {connections}; a late request ended after {late:.1f} s")
        self.assertLess(statistics.median(times), max(10, 5 * statistics.median(quiet)))  # what else makes it wait is in both
        self.assertTrue(ARRIVE - 1 < late < ARRIVE + 20, late)  # its bytes would last longer
        for attack in attacks:
            attack.stop()
        self.assertEqual(self.ask().status, 200)

    def times(self, seconds):
        """How long NAT-PMP's answers take, in ms, sorted."""
        pmp, out, began = Pmp(self.home, "lan2"), [], time.monotonic()
        while time.monotonic() - began < seconds:
            at = time.monotonic()
            self.assertIsNotNone(pmp.address())
            out.append((time.monotonic() - at) * 1000)
            time.sleep(0.002)
        return sorted(out)


class Options(Case):
    def test_password(self):
        """With a password changes want a login or a Bearer; who guesses waits, others do not; SIGHUP brings another one"""
        path = self.write("password", "sesame\nsecond line\n")
        gateway = self.gateway("--http-password-file", path)
        json = {"Content_Type": "application/json"}
        self.assertEqual(self.ask().status, 200)  # looking is free
        login = self.ask("POST", "/login", body=b'{"password":"sesame"}', **json)
        self.assertEqual(login.status, 200)
        cookie = login.headers["set-cookie"]
        self.assertRegex(cookie, r"^stunway=[0-9a-f]{32}; HttpOnly; SameSite=Strict; Path=/$")
        def guess():
            return [self.ask(Authorization="Bearer wrong").status for _ in range(5)]
        self.assertEqual(guess(), [401] * 5)

        def waits():
            reply = self.ask("POST", "/login", body=b'{"password":"sesame"}', **json)
            return reply if reply.status == 429 else guess() and None  # it took longer than the wait to ask
        self.assertRegex(eventually(waits, what="a wait").headers["retry-after"], r"^\d$")
        self.assertEqual(self.ask(Cookie=cookie.split(";")[0]).status, 200)  # who is logged in already does not wait
        self.assertEqual(self.ask(Authorization="Bearer sesame", role="lan2").status, 200)
        eventually(lambda: self.ask(Authorization="Bearer sesame").status == 200, what="the end of the wait")
        self.write("password", "")
        os.kill(gateway.pid, signal.SIGHUP)
        gateway.wait_line("its first line must be the password")
        self.assertEqual(self.ask(Authorization="Bearer sesame").status, 200)
        os.chmod(self.write("password", "open\n"), 0o644)
        os.kill(gateway.pid, signal.SIGHUP)
        gateway.wait_line("can be read by everybody")
        eventually(lambda: self.ask(Authorization="Bearer open").status == 200, what="the new password")
        self.assertEqual(self.ask(Authorization="Bearer sesame").status, 401)
        self.assertNotIn("sesame", "\n".join(gateway.lines))

    def test_wrong_options(self):
        """What it cannot do it says and does not start: exit 2 for the configuration, 1 for a port that is taken, by whom"""
        empty = self.write("empty", "\n")
        for words, said in [(["--http", "localhost:80"], "localhost:80"), (["--http", "127.0.0.1"], "127.0.0.1"), (["--http", "127.0.0.1:0"], "127.0.0.1:0"),
                            (["--http", "none", "--http", "127.0.0.1:1"], "none alone"), (["--http-host", "a:1"], "a:1"),
                            (["--http-password-file", f"{self.dir}/none"], f"{self.dir}/none"), (["--http-password-file", empty], empty)]:
            result = self.home.run("router", [self.home.program("gateway"), "--wan", "wan", "--lan", "lan", "--state", "none", *words], check=False)
            self.assertEqual((words, result.returncode), (words, 2))
            self.assertIn(said, result.stderr)
            if "password" in words[0]:
                result = self.home.run("router", [self.home.program("gateway"), "--wan", "wan", "--stun", STUN, "--check", *words], check=False)
                self.assertEqual(result.returncode, 2)
                self.assertIn(f"problem: --http-password-file {said}", result.stdout)
        holder = self.home.spawn("router", ["python3", "-c", f"import socket; s = socket.create_server(('', {PORT})); print('holds', flush=True); s.accept()"],
                                 ready="holds")
        self.addCleanup(holder.stop)
        result = self.home.run("router", [self.home.program("gateway"), "--wan", "wan", "--lan", "lan", "--state", "none"], check=False)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, rf"TCP port {PORT} .* is held by python3 \(pid {holder.pid}\)")
        self.assertEqual(self.home.gateway("--http", "none").stop(), 0)

    def test_named(self):
        """What --http names is served to all, also before its address is there; changes are for the LAN and a password"""
        self.home.nft("router", "insert rule inet filter input iifname wan tcp dport 8080 accept")
        gateway = self.gateway("--http", "100.64.0.2:8080", "--http", "192.168.7.1:8081", "--http", "127.0.0.1:80")
        self.assertEqual(self.listening(), [])
        outside = {"role": "carrier", "address": "100.64.0.2", "port": 8080}
        self.assertEqual(self.ask(**outside).status, 200)
        self.assertEqual(self.ask("POST", "/logout", **outside).status, 200)  # open to all, as the login is
        self.assertEqual(self.ask(role="router", address="127.0.0.1", port=80).status, 200)  # a port below 1024, bound as root
        self.home.run("router", ["ip", "address", "add", "192.168.7.1/24", "dev", "lan"])
        self.addCleanup(self.home.run, "router", ["ip", "address", "del", "192.168.7.1/24", "dev", "lan"])
        self.assertEqual(self.ask(address="192.168.7.1", port=8081).status, 200)
        gateway.wait_line("listening on 192.168.7.1:8081")

    def test_lan_comes_and_goes(self):
        """A LAN's address that vanishes and returns is served again; a port that is taken meanwhile is said, waited for, and no harm to NAT-PMP"""
        gateway = self.gateway()
        address = ["192.168.1.1/24", "dev", "lan"]
        self.home.run("router", ["ip", "address", "del", *address])
        eventually(lambda: self.listening() == [f"127.0.0.1:{PORT}", f"[::1]:{PORT}"], what="the end of its listening there")
        holder = self.home.socket("router", socket.AF_INET, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
        self.addCleanup(holder.close)
        holder.bind((ROUTER, PORT))
        holder.listen()
        self.home.run("router", ["ip", "address", "add", *address])
        gateway.wait_line(f"TCP port {PORT} on address={ROUTER}:{PORT} is held by")
        eventually(lambda: getattr(Pmp(self.home).map(UDP, 7000, timeout=1), "result", None) == 0, timeout=20, what="a mapping")
        holder.close()
        eventually(lambda: len(self.listening()) == 3, timeout=15, what="its listening again")
        self.assertEqual(self.ask().status, 200)
        self.assertEqual(sum("is held by" in line for line in gateway.lines), 1)  # said once
