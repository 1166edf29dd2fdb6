--- JSON without losing a digit: rows of tables, and csync's own answers.
--
-- A row is a JSON object. {"$b":"hex"} is a csync.blob, {"$t":"hex"} text that is not valid UTF-8, {"$f":"NaN"} is nan and
-- 9e999 infinity. NULL is csync.null. A number that this Lua's numbers cannot hold exactly is a string of its digits.
--
-- A row remembers how such a value was written, so that it is written again as the number that it was: see `tokens`.

local core = require("csync.core")
local values = require("csync.values")

local byte, char, find, format, gsub, sub = string.byte, string.char, string.find, string.format, string.gsub, string.sub
local null = core.null
local math_type = math.type -- nil where all numbers are doubles
local EXACT = 2 ^ 53

local json = {}

--- row -> column -> { value, the JSON that it was read from }, where writing the value would give other JSON.
local tokens = setmetatable({}, { __mode = "k" })

-- What a decoded array of nested JSON has, so that an empty one stays an array.
local Array = {}

local function fail(text, at)
    error({ malformed = format("not JSON at byte %d: %s", at, sub(text, at, at + 20)) })
end

-- ---- numbers

local function is_same_integer(number, text)
    return number > -EXACT and number < EXACT or number == EXACT and text == "9007199254740992"
end

local function integer(text)
    local number = tonumber(text)
    if math_type then
        return math_type(number) == "integer" and number or nil
    end
    return is_same_integer(number, text) and number or nil
end

--- The significant digits of a number's text.
local function digits_of(text)
    local digits = gsub(gsub(text, "[eE].*", ""), "[-.]", "")
    return (gsub(gsub(digits, "^0+", ""), "0+$", ""))
end

--- How far apart two texts of 20 digits are.
local function distance(a, b)
    local high = tonumber(sub(a, 1, 10)) - tonumber(sub(b, 1, 10))
    return math.abs(high * 1e10 + (tonumber(sub(a, 11)) - tonumber(sub(b, 11))))
end

