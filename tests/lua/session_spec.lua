local csync = require("csync")
local helper = require("helper")

describe("a session", function()
    local left, right
    before_each(function()
        left, right = helper.notes()
    end)
    after_each(function()
        helper.close(left, right)
    end)
    teardown(helper.clean)

    --- Drives it with a replica as the peer; returns the kinds of its steps.
    local function drive(session, peer, decide)
        local kinds = {}
        while true do
            local step = assert(session:next())
            kinds[#kinds + 1] = step.kind
            if step.kind == "done" then
                return kinds
            elseif step.kind == "fetch" then
                assert(session:feed(peer:changes(step.since, step.limit, { max_bytes = step.max_bytes })))
            elseif step.kind == "send" then
                assert(session:feed(peer:apply(step.batch)))
            else
                assert(session:feed(decide(step)))
            end
        end
    end

    it("is driven from outside", function()
        helper.fill(left, 25)
        right:execute("INSERT INTO note VALUES (100, 'right', 0)")
        local session = assert(csync.Session(left, right.origin, { batch_size = 10 }))
        local kinds = drive(session, right)
        assert.same({ "fetch", "send", "send", "send", "done" }, kinds)
        assert.same({ 1, 25 }, { session.result.pulled, session.result.pushed })
        assert.equal(left:hash(), right:hash())
        session:close()
        assert.is_false(pcall(session.next, session))
    end)

    it("yields between its steps", function()
        helper.fill(left, 100)
        local session = assert(csync.Session(right, left.origin, { batch_size = 10, direction = "pull" }))
        local driver, turns = coroutine.create(function()
            while true do
                local step = assert(session:next())
                if step.kind == "done" then
                    return session.result
                end
                session:page(coroutine.yield(step))
            end
        end), 0
        local _, step = coroutine.resume(driver)
        while coroutine.status(driver) == "suspended" do
            turns = turns + 1
            assert.same({ { turns * 10 - 10 } }, right:execute("SELECT count(*) FROM note")) -- usable in between
            _, step = coroutine.resume(driver, left:changes(step.since, step.limit))
        end
        assert.equal(10, turns)
        assert.equal(100, step.pulled)
    end)

    it("gives conflicts out as steps", function()
        helper.close(left, right)
        left, right = helper.conflict()
        left:execute("INSERT INTO note VALUES (2, 'new', 0)")
        local session = assert(csync.Session(right, left.origin, { conflicts = "steps" }))
        local seen = {}
        local kinds = drive(session, left, function(step)
            seen[#seen + 1] = { step.mine.payload.body, step.theirs.payload.body }
            return { votes = step.mine.payload.votes + step.theirs.payload.votes }
        end)
        assert.same({ { "right", "left" } }, seen)
        assert.same({ "fetch", "conflict", "send", "done" }, kinds)
        assert(left:sync(right))
        assert.same({ { "right", 32 } }, left:execute("SELECT body, votes FROM note WHERE id = 1"))
        assert.equal(left:hash(), right:hash())
    end)

    it("asks about each conflict once, also of many in a page", function()
        helper.fill(left, 12)
        assert(right:sync(left))
        helper.wait_a_moment()
        left:execute("UPDATE note SET body = 'left'")
        helper.wait_a_moment()
        right:execute("UPDATE note SET body = 'right'")
        local session, asked = assert(csync.Session(right, left.origin, { conflicts = "steps" })), {}
        drive(session, left, function(step)
            local id = step.mine.pk.id
            asked[id] = (asked[id] or 0) + 1
            return ({ "local", "remote", "delete" })[id % 3 + 1]
        end)
        for id = 1, 12 do
            assert.equal(1, asked[id])
        end
        assert.equal(12, session.result.conflicts)
        assert(left:sync(right))
        assert.equal(left:hash(), right:hash())
        assert.same({ { 4, 4 } }, left:execute("SELECT sum(body = 'left'), sum(body = 'right') FROM note"))
    end)

    it("asks again where the row was written meanwhile", function()
        helper.close(left, right)
        left, right = helper.conflict()
        local session, asked = assert(csync.Session(right, left.origin, { conflicts = "steps" })), 0
        drive(session, left, function()
            asked = asked + 1
            if asked == 1 then
                right:execute("UPDATE note SET body = 'later'")
            end
            return "local"
        end)
        assert.equal(2, asked)
        assert.same({ { "later" } }, right:execute("SELECT body FROM note"))
    end)

    it("refuses an answer that is none, and what it has not asked for", function()
        helper.close(left, right)
        left, right = helper.conflict()
        local session = assert(csync.Session(right, left.origin, { conflicts = "steps" }))
        local step = assert(session:next())
        assert(session:page(left:changes(step.since, step.limit)))
        assert.equal("conflict", session:next().kind)
        for _, wrong in ipairs({ "mine", 5, false }) do
            assert.is_false(pcall(session.feed, session, wrong))
        end
        assert.is_false(pcall(session.feed, session))
        assert.is_false(pcall(session.feed, session, { votes = print }))
        assert(session:feed("remote"))
        assert.is_false(pcall(session.decide, session, "local"))
        assert.is_false(pcall(csync.Session, right, "x", { conflicts = "steps", on_conflict = print }))
        assert.is_false(pcall(csync.Session, right, "x", { direction = "up" }))
    end)

    it("goes on after a peer's refusal where it knows a way, else says why", function()
        helper.fill(right, 5)
        local session = assert(csync.Session(left, right.origin, { direction = "pull" }))
        assert(session:next())
        local ok, message, code = session:feed(nil, "no route", "CSYNC_ENET")
        assert.is_nil(ok)
        assert.equal("no route", message)
        assert.equal("CSYNC_ENET", code)
        assert(session:next())
        assert(session:feed(nil, "trimmed", "CSYNC_EFULLRESYNC", { expected = "3", actual = "0" }))
        assert.equal("", session:next().since.cursor)
        drive(session, right)
        assert.equal(1, session.result.resyncs)
        assert.equal(left:hash(), right:hash())
    end)

    it("raises what its resolver raises", function()
        helper.close(left, right)
        left, right = helper.conflict()
        local boom = {}
        local session = assert(csync.Session(right, left.origin, {
            on_conflict = function()
                error(boom)
            end,
        }))
        local step = assert(session:next())
        local ok, raised = pcall(session.page, session, left:changes(step.since, step.limit))
        assert.is_false(ok)
        assert.equal(boom, raised)
    end)

    it("of a closed replica is misuse", function()
        local session = assert(csync.Session(left, "peer"))
        left:close()
        local ok, message = pcall(session.next, session)
        assert.is_false(ok)
        assert.matches("the replica is closed", message)
    end)

    it("speaks HTTP without sockets", function()
        helper.fill(left, 25)
        right:execute("INSERT INTO note VALUES (100, 'right', 0)")
        local api = assert(csync.api(right))
        local session = assert(csync.Session(left, right.origin, { batch_size = 10 }))
        while true do
            local step = assert(session:next())
            if step.kind == "done" then
                break
            end
            step.request.is_local = true
            assert(session:feed(assert(api(step.request))))
        end
        assert.equal(left:hash(), right:hash())
        session = assert(csync.Session(left, right.origin))
        assert(session:next())
        assert.equal("CSYNC_EAUTH", select(3, session:feed({ status = 401, body = "" })))
        assert.equal("CSYNC_EPROTO", select(3, session:feed({ status = 502, body = "<html>" })))
    end)
end)
