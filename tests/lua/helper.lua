--- What the Lua specs share. CSYNC_LUA_GC: "aggressive" has the collector run at every opportunity, "generational" (5.4).

local csync = require("csync")

local helper = {}

local mode = os.getenv("CSYNC_LUA_GC")
if mode == "aggressive" then
    collectgarbage("setpause", 0)
    collectgarbage("setstepmul", 1000)
    if _VERSION == "Lua 5.4" then -- LuaJIT's setting is enough to collect all the time
        debug.sethook(collectgarbage, "", 2000)
    end
elseif mode == "generational" and _VERSION == "Lua 5.4" then
    collectgarbage("generational", 1, 1)
end

helper.NOTE = "CREATE TABLE note (id INTEGER PRIMARY KEY, body, votes INTEGER)"
helper.STAMP = "2024-05-01T12:00:00.000Z"
helper.is_jit = rawget(_G, "jit") ~= nil

--- SQLite writes doubles by way of long double, of which valgrind has no more than a double's digits.
function helper.sqlite_writes(number)
    return mode ~= "valgrind" or number % 1 == 0 and math.abs(number) < 2 ^ 53
end

local folder

local function make(name)
    local made = os.execute("mkdir " .. name .. " 2>/dev/null")
    return (made == true or made == 0) and name
end

--- A folder in memory where there is one: what is tested here is not the disk.
local function make_folder()
    local name = os.tmpname()
    os.remove(name)
    return make((name:gsub("^.*/", "/dev/shm/"))) or assert(make(name))
end

--- A path that no other spec uses.
function helper.path(name)
    if not folder then
        folder = make_folder()
    end
    helper.count = (helper.count or 0) + 1
    return ("%s/%d-%s"):format(folder, helper.count, name)
end

function helper.clean()
    if folder then
        os.execute("rm -r " .. folder)
        folder = nil
    end
end

--- Two replicas of table note in files.
function helper.notes(options)
    local made = {}
    for _, name in ipairs({ "left", "right" }) do
        local path = helper.path(name .. ".db")
        local db = assert(csync.open(path, options))
        assert(db:execute(helper.NOTE))
        assert(db:track("note"))
        made[#made + 1] = db
    end
    return made[1], made[2]
end

function helper.close(...)
    for _, db in ipairs({ ... }) do
        db:close()
    end
end

--- Until the clock of the triggers, which counts milliseconds, has moved on.
function helper.wait_a_moment()
    local from = os.clock()
    while os.clock() - from < 0.005 do
    end
end

--- Row 1, edited on both sides since they were last in step.
function helper.conflict()
    local left, right = helper.notes()
    assert(left:execute("INSERT INTO note VALUES (1, 'start', 10)"))
    assert(right:sync(left))
    helper.wait_a_moment()
    assert(left:execute("UPDATE note SET body = 'left', votes = 15"))
    helper.wait_a_moment()
    assert(right:execute("UPDATE note SET body = 'right', votes = 17"))
    return left, right
end

function helper.fill(db, count)
    assert(db:execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            .. "INSERT INTO note SELECT i, 'some text ' || i, 0 FROM n",
        count
    ))
end

--- A function that has to be called exactly `times`, with the collector run after each call; check() says so.
function helper.expect(fn, times)
    local calls = 0
    return function(...)
        calls = calls + 1
        local result = fn(...)
        collectgarbage()
        return result
    end, function()
        assert(calls == (times or 1), ("called %d times, not %d"):format(calls, times or 1))
    end
end

function helper.read_file(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

return helper