--- Whether `digits`, more than a double is sure to hold, are those of `number`: its own, or the 18 that SQLite prints, of
-- which the last may be off; more than the last only with an exponent, which nobody else writes.
local function is_of(number, digits, text)
    local own = digits_of(format("%." .. #digits - 1 .. "e", number))
    if own == digits then
        return true
    elseif #digits > 18 then
        return false
    elseif find(text, "[eE]") then
        return true
    end
    local exact = gsub(gsub(format("%.19e", number), "e.*", ""), "[-.,]", "")
    return distance(digits .. string.rep("0", 20 - #digits), exact) <= 100
end

local function real(text)
    local number = tonumber(text)
    if number == math.huge or number == -math.huge then
        return (text == "9e999" or text == "-9e999") and number or nil
    end
    local digits = digits_of(text)
    if digits == "" or #digits <= 15 and number ~= 0 then
        return number
    end
    return number ~= 0 and is_of(number, digits, text) and number or nil
end

--- The value of a number's text, and whether writing the value gives something else.
local function number_of(text)
    if not find(text, "[.eE]") then
        local value = integer(text)
        return value or text, not value
    end
    local value = real(text)
    return value or text, not value or not math_type and value % 1 == 0
end

-- ---- reading

local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

local function utf8_char(code)
    if code < 0x80 then
        return char(code)
    elseif code < 0x800 then
        return char(0xC0 + math.floor(code / 64), 0x80 + code % 64)
    elseif code < 0x10000 then
        return char(0xE0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
    end
    return char(
        0xF0 + math.floor(code / 262144),
        0x80 + math.floor(code / 4096) % 64,
        0x80 + math.floor(code / 64) % 64,
        0x80 + code % 64
    )
end

--- The character whose escape is at i, and where it goes on.
local function read_escape(text, i)
    local kind = sub(text, i + 1, i + 1)
    if kind ~= "u" then
        return ESCAPES[kind] or fail(text, i), i + 2
    end
    local code = tonumber(text:match("^%x%x%x%x", i + 2) or fail(text, i), 16)
    local low = code >= 0xD800 and code < 0xDC00 and text:match("^\\u([dD][c-fC-F]%x%x)", i + 6)
    if low then
        return utf8_char(0x10000 + (code - 0xD800) * 1024 + tonumber(low, 16) - 0xDC00), i + 12
    end
    return utf8_char(code), i + 6
end

local function unescape(text)
    local parts, i = {}, 1
    while true do
        local j = find(text, "\\", i, true)
        parts[#parts + 1] = sub(text, i, (j or 0) - 1)
        if not j then
            return table.concat(parts)
        end
        parts[#parts + 1], i = read_escape(text, j)
    end
end

--- The text whose opening quote is at i, and where it goes on.
local function read_string(text, i)
    local j, escaped = i + 1, false
    while true do
        j = find(text, '["\\]', j)
        if not j then
            fail(text, i)
        elseif byte(text, j) == 34 then
            break
        end
        escaped = true
        j = j + 2
    end
    local found = sub(text, i + 1, j - 1)
    return escaped and unescape(found) or found, j + 1
end

local function skip(text, i)
    return find(text, "[^ \t\r\n]", i) or fail(text, i)
end

local read_value

local WORDS = { t = { "true", true }, f = { "false", false }, n = { "null", null } }

local function read_word(text, i)
    local word = WORDS[sub(text, i, i)]
    if not word or sub(text, i, i + #word[1] - 1) ~= word[1] then
        fail(text, i)
    end
    return word[2], i + #word[1]
end

--- Value, where it goes on, and whether writing it gives other JSON.
local function read_number(text, i)
    local _, last = find(text, "^-?%d+%.?%d*", i)
    if not last then
        fail(text, i)
    end
    local _, exponent = find(text, "^[eE][+-]?%d+", last + 1)
    last = exponent or last
    local value, is_other = number_of(sub(text, i, last))
    return value, last + 1, is_other
end

--- What is inside nested JSON has no row that could remember how it was written: a number beyond Lua's is a csync.integer there.
local function read_inner(text, i, how)
    local value, stop, is_other = read_value(text, i, how)
    if is_other and how == "nested" and type(value) == "string" then
        value = setmetatable({ value = value }, core.integer)
    end
    return value, stop
end

-- What stands behind an item: whether it was the last one, and where to go on.
local function after_item(text, i, close)
    i = skip(text, i)
    if byte(text, i) == close then
        return true, i + 1
    elseif byte(text, i) ~= 44 then
        fail(text, i)
    end
    return false, skip(text, i + 1)
end

local function read_array(text, i, how)
    local list, last = setmetatable({}, Array), false
    i = skip(text, i + 1)
    if byte(text, i) == 93 then
        return list, i + 1
    end
    while not last do
        list[#list + 1], i = read_inner(text, i, how)
        last, i = after_item(text, i, 93)
    end
    return list, i
end

--- Calls member(name, i), which returns where its value ends, for each member of the object at i.
local function read_members(text, i, member)
    i = skip(text, i + 1)
    if byte(text, i) == 125 then
        return i + 1
    end
    local last = false
    while not last do
        if byte(text, i) ~= 34 then
            fail(text, i)
        end
        local name
        name, i = read_string(text, i)
        i = skip(text, i)
        if byte(text, i) ~= 58 then
            fail(text, i)
        end
        last, i = after_item(text, member(name, skip(text, i + 1)), 125)
    end
    return i
end

local function from_hex(hex)
    if #hex % 2 == 1 or find(hex, "%X") then
        error({ malformed = "not hex digits: " .. sub(hex, 1, 80) })
    end
    return (gsub(hex, "%x%x", function(pair)
        return char(tonumber(pair, 16))
    end))
end

--- What {"$b":"hex"} and the like stand for.
local function untag(object)
    local tag, text = next(object)
    if next(object, tag) ~= nil or type(text) ~= "string" then
        return object
    elseif tag == "$b" then
        return values.blob(from_hex(text))
    elseif tag == "$t" then
        return from_hex(text)
    elseif tag == "$f" and text == "NaN" then
        return 0 / 0
    end
    return object
end

local function remember(row, name, value, text)
    tokens[row] = tokens[row] or {}
    tokens[row][name] = { value, text }
end

--- The row at i.
local function read_row(text, i)
    local row = {}
    local after = read_members(text, i, function(name, at)
        local value, stop, is_other = read_value(text, at, "nested")
        if is_other then
            remember(row, name, value, sub(text, at, stop - 1))
        elseif type(value) == "table" and getmetatable(value) ~= Array then
            value = untag(value)
        end
        row[name] = value
        return stop
    end)
    return row, after
end

local function snake(name)
    return (gsub(name, "%u", function(letter)
        return "_" .. letter:lower()
    end))
end

local ROWS = { pk = true, payload = true, pkValue = true }

--- One of csync's own answers: names become snake_case, null is left out, and rows are rows, with their text beside.
local function read_record(text, i)
    local record = {}
    local after = read_members(text, i, function(name, at)
        local value, stop
        if ROWS[name] and byte(text, at) == 123 then
            value, stop = read_row(text, at)
            record[snake(name) .. "_json"] = sub(text, at, stop - 1)
        else
            value, stop = read_value(text, at, "record")
            if ROWS[name] and type(value) == "string" then
                record[snake(name) .. "_json"] = value
                value = read_row(value, 1)
            end
        end
        if value ~= null then
            record[snake(name)] = value
        end
        return stop
    end)
    return record, after
end

--- Inside a row: JSON of the user's own.
local function read_nested(text, i)
    local object = {}
    local after = read_members(text, i, function(name, at)
        local stop
        object[name], stop = read_inner(text, at, "nested")
        return stop
    end)
    return object, after
end

--- how: "record" or "nested"
function read_value(text, i, how)
    local first = byte(text, i)
    if first == 34 then
        return read_string(text, i)
    elseif first == 123 then
        return (how == "record" and read_record or read_nested)(text, i)
    elseif first == 91 then
        return read_array(text, i, how)
    elseif first == 45 or first and first >= 48 and first <= 57 then
        return read_number(text, i)
    end
    return read_word(text, i)
end

--- Runs `read` on the whole text. nil, message, code: it is no JSON.
local function whole(read, text, how)
    local ok, value, after = pcall(read, text, find(text, "[^ \t\r\n]") or 1, how)
    if ok and not find(text, "[^ \t\r\n]", after) then
        return value
    elseif ok then
        return nil, "not JSON: something follows the value", "CSYNC_EINVAL"
    elseif type(value) == "table" and value.malformed then
        return nil, value.malformed, "CSYNC_EINVAL"
    end
    error(value, 0)
end

--- The row of a JSON object.
function json.load_row(text)
    if not find(text, "^%s*{") then
        return nil, "a row must be a JSON object, not " .. sub(text, 1, 80), "CSYNC_EINVAL"
    end
    return whole(read_row, text)
end

--- One of csync's own answers.
function json.load(text)
    return whole(read_value, text, "record")
end

-- ---- writing

local QUOTED = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function quote(text)
    return '"' .. gsub(text, '[%z\1-\31"\\]', function(c)
        return QUOTED[c] or format("\\u%04X", byte(c))
    end) .. '"'
end
json.quote = quote

local function to_hex(text)
    return (gsub(text, ".", function(c)
        return format("%02X", byte(c))
    end))
end

-- The second byte of a sequence, where it has less room than the others: no overlong forms, no surrogates.
local SECOND = { [0xE0] = { 0xA0, 0xBF }, [0xED] = { 0x80, 0x9F }, [0xF0] = { 0x90, 0xBF }, [0xF4] = { 0x80, 0x8F } }

local function sequence_length(first)
    if first < 0x80 then
        return 1
    elseif first >= 0xC2 and first <= 0xDF then
        return 2
    elseif first >= 0xE0 and first <= 0xEF then
        return 3
    end
    return first >= 0xF0 and first <= 0xF4 and 4 or nil
end

local function is_sequence(text, i, length)
    local room = SECOND[byte(text, i)] or { 0x80, 0xBF }
    local second = byte(text, i + 1)
    if not second or second < room[1] or second > room[2] then
        return false
    end
    for j = i + 2, i + length - 1 do
        local next_byte = byte(text, j)
        if not next_byte or next_byte < 0x80 or next_byte > 0xBF then
            return false
        end
    end
    return true
end

function json.is_utf8(text)
    local i = find(text, "[\128-\255]")
    while i and i <= #text do
        local length = sequence_length(byte(text, i))
        if not length or length > 1 and not is_sequence(text, i, length) then
            return false
        end
        i = find(text, "[\128-\255]", i + length)
    end
    return true
end

--- 15 digits where they are this double, else as many as it takes.
local function digits_that_suffice(value)
    for digits = 15, 17 do
        local text = gsub(format("%." .. digits .. "g", value), ",", ".")
        if digits == 17 or tonumber(text) == value then
            return text
        end
    end
end

local function dump_real(value)
    if value ~= value then
        error("NaN cannot stand inside nested JSON", 0)
    elseif value == math.huge or value == -math.huge then
        return value > 0 and "9e999" or "-9e999"
    end
    local text = digits_that_suffice(value)
    return find(text, "^-?%d+$") and text .. ".0" or text
end

local function dump_number(value)
    if math_type and math_type(value) == "integer" then
        return format("%d", value)
    elseif not math_type and value % 1 == 0 and value >= -EXACT and value <= EXACT and 1 / value ~= -math.huge then
        return format("%.0f", value)
    end
    return dump_real(value)
end

local dump_plain

local function dump_table(value)
    local parts = {}
    if getmetatable(value) == Array or value[1] ~= nil then
        for i = 1, #value do
            parts[i] = dump_plain(value[i])
        end
        return "[" .. table.concat(parts, ",") .. "]"
    end
    for name, item in pairs(value) do
        parts[#parts + 1] = quote(tostring(name)) .. ":" .. dump_plain(item)
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

--- JSON for everything but the tagged values, at any depth.
function dump_plain(value)
    local kind = type(value)
    if value == null then
        return "null"
    elseif kind == "boolean" then
        return tostring(value)
    elseif kind == "number" then
        return dump_number(value)
    elseif kind == "string" then
        return quote(value)
    elseif kind == "cdata" then
        return values.cdata_digits(value) or error("a row cannot hold this cdata", 0)
    elseif kind ~= "table" then
        error("a row cannot hold a " .. kind, 0)
    end
    local tag = values.kind(value)
    if tag == "integer" then
        return value.value
    elseif tag == "real" then
        return dump_real(value.value)
    elseif tag == "blob" then
        error("a blob cannot stand inside nested JSON", 0)
    end
    return dump_table(value)
end

local function dump_value(value)
    if type(value) == "string" and not json.is_utf8(value) then
        return '{"$t":"' .. to_hex(value) .. '"}'
    elseif type(value) == "number" and value ~= value then
        return '{"$f":"NaN"}'
    elseif values.kind(value) == "blob" then
        return '{"$b":"' .. to_hex(value.value) .. '"}'
    end
    return dump_plain(value)
end

--- The JSON of a value that one of the rows was read with, under this name.
local function token_of(name, value, rows)
    for i = 1, #rows do
        local token = tokens[rows[i]] and tokens[rows[i]][name]
        if token and rawequal(token[1], value) then
            return token[2]
        end
    end
end

--- The JSON object of a table from column names to values. A value that `others`, a list of rows, have under the same name is
-- written as it is written there. Raises for what a row cannot hold.
function json.dump_row(row, others)
    local rows, parts = { row }, {}
    for _, other in ipairs(others or {}) do
        rows[#rows + 1] = other
    end
    for name, value in pairs(row) do
        if type(name) ~= "string" then
            error("the names of columns are strings, not a " .. type(name), 0)
        end
        local text = token_of(name, value, rows)
        if not text then
            local ok
            ok, text = pcall(dump_value, value)
            if not ok then
                error(format("column %q: %s", name, tostring(text)), 0)
            end
        end
        parts[#parts + 1] = quote(name) .. ":" .. text
    end
    table.sort(parts)
    return "{" .. table.concat(parts, ",") .. "}"
end

return json
