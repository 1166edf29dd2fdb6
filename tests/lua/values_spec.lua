local csync = require("csync")
local helper = require("helper")

local BIG = "9223372036854775807"
local SMALL = "-9223372036854775808"

--- An integer as this Lua has it: a number where it fits, else its digits.
local function as_read(digits)
    if not helper.is_jit then
        return math.tointeger(tonumber(digits)) or digits
    end
    local number = tonumber(digits)
    return ("%.0f"):format(number) == digits and math.abs(number) <= 2 ^ 53 and number or digits
end

local function change(pk, payload)
    return csync.Change({
        version = 1,
        table_name = "t",
        pk = pk,
        operation = payload and "insert" or "delete",
        payload = payload,
        origin = "o",
        timestamp = helper.STAMP,
    })
end

describe("values", function()
    local left, right
    before_each(function()
        left, right = helper.notes()
    end)
    after_each(function()
        helper.close(left, right)
    end)
    teardown(helper.clean)

    it("go through SQL, a sync and a change to the last bit", function()
        local values = {
            csync.null, 0, 1, -1, csync.integer("9007199254740991"), csync.integer("9007199254740992"),
            csync.integer("9007199254740993"), csync.integer("-9007199254740993"), csync.integer(BIG), csync.integer(SMALL),
            0.1, 1e300, 5e-324, 1.7976931348623157e308, math.huge, -math.huge, math.pi, "", "ä€𝄞", 'quote " and \\ and \n',
            "a\0b", csync.blob(""), csync.blob(("\0\255"):rep(300)), "bad \255\128", "9223372036854775807",
        }
        for i = 1, #values do
            if type(values[i]) == "number" and not helper.sqlite_writes(values[i]) then
                values[i] = "a double"
            end
            assert(left:execute("INSERT INTO note VALUES (?, ?, 0)", i, values[i]))
        end
        assert(left:push(right))
        local here = assert(left:execute("SELECT body, typeof(body), quote(body) FROM note ORDER BY id"))
        local there = assert(right:execute("SELECT body, typeof(body), quote(body) FROM note ORDER BY id"))
        assert.same(here, there)
        assert.equal(left:hash(), right:hash())
        local seen = {}
        for one in left:changes():each() do
            seen[one.pk.id] = one.payload.body
        end
        for i = 1, #values do
            local value = values[i]
            local expected = getmetatable(value) == getmetatable(csync.integer(1)) and as_read(value.value) or value
            assert.equal(expected, here[i][1])
            assert.equal(expected, seen[i])
        end
        assert.same({ "null", "integer" }, { here[1][2], here[9][2] })
        assert.same({ BIG, SMALL, "9007199254740993" }, { here[9][3], here[10][3], here[7][3] })
        assert.same({ "text", "blob", "text" }, { here[25][2], here[23][2], here[24][2] })
    end)

    it("are written back as what they were", function()
        assert(left:execute("INSERT INTO note VALUES (1, ?, 0), (2, ?, 0), (3, 5.0, 0), (4, 5, 0)", csync.integer(BIG), BIG))
        for one in left:changes():each() do
            local again = change(one.pk, one.payload)
            assert.equal(csync.canonical_json(one.payload_json), csync.canonical_json(again.payload_json))
        end
    end)

    it("of a resolver's answer are the numbers that they were", function()
        helper.close(left, right)
        left, right = helper.conflict()
        assert(left:execute("UPDATE note SET body = ?", csync.integer(BIG)))
        assert.equal(1, right:sync(left, {
            on_conflict = function(mine, theirs)
                return { body = theirs.payload.body, votes = mine.payload.votes }
            end,
        }).conflicts)
        assert.same({ { as_read(BIG), "integer", 17 } }, right:execute("SELECT body, typeof(body), votes FROM note"))
    end)

    it("are told apart by csync.blob, csync.integer and csync.real", function()
        local row = assert(left:execute(
            "SELECT typeof(?), typeof(?), typeof(?), typeof(?), typeof(?), typeof(?), typeof(?)",
            "x", csync.blob("x"), 1, csync.real(1), csync.integer(1), true, nil
        ))[1]
        assert.same({ "text", "blob", "integer", "real", "integer", "integer", "null" }, row)
        assert.equal(csync.blob("x"), csync.blob("x"))
        assert.are_not.equal(csync.blob("x"), csync.blob("y"))
        assert.equal("x", tostring(csync.blob("x")))
        assert.has_error(function()
            left:execute("SELECT ?", csync.integer("9223372036854775808"))
        end)
        for _, wrong in ipairs({ "1.5", "x", 1.5, {} }) do
            assert.is_false((pcall(csync.integer, wrong)))
        end
    end)

    it("of LuaJIT's FFI are integers", function()
        if not helper.is_jit then
            return
        end
        local ffi = require("ffi")
        local big = assert(load("return 9223372036854775807LL"))() -- Lua 5.4 could not read it
        local row = assert(left:execute("SELECT quote(?), quote(?)", ffi.new("int64_t", -5), big))[1]
        assert.same({ "-5", BIG }, row)
        assert.equal(BIG, csync.integer(big).value)
        assert.equal('{"id":' .. BIG .. "}", change({ id = big }).pk_json)
    end)

    it("that a number would lose digits of are their digits", function()
        local texts = {
            ["0.100000000000000006"] = 0.1, ["0.1"] = 0.1, ["1e22"] = 1e22, ["9e999"] = math.huge,
            ["-8.34860479885612119e+198"] = -8.348604798856121e198, ["12345678901234567890123"] = "12345678901234567890123",
            ["3.14159265358979323846"] = "3.14159265358979323846", ["1e400"] = "1e400",
            ["9007199254740993.0"] = "9007199254740993.0", [BIG] = as_read(BIG), ["1.5"] = 1.5,
        }
        for text, value in pairs(texts) do
            local one = change('{"id":' .. text .. "}")
            assert.equal(value, one.pk.id)
            if type(value) == "string" then
                assert.equal('{"id":' .. text .. "}", change(one.pk).pk_json)
            end
        end
    end)

    it("of any double that SQLite prints are that double", function()
        if not helper.sqlite_writes(0.1) then
            return pending("NOT TESTED under valgrind, where SQLite prints other doubles")
        end
        local seed = 42
        for _ = 1, 500 do
            seed = (seed * 16807) % 2147483647
            local value = (seed / 2147483647 - 0.5) * 10 ^ (seed % 600 - 300)
            local text = left:execute("SELECT printf('%!.18g', ?)", csync.real(value))[1][1]
            assert.equal(value, change('{"id":' .. text .. "}").pk.id)
        end
    end)

    it("are written with no more digits than they need", function()
        local row = '{"a":0.1,"b":1e+300,"c":0.30000000000000004,"e":-1.5}'
        assert.equal(row, change(row).pk and change({ a = 0.1, b = 1e300, c = 0.1 + 0.2, e = -1.5 }).pk_json)
    end)

    it("nest where JSON nests", function()
        local text = '{"a":[1,[],{}],"b":{"c":[null,true,"x"]}}'
        local one = change("{}", text)
        assert.equal(csync.null, one.payload.b.c[1])
        assert.equal(text, csync.canonical_json(change("{}", one.payload).payload_json))
    end)

    it("escape and unescape", function()
        local one = change("{}", [[{"a":"\\uD83D\uDE00 \ud83d\ude00 \u00e4 \/ \b\f\"","\u00e4":1}]])
        assert.equal("\\uD83D\237\184\128", one.payload.a:sub(1, 9))
        assert.matches(" 😀 ä / \b\f\"$", one.payload.a)
        assert.equal(1, one.payload["ä"])
    end)

    it("that are no JSON are refused", function()
        for _, text in ipairs({ "{", '{"a"}', '{"a":}', '{"a":1,}', '{"a":tru}', '{"a":1}x', '{"a":"\\x"}', "[]", '{"a":{"$b":"0"}}' }) do
            local ok, message = pcall(function()
                return change(text).pk
            end)
            assert.is_false(ok)
            assert.is_string(message)
        end
    end)
end)

