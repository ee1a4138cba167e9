# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/conformance.md names tests: they exist and run, and no test named after a section is missing in it."""
import ast
import os
import re
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNIT, E2E = "test/unit/test_answer.c", "test/e2e/test_server.py"


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def unit_tests():
    """Those that are written and in the table of main()."""
    text = read(UNIT)
    return set(re.findall(r"^static void (\w+)\(void \*\*state\)", text, re.M)) & set(re.findall(r"\bT\((\w+)\)", text))


def e2e_tests():
    classes = [c for c in ast.parse(read(E2E)).body if isinstance(c, ast.ClassDef)]
    return {f"{c.name}.{f.name}" for c in classes for f in c.body if isinstance(f, ast.FunctionDef) and f.name.startswith("test_")}


def rows():
    """(line number, cells) of every row of a table with names in it."""
    for number, line in enumerate(read("docs/conformance.md").splitlines(), 1):
        if line.startswith("|") and not re.match(r"\|(---|\s*Section|\s*What is|\s*What \|)", line):
            yield number, [cell.strip() for cell in line.strip("|").split("|")]


def named(cell):
    return set(re.findall(r"`((?:Udp|Tcp|Program)\.test_\w+|[a-z]\w{15,})`", cell))


class Conformance(unittest.TestCase):
    def test_named_tests_exist(self):
        """every row of docs/conformance.md names a test, and every test named exists"""
        exist, count = unit_tests() | e2e_tests(), 0
        for number, cells in rows():
            count += 1
            with self.subTest(line=number):
                self.assertTrue(named(cells[-1]), f"line {number} names no test")
                self.assertEqual(named(cells[-1]) - exist, set(), f"line {number} names what is not there")
        self.assertGreater(count, 40)

    def test_tests_of_sections_are_named(self):
        """every test that is named after an RFC's section stands in docs/conformance.md"""
        said = set().union(*(named(cells[-1]) for _, cells in rows()))
        self.assertEqual({t for t in unit_tests() | e2e_tests() if "_rfc" in t} - said, set())
