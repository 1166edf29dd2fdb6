--- The options of sync, pull, push, apply and Session, checked and in the form that the C side reads.

local core = require("csync.core")
local json = require("csync.json")
local model = require("csync.model")

local options = {}

local STRATEGIES = {
    ["last-write-wins"] = core.CSYNC_LAST_WRITE_WINS,
    ["server-wins"] = core.CSYNC_SERVER_WINS,
    ["client-wins"] = core.CSYNC_CLIENT_WINS,
    custom = core.CSYNC_CUSTOM,
}
local DIRECTIONS = { both = core.CSYNC_BOTH, pull = core.CSYNC_PULL, push = core.CSYNC_PUSH }

--- Raises where `given` has a name that is not in `known`: a mistyped option must not be ignored.
function options.check(given, known, level)
    given = given or {}
    if type(given) ~= "table" then
        error("the options are a table, not a " .. type(given), level + 1)
    end
    for name in pairs(given) do
        if not known[name] then
            error("there is no option " .. tostring(name), level + 1)
        end
    end
    return given
end

--- The code of a word.
function options.choice(name, value, codes, level)
    if codes[value] == nil then
        local words = {}
        for word in pairs(codes) do
            words[#words + 1] = '"' .. word .. '"'
        end
        table.sort(words)
        error(("%s must be one of %s, not %s"):format(name, table.concat(words, ", "), tostring(value)), level + 1)
    end
    return codes[value]
end

function options.whole(name, value, least, most, level)
    if type(value) ~= "number" or value % 1 ~= 0 or value < least or value > most then
        error(("%s must be %d to %d, not %s"):format(name, least, most, tostring(value)), level + 1)
    end
    return value
end

local function merge(answer, changes)
    local rows = {}
    for _, change in pairs(changes) do
        rows[#rows + 1] = change.payload
    end
    return "merge", json.dump_row(answer, rows)
end

local ANSWERS = { ["local"] = true, remote = true, delete = true }

--- What the C side reads of a resolver's answer.
local function decision(answer, changes)
    if ANSWERS[answer] then
        return answer
    elseif type(answer) == "table" then
        return merge(answer, changes)
    end
    error(
        'on_conflict must return "local", "remote", "delete" or a table (the merged row), not '
            .. (type(answer) == "string" and '"' .. answer .. '"' or tostring(answer)),
        0
    )
end

--- The function that the C side calls. What was lent is dead afterwards, also where the resolver has failed.
function options.resolver(on_conflict)
    return function(mine, theirs, base)
        local changes = { mine, theirs, base }
        local ok, answer, row = pcall(function()
            return decision(on_conflict(mine, theirs, base), changes)
        end)
        for _, change in pairs(changes) do
            model.kill(change)
        end
        if not ok then
            error(answer, 0)
        end
        return answer, row
    end
end

local SYNC = {
    strategy = true,
    on_conflict = true,
    batch_size = true,
    max_retry_passes = true,
    progress = true,
    full_resync = true,
}
local SESSION = setmetatable({ direction = true, conflicts = true }, { __index = SYNC })

local function strategy_of(given, level)
    local strategy = given.strategy or (given.on_conflict and "custom" or "last-write-wins")
    local code = options.choice("strategy", strategy, STRATEGIES, level + 1)
    if (strategy == "custom") ~= (given.on_conflict ~= nil) then
        error(('on_conflict and strategy = "custom" go together, not strategy = "%s"'):format(strategy), level + 1)
    end
    return code
end

local function must_be_callable(name, value, level)
    local metatable = type(value) == "table" and getmetatable(value)
    if value ~= nil and type(value) ~= "function" and not (metatable and metatable.__call) then
        error(("%s must be a function, not a %s"):format(name, type(value)), level + 1)
    end
end

local function read(direction, given, level)
    must_be_callable("on_conflict", given.on_conflict, level + 1)
    must_be_callable("progress", given.progress, level + 1)
    local passes = options.whole("max_retry_passes", given.max_retry_passes or 3, 0, 1000000, level + 1)
    return {
        direction = options.choice("direction", direction, DIRECTIONS, level + 1),
        strategy = strategy_of(given, level + 1),
        on_conflict = given.on_conflict and options.resolver(given.on_conflict),
        batch_size = options.whole("batch_size", given.batch_size or 1000, 1, 10000, level + 1),
        max_retry_passes = passes == 0 and -1 or passes, -- 0 is the C side's word for the default
        progress = given.progress,
        full_resync = given.full_resync == false and -1 or 0,
    }
end

function options.sync(direction, given)
    return read(direction, options.check(given, SYNC, 3), 3)
end

function options.session(given)
    given = options.check(given, SESSION, 3)
    return read(given.direction or "both", given, 3)
end

--- The code of a strategy for csync.resolve.
function options.strategy(name)
    return options.choice("strategy", name, STRATEGIES, 2)
end

return options
