"""A file that Lua opens and a PostgreSQL server are kept in step."""

import pytest

import pg
from lua_hosts import ROOT, lua


@pytest.mark.skipif(pg.programs() is None, reason="NOT TESTED: PostgreSQL is not installed (Debian: postgresql)")
@pytest.mark.parametrize("version", ["5.4", "jit"])
def test_a_lua_file_and_a_server(tmp_path, version):
    with pg.server() as home:
        out = lua(version, ROOT / "tests" / "lua" / "postgres.lua", tmp_path / "game.db", pg.url(home, "postgres"))
    assert out == "1\therethere\t9007199254740992\n2\therethere\t9223372036854775806\n"
