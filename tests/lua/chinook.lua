--- chinook.lua PATH PEER ACTION...: the Lua side of tests/python/test_lua_chinook.py. Actions: edit, sync.

local csync = require("csync")

local TABLES = {
    "Album", "Artist", "Customer", "Employee", "Genre", "Invoice", "InvoiceLine", "MediaType", "Playlist", "PlaylistTrack",
    "Track",
}

local db = assert(csync.open(arg[1]))
assert(db:track((unpack or table.unpack)(TABLES)))

local actions = {}

--- Edits, deletes and new rows, in tables that hang together by foreign keys.
function actions.edit()
    assert(db:execute("UPDATE Track SET Name = Name || ' (Lua)', UnitPrice = 1.29 WHERE TrackId % 7 = 0"))
    assert(db:execute("DELETE FROM PlaylistTrack WHERE TrackId % 11 = 0"))
    assert(db:execute("INSERT INTO Artist VALUES (9001, ?)", "Motörhead \239\191\189"))
    assert(db:execute("INSERT INTO Album VALUES (9001, 'Lua', 9001)"))
    assert(db:execute("UPDATE Employee SET ReportsTo = 1 WHERE EmployeeId = 8"))
end

function actions.sync()
    local peer = assert(csync.open(arg[2]))
    print(assert(db:sync(peer, { batch_size = 500 })))
    assert(db:hash() == peer:hash(), "the replicas differ")
    peer:close()
end

for i = 3, #arg do
    actions[arg[i]]()
end
print(db:hash())
db:close()
