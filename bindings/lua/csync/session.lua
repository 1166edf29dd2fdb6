--- csync.Session: a sync, step by step, for hosts with an event loop or coroutines of their own. It does no I/O.

local core = require("csync.core")
local http = require("csync.http")
local json = require("csync.json")
local model = require("csync.model")
local options = require("csync.options")

local Session = {}

-- ---- conflicts as returned values

local COPIED = { "version", "table_name", "pk_json", "operation", "payload_json", "origin", "timestamp", "seq" }

local function copy(change)
    if not change then
        return nil
    end
    local fields = {}
    for _, name in ipairs(COPIED) do
        fields[name] = rawget(change, name)
    end
    return setmetatable(fields, core.Change)
end

--- Names a meeting of two changes: another write to the row makes it another meeting, which is asked about anew.
local function meeting(mine, theirs)
    local parts = {}
    for _, change in ipairs({ mine, theirs }) do
        for _, name in ipairs({ "table_name", "pk_json", "timestamp", "origin", "seq", "payload_json" }) do
            parts[#parts + 1] = tostring(rawget(change, name))
        end
    end
    return table.concat(parts, "\0")
end

--- A resolver that knows only what was decided before. At another conflict it stops the core, which rolls the page back;
-- the page is given again when the decision is there.
local function ask_later(self)
    return function(mine, theirs, base)
        local key = meeting(mine, theirs)
        if self._decisions[key] then
            return self._decisions[key]
        end
        self._question = { key = key, mine = copy(mine), theirs = copy(theirs), base = copy(base) }
        error(self._question, 0)
    end
end

-- ---- making one

--- Session(db, peer, options): peer is the name under which positions are kept. Options as for sync, and `direction`, and
-- `conflicts = "steps"`: a conflict is a step of its own.
local function new(_, db, peer, given)
    given = given or {}
    local self = { _decisions = {} }
    local asked = given
    if given.conflicts ~= nil then
        options.choice("conflicts", given.conflicts, { steps = true }, 2)
        if given.on_conflict or given.strategy then
            error('conflicts = "steps" goes with neither on_conflict nor strategy', 2)
        end
        asked = { on_conflict = ask_later(self) }
        for name, value in pairs(given) do
            asked[name] = value
        end
    end
    local made, message, code, detail = core.session_new(db, peer, options.session(asked))
    if not made then
        return nil, message, code, detail
    end
    self._core = made
    return setmetatable(self, Session)
end

-- ---- steps

local methods = {}
Session.__index = function(self, name)
    if name == "result" then
        return model.result(self._core:_result())
    end
    return methods[name]
end

--- What the session needs now: { kind = "fetch", since, limit, max_bytes }, { kind = "send", batch },
-- { kind = "conflict", mine, theirs, base } or { kind = "done" }. step.request is the HTTP request that fetches or sends.
function methods:next()
    local question = self._question
    if question then
        return { kind = "conflict", mine = question.mine, theirs = question.theirs, base = question.base }
    end
    local step, message, code, detail = self._core:_next()
    if not step then
        return nil, message, code, detail
    end
    self._kind = step.kind
    if step.kind ~= "done" then
        step.request = http.request_of(step)
    end
    return step
end

--- Gives the core an answer; a conflict that has to be asked about keeps the answer for later.
local function give(self, method, answer)
    local ok, done, message, code, detail = pcall(self._core[method], self._core, answer)
    if ok then
        self._again = nil
        self._decisions = done and {} or self._decisions
        return done, message, code, detail
    elseif self._question and done == self._question then
        self._again = { method, answer }
        return true
    end
    error(done, 0)
end

--- Answers a "fetch" step with a Batch or a list of Changes.
function methods:page(changes)
    return give(self, "_page", changes)
end

--- Answers a "send" step with what the peer's apply returned; nil: all taken.
function methods:outcome(answer)
    return give(self, "_outcome", answer)
end

--- The peer failed at the step. true when the session knows a way on, else the failure again.
function methods:refused(message, code, detail)
    return self._core:_refused(message, code, detail)
end

--- Answers a "conflict" step: "local", "remote", "delete" or the merged row.
function methods:decide(answer)
    local question = self._question
    if not question then
        error("the session has not asked about a conflict", 2)
    end
    if type(answer) == "table" then -- what was lent when the page comes again is read anew, so its text is made now
        json.dump_row(answer)
    elseif answer ~= "local" and answer ~= "remote" and answer ~= "delete" then
        error('a decision is "local", "remote", "delete" or a table, not ' .. tostring(answer), 2)
    end
    self._decisions[question.key] = answer
    self._question = nil
    return give(self, self._again[1], self._again[2])
end

local function feed_response(self, response)
    local answer, message, code, detail = http.answer_of(self._kind, response.status, response.body)
    if answer == nil then
        return self:refused(message, code, detail)
    end
    return self._kind == "send" and self:outcome(answer) or self:page(answer)
end

--- Answers whatever step there is: with what the peer's changes or apply returned, nil and why included; with a response
-- { status, body } of its REST API; or with the decision on a conflict.
function methods:feed(answer, message, code, detail)
    if self._question then
        return self:decide(answer)
    elseif answer == nil and message ~= nil then
        return self:refused(message, code, detail)
    elseif type(answer) == "table" and answer.status then
        return feed_response(self, answer)
    elseif self._kind == "send" then
        return self:outcome(answer)
    end
    return self:page(answer)
end

--- Frees what the session holds. Nothing is lost: a sync can be dropped at any step and begun again.
function methods:close()
    self._core:close()
end
Session.__close = methods.close

return setmetatable({}, { __call = new })
