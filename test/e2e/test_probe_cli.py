# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-probe, libstunway, its example programs and its Python module as their users have them, on plain loopback.

The server is stunway-server on 127.0.0.1 and 127.0.0.2, or a Python one that answers oddly.
STUNWAY_BUILD names another build directory than build/.
"""
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("STUNWAY_BUILD", "build"))
PROBE, SERVER = os.path.join(BUILD, "stunway-probe"), os.path.join(BUILD, "stunway-server")
WAIT = 60  # seconds until something that must come is called missing
KEYS = ["type", "external", "local", "info", "port_mode", "mapping", "filtering", "confidence", "server"]
COOKIE = 0x2112A442


def free_ports():
    """Two ports that nobody has, UDP and TCP, on both addresses."""
    for port in range(20000 + os.getpid() % 5000 * 4, 60000, 2):
        try:
            for p in (port, port + 1):
                for address in ("127.0.0.1", "127.0.0.2"):
                    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                        with socket.socket(socket.AF_INET, kind) as s:
                            s.bind((address, p))
            return port, port + 1
        except OSError:
            continue
    raise RuntimeError("no free ports")


def run(*args, program=PROBE, **more):
    return subprocess.run([program, *map(str, args)], capture_output=True, text=True, timeout=WAIT, check=False, **more)


def verdict(*args, code=0):
    """The JSON that the probe prints, and nothing else; it ends with that exit code."""
    r = run("--json", *args)
    assert r.returncode == code and r.stderr == "", (r.returncode, r.stdout, r.stderr)
    assert r.stdout.count("\n") == 1
    return json.loads(r.stdout)


class Server:
    """stunway-server on two addresses, or on one."""

    def __init__(self, *addresses):
        self.ports = free_ports()
        words = [w for a in addresses for w in ("--ipv4", a)]
        self.process = subprocess.Popen([SERVER, *words, "--ports", f"{self.ports[0]},{self.ports[1]}", "--rate", "0"],
                                        stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if f"listening tcp {addresses[-1]}:{self.ports[1]}" in line:
                break
        self.name = f"127.0.0.1:{self.ports[0]}"

    def close(self):
        self.process.terminate()
        self.process.stderr.close()
        self.process.wait(WAIT)


def success(request, *attrs):
    body = b"".join(struct.pack(">HH", t, len(v)) + v for t, v in attrs)
    return struct.pack(">HH", 0x0101, len(body)) + request[4:20] + body


def address(ip, port):
    return struct.pack(">BBH", 0, 1, port) + socket.inet_aton(ip)


def xor_address(ip, port):
    return struct.pack(">BBHI", 0, 1, port ^ (COOKIE >> 16), struct.unpack(">I", socket.inet_aton(ip))[0] ^ COOKIE)


class Odd:
    """A UDP server whose answers are what answer(request, client) returns, a list of datagrams."""

    def __init__(self, answer):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.name = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.answer, self.on = answer, True
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        self.socket.settimeout(0.1)
        while self.on:
            try:
                request, client = self.socket.recvfrom(2048)
                for datagram in self.answer(request, client):
                    self.socket.sendto(datagram, client)
            except OSError:
                pass

    def close(self):
        self.on = False
        self.thread.join()
        self.socket.close()


class Case(unittest.TestCase):
    def start(self, server):
        self.addCleanup(server.close)
        return server.name


class Verdicts(Case):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("127.0.0.1", "127.0.0.2")
        cls.addClassCleanup(cls.server.close)
        cls.name = cls.server.name

    def test_json(self):
        """--json is one object with the documented keys, and exit code 0 for a verdict"""
        v = verdict(self.name)
        self.assertEqual(list(v)[:len(KEYS)], KEYS)
        self.assertEqual((v["type"], v["mapping"], v["filtering"]), ("OpenInternet",) + ("endpoint-independent",) * 2)
        self.assertEqual(v["external"], v["local"])
        self.assertEqual(v["local"]["address"], "127.0.0.1")
        self.assertEqual((v["info"], v["port_mode"], v["server"]), ("", "", self.name))
        self.assertTrue(0.9 < v["confidence"] <= 1)
        self.assertFalse(v["alg"])
        self.assertNotIn("tcp_mapping", v)

    def test_port_mode(self):
        """-p says how ports are chosen"""
        self.assertEqual(verdict("-p", self.name)["port_mode"], "Preserved")

    def test_bind(self):
        """-b asks from the address and port named, and from a real address when the wildcard is named"""
        port = free_ports()[0]
        self.assertEqual(verdict("-b", f"127.0.0.3:{port}", self.name)["local"], {"address": "127.0.0.3", "port": port})
        self.assertEqual(verdict("-b", f"0.0.0.0:{port}", self.name)["local"], {"address": "127.0.0.1", "port": port})

    def test_name(self):
        """a server's name is resolved, IPv4 first"""
        v = verdict(f"localhost:{self.server.ports[0]}")
        self.assertEqual(v["server"], self.name)

    def test_tcp(self):
        """--tcp says how TCP is mapped, from one local port"""
        v = verdict("--tcp", self.name)
        self.assertEqual((v["tcp_mapping"], v["tcp_info"]), ("endpoint-independent", ""))
        self.assertEqual(v["tcp_external"]["address"], "127.0.0.1")

    def test_tcp_again(self):
        """--tcp from the same port at once again does not meet TIME_WAIT"""
        port = free_ports()[0]
        for _ in range(3):
            v = verdict("--tcp", "-b", f"127.0.0.1:{port}", self.name)
            self.assertEqual((v["tcp_mapping"], v["tcp_external"]["port"]), ("endpoint-independent", port))

    def test_table(self):
        """the table is aligned, says what the type means, and has no colour outside a terminal"""
        r = run(self.name)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        labels = [line.split()[0] for line in r.stdout.splitlines()]
        self.assertEqual(labels, ["type", "meaning", "external", "local", "mapping", "filtering", "server"])
        for line in r.stdout.splitlines():
            self.assertRegex(line, r"^\S+ +(?<=^.{13})\S")
        self.assertIn("strangers reach this machine", r.stdout)
        self.assertNotIn("\033", r.stdout)

    def on_terminal(self, **environment):
        master, slave = pty.openpty()
        environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | environment
        r = subprocess.run([PROBE, self.name], stdout=slave, timeout=WAIT, env=environment, check=False)
        os.close(slave)
        text = os.read(master, 65536).decode()
        os.close(master)
        self.assertEqual(r.returncode, 0)
        return text

    def test_colour(self):
        """a terminal gets colour, unless NO_COLOR is set"""
        self.assertIn("\033[32mOpenInternet\033[0m", self.on_terminal())
        self.assertNotIn("\033", self.on_terminal(NO_COLOR="1"))

    def test_verbose(self):
        """-v says on stderr what was sent and what came"""
        r = run("-v", "--json", self.name)
        self.assertEqual(json.loads(r.stdout)["type"], "OpenInternet")
        self.assertRegex(r.stderr, rf"\[I\] 20 bytes 127\.0\.0\.1:\d+ -> {re.escape(self.name)}\n")
        self.assertRegex(r.stderr, rf"\[I\] \d+ bytes 127\.0\.0\.1:\d+ <- {re.escape(self.name)}\n")

    def test_full_disk(self):
        """a result that cannot be written is an error that is said"""
        with open("/dev/full", "w", encoding="ascii") as full:
            r = subprocess.run([PROBE, self.name], stdout=full, stderr=subprocess.PIPE, text=True, timeout=WAIT, check=False)
        self.assertEqual(r.returncode, 1)
        self.assertIn("cannot write the result: No space left", r.stderr)

    def test_hairpin_without_nat(self):
        """--hairpin without a NAT has nothing to loop back"""
        v = verdict("--hairpin", self.name)
        self.assertIsNone(v["hairpin"])
        self.assertEqual(v["hairpin_info"], "no NAT, nothing to loop back")

    def test_lifetime_interrupted(self):
        """--lifetime ended by Ctrl-C says what is known"""
        p = subprocess.Popen([PROBE, "--json", "-v", "--lifetime", self.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
        for line in p.stderr:
            if "--lifetime begins" in line:
                break
        p.send_signal(signal.SIGINT)
        out, _ = p.communicate(timeout=WAIT)
        v = json.loads(out)
        self.assertEqual(p.returncode, 0)
        self.assertIsNone(v["lifetime_max_s"])
        self.assertIn("stopped", v["lifetime_info"])

    def test_python(self):
        """the Python module's get_nat_info has stuntools' arguments and dictionary"""
        get = python_module().get_nat_info
        address = ("127.0.0.1", self.server.ports[0])
        info = get(address, port_mode_check=True)
        self.assertEqual(list(info), ["type", "external", "info", "port_mode"])
        self.assertEqual((info["type"], info["info"], info["port_mode"]), ("OpenInternet", "", "Preserved"))
        self.assertEqual((info["external"][0], type(info["external"][1])), ("127.0.0.1", int))
        port = free_ports()[0]
        self.assertEqual(get(stun_addr=address, local_addr=("127.0.0.1", port), ip_version=4, timeout=2)["external"],
                         ("127.0.0.1", port))
        self.assertEqual(get(address, ("0.0.0.0", port))["external"], ("127.0.0.1", port))
        self.assertEqual(get(address)["port_mode"], "")

    def test_python_threads(self):
        """two Python threads ask at the same time"""
        get = python_module().get_nat_info
        found = []
        threads = [threading.Thread(target=lambda: found.append(get(("localhost", self.server.ports[0]))["type"])) for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(found, ["OpenInternet"] * 2)


def python_module():
    sys.path.insert(0, os.path.join(ROOT, "bindings", "python"))
    os.environ["STUNWAY_LIBRARY"] = os.path.join(BUILD, "libstunway.so")
    import stunway  # pylint: disable=import-outside-toplevel,import-error
    return stunway


class NoVerdict(Case):
    def test_silent(self):
        """a silent server is Blocked within the timeout, exit code 3, and info names it"""
        name = self.start(Odd(lambda request, client: []))
        began = time.monotonic()
        v = verdict("-t", "4", name, code=3)
        self.assertLess(time.monotonic() - began, 12)
        self.assertEqual((v["type"], v["external"], v["mapping"], v["server"]), ("Blocked", None, "", name))
        self.assertIn(f"no answer from {name} in ", v["info"])
        r = run("-t", "4", name)
        self.assertEqual(r.returncode, 3)
        self.assertRegex(r.stdout, r"^type +Blocked")
        self.assertIn("no UDP comes through", r.stdout)

    def test_nobody(self):
        """a port where nobody listens is Blocked, and that the host is up is said"""
        v = verdict("-t", "4", f"127.0.0.1:{free_ports()[0]}", code=3)
        self.assertEqual(v["type"], "Blocked")
        self.assertIn("though its host is up", v["info"])

    def test_unresolvable(self):
        """a name that does not resolve is an Error that names it, within the timeout"""
        began = time.monotonic()
        v = verdict("-t", "2", "no-such-name.invalid", code=1)
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual((v["type"], v["external"], v["local"]), ("Error", None, None))
        self.assertIn("cannot resolve 'no-such-name.invalid': ", v["info"])
        self.assertEqual(v["server"], "no-such-name.invalid:3478")
        r = run("-t", "2", "no-such-name.invalid")
        self.assertEqual(r.returncode, 1)
        self.assertIn("cannot resolve 'no-such-name.invalid'", r.stdout)

    def test_other_family(self):
        """an IPv4 literal is no IPv6 server"""
        v = verdict("-6", "-t", "2", "ipv4only.invalid", code=1)
        self.assertIn("to an IPv6 address", v["info"])

    def test_one_address(self):
        """a server with one address gives the outer address and an honest Unknown"""
        name = self.start(Server("127.0.0.1"))
        v = verdict("-t", "2", name, code=1)
        self.assertEqual(v["type"], "Unknown")
        self.assertEqual(v["external"], v["local"])
        self.assertIn("names no second address", v["info"])

    def test_refused(self):
        """a server that answers with an error is an Error with its code"""
        def refuse(request, _client):
            return [struct.pack(">HH", 0x0111, 8) + request[4:20] + struct.pack(">HHHBB", 9, 4, 0, 4, 1)]
        v = verdict("-t", "2", self.start(Odd(refuse)), code=1)
        self.assertEqual(v["type"], "Error")
        self.assertIn("STUN error 401", v["info"])

    def test_alg(self):
        """MAPPED-ADDRESS other than XOR-MAPPED-ADDRESS is an ALG"""
        def rewrite(request, client):
            return [success(request, (1, address("10.1.2.3", 4)), (0x20, xor_address(*client)))]
        v = verdict("-t", "2", self.start(Odd(rewrite)), code=1)
        self.assertTrue(v["alg"])

    def test_hostile(self):
        """junk, wrong ids and floods are no answers, and the verdict is in time"""
        def flood(request, client):
            wrong = request[:4] + request[4:8] + os.urandom(12)
            return [b"", b"\0" * 2000, os.urandom(60), success(wrong, (1, address("192.0.2.66", 666))),
                    success(request, (0x20, xor_address(*client)))[:-3]] * 40
        began = time.monotonic()
        v = verdict("-t", "4", self.start(Odd(flood)), code=3)
        self.assertLess(time.monotonic() - began, 12)
        self.assertEqual((v["type"], v["external"]), ("Blocked", None))

    def test_foreign_local(self):
        """an address that is none of this host's is an Error that names it"""
        v = verdict("-b", "192.0.2.99", "-t", "2", "198.51.100.1", code=1)
        self.assertIn("cannot ask from 192.0.2.99: ", v["info"])

    def test_taken_port(self):
        """a local port that is taken is an Error that names it"""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            taken = f"127.0.0.1:{s.getsockname()[1]}"
            v = verdict("-b", taken, "-t", "2", f"127.0.0.1:{free_ports()[0]}", code=1)
        self.assertIn(f"cannot ask from {taken}: Address already in use", v["info"])

    def test_python(self):
        """Python: () when the outer address is unknown, ValueError for an empty local address"""
        get = python_module().get_nat_info
        info = get(("no-such-name.invalid", 3478), timeout=1)
        self.assertEqual((info["type"], info["external"], info["port_mode"]), ("Error", (), ""))
        self.assertIn("cannot resolve", info["info"])
        server = ("127.0.0.1", 3478)
        for bad in [dict(local_addr=("", 80)), dict(local_addr=("nonsense", 80)), dict(ip_version=5), dict(timeout=0),
                    dict(local_addr=("::", 80)), dict(local_addr=("0.0.0.0", 65536))]:
            with self.assertRaises(ValueError):
                get(server, **bad)
        with self.assertRaises(ValueError):
            get(("127.0.0.1", 0))


class Alone(Case):
    """In a network namespace of its own, whose line can be cut."""

    SERVER6 = (f"exec 3< <(exec {SERVER} --ipv6 2001:db8::1 --ipv6 2001:db8::2 2>&1); trap 'kill '$! EXIT\n"
               "until read -r line <&3 || { echo \"$line\" >&2; exit 1; }; [[ $line == *'listening tcp [2001:db8::2]:3479'* ]]; do :; done")
    LINE6 = "; ".join(f"ip addr add 2001:db8::{i}/128 dev lo nodad" for i in (1, 2))  # usable at once

    def verdict(self, probe, *before):
        """What the probe says after some commands of the shell."""
        script = "\n".join(["ip link set lo up", *before, f"{PROBE} --json {probe} || :"])
        r = subprocess.run(["unshare", "-nm", "bash", "-ec", script], capture_output=True, text=True, timeout=WAIT, check=False)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        return json.loads(r.stdout)

    def file(self, text):
        """A file to put in the place of one below /etc."""
        file = tempfile.NamedTemporaryFile("w", encoding="ascii")
        self.addCleanup(file.close)
        file.write(text)
        file.flush()
        return file.name

    def test_no_route(self):
        """without a route to the server that is what it says, at once"""
        v = self.verdict("198.51.100.1")
        self.assertEqual((v["type"], v["info"]), ("Error", "no way to 198.51.100.1: Network is unreachable"))

    def test_firewall(self):
        """a firewall of this host that refuses to send is an Error, not Blocked"""
        v = self.verdict("127.0.0.1", "nft 'add table inet t; add chain inet t o { type filter hook output priority 0; };"
                         " add rule inet t o udp dport 3478 drop'")
        self.assertEqual(v["type"], "Error")
        self.assertRegex(v["info"], r"^cannot send from 127\.0\.0\.1:\d+ to 127\.0\.0\.1:3478: Operation not permitted$")

    def test_silent_resolver(self):
        """a name server that does not answer costs the timeout, no more"""
        began = time.monotonic()
        v = self.verdict("-t 1 stun.example.org", "ip link add v0 type veth peer name v1", "ip link set v0 up", "ip link set v1 up",
                         "ip addr add 192.0.2.1/24 dev v0", "mount --bind " + self.file("nameserver 192.0.2.53\n") + " /etc/resolv.conf")
        self.assertLess(time.monotonic() - began, 9)  # the resolver itself gives up after ten
        self.assertEqual((v["type"], v["info"]),
                         ("Error", "cannot resolve 'stun.example.org': no answer from the name server in 1.0 s"))

    def test_ipv6(self):
        """IPv6, also over TCP, and without -4 or -6 where there is no way by IPv4"""
        v = self.verdict("--tcp [2001:db8::1]:3479", self.LINE6, self.SERVER6)
        self.assertEqual((v["type"], v["server"], v["tcp_mapping"]), ("OpenInternet", "[2001:db8::1]:3479", "endpoint-independent"))
        hosts = "mount --bind " + self.file("198.51.100.1 both.example\n2001:db8::1 both.example\n") + " /etc/hosts"
        v = self.verdict("both.example", hosts, self.LINE6, self.SERVER6)
        self.assertEqual((v["type"], v["server"]), ("OpenInternet", "[2001:db8::1]:3478"))
        v = self.verdict("-4 both.example", hosts)
        self.assertEqual((v["type"], v["info"]), ("Error", "no way to 198.51.100.1: Network is unreachable"))

    def test_few_descriptors(self):
        """with fewer descriptors than sockets wanted there are fewer samples, not another type"""
        v = self.verdict("-p 2001:db8::1", self.LINE6, self.SERVER6, "ulimit -n 12")
        self.assertEqual(v["type"], "OpenInternet")


class Usage(Case):
    def test_wrong(self):
        """a wrong value is named, with what would be right, and exits 2"""
        for words, named in [
                ([], "SERVER"), (["a", "b"], "b: "), (["a:0"], "'a:0'"), (["a:65536"], "'a:65536'"), (["[::1"], "'[::1'"),
                (["-t", "0", "a"], "--timeout '0'"), (["-t", "1e2", "a"], "--timeout '1e2'"), (["-t", "601", "a"], "--timeout '601'"),
                (["-b", "1.2.3", "a"], "--bind '1.2.3'"), (["-b", "[::1]:x", "a"], "--bind '[::1]:x'"),
                (["--lifetime-max", "5", "a"], "--lifetime-max '5'"), (["-4", "-6", "a"], "-4 -6"), (["-4", "::1"], "::1"),
                (["-6", "-b", "127.0.0.1", "a"], "--bind"), (["-x", "a"], "'-x'"), (["-t"], "-t needs a value"), (["--no", "a"], "'--no'")]:
            r = run(*words)
            self.assertEqual((r.returncode, r.stdout), (2, ""), words)
            self.assertIn(named, r.stderr)

    def test_help(self):
        """--help and --version print and exit 0"""
        r = run("--help")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        for word in ["SERVER[:PORT]", "-4", "-6", "--bind ADDR[:PORT]", "--timeout SECONDS", "--port-mode", "--tcp", "--lifetime",
                     "--hairpin", "--json", "-v"]:
            self.assertIn(word, r.stdout)
        self.assertRegex(run("--version").stdout, r"^stunway-probe \d+\.\d+\.\d+\n$")

    def test_manual(self):
        """the manual has every option of --help and no other"""
        with open(os.path.join(ROOT, "docs", "stunway-probe.1.scd"), encoding="utf-8") as page:
            options = set(re.findall(r"\*--([a-z0-9-]+)\*", page.read()))
        self.assertEqual(options, set(re.findall(r"--([a-z0-9-]+)", run("--help").stdout)))


THREADS = r"""
#include <pthread.h>
#include <stdio.h>
#include <stunway/stunway.h>

static void *ask(void *server)
{
	struct stunway_nat_options options = { 0 };
	static __thread struct stunway_nat_info info;

	options.server = "127.0.0.1";
	options.port = *(uint16_t *)server;
	return stunway_nat_info(&info, &options) == 0 && info.type == STUNWAY_OPEN_INTERNET ? &info : NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[4];
	unsigned port, good = 0;
	uint16_t p;

	if (argc < 2 || sscanf(argv[1], "%u", &port) != 1)
		return 2;
	p = (uint16_t)port;
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, ask, &p);
	for (int i = 0; i < 4; i++) {
		void *found;

		pthread_join(threads[i], &found);
		good += found != NULL;
	}
	return good == 4 ? 0 : 1;
}
"""


@unittest.skipUnless(shutil.which("meson") and shutil.which("pkg-config"), "no meson or pkg-config")
class Installed(Case):
    """libstunway as a package has it: installed below a directory of its own, found by pkg-config."""

    @classmethod
    def setUpClass(cls):
        where = tempfile.TemporaryDirectory()
        cls.addClassCleanup(where.cleanup)
        cls.root = where.name
        subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", cls.root], check=True, capture_output=True)
        cls.lib = os.path.dirname(cls.find("libstunway.so"))
        cls.server = Server("127.0.0.1", "127.0.0.2")
        cls.addClassCleanup(cls.server.close)

    @classmethod
    def find(cls, name):
        return next(os.path.join(d, name) for d, _, files in os.walk(cls.root) if name in files)

    def flags(self, *words):
        environment = os.environ | {"PKG_CONFIG_SYSROOT_DIR": self.root, "PKG_CONFIG_LIBDIR": os.path.join(self.lib, "pkgconfig")}
        return subprocess.run(["pkg-config", *words, "stunway"], env=environment, check=True, capture_output=True, text=True).stdout.split()

    def compile(self, source, *flags, compiler="cc"):
        out = os.path.join(self.root, "program")
        r = subprocess.run([compiler, "-Wall", "-Wextra", "-Werror", "-o", out, source, *flags], capture_output=True, text=True,
                           check=False)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        return out

    def example(self, name):
        return os.path.join(ROOT, "examples", name)

    def source(self, name, text):
        path = os.path.join(self.root, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def ask(self, program, *words):
        return run(*words, program=program, env=os.environ | {"LD_LIBRARY_PATH": self.lib})

    def test_shared(self):
        """the examples compile by pkg-config against the shared library"""
        program = self.compile(self.example("nat_info.c"), *self.flags("--cflags", "--libs"))
        r = self.ask(program, "no-such-name.invalid")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("cannot resolve 'no-such-name.invalid'", r.stdout)
        r = self.ask(self.compile(self.example("own_loop.c"), *self.flags("--cflags", "--libs")), "127.0.0.1:1")
        self.assertEqual(r.returncode, 2)

    def test_static(self):
        """they compile against the static library alone"""
        static = [f if f != "-lstunway" else "-l:libstunway.a" for f in self.flags("--static", "--cflags", "--libs")]
        program = self.compile(self.example("nat_info.c"), *static)
        r = run("no-such-name.invalid", program=program)
        self.assertIn("cannot resolve", r.stdout)

    def test_threads(self):
        """four threads ask at the same time"""
        program = self.compile(self.source("threads.c", THREADS), *self.flags("--cflags", "--libs"), "-pthread")
        self.assertEqual(self.ask(program, self.server.ports[0]).returncode, 0)

    @unittest.skipUnless(shutil.which("c++"), "no C++ compiler")
    def test_cpp(self):
        """the header is C++ too"""
        source = self.source("cpp.cc", "#include <stunway/stunway.h>\nint main() { return *stunway_type_text(STUNWAY_FULL_CONE) != 'F'; }\n")
        program = self.compile(source, *self.flags("--cflags", "--libs"), compiler="c++")
        self.assertEqual(self.ask(program).returncode, 0)

    def test_symbols(self):
        """both libraries show what the header declares, and nothing else"""
        with open(os.path.join(ROOT, "include", "stunway", "stunway.h"), encoding="utf-8") as header:
            declared = set(re.findall(r"^STUNWAY_API .*?\b(stunway_\w+)\(", header.read(), re.M))
        for words, pattern in [(["-D", "--defined-only", "libstunway.so"], r" T (\w+)@@STUNWAY_0$"),
                               (["-g", "--defined-only", "libstunway.a"], r" [A-Z] (\w+)$")]:
            out = subprocess.run(["nm", *words[:-1], os.path.join(self.lib, words[-1])], check=True, capture_output=True, text=True).stdout
            self.assertEqual(set(re.findall(pattern, out, re.M)), declared)
        self.assertGreater(len(declared), 10)

    def test_soname(self):
        """the shared library's name has its version"""
        out = subprocess.run(["readelf", "-d", os.path.join(self.lib, "libstunway.so")], check=True, capture_output=True, text=True).stdout
        self.assertIn("Library soname: [libstunway.so.0]", out)

    def test_manuals(self):
        """manual pages are installed where scdoc is"""
        if not shutil.which("scdoc"):
            self.skipTest("no scdoc")
        for page in ["stunway-probe.1", "stunway.3", "stunway-server.8"]:
            self.assertTrue(self.find(page).endswith(f"man{page[-1]}/{page}"))


if __name__ == "__main__":
    unittest.main()
