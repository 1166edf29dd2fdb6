"""python -m csync: the program csync."""

import sys

from csync import _csync, _sqlite


def main(arguments=None):
    """Runs the program; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in ("serve", "token"):  # written in C, for machines without Python
        _sqlite.bind()
        return _csync.program("csync", *arguments)
    from csync import _program

    return _program.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
