# SPDX-License-Identifier: GPL-2.0-or-later
"""stunway-gateway as a service: its rights, its helper, the hook, SIGHUP, --check, its word to the service manager, its packages."""
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from lab.home import ACCEPT, LAN1, LAN2, PUBLIC, STUN, STUN2, Home, eventually
from manual import ManualPage
from pmp import TCP, UDP, Pmp

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PACKAGING = os.path.join(ROOT, "packaging")
NET_ADMIN = 1 << 12


def status(pid):
    """/proc/PID/status, {} when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            rows = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    except OSError:
        return {}
    return {} if rows["State"].startswith("Z") else rows


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(p) for p in file.read().split()]
    except OSError:
        return []


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="stunway-")
        self.addCleanup(shutil.rmtree, self.dir)
        os.chmod(self.dir, 0o777)  # the hook runs as nobody

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def read(self, name):
        try:
            with open(self.path(name), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""


class Serving(Case):
    @classmethod
    def setUpClass(cls):
        cls.home = cls.enterClassContext(Home())

    def gateway(self, *more, **options):
        process = self.home.gateway(*more, **options)
        self.addCleanup(process.stop)
        return process

    def told(self, name="told"):
        """What the hook wrote, a list of lines each."""
        return [line.split("|") for line in self.read(name).splitlines()]

    def hook(self, body=""):
        return self.write("hook", f"""#!/bin/sh
