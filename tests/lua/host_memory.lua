--- What host.c runs in a state that runs out of memory: every way from Lua to the core and back.

local csync = require("csync")

local function replica()
    local db = assert(csync.open(":memory:"))
    assert(db:execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body, votes INTEGER)"))
    assert(db:track("note"))
    return db
end

local left, right = replica(), replica()
left:execute("INSERT INTO note VALUES (1, 'start', 0)")
right:sync(left)

local function check(value, message, code)
    -- a peer's function that ran out of memory is refused by the core in its own words
    if value == nil and message then
        error(message .. " " .. code, 0)
    end
    return value
end

arm(true)

check(left:execute("UPDATE note SET body = ?, votes = ?", csync.blob("left"), 1))
check(right:execute("UPDATE note SET body = 'right'"))
check(right:sync(left, {
    on_conflict = function(mine, theirs)
        return { votes = mine.payload.votes + theirs.payload.votes }
    end,
    progress = function() end,
}))
check(right:sync(csync.remote({
    fetch = function(since, limit)
        local list = {}
        for change in check(left:changes(since, limit)):each() do
            list[#list + 1] = change
        end
        return list
    end,
    send = function(batch)
        return left:apply(batch)
    end,
    digest = function(request)
        return left:digest(request)
    end,
})))
check(right:verify(csync.remote({
    digest = function(request)
        return left:digest(request)
    end,
})))
local session = check(csync.Session(left, "peer", { direction = "push", batch_size = 1 }))
local step = check(session:next())
while step.kind ~= "done" do
    check(session:feed(check(right:apply(step.batch))))
    step = check(session:next())
end
local api = check(csync.api(left, { grants = { { token = "secret" } } }))
check(api({ method = "GET", path = "/sync/changes", query = "fromVersion=0", headers = { Authorization = "Bearer secret" } }))
local feed = check(left:subscribe("note", { id = 1 }, { since = 0 }))
check(feed:next(0))
check(csync.Batch.from_json(check(left:changes()):to_json()))
check(left:conflicts())
check(left:tables())
check(left:state())
check(left:execute("SELECT * FROM note"))

arm(false)
assert(left:execute("SELECT 1")) -- the connection is not left in a transaction
