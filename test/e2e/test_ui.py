# SPDX-License-Identifier: GPL-2.0-or-later
"""The web UI: its built assets are what its sources build, and its own browser tests over a mock of the gateway."""
import gzip
import os
import re
import subprocess
import sys
import tempfile
import unittest

from ui import WEB, call, install, tap

DIST = os.path.join(WEB, "dist")


def read(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


class Assets(unittest.TestCase):
    def test_rebuilt(self):
        """The built assets in the tree are those that the sources build, byte for byte."""
        install()
        with tempfile.TemporaryDirectory() as scratch:
            call(["node", "node_modules/vite/bin/vite.js", "build", "--outDir", scratch, "--emptyOutDir", "--logLevel", "warn"], 300)
            self.assertEqual(sorted(os.listdir(scratch)), sorted(os.listdir(DIST)))
            for name in os.listdir(scratch):
                self.assertTrue(read(scratch, name) == read(DIST, name), f"dist/{name} is not what src/ builds: npm run build")

    def test_embedded(self):
        """The table in the binary has every built file, the same at every run, and a first load of it is under 25 KB."""
        files = [os.path.join(DIST, name) for name in os.listdir(DIST)]
        with tempfile.TemporaryDirectory() as scratch:
            for out in "12":
                subprocess.run([sys.executable, os.path.join(WEB, "embed.py"), os.path.join(scratch, out), *files[::-1 if out == "2" else 1]], check=True)
            table = read(scratch, "1").decode()
            self.assertTrue(table == read(scratch, "2").decode())
        rows = {path: (int(plain), int(packed)) for path, plain, packed in re.findall(r'\{"(/[^"]*)", .*, (\d+), (\d+)\}', table)}
        self.assertEqual(set(rows), {"/" if name == "index.html" else f"/{name}" for name in os.listdir(DIST)})
        for name in os.listdir(DIST):
            self.assertEqual(rows["/" if name == "index.html" else f"/{name}"][0], len(read(DIST, name)))
            self.assertNotIn(b"sourceMappingURL", read(DIST, name))
        for language in ["/en.js", "/zh.js"]:
            self.assertLess(sum(rows[path][1] for path in ["/", "/app.js", "/app.css", "/icon.svg", language]), 25000)
        packed = re.search(r"gzip_\d+\[\] = \{\n([\d,\n]*)\}", table)[1]
        self.assertIn(gzip.decompress(bytes(map(int, packed.replace("\n", "").split(",")))), [read(f) for f in files])

    def test_lock(self):
        """The lock file names no registry."""
        self.assertNotIn(b'"resolved"', read(WEB, "package-lock.json"))


class Browser(unittest.TestCase):
    """The tests in gateway/web/test, each by its own name."""

    results = None
    output = ""

    @classmethod
    def run_all(cls):
        if Browser.results is None:
            install()
            Browser.results, Browser.output = tap(["node", "--test", "--test-reporter=tap", *sorted(
                f"test/{name}" for name in os.listdir(f"{WEB}/test") if name.endswith(".test.js"))], 1100)


def browser_tests():
    """The sentences that gateway/web/test's files name their tests by; those in a loop have ${…} in them."""
    for name in sorted(os.listdir(f"{WEB}/test")):
        if name.endswith(".test.js"):
            yield from re.findall(r"^ *(?:test|on)\([`'](.*?)[`'],", read(WEB, "test", name).decode(), re.M)


def add(sentence, number):
    pattern = re.compile(re.sub(r"\\\$\\\{.*?\\\}", ".*", re.escape(sentence)))

    def body(self):
        Browser.run_all()
        found = {name: result for name, result in Browser.results.items() if pattern.fullmatch(name)}
        self.assertTrue(found, f"'{sentence}' did not run:\n{Browser.output[-3000:]}")
        for name, (ok, said) in found.items():
            self.assertTrue(ok, f"{name}\n{said}")

    body.__doc__ = sentence.replace("${", "").replace("}", "")
    setattr(Browser, f"test_{number:02}", body)


for number, sentence in enumerate(browser_tests()):
    add(sentence, number)
