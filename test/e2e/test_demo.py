# SPDX-License-Identifier: GPL-2.0-or-later
"""script/demo is what a newcomer runs first: it must work, and say what failed when it does not."""
import os
import subprocess
import sys
import unittest

from lab.topology import ROOT, namespaces


def demo(**env):
    return subprocess.run([sys.executable, "-m", "lab.demo", "--once"], cwd=ROOT, env={**os.environ, **env}, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)


class Demo(unittest.TestCase):
    def test_show(self):
        """The show runs to its end: reached over UDP and TCP, before and after renumbering, nothing left behind"""
        before = set(namespaces())
        done = demo()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("✓ stranger → 203.0.113.1:"), 2)
        self.assertEqual(done.stdout.count("✓ stranger → 203.0.113.7:"), 2)
        self.assertIn("left no rule behind", done.stdout)
        self.assertFalse([n for n in set(namespaces()) - before if n.startswith("sw") and not os.path.exists(
            f"/proc/{n[2:].split('-')[0].split('x')[0]}")])

    def test_failure_is_told(self):
        """Without its programs it ends with 1 and one line that says what failed"""
        done = demo(STUNWAY_BUILD="nowhere")
        self.assertEqual(done.returncode, 1)
        self.assertIn("demo failed", done.stderr)
        self.assertNotIn("Traceback", done.stderr)
