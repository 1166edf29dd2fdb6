"""Runs a program and kills it with SIGKILL at its Nth call of one kind, through strace."""

import collections
import functools
import os
import pathlib
import re
import shutil
import subprocess

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "unlink", "unlinkat", "rename", "fcntl")
VICTIM = pathlib.Path(__file__).parents[2] / "build" / "tests" / "crash_victim"
# How many points a test tries; None: all of them.
POINTS = {"quick": 3, "default": 8, "long": None}[os.environ.get("CSYNC_TEST_PROFILE", "default")]


def _strace(*options):
    return ["strace", "-f", "-qq", *options]


@functools.cache
def why_not():
    """Why nothing can be killed here; None: it can."""
    if not shutil.which("strace"):
        return "strace is not installed"
    if not VICTIM.exists():
        return f"{VICTIM} is not built"
    probe = [*_strace("-o", "/dev/null", "-e", "trace=write", "-e", "inject=write:signal=KILL:when=1"), "echo", "x"]
    run = subprocess.run(probe, capture_output=True, text=True)
    if run.returncode != -9 or run.stdout:
        return f"strace cannot kill here: {run.stderr.strip() or run.returncode}"
    return None


def run(*arguments):
    """To its end."""
    subprocess.run([str(VICTIM), *map(str, arguments)], check=True)


def count_calls(arguments, log, calls=CALLS):
    """An undisturbed run: how often each call is made."""
    command = _strace("-o", str(log), "-e", "trace=" + ",".join(f"?{call}" for call in calls))
    subprocess.run([*command, str(VICTIM), *arguments], check=True)
    counts = collections.Counter(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE))
    log.unlink()
    return counts


def kill_at(call, n, arguments):
    """Whether it was killed; False: it came to its end before that call."""
    inject = f"inject={call}:signal=KILL:when={n}"
    command = _strace("-o", "/dev/null", "-e", f"trace={call}", "-e", inject)
    run = subprocess.run([*command, str(VICTIM), *arguments], capture_output=True, text=True)
    assert run.returncode in (0, -9), f"{call} {n}: {run.returncode} {run.stderr}"
    return run.returncode == -9


def choose(counts, calls=CALLS):
    """The points to try, (call, n): all of them in the long profile, else some of each call."""
    points = [(call, n) for call in calls for n in range(1, counts[call] + 1)]
    if POINTS is None or len(points) <= POINTS:
        return points
    step = len(points) / POINTS
    return [points[int(i * step)] for i in range(POINTS)]
