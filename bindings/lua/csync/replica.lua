--- csync.Replica and csync.open: what is nicer to say in Lua than in C.

local core = require("csync.core")
local json = require("csync.json")
local model = require("csync.model")
local options = require("csync.options")

local Replica = core.Replica
local with = model.with
local replica = {}

-- ---- which copy of SQLite

-- Bindings that may have a copy of SQLite of their own inside. Two copies in one process break each other's file locks and
-- destroy databases (sqlite.org/howtocorrupt.html, section 2.2.1).
local BINDINGS = { "lsqlite3complete", "lsqlite3", "luasql.sqlite3" }
local bound = false

--- Points csync at the copy of SQLite that the process has: that of a binding, that of the program, else the system's.
local function bind()
    for _, name in ipairs(BINDINGS) do
        local path = package.loaded[name] and package.searchpath and package.searchpath(name, package.cpath)
        if path then
            local found, message, code, detail = core.bind_sqlite(path)
            if found or message then
                return found, message, code, detail
            end
        end
    end
    local _, message, code, detail = core.bind_sqlite()
    return not message, message, code, detail
end

-- ---- open

local OPEN = { origin = true, timeout = true, foreign_keys = true, owner = true }

local function open_options(given)
    given = options.check(given, OPEN, 3)
    local timeout = given.timeout == nil and 5 or given.timeout
    if type(timeout) ~= "number" or timeout < 0 then
        error("timeout must be seconds, not " .. tostring(timeout), 3)
    end
    local milliseconds = math.min(math.floor(timeout * 1000 + 0.5), 2 ^ 31 - 1)
    return {
        origin = given.origin,
        busy_timeout_ms = milliseconds > 0 and milliseconds or -1,
        foreign_keys = given.foreign_keys == false and -1 or 0,
        owner = given.owner,
    }
end

--- A light userdata, or a pointer of LuaJIT's FFI.
local function is_pointer(value)
    return type(value) == "cdata" and tostring(value):find("^cdata<.*%*>: 0x") ~= nil
        or type(value) == "userdata" and core.is_light(value)
end

--- Opens a database and makes it a replica if it is not one yet. `database`: a path, "sqlite:PATH", ":memory:",
-- "postgresql://...", or a sqlite3 * as light userdata or cdata, whose owner has to be given.
function replica.open(database, given)
    local read = open_options(given)
    local kind = type(database)
    if kind ~= "string" and not is_pointer(database) then
        error("a database is a path, a URL or a sqlite3 pointer, not a " .. kind, 2)
    elseif kind ~= "string" and read.owner == nil then
        error("with a sqlite3 pointer, say owner = the connection that it is of: the replica keeps it alive", 2)
    end
    if not bound then
        local ok, message, code, detail = bind()
        if not ok then
            return nil, message, code, detail
        end
        bound = true
    end
    return core.open(database, read)
end

-- ---- tracked tables

local CAPTURE = { full = "full", keys = "keys" }

-- Until one fails.
local function of_each(self, method, names, ...)
    for _, name in ipairs(names) do
        local ok, message, code, detail = method(self, name, ...)
        if not ok then
            return nil, message, code, detail
        end
    end
    return true
end