describe("changes and batches", function()
    it("are equal when all fields are", function()
        assert.equal(change({ id = 1 }), change({ id = 1 }))
        assert.are_not.equal(change({ id = 1 }), change({ id = 2 }))
        assert.equal('csync.Change 1: delete t {"id":1}', tostring(change({ id = 1 })))
    end)

    it("travel as JSON", function()
        local batch = assert(csync.Batch({ change({ id = 1 }, { id = 1, v = "ä" }) }, { origin = "o", to_version = 1 }))
        local back = assert(csync.Batch.from_json(batch:to_json()))
        assert.equal(batch[1], back[1])
        assert.equal("o", back.origin)
        assert.equal(csync.batch_hash(batch), csync.batch_hash({ batch[1] }))
        assert.equal("CSYNC_EINVAL", select(3, csync.Batch.from_json("{")))
        assert.equal("CSYNC_EINVAL", select(3, csync.Outcomes.from_json("[")))
        assert.equal("CSYNC_EINVAL", select(3, csync.Batch({ change("nonsense") })))
    end)

    it("are resolved without a database", function()
        local function at(second)
            local one = change({ id = 1 }, { id = 1 })
            one.timestamp = ("2024-05-01T12:00:0%d.000Z"):format(second)
            return one
        end
        assert.equal("remote", csync.resolve(at(1), at(2)))
        assert.equal("local", csync.resolve(at(2), at(1)))
        assert.equal("local", csync.resolve(at(1), at(2), "client-wins"))
    end)

    it("have positions that travel", function()
        local position = csync.Position.new({ version = 7, epoch = "e", cursor = "" })
        local back = assert(csync.Position.from_json(position:to_json()))
        assert.same({ 7, "e", "" }, { back.version, back.epoch, back.cursor })
        assert.equal("CSYNC_EINVAL", select(3, csync.Position.from_json("[1]")))
    end)
end)
