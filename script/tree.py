"""What the checkers share: which files are ours, C without comments and strings, and how to report."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def files(*suffixes, under=("",)):
    """The repository's files (new ones too, ignored ones not) with these suffixes, below these folders."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
        names = sorted(set(listed.decode().split("\0")) - {""})
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive
        skip = {"build", ".venv", ".git"}
        found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        names = sorted(str(path) for path in found if path.parts[0] not in skip)
    return [
        ROOT / name
        for name in names
        if name.endswith(suffixes) and name.startswith(tuple(under)) and (ROOT / name).is_file()
    ]


def name(path):
    return str(path.relative_to(ROOT))


_TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)


def _blank(match):
    text = match[0]
    kept = "".join(c if c == "\n" else " " for c in text[1:-1])
    return text[0] + kept + text[-1] if text[0] in "\"'" else " " + kept + " "


def code(text):
    """C text with comments and the insides of literals blanked out; lines and columns stay."""
    return _TOKEN.sub(_blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def report(findings):
    """Prints the findings and ends the program: 1 if there are any."""
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)