echo "$STUNWAY_EVENT|$*|$STUNWAY_OLD_PUBLIC_IP:$STUNWAY_OLD_PUBLIC_PORT|$STUNWAY_RELAY_PORT|$STUNWAY_LIFETIME" >>{self.path("told")}
{body}
""", 0o755)

    def test_rights(self):
        """After the start it is nobody with CAP_NET_ADMIN alone, cannot gain more, its calls are filtered, and it still maps"""
        gateway = self.gateway()
        gateway.wait_line("carrier's NAT UDP mapping=endpoint-independent filtering=endpoint-independent")  # the tap, without CAP_NET_RAW
        self.assertEqual([Pmp(self.home).map(op, 7000).result for op in (UDP, TCP)], [0, 0])
        for task in os.listdir(f"/proc/{gateway.pid}/task"):
            rows = status(f"{gateway.pid}/task/{task}")
            self.assertEqual(rows["Uid"].split(), ["65534"] * 4)
            for row in ("CapPrm", "CapEff", "CapBnd"):
                self.assertEqual(int(rows[row], 16), NET_ADMIN, row)
            self.assertEqual((int(rows["CapAmb"], 16), rows["NoNewPrivs"]), (0, "1"))
            if "system calls filtered" in "".join(gateway.lines):  # not in a sanitizer's build
                self.assertEqual(rows["Seccomp"], "2")
        self.assertTrue("-clang" in self.home.build or "system calls filtered" in "".join(gateway.lines))

    def test_end(self):
        """What it set up as root it takes away as nobody: at SIGTERM no table and no rule is left, and no helper"""
        gateway = self.gateway()
        Pmp(self.home).map(UDP, 7000)
        helper = children(gateway.pid)
        self.assertEqual(len(helper), 1)
        self.assertEqual(gateway.stop(), 0)
        self.assertNotIn("stunway", self.home.ruleset())
        self.assertEqual(status(helper[0]), {})

    def test_capability_without_root(self):
        """Started as nobody with CAP_NET_ADMIN it works; told so that it stays that user"""
        argv = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all,+net_admin",
                "--ambient-caps", "-all,+net_admin", "--bounding-set", "-all,+net_admin",
                self.home.program("gateway"), "--wan", "wan", "--lan", "lan", "--stun", STUN, *ACCEPT]
        gateway = self.home.spawn("router", argv, ready="line UDP: public address")
        self.addCleanup(gateway.stop)
        self.assertEqual(Pmp(self.home).map(UDP, 7000).result, 0)
        gateway.wait_line("confined: user=as started, CAP_NET_ADMIN alone")

    def test_helper_dies(self):
        """The helper dies with a gateway that is killed, and so does a hook that runs"""
        gateway = self.gateway("--hook", self.hook(f"echo $$ >{self.path('pid')}; sleep 60"))
        helper = children(gateway.pid)[0]
        Pmp(self.home).map(UDP, 7000)
        hook = int(eventually(lambda: self.read("pid"), what="the hook"))
        rows = status(hook)
        self.assertEqual((rows["Uid"].split()[0], int(rows["CapEff"], 16), int(rows["CapBnd"], 16), rows["NoNewPrivs"]), ("65534", 0, 0, "1"))
        gateway.stop(signal.SIGKILL)
        eventually(lambda: not status(helper) and not status(hook), what="their end")

    def test_hook(self):
        """The hook is told of open, change and close, in this order, with natmap's words and our variables"""
        gateway = self.gateway("--hook", self.hook("echo said by the hook"))
        pmp = Pmp(self.home)
        outer = pmp.map(TCP, 7001, lifetime=600).outer
        relay = re.search(rf"client={LAN1}:7001 relay=(\d+)", "\n".join(gateway.lines)).group(1)
        words = f"{PUBLIC} {outer} 2001::{outer:04x}:cb00:7101 7001 tcp {LAN1}"
        eventually(lambda: len(self.told()) == 1, what="open")
        event, said, old, at, lifetime = self.told()[0]
        self.assertEqual((event, said, old, at), ("open", words, ":", relay))
        self.assertTrue(590 <= int(lifetime) <= 600, lifetime)
        gateway.wait_line("hook: said by the hook")
        self.home.nat("renumber 203.0.113.9")
        self.addCleanup(self.home.nat, f"renumber {PUBLIC}")
        eventually(lambda: len(self.told()) >= 2, timeout=30, what="change")
        event, said, old, *_ = self.told()[1]
        self.assertEqual((event, said.split()[0], old), ("change", "203.0.113.9", f"{PUBLIC}:{outer}"))
        pmp.map(TCP, 7001, lifetime=0)
        eventually(lambda: len(self.told()) >= 3, what="close")
        self.assertEqual([self.told()[2][i] for i in (0, 1, 4)], ["close", said, "0"])
        self.assertEqual(len(self.told()), 3)

    def test_hook_hangs(self):
        """A hook that hangs is ended at its time, and meanwhile clients and other mappings' hooks are served; the latest state wins"""
        hook = self.hook(f"""case $4 in 7100) echo $$ >>{self.path('pids')}; trap '' TERM; while :; do sleep 1; done ;; esac""")
        gateway = self.gateway("--hook", hook, "--hook-timeout", "3")
        pmp = Pmp(self.home)
        pmp.map(UDP, 7100)
        eventually(lambda: self.read("pids"), what="the hook that hangs")
        began = time.monotonic()
        for _ in range(3):  # comes and goes while its hook hangs: nothing to be told in the end
            pmp.map(UDP, 7100, lifetime=0)
            pmp.map(UDP, 7100)
        pmp.map(UDP, 7100, lifetime=0)
        pmp.map(UDP, 7101)
        eventually(lambda: any(" 7101 " in t[1] for t in self.told()), timeout=5, what="the other hook")
        self.assertLess(time.monotonic() - began, 3)
        gateway.wait_line("hook was ended: it took longer than 3 s event=open", timeout=20)
        pid = int(self.read("pids").split()[0])
        self.assertEqual(status(pid), {})
        eventually(lambda: any(t[0] == "close" and " 7100 " in t[1] for t in self.told()), timeout=15, what="the close")
        self.assertEqual([t[0] for t in self.told() if " 7100 " in t[1]], ["open", "close"])

    def test_hook_crowd(self):
        """Of many mappings' hooks at most four run at a time, and each is told"""
        hook = self.write("hook", f"""#!/bin/sh
echo "begin $4" >>{self.path("told")}
sleep 0.3
echo "end $4" >>{self.path("told")}
""", 0o755)
        self.gateway("--hook", hook)
        ports = range(7150, 7162)
        for port in ports:
            Pmp(self.home).map(UDP, port)
        eventually(lambda: self.read("told").count("end") == len(ports), timeout=20, what="every hook")
        running = most = 0
        for line in self.read("told").splitlines():
            running += 1 if line.startswith("begin") else -1
            most = max(most, running)
        self.assertEqual(most, 4)
        self.assertEqual({line.split()[1] for line in self.read("told").splitlines()}, {str(p) for p in ports})

    def test_hook_fails(self):
        """A hook that fails is said, one that cannot be run too, and mappings work"""
        gateway = self.gateway("--hook", self.hook("exit 3"))
        self.assertEqual(Pmp(self.home).map(UDP, 7200).result, 0)
        gateway.wait_line(f"hook ended status=3 event=open protocol=udp client={LAN1}:7200")
        gateway.stop()
        gateway = self.gateway("--hook", "/no/such/hook")
        self.assertEqual(Pmp(self.home).map(UDP, 7200).result, 0)
        gateway.wait_line("hook: cannot run /no/such/hook: No such file")
        gateway.wait_line("hook ended status=127")

    def test_reload(self):
        """SIGHUP reads a file that only root may read: lease, servers and log level change, mappings stay, what needs a restart is named"""
        path = self.write("conf", f"[gateway]\nstun = {STUN}\nlog-level = info\nuser = nobody\nlease = 100\n", 0o600)
        argv = [self.home.program("gateway"), "--wan", "wan", "--lan", "lan", "--config", path, *ACCEPT]
        gateway = self.home.spawn("router", argv, ready="line UDP: public address")
        self.addCleanup(gateway.stop)
        other = self.home.spawn("stun2", [self.home.program("server"), "--ipv4", STUN2], ready=f"listening tcp {STUN2}:3478")
        self.addCleanup(other.stop)
        pmp = Pmp(self.home)
        first = pmp.map(UDP, 7300)
        self.assertEqual(first.lifetime, 100)
        self.assertEqual(Pmp(self.home, "lan2").map(UDP, 7302).result, 0)
        self.write("conf", f"[gateway]\nstun = {STUN2}\nlog-level = debug\nlease = 60\nwatch = 7\nuser = daemon\n"
                           f"access = deny 0-65535 {LAN2} 0-65535\n", 0o600)
        os.kill(gateway.pid, signal.SIGHUP)
        gateway.wait_line('configuration read again changed="--stun --lease --access --log-level"')
        gateway.wait_line("changed, but only a restart brings it about: --watch --user")
        gateway.wait_line(f"mapping ended, --access forbids it: protocol=UDP client={LAN2}:7302")
        again = pmp.map(UDP, 7300)
        self.assertEqual((again.outer, again.lifetime), (first.outer, 60))
        exempt = {f"udp.{STUN2}.3478", f"tcp.{STUN2}.3478"}
        eventually(lambda: self.home.members("servers") == exempt, what="the exemption of the new server alone")
        self.home.stun.stop()  # the old server is not needed any more
        self.addCleanup(self.restart_stun)
        self.assertEqual(pmp.map(TCP, 7301).result, 0)
        self.write("conf", "[gateway]\nlease = 5\n", 0o600)
        os.kill(gateway.pid, signal.SIGHUP)
        gateway.wait_line("conf:2: lease '5': must be a number from 10 to 86400")
        gateway.wait_line("configuration not read again, all stays as it is")
        self.assertEqual(pmp.map(UDP, 7300).lifetime, 60)
        os.unlink(path)
        os.kill(gateway.pid, signal.SIGHUP)
        gateway.wait_line(f"--config '{path}': No such file or directory")

    def restart_stun(self):
        self.home.stun = self.home.spawn("stun", [self.home.program("server"), "--ipv4", STUN, "--ipv4", "198.51.100.2"],
                                         ready="listening tcp 198.51.100.2:3479")

    def manager(self, address):
        s = self.home.socket("router", socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(address)
        return s

    def test_notify(self):
        """The service manager hears that it is ready, reloads, lives (watchdog) and stops, at an abstract address too"""
        s = self.manager(f"\0stunway-test-{os.getpid()}")
        env = {**os.environ, "NOTIFY_SOCKET": f"@stunway-test-{os.getpid()}", "WATCHDOG_USEC": "1000000"}
        gateway = self.gateway(env=env)
        self.assertIn(f"READY=1\nMAINPID={gateway.pid}\n", s.recv(1000).decode())
        self.assertEqual([s.recv(1000) for _ in range(3)], [b"WATCHDOG=1"] * 3)
        os.kill(gateway.pid, signal.SIGHUP)
        heard = [s.recv(1000).decode() for _ in range(6)]
        words = [h.split("\n")[0] for h in heard if h != "WATCHDOG=1"]
        self.assertEqual(words, ["RELOADING=1", "READY=1"])
        self.assertTrue(any(re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", h) for h in heard))
        os.kill(gateway.pid, signal.SIGTERM)
        eventually(lambda: s.recv(1000) == b"STOPPING=1", what="STOPPING=1")

    def test_watchdog(self):
        """A gateway that stands still no longer says that it lives"""
        s = self.manager(self.path("socket"))
        os.chmod(self.path("socket"), 0o777)
        gateway = self.gateway(env={**os.environ, "NOTIFY_SOCKET": self.path("socket"), "WATCHDOG_USEC": "400000"})
        self.assertIn(b"READY=1", s.recv(1000))
        self.assertEqual(s.recv(1000), b"WATCHDOG=1")
        os.kill(gateway.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, gateway.pid, signal.SIGCONT)
        s.settimeout(1)
        with self.assertRaises(TimeoutError):
            for _ in range(20):
                s.recv(1000)

    def check(self, *more, **options):
        return self.home.run("router", [self.home.program("gateway"), "--check", "--wan", "wan", "--lan", "lan", "--stun", STUN, *more],
                             check=False, **options)

    def test_check(self):
        """--check says what it would do and what is in the way, changes nothing, and exits 0, 2 or 4"""
        before = self.home.ruleset()
        hook = self.hook()
        r = self.check("--hook", hook, *ACCEPT)
        self.assertEqual((r.returncode, r.stderr), (0, ""), r.stdout)
        for words in ("would hold ports of the line wan, address 100.64.0.2\n", "would serve NAT-PMP on lan, address 192.168.1.1\n",
                      "firewall nftables", "would become user nobody", f"{STUN}:3478, UDP and TCP", f"would run {hook}"):
            self.assertIn(words, r.stdout)
        r = self.check()
        self.assertEqual(r.returncode, 2)
        self.assertIn("problem: chain 'inet filter forward' drops by default", r.stdout)
        os.chmod(hook, 0o644)
        r = self.check("--hook", hook, *ACCEPT)
        self.assertEqual(r.returncode, 2)
        self.assertIn(f"problem: --hook {hook}: not a program that user nobody may run", r.stdout)
        r = self.check("--stun", "name.invalid", *ACCEPT)
        self.assertEqual(r.returncode, 0)
        self.assertIn("warning: STUN server name.invalid: ", r.stdout)
        r = self.check("--lease", "5")
        self.assertEqual((r.returncode, r.stdout), (2, ""))
        r = self.check("--wan", "absent")
        self.assertEqual(r.returncode, 2)
        self.assertIn("problem: no interface wan=absent: there are ", r.stdout)
        r = self.home.run("router", ["setpriv", "--reuid", "65534", "--bounding-set", "-all", self.home.program("gateway"), "--check",
                                     "--wan", "wan", "--lan", "lan", "--stun", STUN, *ACCEPT], check=False)
        self.assertEqual(r.returncode, 4, r.stdout)
        self.assertIn("problem: no right to change the firewall: run as root or with CAP_NET_ADMIN", r.stdout)
        self.assertEqual(self.home.ruleset(), before)


# What OpenWrt's /lib/functions.sh and network.sh give an init script, over variables "section_option".
UCI = """
config_load() { :; }
config_get() { eval "$1=\\${uci_$2_$3:-$4}"; }
config_get_bool() { config_get "$1" "$2" "$3" "$4"; }
config_list_foreach() {
	eval "n=\\$uci_$1_$2_LENGTH"
	i=1
	while [ "$i" -le "${n:-0}" ]; do eval "item=\\$uci_$1_$2_ITEM$i"; "$3" "$item" "$4"; i=$((i + 1)); done
}
network_get_device() { case $2 in wan) eval "$1=pppoe-wan" ;; lan) eval "$1=br-lan" ;; *) return 1 ;; esac; }
logger() { echo "logger $*" >&2; }
"""


class OpenWrt(Case):
    INIT = os.path.join(PACKAGING, "openwrt", "stunway.init")

    def run_init(self, uci, command):
        values = "".join(f"uci_gateway_{key}='{value}'\n" for key, value in uci.items())
        r = subprocess.run(["sh", "-c", f"{UCI}\n{values}\n. {self.INIT}\n{command}"], capture_output=True, text=True, check=False)
        return r.returncode, r.stdout, r.stderr

    def test_render(self):
        """UCI becomes the INI file: options, lists, lists written as options; a value of several lines is left out, and said"""
        code, text, err = self.run_init({
            "enabled": "1", "wan": "wan", "relay_ports": "30000-30999", "hook": "/etc/$(id)/`id`", "stun_LENGTH": "2",
            "stun_ITEM1": "stun.example.net", "stun_ITEM2": "udp:192.0.2.1:3479", "accept_chain": "inet filter forward",
            "user": "nobody\nhook = /bin/evil", "log_level": "warn"}, "render gateway")
        self.assertEqual(code, 0, err)
        self.assertEqual(text, """[gateway]
relay-ports = 30000-30999
hook = /etc/$(id)/`id`
log-level = warn
stun = stun.example.net
stun = udp:192.0.2.1:3479
accept-chain = inet filter forward
log-target = syslog
""")
        self.assertIn("option 'user': a value of several lines is left out", err)
        conf = self.write("conf", text)
        r = subprocess.run([os.path.join(ROOT, os.environ.get("STUNWAY_BUILD", "build"), "stunway-gateway"), "--check", "--config", conf,
                            "--wan", "absent0"], capture_output=True, text=True, check=False)
        self.assertIn("no interface wan=absent0", r.stdout)  # it has got beyond the file

    def test_every_option(self):
        """The init script knows every option of the gateway that is a key of its file"""
        with open(self.INIT, encoding="utf-8") as file:
            words = " ".join(re.findall(r'^(?:OPTIONS|LISTS)="(.*)"', file.read(), re.M)).replace("_", "-").split()
        program = os.path.join(ROOT, os.environ.get("STUNWAY_BUILD", "build"), "stunway-gateway")
        text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
        helped = set(re.findall(r"^\s+--([a-z0-9-]+) ", text, re.M))
        self.assertEqual(set(words), helped - {"wan", "lan", "check", "config", "log-target"})

    def test_interfaces(self):
        """Networks become devices; while the line has none the gateway is not started"""
        self.assertEqual(self.run_init({"lan": "lan guest"}, "interfaces gateway")[:2], (0, "--wan pppoe-wan --lan br-lan"))
        self.assertEqual(self.run_init({"wan": "down"}, "interfaces gateway")[:2], (1, ""))

    def test_drop_ins(self):
        """fw4's drop-ins fit into its chains, and accept the mark that the gateway sets"""
        with Home(nat=False) as home:
            for chain in ("forward", "input"):
                directory = os.path.join(PACKAGING, "openwrt", "nftables.d", "chain-pre", chain)
                home.nft("router", f'table inet fw4 {{ chain {chain} {{ type filter hook {chain} priority 0; policy drop;\n'
                                   f'include "{directory}/20-stunway.nft"\n }}\n }}')
            self.assertEqual(home.ruleset().count("ct mark & 0x00400000 == 0x00400000 accept"), 2)

    @unittest.skipUnless(shutil.which("shellcheck"), "no shellcheck")
    def test_shell(self):
        """shellcheck has nothing to say about the init script"""
        r = subprocess.run(["shellcheck", "-s", "sh", "-e", "SC2034,SC2154,SC1091", self.INIT], capture_output=True, text=True, check=False)
        self.assertEqual(r.stdout, "")


class Units(Case):
    @unittest.skipUnless(shutil.which("systemd-analyze"), "no systemd-analyze")
    def test_unit(self):
        """systemd understands the unit, every line of it"""
        with open(os.path.join(PACKAGING, "systemd", "stunway-gateway.service"), encoding="utf-8") as file:
            text = file.read().replace("@bindir@/stunway-gateway", "/bin/true")
        path = self.write("stunway-gateway.service", text)
        r = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False)
        self.assertNotIn("stunway-gateway.service", r.stderr)
        self.assertEqual(r.returncode, 0, r.stderr)


class Fields(unittest.TestCase):
    def test_every_option(self):
        """SIGHUP takes over or names every option: each is in the table that says which"""
        with open(os.path.join(ROOT, "gateway", "config.c"), encoding="utf-8") as file:
            text = file.read()
        options = set(re.findall(r'\{ \.name = "([a-z0-9-]+)"', text))
        self.assertEqual(set(re.findall(r'^\tFIELD\("([a-z0-9-]+)"', text, re.M)), options - {"check"})


class Manual(ManualPage, unittest.TestCase):
    NAME = "stunway-gateway"


if __name__ == "__main__":
    unittest.main()
