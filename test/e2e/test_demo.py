# SPDX-License-Identifier: GPL-2.0-or-later
"""script/demo is what a newcomer runs first: it must work, and say what failed when it does not."""
import json
import os
import signal
import subprocess
import sys
import unittest
import urllib.request

from lab.home import eventually
from lab.topology import ROOT, namespaces


def demo(**env):
    return subprocess.run([sys.executable, "-m", "lab.demo", "--once"], cwd=ROOT, env={**os.environ, **env}, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)


class Demo(unittest.TestCase):
    def test_show(self):
        """The show runs to its end: reached over UDP and TCP, before and after renumbering, nothing left behind"""
        before = set(namespaces())
        done = demo()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("✓ stranger → 203.0.113.1:"), 2)
        self.assertEqual(done.stdout.count("✓ stranger → 203.0.113.7:"), 2)
        self.assertIn("left no rule behind", done.stdout)
        eventually(lambda: not [n for n in set(namespaces()) - before if n.startswith("sw") and not os.path.exists(
            f"/proc/{n[2:].split('-')[0].split('x')[0]}")], what="nothing left behind")  # other laboratories come and go

    def test_page(self):
        """Without --once the page stays on this machine's loopback, something moves in it, and Ctrl-C ends all"""
        show = subprocess.Popen([sys.executable, "-m", "lab.demo"], cwd=ROOT, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.addCleanup(show.stdout.close)
        self.addCleanup(show.kill)
        said = []
        for line in show.stdout:
            said.append(line)
            if "Look at it:" in line:
                break
        self.assertIn("http://127.0.0.1:", said[-1], "".join(said))
        url = said[-1].split()[-1]

        def ask(path):
            with urllib.request.urlopen(url + path, timeout=60) as answer:
                return answer.read().decode()

        def moved():
            return sum((m["traffic"] or {}).get("in_packets", 0) for m in json.loads(ask("/mappings")))

        self.assertIn("stunway", ask("/"))
        before = moved()
        eventually(lambda: moved() > before, 30, "traffic")
        show.send_signal(signal.SIGINT)
        self.assertIn("left no rule behind", show.stdout.read())
        self.assertEqual(show.wait(120), 0)

    def test_failure_is_told(self):
        """Without its programs it ends with 1 and one line that says what failed"""
        done = demo(STUNWAY_BUILD="nowhere")
        self.assertEqual(done.returncode, 1)
        self.assertIn("demo failed", done.stderr)
        self.assertNotIn("Traceback", done.stderr)
