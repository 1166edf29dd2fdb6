"""A real database between a replica that Lua writes and one that Python writes."""

import contextlib
import shutil
import sqlite3

import pytest

import csync
from exact import contents
from lua_hosts import ROOT, lua
from test_chinook import TABLES

PROGRAM = ROOT / "tests" / "lua" / "chinook.lua"


@pytest.mark.parametrize("version", ["5.4", "jit"])
def test_chinook_goes_from_python_to_lua_and_back(chinook_files, tmp_path, version):
    ours, theirs = (shutil.copy(file, tmp_path / name) for file, name in zip(chinook_files, ("python.db", "lua.db")))
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