--- db:track("note", "tag", { capture = "keys" }): captures every write to these tables from now on.
function Replica:track(...)
    local tables, given = { ... }, {}
    if type(tables[#tables]) == "table" then
        given = options.check(table.remove(tables), { capture = true }, 2)
    end
    if #tables == 0 then
        error("track needs the name of a table", 2)
    end
    return of_each(self, self._track, tables, options.choice("capture", given.capture or "full", CAPTURE, 2))
end

--- Stops capturing and forgets the tables' sync state; the rows stay.
function Replica:untrack(...)
    if select("#", ...) == 0 then
        error("untrack needs the name of a table", 2)
    end
    return of_each(self, self._untrack, { ... })
end

--- The tracked tables in order of name: { name, capture, key, columns }.
function Replica:tables()
    return with(json.load, self:_tables())
end

-- ---- sync

local function run(self, peer, read)
    if type(peer) == "userdata" then
        return with(model.result, self:_sync(peer, read))
    elseif model.is_remote(peer) then
        return with(model.result, self:_sync_remote(peer, read))
    elseif type(peer) == "string" then
        error("a URL is reached by functions of the host: csync.http(url, { request = ... })", 3)
    end
    error("a peer is a csync.Replica or a csync.remote, not a " .. type(peer), 3)
end

--- Pulls from the peer, then pushes to it. Returns a Result. After any failure just call it again.
function Replica:sync(peer, given)
    return run(self, peer, options.sync("both", given))
end

--- The first half of sync: takes the peer's changes.
function Replica:pull(peer, given)
    return run(self, peer, options.sync("pull", given))
end

--- The second half of sync: gives the peer this replica's changes.
function Replica:push(peer, given)
    return run(self, peer, options.sync("push", given))
end

--- A page of this replica's log, a Batch: the changes after `since`, a version or a Position.
function Replica:changes(since, limit, given)
    given = options.check(given, { max_bytes = true }, 2)
    limit = options.whole("limit", limit or 1000, 1, 2 ^ 31 - 1, 2)
    if type(since) == "table" then
        return self:_changes(since.version, limit, given.max_bytes or 0, since.epoch, since.origin, since.cursor)
    end
    return self:_changes(since or 0, limit, given.max_bytes or 0)
end

local APPLY = { strategy = true, on_conflict = true, max_retry_passes = true, progress = true }

--- Applies a Batch, or a list of Changes, in one transaction. Returns a Result with `outcomes`.
function Replica:apply(changes, given)
    options.check(given, APPLY, 2)
    return with(model.result, self:_apply(changes, options.sync("both", given)))
end

--- Tells of changes from now on, or from after version `since`: a Subscription. pk: only that row.
function Replica:subscribe(name, pk, given)
    given = options.check(given, { since = true, id = true }, 2)
    local key = type(pk) == "table" and json.dump_row(pk) or pk
    return core.subscribe(self, name, key, given.since ~= nil, given.since or 0, given.id)
end

-- ---- clients and tombstones

local function days_of(days)
    return options.whole("days", days or 90, 1, 1000000, 3)
end

--- Whoever reads this replica's log: { origin, version, last_sync, created, stale }.
function Replica:clients(days)
    return with(json.load, self:_clients(days_of(days)))
end

--- The clients that nothing is kept for any more.
function Replica:stale_clients(days)
    return with(function(clients)
        local stale = {}
        for _, client in ipairs(clients) do
            stale[#stale + 1] = client.stale and client or nil
        end
        return stale
    end, self:clients(days))
end

--- The version up to which every client that is not stale has this log; 0: there is none.
function Replica:safe_purge_version(days)
    return self:_safe_version(days_of(days))
end

--- Drops the log, and forgets deleted rows, before the safe version: { version, entries, tombstones }.
function Replica:purge(days)
    return self:_purge(days_of(days))
end

-- ---- what is in it

--- The changes that won but cannot enter their table yet.
function Replica:parked()
    return with(json.load, self:_parked())
end

--- Who holds this replica's changes back; {} on SQLite.
function Replica:lag()
    return with(json.load, self:_lag())
end

--- What is wrong with the database and what helps: tables of level, subject, text, help.
function Replica:doctor()
    return with(json.load, self:_doctor())
end

--- The conflict audit after entry `since_id`, oldest first.
function Replica:conflicts(since_id, limit)
    limit = options.whole("limit", limit or 1000, 1, 2 ^ 31 - 1, 2)
    return with(function(text)
        local entries = json.load(text)
        for _, entry in ipairs(entries) do
            entry.loser = model.change_of_record(entry.loser)
            entry.winner = model.change_of_record(entry.winner)
        end
        return entries
    end, self:_conflicts(since_id or 0, limit))
end

local function verification(text)
    local report = json.load(text)
    report.rounds, report.bytes = report.compared.rounds, report.compared.bytes
    report.compared = nil
    return report
end

--- Compares the tracked tables with those of a Replica, or of a remote with a digest function.
function Replica:verify(peer, given)
    given = options.check(given, { repair = true, limit = true, progress = true }, 2)
    if type(peer) ~= "userdata" and not model.is_remote(peer) then
        error("a peer is a csync.Replica or a csync.remote, not a " .. type(peer), 2)
    end
    local limit = options.whole("limit", given.limit or 1000, 1, 2 ^ 31 - 1, 2)
    return with(
        verification,
        self:_verify(peer, { repair = given.repair and 1 or 0, limit = limit, progress = given.progress })
    )
end

--- Runs block() in one transaction whose writes, made with db:execute, are not captured. Rolls back when it raises.
function Replica:suppressed(block)
    local began, message, code, detail = self:_suppress_begin()
    if not began then
        return nil, message, code, detail
    end
    local ok, problem = pcall(block)
    if not ok then
        self:_suppress_end(false)
        error(problem, 0)
    end
    return self:_suppress_end(true)
end

return replica
