"""Which SQLite csync uses: always the copy that Python's own sqlite3 module uses.

Two copies of SQLite in one process break each other's file locks and destroy databases
(sqlite.org/howtocorrupt.html, section 2.2.1).
"""

from csync import _csync
from csync._errors import Unsupported

_ENTRY_POINT = "sqlite3_csync_init"  # in sqlite_ext.c
_bound = False


def bind():
    """Points csync at Python's copy of SQLite. Unsupported: csync cannot reach it."""
    global _bound
    if _bound:
        return
    try:
        import _sqlite3  # type: ignore
    except ImportError:  # a Python without sqlite3: the system's copy is the only one
        pass
    else:
        _csync.bind_sqlite(getattr(_sqlite3, "__file__", None))
    _bound = True


def is_connection(value):
    """True for a sqlite3.Connection. Imports nothing: whoever has one has imported sqlite3."""
    import sys

    module = sys.modules.get("sqlite3")
    return module is not None and isinstance(value, module.Connection)


def probe(connection):
    """A function that raises when this thread must not use the connection, or when it is closed."""
    import functools
    import sqlite3

    return functools.partial(sqlite3.Connection.cursor, connection)


def loader(connection):
    """A function load(token) that makes the connection call csync, by loading csync as an extension."""

    def load(token):
        cursor = probe(connection)()
        cursor.row_factory = None
        try:
            _load_extension(connection, cursor)
            cursor.execute("SELECT csync_python_attach(?)", (token,)).fetchall()
        finally:
            cursor.close()

    return load


def _load_extension(connection, cursor):
    import sqlite3

    statement = "SELECT load_extension(?, ?)", (_csync.__file__, _ENTRY_POINT)
    try:  # works at once where the application has enabled extensions, and then it is left as it is
        cursor.execute(*statement).fetchall()
        return
    except sqlite3.DatabaseError:
        pass
    if not hasattr(connection, "enable_load_extension"):
        raise Unsupported(
            "this Python's sqlite3 module cannot load extensions, which is how csync reaches a live connection; "
            'open the file by its path, csync.open("notes.db"), or use a Python that was built with '
            "--enable-loadable-sqlite-extensions, such as Debian's"
        )
    connection.enable_load_extension(True)
    try:
        cursor.execute(*statement).fetchall()
    finally:
        connection.enable_load_extension(False)
