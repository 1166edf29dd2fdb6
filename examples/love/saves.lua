--- A player's save: what is in it, and what becomes of it when two devices have played on.

local csync = require("csync")

local saves = {}

function saves.open(path)
    local db = assert(csync.open(path))
    assert(db:execute([[
        CREATE TABLE IF NOT EXISTS player (name TEXT PRIMARY KEY, coins INTEGER, best INTEGER, level INTEGER)]]))
    assert(db:track("player"))
    return db
end

--- No coin is lost and none is there twice: both devices' gains are added to what both started from. The best score is the
-- better one, and so is the level.
function saves.merge(mine, theirs, base)
    local a, b = mine.payload, theirs.payload
    if not a or not b then
        return a and "local" or "remote" -- a deleted save comes back when the other device plays on
    end
    local before = base and base.payload and base.payload.coins or math.min(a.coins, b.coins)
    return {
        coins = a.coins + b.coins - before,
        best = math.max(a.best, b.best),
        level = math.max(a.level, b.level),
    }
end

function saves.sync(path, peer)
    local db, other = saves.open(path), saves.open(peer)
    local result, message, code = db:sync(other, { on_conflict = saves.merge })
    db:close()
    other:close()
    return result, message, code
end

return saves
