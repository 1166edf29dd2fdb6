--- csync keeps databases in step: replicas are written offline and brought together by two-way sync.
--
--     local csync = require("csync")
--     local db, other = assert(csync.open("save.db")), assert(csync.open("other.db"))
--     db:track("player")
--     other:track("player")
--     print(db:sync(other))
--
-- What the world does wrong returns nil, message, code and a table with the rest; what the caller does wrong is raised. What a
-- callback raises comes out of the call as the same value, and what the call had begun is rolled back.

local core = require("csync.core")
local api = require("csync.api")
local http = require("csync.http")
local model = require("csync.model")
local options = require("csync.options")
local replica = require("csync.replica")
local Session = require("csync.session")
local values = require("csync.values")
require("csync.feed")

--- Which of two changes to the same row wins under a strategy: "local" or "remote".
local function resolve(mine, theirs, strategy)
    return core.resolve(mine, theirs, options.strategy(strategy or "last-write-wins"))
end

--- The CREATE TRIGGER statements that track makes for a table.
local function trigger_sql(db, name, given)
    given = options.check(given, { capture = true }, 2)
    return db:_trigger_sql(name, given.capture)
end

--- Gives fn(level, text) what csync has to say while a call of this state runs, of at least `level`: "debug", "info",
-- "warning", "error". It must not use csync. nil: nothing any more.
local function set_log(fn, level)
    core.set_log(fn, level or "info")
end

return {
    version = core.version,
    null = core.null,
    api = api,
    batch_hash = core.batch_hash,
    blob = values.blob,
    canonical_json = core.canonical_json,
    http = http.http,
    integer = values.integer,
    open = replica.open,
    real = values.real,
    remote = model.remote,
    resolve = resolve,
    set_log = set_log,
    trigger_sql = trigger_sql,
    verify_hash = core.verify_hash,
    Batch = model.Batch,
    Change = model.Change,
    Outcomes = model.Outcomes,
    Position = model.Position,
    Session = Session,
}
