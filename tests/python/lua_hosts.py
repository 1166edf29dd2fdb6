"""How the tests run Lua and the programs that have it inside, with the module that is built in build/."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def needs(program, lua):
    """The path of the program; skips loudly where it or the module is not there."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"NOT TESTED: {program} is not installed; script/bootstrap installs it")
    if not (ROOT / "build" / "lua" / lua / "csync" / "core.so").exists():
        pytest.skip("NOT TESTED: the Lua module is not built; script/bootstrap builds it")
    return found


def environment(lua, **more):
    paths = {
        "LUA_PATH": f"{ROOT}/bindings/lua/?.lua;;",
        "LUA_CPATH": f"{ROOT}/build/lua/{lua}/?.so;;",
    }
    return {**os.environ, **paths, **more}


def run(command, lua, timeout=60, **more):
    """What the program prints, on either stream. It has to end well."""
    done = subprocess.run(
        [str(part) for part in command],
        env=environment(lua, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def lua(version, *arguments, **more):
    return run([needs({"5.4": "lua5.4", "jit": "luajit"}[version], version), *arguments], version, **more)
