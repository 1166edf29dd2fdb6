--- postgres.lua FILE URL: the Lua side of tests/python/test_lua_postgres.py: a game's file against a PostgreSQL server.

local csync = require("csync")

local here = assert(csync.open(arg[1]))
assert(here:execute("CREATE TABLE item (id INTEGER PRIMARY KEY, amount NUMERIC, raw BLOB, note TEXT, count INTEGER)"))
assert(here:track("item"))
local there = assert(csync.open(arg[2]))
assert(there:execute("CREATE TABLE item (id bigint PRIMARY KEY, amount numeric, raw bytea, note text, count bigint)"))
assert(there:track("item"))

assert(here:execute("INSERT INTO item VALUES (1, 1.5, ?, 'ä', ?)", csync.blob("\0\255"), csync.integer("9007199254740993")))
assert(there:execute("INSERT INTO item VALUES (2, 2.5, NULL, 'wide', 9223372036854775807)"))
assert(here:sync(there))

-- What no number of this Lua holds has its digits, to the last one, and goes back as it came.
local wide
for change in there:changes():each() do
    wide = change.pk.id == 2 and change.payload or wide
end
assert(tostring(wide.count) == "9223372036854775807")

assert(here:execute("UPDATE item SET note = 'here'"))
assert(there:execute("UPDATE item SET note = 'there', count = count - 1"))
local met = 0
local result = assert(here:sync(there, {
    on_conflict = function(mine, theirs)
        met = met + 1
        return { note = mine.payload.note .. theirs.payload.note, count = theirs.payload.count }
    end,
}))
assert(met == 2 and result.conflicts == 2, met .. " met, " .. tostring(result))
for _, row in ipairs(there:execute("SELECT id, note, count FROM item ORDER BY id")) do
    print(row[1], row[2], tostring(csync.integer(row[3]))) -- print would show 14 digits
end
assert(here:verify(there).equal)
here:close()
there:close()
