"""python -m csync: the program csync, with what this version has of it."""

import argparse
import sys

import csync


def main(arguments=None):
    """Runs the program; returns its exit status."""
    parser = argparse.ArgumentParser(prog="csync", description="Keeps databases in step by two-way sync.")
    parser.add_argument("--version", action="version", version=f"csync {csync.__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    demo = commands.add_parser(
        "demo",
        help="two replicas edited offline, brought together and checked",
        description="Shows csync at work in a temporary directory, checks the result, and leaves nothing behind.",
    )
    demo.add_argument(
        "database",
        nargs="?",
        metavar="DATABASE",
        help="an SQLite file, or a script of SQL, to do it with as well; it is copied, never written",
    )
    options = parser.parse_args(arguments)

    from csync import _demo

    return _demo.run(options.database)


if __name__ == "__main__":
    sys.exit(main())
