--- :checkhealth notes_sync

local M = {}

-- Neovim 0.8 has it as vim.health.
local health = vim.health or require("health")
local start = health.start or health.report_start
local ok = health.ok or health.report_ok
local problem = health.error or health.report_error

function M.check()
    start("notes_sync")
    local found, csync = pcall(require, "csync")
    if not found then
        return problem("the Lua module csync is not found", { "build it and put it on package.path and package.cpath" })
    end
    ok("csync " .. csync.version)
    local db, message = csync.open(":memory:")
    if not db then
        return problem(message)
    end
    db:close()
    ok("SQLite can be used")
    for _, name in ipairs({ "notes_sync_database", "notes_sync_peer" }) do
        if vim.g[name] then
            ok("g:" .. name .. " is " .. vim.g[name])
        else
            problem("g:" .. name .. " is not set")
        end
    end
end

return M
