--- What csync's calls return and what your functions get: plain tables that depend on no replica.

local core = require("csync.core")
local json = require("csync.json")

local model = {}

--- First value nil: passes nil, message, code, detail on. Else make(value).
function model.with(make, value, ...)
    if value == nil then
        return nil, ...
    end
    return make(value)
end

-- ---- Change

local FIELDS = { "version", "table_name", "pk_json", "operation", "payload_json", "origin", "timestamp", "seq" }
local OPERATIONS = { insert = true, update = true, delete = true }
local TEXTS = { pk = "pk_json", payload = "payload_json" }

--- pk and payload are read when they are asked for.
function core.Change.__index(change, name)
    local text = TEXTS[name] and rawget(change, TEXTS[name])
    if not text then
        return nil
    end
    local row, message = json.load_row(text)
    if not row then
        error(message, 2)
    end
    rawset(change, name, row)
    return row
end

function core.Change.__eq(a, b)
    for _, name in ipairs(FIELDS) do
        if rawget(a, name) ~= rawget(b, name) then
            return false
        end
    end
    return true
end

local function short(text)
    text = tostring(text)
    return #text <= 120 and text or text:sub(1, 117) .. "..."
end

function core.Change.__tostring(change)
    local row = change.payload_json and " " .. short(change.payload_json) or ""
    return ("csync.Change %s: %s %s %s%s"):format(
        tostring(change.version),
        change.operation,
        tostring(change.table_name),
        short(change.pk_json),
        row
    )
end

local function row_text(row)
    return type(row) == "table" and json.dump_row(row) or row
end

--- A Change of the fields version, table_name, pk, operation, payload, origin, timestamp, seq. pk and payload are tables, or
-- JSON texts, which are kept byte for byte.
function model.Change(fields)
    if not OPERATIONS[fields.operation] then
        error('operation must be "insert", "update" or "delete", not ' .. tostring(fields.operation), 2)
    end
    return setmetatable({
        version = fields.version or 0,
        table_name = fields.table_name,
        pk_json = row_text(fields.pk_json or fields.pk),
        operation = fields.operation,
        payload_json = row_text(fields.payload_json or fields.payload),
        origin = fields.origin,
        timestamp = fields.timestamp,
        seq = fields.seq,
    }, core.Change)
end

--- A change in its wire form, as json.load reads it.
function model.change_of_record(record)
    return record
        and model.Change({
            version = record.version,
            table_name = record.table_name,
            pk = record.pk_value_json,
            operation = record.operation:lower(),
            payload = record.payload_json,
            origin = record.origin,
            timestamp = record.timestamp,
            seq = record.seq ~= 0 and record.seq or nil,
        })
end

-- ---- rows that were lent to a callback

local Dead = {}
local function dead()
    error("this row was lent to a callback that has returned; keep a copy of what you need", 3)
end
Dead.__index, Dead.__newindex, Dead.__tostring = dead, dead, function()
    return "csync.Change, dead"
end

--- What was lent is no longer to be used.
function model.kill(change)
    if change then
        setmetatable(change, nil)
        for name in pairs(change) do
            change[name] = nil
        end
        setmetatable(change, Dead)
    end
end

-- ---- Position

local Position = {}
core.Position.__index = Position

function core.Position.__tostring(position)
    return "csync.Position " .. position:to_json()
end

--- A JSON text that Position.from_json reads.
function Position:to_json()
    local parts = { '"version":' .. ("%d"):format(self.version) }
    for _, name in ipairs({ "epoch", "origin", "cursor" }) do
        if self[name] then
            parts[#parts + 1] = json.quote(name) .. ":" .. json.quote(self[name])
        end
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

local function is_text(value)
    return value == nil or type(value) == "string"
end

model.Position = {
    --- A place in a replica's log: version, epoch, origin, cursor.
    new = function(fields)
        return setmetatable({
            version = fields.version or 0,
            epoch = fields.epoch,
            origin = fields.origin,
            cursor = fields.cursor,
        }, core.Position)
    end,
    --- Reads what to_json wrote.
    from_json = function(text)
        local found = json.load(text)
        local is_one = text:find("^%s*{") and found and type(found.version or 0) == "number"
        if not is_one or not (is_text(found.epoch) and is_text(found.origin) and is_text(found.cursor)) then
            return nil, text:sub(1, 80) .. " is no position", "CSYNC_EINVAL"
        end
        return model.Position.new(found)
    end,
}

-- ---- Result

local Result = {}
Result.__index = Result

function Result.__tostring(result)
    local parts = { "pulled=" .. result.pulled, "pushed=" .. result.pushed }
    for name, value in pairs(result) do
        if name ~= "pulled" and name ~= "pushed" and value ~= 0 and type(value) == "number" then
            parts[#parts + 1] = name .. "=" .. value
        end
    end
    return "csync.Result(" .. table.concat(parts, ", ") .. ")"
end

function model.result(counts)
    return setmetatable(counts, Result)
end

-- ---- Batch and Outcomes

--- `for change in batch:each() do`
local function each(list)
    local i = 0
    return function()
        i = i + 1
        return list[i]
    end
end
core.Batch.each = each
core.Outcomes.each = each

model.Batch = setmetatable({ from_json = core.batch_from_json }, {
    --- Batch(changes, { origin, from_version, to_version, has_more, hash })
    __call = function(_, changes, info)
        return core.batch_new(changes or {}, info)
    end,
})
model.Outcomes = { from_json = core.outcomes_from_json }

-- ---- Remote

local REMOTE = { fetch = true, send = true, name = true, digest = true }
local Remote = {}

--- A peer that your own functions reach: fetch(position, batch_size), send(batch), digest(request), and the name under which
-- csync keeps how far it got.
function model.remote(functions)
    for name in pairs(functions) do
        if not REMOTE[name] then
            error("csync.remote knows fetch, send, digest and name, not " .. tostring(name), 2)
        end
    end
    functions.name = functions.name or "remote"
    return setmetatable(functions, Remote)
end

function model.is_remote(value)
    return type(value) == "table" and getmetatable(value) == Remote
end

return model
