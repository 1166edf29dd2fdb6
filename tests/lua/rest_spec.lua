local csync = require("csync")
local helper = require("helper")

describe("the REST API", function()
    local left, right
    before_each(function()
        left, right = helper.notes()
        helper.fill(right, 5)
        left:execute("INSERT INTO note VALUES (100, 'left', 0)")
    end)
    after_each(function()
        helper.close(left, right)
    end)
    teardown(helper.clean)

    --- A host's HTTP that is a function call.
    local function host(api, is_local)
        return function(method, url, headers, body)
            local path, query = url:match("^https?://[^/]+([^?]*)%??(.*)$")
            local response = assert(api({
                method = method,
                path = path,
                query = query,
                headers = headers,
                body = body,
                is_local = is_local,
            }))
            return response.status, response.body
        end
    end

    it("answers requests", function()
        local api = assert(csync.api({ main = right }))
        local response = assert(api({ method = "GET", path = "/sync/state", query = "db=main", is_local = true }))
        assert.equal(200, response.status)
        assert.matches(right.origin, response.body, 1, true)
        assert.equal("application/json", response.headers["Content-Type"])
        assert.equal(200, api({ method = "GET", path = "/health" }).status)
        assert.equal(404, api({ method = "GET", path = "/nowhere", is_local = true }).status)
        assert.is_true(api({ method = "GET", path = "/sync/state" }).status >= 400)
    end)

    it("is a peer by its URL", function()
        local peer = assert(csync.http("http://localhost:8000/", { request = host(assert(csync.api(right)), true) }))
        local result = assert(left:sync(peer))
        assert.same({ 5, 1 }, { result.pulled, result.pushed })
        assert.equal(left:hash(), right:hash())
        assert.is_true(left:verify(peer).equal)
        assert.equal(0, assert(left:sync(peer)).pulled)
    end)

    it("wants a token where there are grants", function()
        local api = assert(csync.api(right, { grants = { { token = "secret", may = { "read" } } } }))
        local none, _, code = csync.http("https://host", { request = host(api) })
        assert.is_nil(none)
        assert.equal("CSYNC_EAUTH", code)
        local peer = assert(csync.http("https://host", { request = host(api), token = "secret" }))
        assert.equal(5, assert(left:pull(peer)).pulled)
        assert.equal("CSYNC_EAUTH", select(3, left:push(peer)))
    end)

    it("forgets a grant that has expired", function()
        local now = os.time()
        for expires, status in pairs({ [now - 1] = 401, [now - 0.5] = 401, [-5] = 401, [0] = 401, [now + 3600] = 200 }) do
            local api = assert(csync.api(right, { grants = { { token = "secret", expires = expires } } }))
            local headers = { Authorization = "Bearer secret" }
            assert.equal(status, api({ method = "GET", path = "/sync/state", headers = headers }).status)
        end
        for _, wrong in ipairs({ "tomorrow", {}, 0 / 0, math.huge, -math.huge, 2 ^ 53 }) do
            assert.is_false(pcall(csync.api, right, { grants = { { token = "t", expires = wrong } } }))
        end
    end)

    it("is not reached in wrong ways", function()
        local request = host(assert(csync.api(right)), true)
        assert.is_false(pcall(csync.http, "ftp://host", { request = request }))
        assert.is_false(pcall(csync.http, "https://me:pw@host/", { request = request }))
        assert.is_false(pcall(csync.http, "http://host/", { request = request, token = "t" }))
        assert.is_false(pcall(csync.http, "http://host/", {}))
        assert.is_false(pcall(csync.http, "http://host/", { request = request, tokn = "t" }))
        assert.is_false(pcall(csync.api, right, { grants = { { token = "t", may = {} } } }))
        assert.is_false(pcall(csync.api, right, { grants = { { token = "t", may = { "all" } } } }))
        assert.equal("CSYNC_EINVAL", select(3, csync.api({ ["no name"] = right })))
        local down = { request = function() return nil, "refused" end }
        assert.equal("CSYNC_ENET", select(3, csync.http("http://host/", down)))
        local other = { request = function() return 200, "{}" end }
        assert.equal("CSYNC_EPROTO", select(3, csync.http("http://host/", other)))
        local api = assert(csync.api(right))
        right:close()
        assert.is_false(pcall(api, { method = "GET", path = "/health" }))
    end)
end)
