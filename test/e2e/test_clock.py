# SPDX-License-Identifier: GPL-2.0-or-later
"""A gateway whose wall clock is set while it runs, as NTP does on a router that had no time when it started."""
import signal
import time
import unittest

from clocks import Clocks
from lab.home import *
from pmp import Pmp, TCP, UDP
from test_state import listed

DAY = 86400


class Steps(unittest.TestCase):
    SLACK = 5  # seconds that a busy machine may take for what takes none

    def seen(self, gateway, pmp):
        """All that a client can see of time: (epoch, lifetimes told, outer ports), and when the mappings are to end."""
        self.answers = {op: pmp.map(op, 7001) for op in [UDP, TCP]}
        return {"epoch": pmp.address().epoch, "told": [(a.result, a.outer, a.lifetime) for a in self.answers.values()],
                "expires": int(listed(gateway)["UDP", 7002]["expires"])}

    def assert_goes_on(self, was, began, gateway, pmp):
        """The same as was, but for the seconds that have passed since it began."""
        now, passed = self.seen(gateway, pmp), time.monotonic() - began
        self.assertEqual(now["told"], was["told"])
        self.assertLessEqual(abs(now["epoch"] - was["epoch"] - passed), self.SLACK)
        self.assertLessEqual(abs(was["expires"] - now["expires"] - passed), self.SLACK)

    def test_steps(self):
        """A wall clock set a day forward and two back ends no mapping, begins no epoch and changes no lease, also over a restart"""
        with Home() as home:
            clocks, state = Clocks(home), home.state_file()
            gateway = home.gateway("--watch", "1", env=clocks.env, state=state, ready=CHECKED)
            Echo(home, "lan1", 7001)
            pmp = Pmp(home)
            self.assertEqual(pmp.map(UDP, 7002, lifetime=600).result, 0)
            was, began = self.seen(gateway, pmp), time.monotonic()
            for stepped in [DAY, -DAY]:
                mark = len(gateway.lines)
                clocks.set(stepped=stepped)
                time.sleep(2.5)  # two of its looks at what has expired, and two at the line
                self.assert_goes_on(was, began, gateway, pmp)
                after = gateway.lines[mark:]
                said = time.mktime(time.strptime(after[-1][:19], "%Y-%m-%d %H:%M:%S"))
                self.assertLess(abs(said - time.time() - stepped), 60, "the step did not come")
                self.assertFalse([line for line in after if any(w in line for w in ["expired", "slept", "changed", "lost", "[W]", "[E]"])])
                self.assertEqual(knock_udp(home, (PUBLIC, self.answers[UDP].outer)), b"echo hello")
                self.assertEqual(knock_tcp(home, (PUBLIC, self.answers[TCP].outer)), b"echo hello")
            gateway.stop(signal.SIGKILL)
            clocks.set(stepped=DAY)
            gateway = home.gateway("--watch", "1", env=clocks.env, state=state, ready=["restored=3 permanent=0 boot=same", *CHECKED])
            self.assert_goes_on(was, began, gateway, pmp)

    def test_short_lease(self):
        """A mapping lasts as long as was asked, though the wall clock is set forward and back meanwhile"""
        with Home() as home:
            clocks = Clocks(home)
            gateway = home.gateway("--lease", "12", env=clocks.env, ready=CHECKED)
            began = time.monotonic()
            self.assertEqual(Pmp(home).map(UDP, 7001, lifetime=12).lifetime, 12)
            for stepped in [DAY, 0, -DAY]:
                clocks.set(stepped=stepped)
                time.sleep(1.5)
            self.assertIn(("UDP", 7001), listed(gateway))
            gateway.wait_line("mapping expired", timeout=20)
            self.assertGreater(time.monotonic() - began, 11.5)


if __name__ == "__main__":
    unittest.main()
