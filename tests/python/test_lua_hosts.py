"""The Lua examples, run in the programs that they are for."""

import contextlib
import re
import shutil
import sqlite3
import subprocess

import pytest

import csync
from lua_hosts import EXAMPLES, ROOT, environment, lua, needs, run

LONGEST_PAUSE_MS = 50


def rows(path, sql):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("version", ["5.4", "jit"])
def test_the_plain_script(tmp_path, version):
    out = lua(version, EXAMPLES / "lua" / "notes.lua", tmp_path / "laptop.db", tmp_path / "phone.db")
    assert "pulled=1, pushed=1" in out
    assert "1\toat milk\t6" in out and "7\tcall Ada\t1" in out
    assert out.endswith("in step\n")


BLOCKS = re.findall(r"```lua\n(.*?)```", (ROOT / "docs" / "lua.md").read_text(), re.S)


@pytest.mark.parametrize("version", ["5.4", "jit"])
def test_every_program_of_the_page_is_lua_and_names_what_is_there(tmp_path, version):
    for number, block in enumerate(BLOCKS):
        (tmp_path / f"{number}.lua").write_text(block)
        lua(version, "-e", f"assert(loadfile('{tmp_path}/{number}.lua'))")
    for name in sorted(set(re.findall(r"\bcsync\.(\w+)", re.sub(r"--.*", "", "".join(BLOCKS))))):
        lua(version, "-e", f"assert(require('csync').{name}, '{name}')")


@pytest.mark.parametrize("version", ["5.4", "jit"])
def test_the_first_program_of_the_page(tmp_path, version):
    program = BLOCKS[0]
    (tmp_path / "first.lua").write_text(program)
    command = [ROOT / "script" / "lua", version, "first.lua"]
    needs({"5.4": "lua5.4", "jit": "luajit"}[version], version)
    out = subprocess.check_output(command, cwd=tmp_path, text=True)
    assert "pulled=1, pushed=1" in out and out.endswith("true\n")


@pytest.mark.parametrize("version", ["5.4", "jit"])
def test_script_lua_runs_a_file_in_the_callers_folder(tmp_path, version):
    needs({"5.4": "lua5.4", "jit": "luajit"}[version], version)
    (tmp_path / "program.lua").write_text("print(require('csync').version, arg[1])")
    command = [ROOT / "script" / "lua", version, "program.lua", "word"]
    assert subprocess.check_output(command, cwd=tmp_path, text=True) == f"{csync.__version__}\tword\n"


def test_two_players_saves_under_love(tmp_path):
    love = needs("love", "jit")
    game, mine, theirs = tmp_path / "game", tmp_path / "mine.db", tmp_path / "theirs.db"
    shutil.copytree(EXAMPLES / "love", game)  # LOVE finds the game's own modules in the game's folder alone
    home = {"XDG_DATA_HOME": str(tmp_path), "SDL_AUDIODRIVER": "dummy"}

    def play(path, peer, coins, score):
        return run([love, game, path, peer, "ada", coins, score], "jit", LUA_PATH=f"{game}/?.lua;{ROOT}/bindings/lua/?.lua;;", **home)

    play(mine, theirs, 10, 100)  # both devices have 10 coins now
    with csync.open(theirs) as db:
        db.execute("UPDATE player SET coins = coins + 7, best = 300")
    out = play(mine, theirs, 5, 200)
    print(out)
    assert "conflicts=1" in out
    for path in (mine, theirs):
        assert rows(path, "SELECT name, coins, best, level FROM player") == [("ada", 22, 300, 1)]
    with csync.open(mine) as one, csync.open(theirs) as two:
        assert one.hash() == two.hash()


PAUSES = """
local longest, last = 0, vim.loop.hrtime()
local timer = vim.loop.new_timer()
timer:start(0, 1, function()
    local now = vim.loop.hrtime()
    longest, last = math.max(longest, now - last), now
end)
local ended
require("notes_sync").sync(function(ok, message) ended = { ok, message } end)
assert(require("notes_sync").running)
assert(vim.wait(50000, function() return ended ~= nil end, 5))
assert(ended[1], ended[2])
io.stdout:write(ended[2] .. " longest " .. longest / 1e6 .. " ms\\n")
"""


def nvim(tmp_path, *commands):
    program = needs("nvim", "jit")
    settings = {"notes_sync_database": tmp_path / "notes.db", "notes_sync_peer": tmp_path / "peer.db"}
    options = [f"set rtp^={EXAMPLES / 'nvim'}", *(f"let g:{name} = '{value}'" for name, value in settings.items())]
    return run(
        [program, "--headless", "-u", "NONE", "-i", "NONE", *(part for o in options for part in ("--cmd", o)),
         "-c", "runtime plugin/notes_sync.lua", *(part for c in commands for part in ("-c", c)), "-c", "qa!"],
        "jit", XDG_STATE_HOME=str(tmp_path), XDG_DATA_HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path),
    )  # fmt: skip


@pytest.mark.alone
def test_neovim_stays_responsive_while_notes_are_synced(tmp_path, figure):
    with csync.open(tmp_path / "peer.db") as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, title TEXT, body TEXT)")
        db.track("note")
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
            "INSERT INTO note SELECT i, 'note ' || i, 'some text' FROM n"
        )
    (tmp_path / "pauses.lua").write_text(PAUSES)
    out = nvim(tmp_path, f"luafile {tmp_path / 'pauses.lua'}")
    assert "pulled=20000" in out
    longest = float(re.search(r"longest ([\d.]+) ms", out)[1])
    figure(f"Neovim's longest pause while 20000 notes came: {longest:.1f} ms")
    assert longest < LONGEST_PAUSE_MS
    assert rows(tmp_path / "notes.db", "SELECT count(*) FROM note") == [(20000,)]


def test_neovim_has_the_command_and_the_health_check(tmp_path):
    out = nvim(tmp_path, "NotesSync", "lua vim.wait(20000, function() return require('notes_sync').last end)")
    assert "notes: csync.Result(pulled=0, pushed=0" in out
    out = nvim(tmp_path, "checkhealth notes_sync", "lua io.stdout:write(table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), '\\n'))")
    assert "csync 0." in out and "SQLite can be used" in out and "ERROR" not in out
