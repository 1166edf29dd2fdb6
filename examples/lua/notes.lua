--- Two files of notes, edited apart and brought together: lua notes.lua LAPTOP.db PHONE.db

local csync = require("csync")

local function open(path)
    local db = assert(csync.open(path))
    assert(db:execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, title TEXT, votes INTEGER)"))
    assert(db:track("note"))
    return db
end

local laptop, phone = open(arg[1]), open(arg[2])
assert(laptop:execute("INSERT INTO note VALUES (1, 'milk', 1)"))
assert(phone:execute("INSERT INTO note VALUES (7, 'call Ada', 1)"))
print(assert(laptop:sync(phone)))

-- Both edit the same note: each adds votes, and the resolver keeps them all.
assert(laptop:execute("UPDATE note SET votes = votes + 2 WHERE id = 1"))
assert(phone:execute("UPDATE note SET votes = votes + 3, title = 'oat milk' WHERE id = 1"))
local result, message, code = laptop:sync(phone, {
    on_conflict = function(mine, theirs, base)
        local before = base and base.payload.votes or 0
        return {
            title = theirs.payload.title,
            votes = mine.payload.votes + theirs.payload.votes - before,
        }
    end,
})
if not result then
    print("not now: " .. message .. " (" .. code .. ")") -- later the same call goes on where it was
    os.exit(1)
end

for _, row in ipairs(laptop:execute("SELECT id, title, votes FROM note ORDER BY id")) do
    print(row[1], row[2], row[3])
end
print(laptop:hash() == phone:hash() and "in step" or "apart")
laptop:close()
phone:close()
