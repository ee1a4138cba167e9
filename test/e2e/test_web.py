# SPDX-License-Identifier: GPL-2.0-or-later
"""The web UI on the real gateway: a person at a browser on a LAN host, a carrier in between, strangers outside."""
import json
import os
import re
import subprocess
import threading
import unittest

from lab.home import *
from lab.topology import start
from ui import WEB, install

URL = f"http://{ROUTER}:9699/"
PASSWORD = "correct horse battery staple"
STEP_S = 150  # for a step of the browser, on a busy machine


class Person:
    """gateway/web/test/drive.js in a LAN host's namespace; person.step(argument=…) does it and gives what it saw."""

    def __init__(self, home, role="lan1"):
        install()
        self.process = start(home.ns(role), ["node", "test/drive.js"], cwd=WEB, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __getattr__(self, step):
        def do(**arguments):
            watchdog = threading.Timer(STEP_S, self.process.kill)
            watchdog.start()
            try:
                self.process.stdin.write(json.dumps([step, arguments]) + "\n")
                self.process.stdin.flush()
                line = self.process.stdout.readline()
            finally:
                watchdog.cancel()
            assert line, f"the browser did not come to an end with {step} {arguments}"
            answer = json.loads(line)
            assert "error" not in answer, f"{step} {arguments}: {answer['error']}"
            return answer["value"]
        return do

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def outer(text):
    """The outer endpoint that a message names."""
    ip, port = re.search(r"(\d+\.\d+\.\d+\.\d+):(\d+)$", text).groups()
    return ip, int(port)


class Web(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = cls.enterClassContext(Home())
        cls.gateway = cls.home.gateway(*cls.options())
        cls.person = cls.enterClassContext(Person(cls.home))

    @classmethod
    def options(cls):
        return []


class Open(Web):
    """Without a password."""

    def setUp(self):
        self.person.open(url=URL)

    def tearDown(self):
        self.assertEqual(self.person.complaints(), [])

    def test_add_and_reach(self):
        """A port opened by the form is reached by a stranger, and the page counts what passed, by itself."""
        Echo(self.home, "lan1", 6881)
        for protocol, knock in ("UDP", knock_udp), ("TCP", knock_tcp):
            with self.subTest(protocol):
                said = self.person.add(ip=LAN1, port=6881, protocol=protocol)
                self.assertIn(f"{protocol} {LAN1}:6881 is open at {PUBLIC}:", said)
                self.assertEqual(knock(self.home, outer(said), b"x" * 1000), b"echo " + b"x" * 1000)
        self.person.see(where=".mapping", text="1 connection")
        self.person.see(where=".mapping .in", text="kB")

    def test_renumbered(self):
        """A renumbered line appears by itself: the outer address and every mapping's."""
        self.person.add(ip=LAN1, port=6882, protocol="UDP")
        self.home.nat("renumber 203.0.113.7")
        try:
            self.person.see(where=".address", text="203.0.113.7")
            self.person.see(name=f"{LAN1}:6882", text="203.0.113.7:")
            self.person.see(where=".events", text="203.0.113.7")
        finally:
            self.home.nat(f"renumber {PUBLIC}")
        self.person.see(where=".address", text=PUBLIC)

    def test_delete_and_undo(self):
        """A deleted mapping comes back with its relay port, and the page says truly under which outer address."""
        before = outer(self.person.add(ip=LAN1, port=6883, protocol="UDP", description="undo me"))
        relay = self.person.text(where=".mapping:has-text('undo me') td:nth-child(4)")
        self.person.remove(name=f"UDP {LAN1}:6883")
        self.assertIsNone(knock_udp(self.home, before, timeout=0.5, tries=1))
        said = self.person.undo()
        self.person.see(name="undo me", text=relay)
        Echo(self.home, "lan1", 6883)
        found = re.findall(r"([\d.]+):(\d+)", said)[1]
        now = found[0], int(found[1])
        self.assertEqual("another outer address" in said, now != before, said)
        self.assertEqual(knock_udp(self.home, now), b"echo hello")

    def test_phone_and_keyboard(self):
        """On a phone of 320 px nothing is cut off, and the keyboard alone opens a port."""
        self.person.open(url=URL, width=320)
        self.assertIn(f"{LAN1}:6884 is open at", self.person.addByKeyboard(ip=LAN1, port=6884))
        self.person.click(name="Show the path of")
        self.assertLessEqual(self.person.overflow(), 0)

    def test_language(self):
        """The page speaks the browser's language, and another one when it is told so."""
        self.person.open(url=URL, locale="zh-CN")
        self.person.see(where=".mappings h2", text="端口映射")
        self.person.language(name="en")
        self.person.see(where=".mappings h2", text="Mappings")
        self.person.reload()
        self.person.see(where=".mappings h2", text="Mappings")

    def test_accessible_and_small(self):
        """axe-core finds nothing serious on the real page; its first load is under 25 KB and from the router alone."""
        self.person.see(where=".servers", text=STUN)
        self.assertEqual(self.person.axe(), [])
        files = dict(self.person.loaded())
        self.assertTrue({"/", "/app.js", "/app.css", "/en.js"} <= set(files), files)
        self.assertLess(sum(files.values()), 25000, files)
        if os.environ.get("SHOTS"):
            self.person.shot(path=os.environ["SHOTS"] + "/real.png")


class Locked(Web):
    """With a password, and a gateway that goes and comes back."""

    @classmethod
    def options(cls):
        path = os.path.join(cls.home.directory, "password")
        with open(path, "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
            f.write(PASSWORD + "\n")
        cls.state = cls.home.state_file()
        return ["--http-password-file", path]

    def test_login(self):
        """With a password a change asks for it, says when it is wrong, and goes on when it is right."""
        self.person.open(url=URL)
        self.person.click(name="Add mapping")
        self.person.login(password="wrong")
        self.person.see(where="dialog", text="This password is wrong.")
        self.person.login(password=PASSWORD)
        self.person.see(where="dialog", text="Open a port")
        self.person.click(name="Close")
        self.assertIn("is open at", self.person.add(ip=LAN1, port=7001))
        self.assertTrue(all("401" in c for c in self.person.complaints()))
        self.person.click(name="Log out")
        self.person.see(where=".toast", text="Logged out")
        self.assertEqual(self.person.complaints(), [])

    def test_restarted(self):
        """A gateway that goes away is said to be gone, and the page heals when it is back."""
        self.person.open(url=URL)
        self.gateway.stop()
        self.person.see(where="[role=alert]", text="The router does not answer")
        type(self).gateway = self.home.gateway(*self.options())
        self.person.see(where=".badge.link.good", text="Live")
        self.assertEqual(self.person.count(where=".banner"), 0)
        self.person.complaints()  # the browser's own, about requests nobody answered
