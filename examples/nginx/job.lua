--- What a thread of nginx's pool runs, in a Lua state of its own: it gets texts and returns texts.

local M = {}

function M.pull(path, cpath, database, peer)
    package.path, package.cpath = path, cpath
    local csync = require("csync")
    local db, other = assert(csync.open(database)), assert(csync.open(peer))
    local result, message = db:pull(other)
    db:close()
    other:close()
    return result and tostring(result) or "failed: " .. message
end

return M
