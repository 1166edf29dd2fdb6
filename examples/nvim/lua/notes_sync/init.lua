--- Syncs a database of notes while the editor stays responsive: the work is done in a thread of libuv's pool.

local M = { running = false, last = nil }

-- It runs in a Lua state of its own, without vim: it gets texts and returns texts.
local function work(path, cpath, database, peer)
    package.path, package.cpath = path, cpath
    local csync = require("csync")
    local function open(name)
        local db = assert(csync.open(name))
        assert(db:execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, title TEXT, body TEXT)"))
        assert(db:track("note"))
        return db
    end
    local ok, answer = pcall(function()
        local db, other = open(database), open(peer)
        local result, message = db:sync(other)
        db:close()
        other:close()
        return assert(result, message)
    end)
    return ok, tostring(answer)
end

local function finish(done, ok, message)
    M.running, M.last = false, message
    vim.notify("notes: " .. message, ok and vim.log.levels.INFO or vim.log.levels.ERROR)
    if done then
        done(ok, message)
    end
end

--- Begins a sync; done(ok, message) is called on the main loop when it has ended.
function M.sync(done)
    if M.running then
        return vim.notify("notes: a sync is running", vim.log.levels.WARN)
    end
    M.running = true
    local job = vim.loop.new_work(work, vim.schedule_wrap(function(ok, message)
        finish(done, ok, message)
    end))
    job:queue(package.path, package.cpath, vim.g.notes_sync_database, vim.g.notes_sync_peer)
end

return M
