--- What nginx.conf calls: the worker's replica, its REST API, and two ways to pull that leave the worker free for others.

local csync = require("csync")

local M = {}

--- In each worker.
function M.open(path)
    M.path = path
    M.db = assert(csync.open(path))
    assert(M.db:execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, title TEXT, body TEXT)"))
    assert(M.db:track("note"))
    -- Without grants only this machine is answered. For others: { grants = { { token = "..." } } }
    M.api = assert(csync.api(M.db))
end

--- Answers a request to the REST API.
function M.serve()
    ngx.req.read_body()
    local response = assert(M.api({
        method = ngx.req.get_method(),
        path = ngx.var.uri,
        query = ngx.var.args,
        headers = ngx.req.get_headers(200),
        body = ngx.req.get_body_data(),
        is_local = ngx.var.remote_addr == "127.0.0.1" or ngx.var.remote_addr == "unix:",
    }))
    ngx.status = response.status
    for name, value in pairs(response.headers) do
        ngx.header[name] = value
    end
    ngx.print(response.body)
end

--- The whole pull in a thread of nginx's pool, on a connection of its own.
function M.pull_in_thread(peer)
    local ok, answer = ngx.run_worker_thread("csync", "job", "pull", package.path, package.cpath, M.path, peer)
    ngx.say(ok and answer or "failed: " .. tostring(answer))
end

--- The pull step by step: the worker is busy for one page at a time, and free while the peer works and between the pages.
function M.pull_in_steps(peer)
    local session = assert(csync.Session(M.db, "peer", { direction = "pull", batch_size = 100 }))
    while true do
        local step = assert(session:next())
        if step.kind == "done" then
            break
        end
        local request = step.request
        local response = ngx.location.capture(peer .. request.path, {
            args = request.query,
            method = request.method == "POST" and ngx.HTTP_POST or ngx.HTTP_GET,
            body = request.body,
        })
        assert(session:feed(response)) -- it has status and body
        ngx.sleep(0)
    end
    ngx.say(tostring(session.result))
    session:close()
end

return M
