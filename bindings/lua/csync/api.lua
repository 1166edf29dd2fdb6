--- csync.api: the REST API as a function from request to response, for whatever server the host has.

local core = require("csync.core")
local options = require("csync.options")

local Api = {}
Api.__index = Api

local MAY = { read = core.CSYNC_MAY_READ, write = core.CSYNC_MAY_WRITE }

local function may_of(words)
    local may, seen = 0, {}
    for _, word in ipairs(words or { "read", "write" }) do
        local code = options.choice("may", word, MAY, 3)
        may = may + (seen[word] and 0 or code)
        seen[word] = true
    end
    if may == 0 then
        error("a grant's may must hold some of read, write", 3)
    end
    return may
end

-- A list that names none would let see every table where nobody meant it.
local function tables_of(names)
    if names ~= nil and (type(names) ~= "table" or #names == 0) then
        error("a grant's tables must hold names of tables, or be nil for every table", 3)
    end
    return names
end

-- Milliseconds since 1970; 0: never. What is past stays so, also before 1970.
local function milliseconds(expires)
    if expires == nil then
        return 0
    end
    if type(expires) ~= "number" or not (math.abs(expires) < 2 ^ 43) then
        error("a grant's expires must be seconds since 1970, as of os.time(), or nil for never", 3)
    end
    return math.max(1, math.floor(expires * 1000))
end

local GRANT = { token = true, client = true, database = true, may = true, tables = true, expires = true }

--- csync.api(db) or csync.api({ name = db, ... }), which requests choose with ?db=name. Options: grants, a list of
-- { token, client, database, may, tables, expires }, without which only requests from this machine are answered; max_body in
-- bytes. expires: the time, as of os.time(), from when on a grant counts no more.
local function new(databases, given)
    given = options.check(given, { grants = true, max_body = true }, 2)
    local made = core.api_new(given.max_body or 0)
    for name, db in pairs(type(databases) == "table" and databases or { main = databases }) do
        local ok, message, code, detail = made:_add(name, db)
        if not ok then
            return nil, message, code, detail
        end
    end
    for _, grant in ipairs(given.grants or {}) do
        options.check(grant, GRANT, 2)
        local ok, message, code, detail = made:_grant(
            grant.token,
            grant.client,
            grant.database,
            may_of(grant.may),
            tables_of(grant.tables),
            milliseconds(grant.expires)
        )
        if not ok then
            return nil, message, code, detail
        end
    end
    return setmetatable({ _core = made }, Api)
end

local function flat(headers)
    local list = {}
    for name, value in pairs(headers or {}) do
        for _, one in ipairs(type(value) == "table" and value or { value }) do
            list[#list + 1] = name
            list[#list + 1] = tostring(one)
        end
    end
    return list
end

--- The response { status, headers, body } to a request { method, path, query, headers, body, is_local }. What a request does
-- wrong is a response, too. is_local: it comes from this machine (what a proxy has forwarded does not).
function Api:__call(request)
    local status, list, body = self._core:_handle(
        request.method,
        request.path,
        request.query,
        flat(request.headers),
        request.body or "",
        request.is_local
    )
    if not status then
        return nil, list, body
    end
    local headers = {}
    for i = 1, #list, 2 do
        headers[list[i]] = list[i + 1]
    end
    return { status = status, headers = headers, body = body }
end

return new
