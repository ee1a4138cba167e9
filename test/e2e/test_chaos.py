# SPDX-License-Identifier: GPL-2.0-or-later
"""Random faults at a home line (test/e2e/chaos.py): 50 here, 1,000 with STUNWAY_LONG=1 (script/test --long)."""
import os
import unittest

from chaos import Chaos

LONG = os.environ.get("STUNWAY_LONG") == "1"
SEED = int(os.environ.get("STUNWAY_CHAOS_SEED", "5"))


class Faults(unittest.TestCase):
    def test_chaos(self):
        """After random faults nothing is leaked, nothing forgotten, and strangers reach every mapping that clients want"""
        Chaos(SEED, 1000 if LONG else 50).run()
