"""Builds the Python extension csync._csync: the C core and the binding in one object.

SQLite is never linked (see csync_bind_sqlite in include/csync.h); only its headers are needed.
"""

import glob
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent


def version():
    """Reads the version where it is defined: include/csync.h."""
    header = (HERE / "include" / "csync.h").read_text()
    return ".".join(
        re.search(rf"#define CSYNC_VERSION_{part} (\d+)", header)[1]
        for part in ("MAJOR", "MINOR", "PATCH")
    )


def sources():
    found = glob.glob("csrc/**/*.c", recursive=True, root_dir=HERE)
    # Python has a client of its own, which needs no libcurl
    core = [path for path in found if path != "csrc/cli/main.c" and not path.startswith("csrc/client/")]
    return sorted(core) + sorted(glob.glob("bindings/python/src/*.c", root_dir=HERE))


def headers():
    patterns = ("include/*.h", "csrc/**/*.h", "bindings/python/src/*.h", "bindings/python/csync.map")
    return [path for p in patterns for path in glob.glob(p, recursive=True, root_dir=HERE)]


def pkg_config(option, package):
    """What pkg-config says, or nothing: Debian keeps both libraries where the compiler looks anyway."""
    try:
        command = ["pkg-config", option, package]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []


class BuildExt(build_ext):
    """Compiles on all cores, and only what is older than its source or than any header."""

    def build_extension(self, ext):
        compile_one, link = self.compiler._compile, self.compiler.link_shared_object
        newest = max(os.path.getmtime(path) for path in ["setup.py", *ext.depends])
        jobs = []

        def compile_later(obj, src, *rest):
            needed = max(newest, os.path.getmtime(src))
            if not os.path.exists(obj) or os.path.getmtime(obj) <= needed:
                jobs.append(pool.submit(compile_one, obj, src, *rest))

        def link_then(*args, **kwargs):
            for job in jobs:
                job.result()
            link(*args, **kwargs)

        self.compiler._compile, self.compiler.link_shared_object = compile_later, link_then
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            super().build_extension(ext)


extension = Extension(
    "csync._csync",
    sources(),
    depends=headers(),
    include_dirs=["include", "csrc", "bindings/python/src"],
    define_macros=[
        ("_GNU_SOURCE", None),
        ("CSYNC_STATIC", None),
        ("Py_LIMITED_API", "0x030B0000"),
    ],
    py_limited_api=True,
    libraries=["crypto", "m"],
    extra_compile_args=[
        "-std=c11",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Werror=implicit-function-declaration",
        *pkg_config("--cflags", "libcrypto"),
        *(pkg_config("--cflags", "libpq") or ["-I/usr/include/postgresql"]),
    ],
    extra_link_args=[
        "-Wl,--version-script=bindings/python/csync.map",
        *pkg_config("--libs-only-L", "libcrypto"),
    ],
)

setup(
    version=version(),
    ext_modules=[extension],
    cmdclass={"build_ext": BuildExt},
    options={
        "bdist_wheel": {"py_limited_api": "cp311"},
        "build": {"build_base": "build/python"},
    },
)
