"""check_libs.py BINARY...: no built library is linked with a library that must only be found at run time."""

import re
import subprocess
import sys
from pathlib import Path

import tree

# library: what goes wrong with it
NEVER = {
    "libsqlite3": "a second SQLite in a process destroys databases; call through the table of sqlite3ext.h",
    "libpq": "csync must load where PostgreSQL is not; open it on first use",
    "libcurl": "csync must load where curl is not; open it on first use",
    "libmicrohttpd": "csync must load where it is not; open it on first use",
    "libzstd": "csync must load where it is not; open it on first use",
    "libz": "csync must load where it is not; open it on first use",
}


def main(binaries):
    findings = []
    for binary in binaries:
        if not Path(binary).exists():
            findings.append(f"{binary}:1: was not built")
            continue
        command = ["readelf", "-d", binary]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for needed in re.findall(r"\(NEEDED\).*\[(.*?)\]", output):
            if why := NEVER.get(needed.split(".so")[0]):
                findings.append(f"{binary}:1: is linked with {needed}: {why}")
    return findings


if __name__ == "__main__":
    tree.report(main(sys.argv[1:]))
