# SPDX-License-Identifier: GPL-2.0-or-later
"""What is tested of each program's manual page."""
import os
import re
import shutil
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class ManualPage:
    """For a TestCase that says NAME: the program NAME of the build, and its page docs/NAME.8.scd."""

    def page(self):
        return open(os.path.join(ROOT, "docs", f"{self.NAME}.8.scd"), encoding="utf-8")

    def test_options(self):
        """the manual has every option of --help, with its default, and no other"""
        program = os.path.join(ROOT, os.environ.get("STUNWAY_BUILD") or "build", self.NAME)
        text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
        helped = dict(re.findall(r"^\s+(?:-\w, )?--([a-z0-9-]+)(.*(?:\n {10,}.*)*)", text, re.M))
        with self.page() as file:
            rows = dict(re.findall(r"^\*(?:-\w\*, \*)?--([a-z0-9-]+)\*(.*\n(?:\t.*\n|\n(?=\t))+)", file.read(), re.M))
        self.assertEqual(set(rows), set(helped))
        for option, words in helped.items():
            default = re.search(r"\(([^() ]+)\)$", words)
            if default:
                self.assertIn(default.group(1), rows[option].replace("\\", ""), f"the default of --{option}")

    @unittest.skipUnless(shutil.which("scdoc"), "no scdoc")
    def test_page(self):
        """scdoc makes a page of the manual"""
        with self.page() as file:
            r = subprocess.run(["scdoc"], stdin=file, capture_output=True, text=True, check=False)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        self.assertIn(".SH OPTIONS", r.stdout)
