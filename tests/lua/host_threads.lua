--- What host.c runs in several states in several threads at a time: each has replicas of its own and one file together.

local csync = require("csync")

local path = os.getenv("CSYNC_SHARED")
local shared = assert(csync.open(path, { timeout = 60 }))
assert(shared:execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, body, votes INTEGER)"))
assert(shared:track("note"))
local db = assert(csync.open(":memory:"))
assert(db:execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body, votes INTEGER)"))
assert(db:track("note"))

for round = 1, 20 do
    assert(db:execute("INSERT INTO note VALUES (?, 'x', 0)", number * 1000 + round))
    assert(db:sync(shared, {
        on_conflict = function()
            return "remote"
        end,
    }))
    collectgarbage()
end
assert(#db:execute("SELECT id FROM note WHERE id / 1000 = ?", number) == 20)
