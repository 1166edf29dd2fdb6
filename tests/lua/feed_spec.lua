local csync = require("csync")
local helper = require("helper")

describe("a subscription", function()
    local db, other
    before_each(function()
        db, other = helper.notes()
    end)
    after_each(function()
        helper.close(db, other)
    end)
    teardown(helper.clean)

    it("tells of changes", function()
        local feed = assert(db:subscribe("note"))
        assert.is_nil(feed:next(0))
        db:execute("INSERT INTO note VALUES (1, 'x', 0)")
        local batch = assert(feed:next(5))
        assert.equal("x", batch[1].payload.body)
        assert.equal(batch.to_version, feed.version)
        assert.is_nil((feed:next(0.01)))
        assert.is_true(feed:fileno() > 2)
        assert.is_string(feed.id)
        feed:close()
        feed:close()
        assert.is_true(feed.closed)
        assert.is_false(pcall(feed.next, feed))
    end)

    it("is iterated over until it is closed", function()
        helper.fill(db, 5)
        local feed = assert(db:subscribe("note", nil, { since = 0 }))
        local seen = {}
        for change in feed:each() do
            seen[#seen + 1] = change.pk.id
            if #seen == 5 then
                feed:close()
            end
        end
        assert.same({ 1, 2, 3, 4, 5 }, seen)
    end)

    it("is of one row, or goes on where it was", function()
        local feed = assert(db:subscribe("note", { id = 2 }, { id = "mine", since = 0 }))
        helper.fill(db, 3)
        assert.equal(2, assert(feed:next(5))[1].pk.id)
        assert.is_nil(feed:next(0))
        feed:close()
        db:execute("UPDATE note SET votes = 1")
        local again = assert(db:subscribe("note", { id = 2 }, { id = "mine" }))
        assert.equal(1, assert(again:next(5))[1].payload.votes)
        again:close()
    end)

    it("fails as the world does", function()
        assert.equal("CSYNC_ENOTFOUND", select(3, db:subscribe("nowhere")))
        assert.equal("CSYNC_EINVAL", select(3, db:subscribe("note", { no = 1 })))
        local feed = assert(db:subscribe())
        db:close()
        assert.is_false(pcall(feed.next, feed, 0))
    end)
end)
