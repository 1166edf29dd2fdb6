local csync = require("csync")
local helper = require("helper")

describe("a resolver", function()
    local left, right
    before_each(function()
        left, right = helper.conflict()
    end)
    after_each(function()
        helper.close(left, right)
    end)
    teardown(helper.clean)

    local answers = {
        ["local"] = { "right", 17 },
        remote = { "left", 15 },
        delete = {},
        merged = { "right", 22 },
        nulled = { csync.null, 17 },
        blob = { csync.blob("\0m"), 3 },
    }
    local rows = { merged = { votes = 22 }, nulled = { body = csync.null }, blob = { id = 1, body = csync.blob("\0m"), votes = 3 } }
    for answer, row in pairs(answers) do
        it("decides: " .. answer, function()
            local resolver, check = helper.expect(function()
                return rows[answer] or answer
            end)
            assert.equal(1, assert(right:sync(left, { on_conflict = resolver })).conflicts)
            check()
            assert(left:sync(right))
            for _, db in ipairs({ left, right }) do
                local found = db:execute("SELECT body, votes FROM note")[1] or {}
                assert.same(row, found)
            end
            assert.equal("custom", right:conflicts()[1].strategy)
        end)
    end

    it("sees three changes, which are dead afterwards", function()
        local kept = {}
        local resolver, check = helper.expect(function(mine, theirs, base)
            assert.equal("right", mine.payload.body)
            assert.equal("left", theirs.payload.body)
            assert.equal(right.origin, mine.origin)
            assert.is_true(base == nil or base.payload.body == "start")
            kept.mine, kept.theirs, kept.row = mine, theirs, mine.payload
            return "local"
        end)
        assert(right:sync(left, { on_conflict = resolver }))
        check()
        for _, name in ipairs({ "payload", "pk", "origin" }) do
            local ok, message = pcall(function()
                return kept.mine[name]
            end)
            assert.is_false(ok)
            assert.matches("lent to a callback", message)
        end
        assert.is_false(pcall(right.apply, right, { kept.theirs }))
        assert.equal("csync.Change, dead", tostring(kept.mine))
        assert.equal("right", kept.row.body) -- what was read of it stays
    end)

    it("that answers nonsense is told so, and nothing has happened", function()
        local before = right:hash()
        local function nothing() end
        for _, wrong in ipairs({ nothing, 5, true, "mine", csync.blob("x") }) do
            local ok, message = pcall(right.sync, right, left, {
                on_conflict = wrong == nothing and nothing or function()
                    return wrong
                end,
            })
            if type(wrong) ~= "table" then
                assert.is_false(ok)
                assert.matches('must return "local", "remote", "delete" or a table', message)
            end
        end
        assert.has_error(function()
            right:sync(left, {
                on_conflict = function()
                    return { votes = print }
                end,
            })
        end)
        assert.equal(before, right:hash())
        assert.same({}, right:conflicts())
    end)

    for name, raised in pairs({ a_table = { code = 42 }, a_string = "no", a_number = 7, ["false"] = false }) do
        it("that raises " .. name .. " stops the sync with that very value, rolled back", function()
            left:execute("INSERT INTO note VALUES (2, 'comes first', 0)")
            local before = right:hash()
            local resolver, check = helper.expect(function()
                error(raised, 0)
            end)
            local ok, value = pcall(right.sync, right, left, { on_conflict = resolver })
            assert.is_false(ok)
            assert.is_true(rawequal(raised, value))
            check()
            assert.equal(before, right:hash())
            assert.same({}, right:conflicts())
            assert.equal(1, assert(right:sync(left)).conflicts) -- and it can be done again
            assert.equal(left:hash(), right:hash())
        end)
    end

    it("that raises nil stops the sync, too", function()
        local ok, value = pcall(right.sync, right, left, {
            on_conflict = function()
                error(nil)
            end,
        })
        assert.is_false(ok)
        assert.is_true(value == nil or type(value) == "string")
    end)

    it("cannot yield, and is told what to do", function()
        local before = right:hash()
        local ok, message = coroutine.resume(coroutine.create(function()
            return right:sync(left, {
                on_conflict = function()
                    coroutine.yield("never")
                end,
            })
        end))
        assert.is_false(ok)
        assert.matches("cannot yield; drive a csync.Session", message)
        assert.equal(before, right:hash())
        assert(right:sync(left))
    end)

    it("works in a coroutine", function()
        local result = coroutine.wrap(function()
            return right:sync(left, {
                on_conflict = function()
                    return "local"
                end,
            })
        end)()
        assert.equal(1, result.conflicts)
    end)

    it("cannot use its own replica, but can close it", function()
        local resolver, check = helper.expect(function()
            assert.equal("CSYNC_EBUSY", select(3, right:hash()))
            right:close()
            assert.is_true(right.closed)
            return "remote"
        end)
        assert.equal(1, assert(right:sync(left, { on_conflict = resolver })).conflicts)
        check()
        assert.is_false(pcall(right.hash, right))
    end)

    it("is the last callback after it has failed", function()
        local calls = {}
        pcall(right.sync, right, left, {
            on_conflict = function()
                calls[#calls + 1] = "resolver"
                error("stop")
            end,
            progress = function()
                calls[#calls + 1] = "progress"
            end,
        })
        assert.equal("resolver", calls[#calls])
    end)
end)

describe("progress", function()
    local left, right
    before_each(function()
        left, right = helper.notes()
    end)
    after_each(function()
        helper.close(left, right)
    end)
    teardown(helper.clean)

    it("is reported", function()
        helper.fill(left, 500)
        local last
        assert(right:sync(left, {
            batch_size = 100,
            progress = function(p)
                last = p.phase == "pulling" and p or last
            end,
        }))
        assert.equal(500, last.changes)
        assert.is_true(last.bytes > 0)
    end)

    it("may stop the sync or cancel it", function()
        helper.fill(left, 500)
        local boom = {}
        local ok, raised = pcall(right.sync, right, left, {
            progress = function()
                error(boom)
            end,
        })
        assert.is_false(ok)
        assert.equal(boom, raised)
        assert.same({ { 0 } }, right:execute("SELECT count(*) FROM note"))
        local result, _, code = right:sync(left, {
            batch_size = 100,
            progress = function()
                right:cancel()
            end,
        })
        assert.is_nil(result)
        assert.equal("CSYNC_ECANCELED", code)
    end)
end)

describe("a remote", function()
    local left, right
    before_each(function()
        left, right = helper.notes()
        left:execute("INSERT INTO note VALUES (1, 'left', 0)")
        right:execute("INSERT INTO note VALUES (2, 'right', 0)")
    end)
    after_each(function()
        helper.close(left, right)
    end)
    teardown(helper.clean)

    local function remote_of(db)
        return {
            fetch = function(since, limit)
                return db:changes(since, limit)
            end,
            send = function(batch)
                return db:apply(batch)
            end,
        }
    end

    it("is two functions", function()
        local result = assert(left:sync(csync.remote(remote_of(right))))
        assert.same({ 1, 1 }, { result.pulled, result.pushed })
        assert.equal(left:hash(), right:hash())
    end)

    it("may answer with a list, outcomes as JSON, or nothing", function()
        local sent
        local result = assert(left:sync(csync.remote({
            fetch = function(since, limit)
                local list = {}
                for change in right:changes(since, limit):each() do
                    list[#list + 1] = change
                end
                return list
            end,
            send = function(batch)
                sent = batch
            end,
        })))
        assert.same({ 1, 1 }, { result.pulled, result.pushed })
        local outcomes = assert(right:apply(sent)).outcomes
        assert.equal(1, #assert(csync.Outcomes.from_json(outcomes:to_json())))
        assert.equal(left:hash(), right:hash())
    end)

    it("that cannot be reached fails the call", function()
        for name, answer in pairs({ fetch = { nil, "connection refused" }, send = { nil, "connection refused" } }) do
            local functions = remote_of(right)
            functions[name] = function()
                return answer[1], answer[2]
            end
            local result, message, code = left:sync(csync.remote(functions))
            assert.is_nil(result)
            assert.equal("connection refused", message)
            assert.equal("CSYNC_ENET", code)
        end
        assert(left:sync(csync.remote(remote_of(right))))
    end)

    it("whose log does not lead on is taken a snapshot of", function()
        assert(left:sync(csync.remote(remote_of(right))))
        assert(left:sync(csync.remote(remote_of(right))))
        right:register_client("other", 0)
        right:forget_client("other")
        for i = 3, 6 do
            right:execute("INSERT INTO note VALUES (?, 'more', 0)", i)
        end
        right:execute("DELETE FROM _sync_clients")
        right:register_client("other", right:state().max_version)
        assert(right:purge())
        local result = assert(left:sync(csync.remote(remote_of(right))))
        assert.equal(1, result.resyncs)
        assert.equal(left:hash(), right:hash())
    end)

    it("whose function raises stops the sync with that very value", function()
        for _, name in ipairs({ "fetch", "send" }) do
            local functions, boom = remote_of(right), {}
            functions[name] = function()
                error(boom)
            end
            local ok, raised = pcall(left.sync, left, csync.remote(functions))
            assert.is_false(ok)
            assert.equal(boom, raised)
        end
        for _, wrong in ipairs({ { fetch = function() return 5 end }, { send = function() return 5 end } }) do
            local method = wrong.fetch and left.pull or left.push
            assert.is_false(pcall(method, left, csync.remote(wrong)))
        end
        local boom = {}
        assert.equal(boom, select(2, pcall(left.verify, left, csync.remote({
            digest = function()
                error(boom)
            end,
        }))))
    end)

    it("keeps its position under its name", function()
        local functions = remote_of(right)
        functions.name = "work"
        assert(left:sync(csync.remote(functions)))
        assert.is_true(left:state().last_server_version > 0)
    end)
end)

describe("the log", function()
    teardown(helper.clean)

    it("reaches the state whose call it is about", function()
        local left, right = helper.notes()
        local lines = {}
        csync.set_log(function(level, text)
            lines[#lines + 1] = level .. ": " .. text
        end)
        assert(left:execute("DROP TRIGGER " .. assert(left:execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"))[1][1]))
        left:execute("INSERT INTO note VALUES (1, 'unseen', 0)")
        assert(left:sync(right))
        assert.matches("warning: .*repaired", table.concat(lines, "\n"))
        csync.set_log(nil)
        assert.is_false(pcall(csync.set_log, 5))
        helper.close(left, right)
    end)
end)
