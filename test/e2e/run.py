# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs one end-to-end test file (unittest) and prints TAP: a line per test, named by its sentence.

    python3 test/e2e/run.py test/e2e/test_natbox.py [PATTERN]

A test's name is its docstring's first line, else its method's name.
"""
import importlib.util
import os
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [ROOT, os.path.join(ROOT, "test", "e2e")]


class Tap(unittest.TextTestResult):
    """Prints a TAP line as each test ends."""

    count = 0

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def line(self, ok, test, note=""):
        Tap.count += 1
        name = test.shortDescription() or str(test).split(" ")[0]
        print(f"{'ok' if ok else 'not ok'} {Tap.count} - {name}{note}"
              f" ({time.monotonic() - getattr(self, 'started', time.monotonic()):.1f} s)", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.line(True, test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line(False, test)

    def addError(self, test, err):
        super().addError(test, err)
        self.line(False, test, ": error")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.line(False, subtest)


def main():
    path = sys.argv[1]
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    loader = unittest.TestLoader()
    if len(sys.argv) > 2:
        loader.testNamePatterns = [f"*{p}*" for p in sys.argv[2:]]
    suite = loader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(stream=sys.stderr, resultclass=Tap, verbosity=0).run(suite)
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
