# SPDX-License-Identifier: GPL-2.0-or-later
"""What stunway-gateway was told to keep, and what it told its clients, outlasts it: the state file and permanent mappings."""
import json
import os
import re
import signal
import socket
import threading
import time
import unittest

from lab.home import *
from pmp import Pmp, TCP, UDP


def state_of(path):
    """What the file says, {} while there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def stored(path):
    """The file's mappings by protocol and internal port."""
    return {(m["protocol"], m["internal_port"]): m for m in state_of(path).get("mappings", [])}


def change(path, edit):
    """Edits the file's content while no gateway has it."""
    state = state_of(path)
    edit(state)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(state, file)


def listed(gateway):
    """The gateway's own table: {(protocol, internal port): {word: value}}."""
    seen = len(gateway.lines)
    gateway._popen.send_signal(signal.SIGUSR1)
    gateway.wait_line("NAT-PMP answered", after=seen)
    table = {}
    for line in gateway.lines[seen:]:
        if "mapping protocol=" in line:
            words = dict(re.findall(r"(\w+)=(\S+)", line))
            table[words["protocol"], int(words["client"].rsplit(":", 1)[1])] = words
    return table


class Writes(threading.Thread):
    """Counts how often a file is put in its place."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.count, self.over = path, 0, False
        self.last = self._look()
        self.start()

    def _look(self):
        try:
            s = os.stat(self.path)
        except FileNotFoundError:
            return None
        return s.st_ino, s.st_mtime_ns

    def run(self):
        while not self.over:
            now = self._look()
            if now != self.last:
                self.last, self.count = now, self.count + 1
            time.sleep(0.005)

    def end(self):
        self.over = True
        self.join()
        return self.count


class Restarts(unittest.TestCase):
    """One home for each test, its gateway killed or stopped and started again."""

    def setUp(self):
        self.home = self.enterContext(Home())
        self.path = self.home.state_file()

    def start(self, *options, **more):
        gateway = self.home.gateway(*options, state=self.path, **more)
        self.gateway = gateway
        return gateway

    def old_epoch(self, pmp):
        """Waits until an epoch that goes on is greater than the seconds since, whatever happens next."""
        eventually(lambda: pmp.address().epoch >= 2, what="an epoch of two seconds")

    def assert_anew(self, answer, began):
        """Its epoch is younger than that."""
        self.assertLessEqual(answer.epoch, time.monotonic() - began)

    def conversation(self, outer):
        """A stranger's connection to lan1's port 7002 that stays: a function that says something and hears it."""
        listener = self.home.socket("lan1", socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("", 7002))
        listener.listen(1)
        near = self.home.socket("stranger", socket.AF_INET, socket.SOCK_STREAM)
        near.connect((PUBLIC, outer))
        far = listener.accept()[0]
        far.settimeout(5 * PATIENCE)

        def say(word):
            near.sendall(word)
            return far.recv(100)
        return say

    def test_kill(self):
        """kill -9 and a restart keep lease, relay port, outer port, epoch and the strangers' connections"""
        Echo(self.home, "lan1", 7001)
        gateway = self.start()
        pmp = Pmp(self.home)
        udp, tcp = pmp.map(UDP, 7001), pmp.map(TCP, 7002)
        self.assertEqual((udp.result, tcp.result), (0, 0))
        say = self.conversation(tcp.outer)
        self.assertEqual(say(b"before"), b"before")
        relays = self.home.elements("outbound")
        epoch = pmp.address().epoch
        time.sleep(1.5)
        before = listed(gateway)
        self.assertEqual(gateway.stop(signal.SIGKILL), -signal.SIGKILL)
        gateway = self.start(ready="mappings restored=2 permanent=0 boot=same")
        eventually(lambda: self.home.elements("outbound") == relays, what="the rules' return")
        self.assertEqual(say(b"after"), b"after")
        after = listed(gateway)
        for key, was in before.items():
            self.assertEqual(after[key]["relay"], was["relay"])
        self.assertEqual(knock_udp(self.home, (PUBLIC, udp.outer)), b"echo hello")
        again = pmp.map(UDP, 7001)
        self.assertEqual((again.result, again.outer), (0, udp.outer))
        self.assertGreaterEqual(again.epoch, epoch + 1)
        self.assertEqual(pmp.map(TCP, 7002).result, 0)
        self.assertEqual(say(b"later"), b"later")

    def test_lan_comes_late(self):
        """A gateway that starts before its LAN is there forgets nobody's lease"""
        Echo(self.home, "lan1", 7003)
        gateway = self.start()
        held = Pmp(self.home).map(UDP, 7003)
        self.assertEqual(held.result, 0)
        gateway.stop(signal.SIGKILL)
        self.home.run("router", ["ip", "link", "set", "lan", "down"])
        self.home.run("router", ["ip", "link", "set", "lan", "name", "hidden"])
        gateway = self.start(ready="no interface lan=lan")
        gateway.wait_line("mappings restored=1")
        self.home.run("router", ["ip", "link", "set", "hidden", "name", "lan"])
        self.home.run("router", ["ip", "link", "set", "lan", "up"])
        self.assertEqual(eventually(lambda: Pmp(self.home).map(UDP, 7003, timeout=1), 15, "an answer").outer, held.outer)
        self.assertEqual(eventually(lambda: knock_udp(self.home, (PUBLIC, held.outer)), 10), b"echo hello")

    def test_stop(self):
        """SIGTERM writes what is pending: the time that is left, and the outer port, are as they were"""
        gateway = self.start()
        pmp = Pmp(self.home)
        outer = pmp.map(UDP, 7003, lifetime=3600).outer
        pmp.map(UDP, 7003, lifetime=1800)  # lazily
        self.assertEqual(gateway.stop(), 0)
        kept = stored(self.path)["UDP", 7003]
        self.assertEqual((kept["lifetime"], kept["remote_port"], kept["origin"]), (1800, outer, "nat-pmp"))
        gateway = self.start()
        left = int(listed(gateway)["UDP", 7003]["expires"])
        self.assertTrue(1700 < left <= 1800, left)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["gateway.json"])

    def test_expired_meanwhile(self):
        """What ended while no gateway ran is gone; what a client renewed since the last write is not"""
        gateway = self.start("--state-lazy", "30")
        pmp = Pmp(self.home)
        pmp.map(UDP, 7004, lifetime=60)
        written = stored(self.path)["UDP", 7004]["expires_ms"]
        now_ms = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
        self.assertGreater(written, now_ms + 75000, "a renewal before the next write is good for as long again")
        gateway.stop(signal.SIGKILL)
        change(self.path, lambda s: s["mappings"][0].update(expires_ms=int(now_ms) - 1))
        gateway = self.start(ready="ready")
        self.assertEqual(listed(gateway), {})

    def test_another_boot(self):
        """After another boot every mapping gets its full time, and the epoch begins anew"""
        gateway = self.start()
        pmp = Pmp(self.home)
        outer = pmp.map(UDP, 7005, lifetime=3600).outer
        self.old_epoch(pmp)
        gateway.stop(signal.SIGKILL)

        def reboot(state):
            state["boot_id"] = "0" * 36
            state["mappings"][0]["expires_ms"] = 5
        change(self.path, reboot)
        began = time.monotonic()
        gateway = self.start(ready="mappings restored=1 permanent=0 boot=another")
        self.assertGreater(int(listed(gateway)["UDP", 7005]["expires"]), 3500)
        again = pmp.map(UDP, 7005)
        self.assertEqual((again.result, again.outer), (0, outer))
        self.assert_anew(again, began)

    def test_moved_meanwhile(self):
        """A public address that changed while no gateway ran begins the epoch anew; the mapping's new endpoint is told"""
        gateway = self.start()
        pmp = Pmp(self.home)
        Echo(self.home, "lan1", 7010)
        pmp.map(UDP, 7010)
        self.old_epoch(pmp)
        gateway.stop(signal.SIGKILL)
        self.home.nat("renumber 203.0.113.7")
        began = time.monotonic()
        self.start(ready="public address=203.0.113.7")
        again = pmp.map(UDP, 7010)
        self.assertEqual(again.result, 0)
        self.assert_anew(again, began)
        self.assertEqual(knock_udp(self.home, ("203.0.113.7", again.outer)), b"echo hello")

    def test_silence_after_restart(self):
        """A renewal succeeds also while nobody can prove the restored mapping, and nobody gives it up"""
        gateway = self.start()
        pmp = Pmp(self.home)
        outer = pmp.map(UDP, 7011).outer
        gateway.stop()  # the outer port is on disk, too
        self.home.stun.stop()
        gateway = self.start("--fault-grace", "3", ready="ready")
        for patience in [2, 0]:
            again = pmp.map(UDP, 7011)
            self.assertEqual((again.result, again.outer), (0, outer))
            time.sleep(patience)
        self.assertIn(("UDP", 7011), listed(gateway))
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual(stored(self.path)["UDP", 7011]["remote_port"], outer)

    def test_on_disk_before_the_answer(self):
        """A new mapping is on disk before its answer, a deleted one no longer there; nobody else may read the file"""
        self.start()
        pmp = Pmp(self.home)
        for port in range(7100, 7110):
            self.assertEqual(pmp.map(UDP, port).result, 0)
            self.assertIn(("UDP", port), stored(self.path))
            if port % 2:
                self.assertEqual(pmp.map(UDP, port, lifetime=0).result, 0)
                self.assertNotIn(("UDP", port), stored(self.path))
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(os.path.dirname(self.path)).st_mode & 0o777, 0o700)

    def test_damaged(self):
        """A damaged file is set aside and named, and clients are served"""
        os.makedirs(os.path.dirname(self.path))
        with open(self.path, "w", encoding="ascii") as file:
            file.write('{"version":1,"mappings":[')
        gateway = self.start()
        line = gateway.wait_line("[E] state file")
        self.assertIn(f"set aside as {self.path}.damaged", line)
        self.assertEqual(Pmp(self.home).map(UDP, 7006).result, 0)
        with open(f"{self.path}.damaged", encoding="ascii") as file:
            self.assertEqual(file.read(), '{"version":1,"mappings":[')
        self.assertEqual(list(stored(self.path)), [("UDP", 7006)])

    def test_bad_mapping(self):
        """Of a file with a mapping that cannot be, the others are kept; the epoch begins anew, for something was lost"""
        gateway = self.start()
        pmp = Pmp(self.home)
        for port in [7007, 7008]:
            pmp.map(UDP, port)
        self.old_epoch(pmp)
        gateway.stop()
        change(self.path, lambda s: s["mappings"][0].update(internal_ip="10.9.9.9"))
        began = time.monotonic()
        gateway = self.start(ready="mappings restored=1")
        line = gateway.wait_line("left out mappings=1")
        self.assertIn("10.9.9.9", line)
        self.assert_anew(eventually(lambda: pmp.address(1)), began)

    def test_forbidden_meanwhile(self):
        """A stored mapping that --access allows no longer does not come back"""
        gateway = self.start()
        pmp = Pmp(self.home)
        for port in [7015, 7016]:
            pmp.map(UDP, port)
        gateway.stop()
        gateway = self.start("--access", f"deny 0-65535 {LAN1}/32 7015")
        gateway.wait_line("--access allows them no longer count=1")
        self.assertEqual(list(listed(gateway)), [("UDP", 7016)])

    def test_relay_port_taken(self):
        """A restored mapping whose relay port somebody took gets another, and clients hear by the epoch"""
        gateway = self.start()
        pmp = Pmp(self.home)
        Echo(self.home, "lan1", 7009)
        pmp.map(UDP, 7009)
        self.old_epoch(pmp)
        relay = stored(self.path)["UDP", 7009]["relay_port"]
        gateway.stop()
        thief = self.home.socket("router")
        thief.bind(("", relay))
        began = time.monotonic()
        self.start()
        again = eventually(lambda: pmp.map(UDP, 7009, timeout=1))
        self.assertEqual(again.result, 0)
        self.assertNotEqual(self.home.elements("outbound")[f"udp.{LAN1}.7009"], str(relay))
        self.assertEqual(knock_udp(self.home, (PUBLIC, again.outer)), b"echo hello")
        self.assert_anew(pmp.address(), began)

    def test_relay_port_reserved(self):
        """No client gets a permanent mapping's relay port, and a stored mapping that has it makes way"""
        gateway = self.start("--relay-ports", "25000-25001")
        pmp = Pmp(self.home)
        self.assertEqual([pmp.map(UDP, port).result for port in [7012, 7013]], [0, 0])
        mine = next(m for m in stored(self.path).values() if m["relay_port"] == 25000)
        self.assertEqual(pmp.map(UDP, next(m for m in stored(self.path).values() if m["relay_port"] == 25001)["internal_port"],
                                 lifetime=0).result, 0)
        gateway.stop()
        conf = f"{self.home.directory}/gateway.conf"
        with open(conf, "w", encoding="ascii") as file:
            file.write(f"[mapping a]\nprotocol = udp\ninternal_ip = {LAN2}\ninternal_port = 1\nrelay_port = 25000\n")
        gateway = self.start("--relay-ports", "25000-25001", "--config", conf)
        self.assertEqual(pmp.map(UDP, mine["internal_port"]).result, 0)
        self.assertEqual(self.home.elements("inbound"),
                         {"udp.25000": f"{LAN2}.1", "udp.25001": f"{LAN1}.{mine['internal_port']}"})
        self.assertEqual(pmp.map(UDP, 7014).result, 4)

    def test_many(self):
        """Five hundred mappings come back, rules first and holes one by one, while clients are answered"""
        self.start("--max-mappings-per-client", "1000").stop()

        def fill(state):
            state["mappings"] = [{"protocol": "UDP", "internal_ip": LAN1, "internal_port": 10000 + i, "relay_port": 20000 + i,
                                  "lifetime": 3600, "expires_ms": 2 ** 50, "origin": "nat-pmp", "public_ip": "", "remote_port": 0,
                                  "description": ""} for i in range(500)]
        change(self.path, fill)
        gateway = self.start("--max-mappings-per-client", "1000", ready="mappings restored=500")
        pmp = Pmp(self.home)
        waits = []
        while not waits or len(self.home.elements("inbound")) < 500:
            began = time.monotonic()
            self.assertEqual(pmp.raw(b"\0\x63").opcode, 0x80 | 0x63)
            waits.append(time.monotonic() - began)
        self.assertLess(sorted(waits)[len(waits) // 2], 0.5)
        self.assertEqual(pmp.map(UDP, 10499).result, 0)
        self.assertTrue([m for m in listed(gateway).values() if m["state"] != "open"], "who asks has its turn at once")
        eventually(lambda: all(m["state"] == "open" for m in listed(gateway).values()), 30, "the last hole")
        self.assertLess(int(listed(gateway)["UDP", 10000]["expires"]), 3601, "a time beyond what was asked is not believed")

    def test_few_writes(self):
        """Renewals are written lazily: a hundred mappings renewed all the time cost a write per --state-lazy"""
        self.start("--state-lazy", "2")
        pmps = [Pmp(self.home, role) for role in ["lan1", "lan2"]]
        for pmp in pmps:
            for port in range(7200, 7250):
                self.assertEqual(pmp.map(UDP, port).result, 0)
        writes = Writes(self.path)
        began, renewals = time.monotonic(), 0
        while time.monotonic() < began + 6 or renewals <= 200:
            for pmp in pmps:
                for port in range(7200, 7250):
                    self.assertEqual(pmp.map(UDP, port).result, 0)
                    renewals += 1
            time.sleep(0.2)
        took = time.monotonic() - began
        self.assertIn(writes.end(), range(2, int(took / 2) + 2))


class Disks(unittest.TestCase):
    """The state file on a small disk of its own, in the gateway's own mount namespace."""

    def setUp(self):
        self.home = self.enterContext(Home())
        self.disk = f"{self.home.directory}/disk"
        os.makedirs(self.disk)
        argv = [self.home.program("gateway"), "--wan", "wan", "--lan", "lan", "--stun", STUN, "--state", f"{self.disk}/gateway.json", *ACCEPT]
        self.gateway = self.home.spawn("router", ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=64k none {self.disk} && exec "$@"',
                                                  "sh", *argv], ready="line UDP: public address")
        self.pmp = Pmp(self.home)
        self.assertEqual(self.pmp.map(UDP, 7300).result, 0)

    def on_disk(self, command):
        return self.home.run("router", ["nsenter", "-m", "-r", "-t", self.gateway.pid, "sh", "-c", command], check=False).stdout

    def fails_and_works_again(self, fail, work):
        self.on_disk(fail)
        for port in [7301, 7302]:
            began = time.monotonic()
            self.assertEqual(self.pmp.map(UDP, port).result, 0)
            self.assertLess(time.monotonic() - began, 5, "nobody waits for a disk that fails")
        self.assertEqual(self.pmp.map(UDP, 7302, lifetime=0).result, 0)
        line = self.gateway.wait_line("[E] state file")
        self.on_disk(work)
        self.gateway.wait_line("is written again")
        self.assertEqual(len([said for said in self.gateway.lines if "[E]" in said]), 1, "said once")
        self.assertEqual({m["internal_port"] for m in json.loads(self.on_disk(f"cat {self.disk}/gateway.json"))["mappings"]}, {7300, 7301})
        self.assertEqual(self.on_disk(f"ls {self.disk}").split(), ["gateway.json"])
        self.assertEqual(self.gateway.stop(), 0)
        return line

    def test_full(self):
        """On a full disk clients are served at once; it is said once, and once more when there is room again"""
        line = self.fails_and_works_again(f"dd if=/dev/zero of={self.disk}/fill bs=1k; true", f"rm {self.disk}/fill")
        self.assertIn("No space left", line)

    def test_read_only(self):
        """On a disk that became read-only clients are served at once; it is said once, and once more when it can be written again"""
        line = self.fails_and_works_again(f"mount -o remount,ro {self.disk}", f"mount -o remount,rw {self.disk}")
        self.assertIn("Read-only", line)


class Permanent(unittest.TestCase):
    """[mapping NAME] sections: of a LAN host, and of the router itself."""

    @classmethod
    def setUpClass(cls):
        cls.home = cls.enterClassContext(Home())
        cls.path = cls.home.state_file()
        cls.conf = f"{cls.home.directory}/gateway.conf"
        cls.configure(f"""[gateway]
            max-mappings-per-client = 1
            [mapping web]
            protocol = tcp
            internal_ip = {LAN1}
            internal_port = 7401
            relay_port = 25000
            [mapping game]
            protocol = udp
            internal_ip = {LAN1}
            internal_port = 7402
            [mapping ssh]
            protocol = tcp
            internal_ip = {ROUTER}
            internal_port = 7403
            [mapping vpn]
            protocol = udp
            internal_ip = wan
            internal_port = 7404
            """)
        cls.begin()

    @classmethod
    def configure(cls, text):
        with open(cls.conf, "w", encoding="ascii") as file:
            file.write("\n".join(line.strip() for line in text.split("\n")))

    @classmethod
    def begin(cls):
        cls.gateway = cls.home.gateway("--config", cls.conf, "--accept-chain", "inet filter input", state=cls.path, ready="NAT TCP mapping")
        eventually(lambda: [m["state"] for m in listed(cls.gateway).values() if m["origin"] == "config"] == ["open"] * 4, 20, "four holes")

    def outer(self, protocol, port):
        address, outer = listed(self.gateway)[protocol, port]["outer"].rsplit(":", 1)
        return address, int(outer)

    def test_reached(self):
        """A stranger reaches permanent mappings of LAN hosts and of the router, by its LAN address and its WAN address"""
        for role, protocol, port in [("lan1", "TCP", 7401), ("lan1", "UDP", 7402), ("router", "TCP", 7403), ("router", "UDP", 7404)]:
            Echo(self.home, role, port)
            knock = knock_tcp if protocol == "TCP" else knock_udp
            self.assertEqual(knock(self.home, self.outer(protocol, port)), b"echo hello", (role, protocol, port))
        self.assertEqual(self.home.elements("outbound")[f"tcp.{LAN1}.7401"], "25000")
        self.assertEqual(listed(self.gateway)["TCP", 7401]["expires"], "never")

    def test_asked_for(self):
        """A client that asks for the same is told the permanent mapping's outer port, and cannot delete it (section 3.4)"""
        pmp = Pmp(self.home)
        outer = self.outer("TCP", 7401)[1]
        answer = pmp.map(TCP, 7401, lifetime=60)
        self.assertEqual((answer.result, answer.outer, answer.lifetime), (0, outer, 60))
        self.assertEqual(pmp.map(TCP, 7401, lifetime=0).result, 2)
        self.assertEqual(self.outer("TCP", 7401)[1], outer)
        self.assertEqual(listed(self.gateway)["TCP", 7401]["expires"], "never")

    def test_delete_all(self):
        """Of all that a client deletes the permanent ones stay, and it hears so (section 3.4); they are not in its quota"""
        pmp = Pmp(self.home)
        self.assertEqual(pmp.map(TCP, 7405).result, 0)
        self.assertEqual(pmp.map(TCP, 7406).result, 4)
        self.assertEqual(pmp.map(TCP, 0, lifetime=0).result, 2)
        self.assertEqual({port for protocol, port in listed(self.gateway) if protocol == "TCP"}, {7401, 7403})

    def test_restart(self):
        """A permanent mapping has its relay port again after a restart; one that the file no longer has is gone"""
        relays = {key: m["relay"] for key, m in listed(self.gateway).items()}
        outer = self.outer("UDP", 7402)
        self.gateway.stop(signal.SIGKILL)
        change(self.path, lambda s: s["mappings"].append(dict(s["mappings"][0], protocol="UDP", internal_port=7499, relay_port=29999,
                                                              origin="config")))
        self.begin()
        self.assertEqual({key: m["relay"] for key, m in listed(self.gateway).items()}, relays)
        self.assertEqual(self.outer("UDP", 7402), outer)

    def test_wrong(self):
        """A mistake in a section is named with its line and value, and exits 2"""
        conf = f"{self.home.directory}/wrong.conf"
        for text, said_of in [("[mapping a]\nprotocol = icmp\n", ":2: protocol 'icmp'"), ("[mapping a]\n", ":1: section '[mapping a]': wants"),
                              ("[mapping a]\nprotocol = udp\ninternal_ip = 300.1.1.1\n", ":3: internal_ip '300.1.1.1'")]:
            with open(conf, "w", encoding="ascii") as file:
                file.write(text)
            done = self.home.run("router", [self.home.program("gateway"), "--config", conf, "--state", "none"], check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn(conf + said_of, done.stderr)
