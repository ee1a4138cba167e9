# SPDX-License-Identifier: GPL-2.0-or-later
"""Other clocks for a program, while it runs (test/e2e/clocks.c)."""
import os
import struct
import unittest


class Clocks:
    """Start a program with `env`, then set its clocks as often as you like."""

    def __init__(self, home):
        library = os.path.join(home.build, "test", "e2e", "libclocks.so")
        if not os.path.exists(library):
            raise unittest.SkipTest("a sanitizer's build")
        self.path = f"{home.directory}/clocks"
        self.env = {**os.environ, "LD_PRELOAD": library, "CLOCKS": self.path}
        self.set()

    def set(self, slept=0, stepped=0):
        """slept: seconds that the machine was suspended; stepped: seconds that its wall clock was set forward, or back."""
        with open(self.path, "r+b" if os.path.exists(self.path) else "wb") as f:
            f.write(struct.pack("=Qq", slept * 1000, stepped))
