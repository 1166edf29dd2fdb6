local csync = require("csync")
local helper = require("helper")

describe("what is forgotten", function()
    teardown(helper.clean)

    it("is collected in any order", function()
        for order = 1, 6 do
            local left, right = helper.notes()
            local things = {
                left,
                assert(csync.Session(left, "peer", { conflicts = "steps" })),
                assert(left:subscribe("note")),
                assert(csync.api(left)),
                assert(left:changes()),
            }
            things[2]:next()
            right:close()
            left = nil
            for i = 1, #things do
                things[(i + order) % #things + 1] = false
                collectgarbage()
            end
        end
    end)

    it("is collected also where a callback knows the session", function()
        local weak = setmetatable({}, { __mode = "v" })
        do
            local left, right = helper.conflict()
            local session
            session = assert(csync.Session(right, left.origin, {
                on_conflict = function()
                    return session and "local"
                end,
            }))
            local step = assert(session:next())
            assert(session:page(left:changes(step.since, step.limit)))
            weak[1], weak[2] = session, right
        end
        collectgarbage()
        collectgarbage()
        collectgarbage()
        assert.is_nil(weak[1])
        assert.is_nil(weak[2])
    end)

    it("keeps its replica while it is used", function()
        local path = helper.path("kept.db")
        local function subscribe()
            local db = assert(csync.open(path))
            db:execute(helper.NOTE)
            db:track("note")
            return assert(db:subscribe("note")), db.origin
        end
        local feed = subscribe()
        collectgarbage()
        collectgarbage()
        local other = assert(csync.open(path))
        other:execute("INSERT INTO note VALUES (1, 'x', 0)")
        assert.equal(1, #assert(feed:next(5)))
        feed:close()
        other:close()
    end)

    it("is collected inside a callback of its own replica", function()
        local left, right = helper.conflict()
        local feed, session = assert(right:subscribe("note")), assert(csync.Session(right, left.origin))
        session:next()
        local resolver, check = helper.expect(function()
            feed, session = nil, nil
            for _ = 1, 3 do
                collectgarbage()
            end
            return "local"
        end)
        assert(right:sync(left, { on_conflict = resolver }))
        check()
        helper.close(left, right)
    end)

    it("is closed by <close> in Lua 5.4", function()
        if helper.is_jit then
            return
        end
        local db = assert(load([[
            local csync = ...
            local db <close> = assert(csync.open(":memory:"))
            db:execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
            db:track("t")
            local session <close> = assert(csync.Session(db, "x"))
            local feed <close> = assert(db:subscribe("t"))
            assert(not db.closed)
            return db
        ]]))(csync)
        assert.is_true(db.closed)
    end)

    it("is not to be had from inside", function()
        local db = assert(csync.open(":memory:"))
        assert.equal("csync", getmetatable(db))
        assert.is_false(pcall(setmetatable, db, {}))
        db:close()
    end)
end)

describe("a connection of another binding", function()
    it("is used as it is", function()
        if not helper.is_jit then
            return -- Lua 5.4 has no FFI to get a sqlite3 * with
        end
        local ffi = require("ffi")
        ffi.cdef("int sqlite3_open(const char *, void **); int sqlite3_close(void *);")
        local sqlite = ffi.load("libsqlite3.so.0")
        local out = ffi.new("void *[1]")
        assert.equal(0, sqlite.sqlite3_open(":memory:", out))
        assert.is_false(pcall(csync.open, out[0]))
        local db = assert(csync.open(out[0], { owner = out }))
        assert(db:execute(helper.NOTE))
        assert(db:track("note"))
        db:close()
        assert.equal(0, sqlite.sqlite3_close(out[0]))
    end)
end)
