"""A real database between a replica that Lua writes and one that Python writes."""

import contextlib
import sqlite3

import pytest

import csync
from exact import contents
from lua_hosts import ROOT, lua
from test_chinook import TABLES

PROGRAM = ROOT / "tests" / "lua" / "chinook.lua"


@pytest.mark.parametrize("version", ["5.4", "jit"])
def test_chinook_goes_from_python_to_lua_and_back(chinook, tmp_path, version):
    ours, theirs = tmp_path / "python.db", tmp_path / "lua.db"
    with contextlib.closing(sqlite3.connect(ours)) as connection:
        connection.executescript("BEGIN;" + chinook + ";COMMIT")
        schema = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
    with contextlib.closing(sqlite3.connect(theirs)) as connection:
        connection.executescript(";".join(schema))
    with csync.open(ours) as db:
        db.track(*TABLES)
        lua(version, PROGRAM, theirs, ours, "sync", "edit")
        db.execute("UPDATE Track SET Composer = 'Python' WHERE TrackId % 5 = 0")
        db.execute("UPDATE Artist SET Name = Name || X'00' WHERE ArtistId = 1")
        out = lua(version, PROGRAM, theirs, ours, "sync")
        assert out.splitlines()[-1] == db.hash()
    assert contents(ours) == contents(theirs)
    for path in (ours, theirs):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
