--- love examples/love SAVE.db PEER.db PLAYER COINS SCORE: plays a little, then syncs the save in a thread while the game goes
-- on, and prints how long the longest frame was.

local saves = require("saves")

-- A thread has a Lua of its own: the paths are handed over, the database is opened there.
local worker = [[
    local path, cpath, mine, peer = ...
    require("love.filesystem")
    package.path, package.cpath = path, cpath
    local result, message = require("saves").sync(mine, peer)
    love.thread.getChannel("synced"):push(result and tostring(result) or "failed: " .. message)
]]

local longest, frames, thread = 0, 0, nil

function love.load(arguments)
    local path, peer, name, coins, score = unpack(arguments)
    local db = saves.open(path)
    assert(db:execute(
        "INSERT INTO player VALUES (?, ?, ?, 1) ON CONFLICT (name) DO UPDATE SET "
            .. "coins = coins + excluded.coins, best = max(best, excluded.best)",
        name, tonumber(coins), tonumber(score)
    ))
    db:close()
    thread = love.thread.newThread(worker)
    thread:start(package.path, package.cpath, path, peer)
end

function love.update(dt)
    frames = frames + 1
    longest = frames > 2 and math.max(longest, dt) or 0 -- the first frames hold the loading
    local problem = thread:getError()
    local message = problem or love.thread.getChannel("synced"):pop()
    if message then
        print(message)
        print(("%d frames, the longest %.1f ms"):format(frames, longest * 1000))
        love.event.quit(problem and 1 or 0)
    end
    love.timer.sleep(0.001)
end
