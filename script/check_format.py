"""clang-format 14 on all C: each file that it would change is a finding."""

import re
import subprocess

import tree


def main():
    sources = tree.files(".c", ".h", under=("include/", "csrc/", "bindings/", "tests/", "bench/"))
    if not sources:
        return []
    command = ["clang-format", "--dry-run", *(tree.name(path) for path in sources)]
    run = subprocess.run(command, cwd=tree.ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        return [f".clang-format:1: {run.stderr.strip()}"]
    first = {}
    for file, line in re.findall(r"^([^:\n]+):(\d+):\d+: warning:", run.stderr, re.MULTILINE):
        first.setdefault(file, line)
    return [f"{file}:{line}: not formatted: clang-format -i {file}" for file, line in first.items()]


if __name__ == "__main__":
    tree.report(main())
