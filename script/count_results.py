"""count_results.py FOLDER: sums the results in its JUnit files (ctest, pytest) and in notes.txt.

Names what failed, then prints "N passed, N failed" (", N skipped"); exit code 1 if anything failed.
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def junit(path):
    """Yields (outcome, name) for each test case of a JUnit file."""
    for case in ElementTree.parse(path).iter("testcase"):
        children = {child.tag for child in case}
        if children & {"failure", "error"}:
            outcome = "failed"
        elif "skipped" in children:
            outcome = "skipped"
        else:
            outcome = "ok"
        yield outcome, f"{path.stem}: {case.get('name')}"


def notes(path):
    for line in path.read_text().splitlines():
        outcome, _, name = line.partition(" ")
        yield outcome, name


def main(folder):
    results = [r for path in sorted(folder.glob("*.xml")) for r in junit(path)]
    if (folder / "notes.txt").exists():
        results += notes(folder / "notes.txt")
    failed = [name for outcome, name in results if outcome == "failed"]
    passed = sum(outcome == "ok" for outcome, _ in results)
    skipped = sum(outcome == "skipped" for outcome, _ in results)
    for name in failed:
        print(f"failed: {name}")
    if not passed and not failed:
        print("no test ran")
    print(f"{passed} passed, {len(failed)} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
