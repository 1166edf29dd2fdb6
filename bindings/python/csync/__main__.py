"""python -m csync: the program csync, with what this version has of it."""

import argparse
import sys

import csync
from csync import _csync, _sqlite


def main(arguments=None):
    """Runs the program; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in ("serve", "token"):  # written in C
        _sqlite.bind()
        return _csync.program("csync", *arguments)
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
    commands.add_parser("serve", help="the REST API and event streams over HTTP", add_help=False)
    commands.add_parser("token", help="who may ask a server", add_help=False)
    options = parser.parse_args(arguments)

    from csync import _demo

    return _demo.run(options.database)


if __name__ == "__main__":
    sys.exit(main())
