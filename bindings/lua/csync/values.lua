--- The values that SQL has and Lua has no type for: blobs, integers beyond a number, reals that are whole.

local core = require("csync.core")

local values = {}

local KINDS = { [core.blob] = "blob", [core.integer] = "integer", [core.real] = "real" }

--- "blob", "integer", "real", or nil.
function values.kind(value)
    return type(value) == "table" and KINDS[getmetatable(value)] or nil
end

local function tostring_value(self)
    return tostring(self.value)
end

local function equal(a, b)
    return a.value == b.value and getmetatable(a) == getmetatable(b)
end

for metatable in pairs(KINDS) do
    metatable.__tostring = tostring_value
    metatable.__eq = equal
end

--- Bytes. A string is text.
function values.blob(bytes)
    if type(bytes) ~= "string" then
        error("a blob is made of a string, not a " .. type(bytes), 2)
    end
    return setmetatable({ value = bytes }, core.blob)
end

--- The digits of a 64-bit integer of LuaJIT's FFI, or nil.
function values.cdata_digits(value)
    return tostring(value):match("^(-?%d+)U?LL$")
end

--- An integer of any size: from its digits, a number, or a 64-bit integer of LuaJIT's FFI.
function values.integer(value)
    local digits
    if type(value) == "cdata" then
        digits = values.cdata_digits(value)
    elseif type(value) == "string" then
        digits = value:match("^-?%d+$")
    elseif type(value) == "number" and value % 1 == 0 then
        digits = math.type and math.type(value) == "integer" and ("%d"):format(value) or ("%.0f"):format(value)
    end
    if not digits then
        error("an integer is made of its digits, not of " .. tostring(value), 2)
    end
    return setmetatable({ value = digits }, core.integer)
end

--- A real, also where it is whole.
function values.real(value)
    if type(value) ~= "number" then
        error("a real is made of a number, not a " .. type(value), 2)
    end
    return setmetatable({ value = value }, core.real)
end

return values
