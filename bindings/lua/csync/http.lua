--- A replica behind the REST API, without sockets: requests to make, and what their responses mean. The host has its own way
-- to make them: cosockets, libuv, LuaSocket, curl.

local core = require("csync.core")
local json = require("csync.json")
local model = require("csync.model")

local http = {}

local function escape(text)
    return (tostring(text):gsub("[^%w%-._~]", function(c)
        return ("%%%02X"):format(c:byte())
    end))
end

--- "name=value&..." of pairs; nil values are left out.
local function query_of(...)
    local parts, given = {}, { ... }
    for i = 1, select("#", ...), 2 do
        if given[i + 1] ~= nil then
            parts[#parts + 1] = given[i] .. "=" .. escape(given[i + 1])
        end
    end
    return table.concat(parts, "&")
end

local function whole(number)
    return number and ("%.0f"):format(number)
end

--- The request that fetches what a "fetch" step asks for, or sends the batch of a "send" step:
-- { method, path, query, headers, body }.
function http.request_of(step)
    local headers = { Accept = "application/json" }
    if step.kind == "send" then
        headers["Content-Type"] = "application/json"
        return { method = "POST", path = "/sync/changes", query = "", headers = headers, body = step.batch:to_json() }
    end
    local since = step.since
    if since.cursor then
        local query = query_of("cursor", since.cursor, "batchSize", whole(step.limit), "origin", since.origin)
        return { method = "GET", path = "/sync/snapshot", query = query, headers = headers }
    end
    local query = query_of(
        "fromVersion", whole(since.version),
        "epoch", since.epoch,
        "batchSize", whole(step.limit),
        "origin", since.origin
    )
    return { method = "GET", path = "/sync/changes", query = query, headers = headers }
end

--- nil, message, code, detail of a response that is no success, as its problem document says.
local function failure(status, body)
    local problem = json.load(body or "")
    problem = type(problem) == "table" and problem or {}
    local message = ("the peer answered %s%s"):format(
        tostring(status),
        type(problem.detail) == "string" and ": " .. problem.detail or ""
    )
    if status == 401 or status == 403 then
        return nil, message, "CSYNC_EAUTH"
    end
    local code = type(problem.code) == "string" and problem.code or "CSYNC_EPROTO"
    return nil, message, code, { code = code, message = message, expected = problem.expected, actual = problem.actual }
end

--- What a response to the request of a step of this kind means: a Batch or Outcomes; or nil, message, code, detail.
function http.answer_of(kind, status, body)
    if status ~= 200 then
        return failure(status, body)
    end
    return (kind == "send" and core.outcomes_from_json or core.batch_from_json)(body)
end

-- ---- a remote

local OPTIONS = { request = true, token = true }

local function split(url)
    local base, query = url:match("^(https?://[^?#]+)%??([^#]*)$")
    if not base then
        error(url .. " is no http:// or https:// URL of a server", 3)
    elseif base:match("^https?://[^/]*@") then
        error("say who you are with token =, not in the URL", 3)
    end
    return (base:gsub("/+$", "")), query
end

local function is_this_machine(base)
    local host = base:match("^http://(%[[^%]]*%])") or base:match("^http://([^:/]+)")
    return host == "localhost" or host == "127.0.0.1" or host == "[::1]"
end

--- A function ask(request) -> status, body that joins the URL, its query and the token to each request.
local function asker(url, given)
    local base, query = split(url)
    if given.token and not base:match("^https:") and not is_this_machine(base) then
        error("a token goes over https:// only, or to this machine", 3)
    end
    return function(request)
        local parts = query .. (query ~= "" and request.query ~= "" and "&" or "") .. request.query
        local headers = request.headers
        headers["User-Agent"] = "csync/" .. core.version
        headers.Authorization = given.token and "Bearer " .. given.token
        return given.request(request.method, base .. request.path .. (parts ~= "" and "?" .. parts or ""), headers, request.body)
    end
end

local function state_request()
    return { method = "GET", path = "/sync/state", query = "", headers = { Accept = "application/json" } }
end

--- What is asked of the replica behind the URL is kept under its origin, however it is reached.
local function origin_of(ask)
    local status, body = ask(state_request())
    if not status then
        return nil, body or "the peer cannot be reached", "CSYNC_ENET"
    elseif status ~= 200 then
        return failure(status, body)
    end
    local state = json.load(body)
    if type(state) ~= "table" or type(state.origin) ~= "string" then
        return nil, "the peer is no replica of csync: it does not say its origin", "CSYNC_EPROTO"
    end
    return state.origin
end

local function exchange(ask, step)
    local status, body = ask(http.request_of(step))
    if not status then
        return nil, body or "the peer cannot be reached", "CSYNC_ENET"
    end
    return http.answer_of(step.kind, status, body)
end

local function digest(ask, text)
    local headers = { Accept = "application/json", ["Content-Type"] = "application/json" }
    local status, body = ask({ method = "POST", path = "/sync/digest", query = "", headers = headers, body = text })
    if not status then
        return nil, body or "the peer cannot be reached", "CSYNC_ENET"
    elseif status ~= 200 then
        return failure(status, body)
    end
    return body
end

--- csync.http(url, { request = f, token = t }): a remote that reaches the REST API at `url` through
-- f(method, url, headers, body), which returns status and body, or nil and why.
function http.http(url, given)
    for name in pairs(given) do
        if not OPTIONS[name] then
            error("there is no option " .. tostring(name), 2)
        end
    end
    if type(given.request) ~= "function" then
        error("csync.http needs request = function(method, url, headers, body)", 2)
    end
    local ask = asker(url, given)
    local origin, message, code, detail = origin_of(ask)
    if not origin then
        return nil, message, code, detail
    end
    return model.remote({
        name = origin,
        fetch = function(position, limit)
            return exchange(ask, { kind = "fetch", since = position, limit = limit })
        end,
        send = function(batch)
            return exchange(ask, { kind = "send", batch = batch })
        end,
        digest = function(text)
            return digest(ask, text)
        end,
    })
end

return http
