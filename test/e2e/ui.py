# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the UI need: its node_modules as the lock file says, and node with its words as TAP."""
import os
import re
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WEB = os.path.join(ROOT, "gateway", "web")


def call(argv, timeout, **options):
    """A command's output; AssertionError with it when it fails."""
    done = subprocess.run(argv, cwd=options.pop("cwd", WEB), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout, **options)
    assert done.returncode == 0, f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


def install():
    """npm ci, unless what is installed is what the lock file says."""
    lock, installed = os.path.join(WEB, "package-lock.json"), os.path.join(WEB, "node_modules", ".installed-lock.json")
    with open(lock, "rb") as f:
        want = f.read()
    if os.path.exists(installed):
        with open(installed, "rb") as f:
            if f.read() == want:
                return
    call(["npm", "ci", "--no-audit", "--no-fund"], 300)
    shutil.copyfile(lock, installed)


def tap(argv, timeout):
    """Runs node's tests; what became of each as {name: (ok, what it said)}."""
    done = subprocess.run(argv, cwd=WEB, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", timeout=timeout)
    found, name = {}, None
    for line in done.stdout.splitlines():
        match = re.match(r"\s*(not )?ok \d+ - (.*?)(?: # .*)?$", line)
        if match:
            name = match[2]
            found[name] = [not match[1], ""]
        elif name:
            found[name][1] += line + "\n"
    return found, done.stdout
