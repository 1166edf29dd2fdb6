/* execute.c - SQL from Lua and rows to Lua. NULL is csync.null, a blob is a csync.blob; a string is text. */
#include "replica.h"

#include <math.h>

/* ---- parameters ---------------------------------------------------------------------------------- */

static void bind_data(lua_State *L, int index, csync_value *value, int type)
{
    value->type = type;
    value->data = lua_tolstring(L, index, &value->length);
}

/* A table of the module: its value stays alive in it. */
static int bind_tagged(lua_State *L, int index, csync_value *value, int number)
{
    int tagged = 1;

    lua_getfield(L, index, "value");
    if (csl_is(L, index, CSL_BLOB)) {
        bind_data(L, -1, value, CSYNC_BLOB);
    } else if (csl_is(L, index, CSL_REAL)) {
        value->type = CSYNC_REAL;
        value->real = lua_tonumber(L, -1);
    } else if (csl_is(L, index, CSL_INTEGER)) {
        value->type = CSYNC_INTEGER;
        if (!csl_to_integer(L, -1, &value->integer))
            luaL_error(L, "parameter %d: %s does not fit in 64 bits", number, lua_tostring(L, -1));
    } else {
        tagged = 0;
    }
    lua_pop(L, 1);
    return tagged;
}

#if LUA_VERSION_NUM >= 503

static int is_whole(lua_State *L, int index)
{
    return lua_isinteger(L, index);
}

#else

/* Where all numbers are doubles, a whole one is an integer; csync.real says otherwise. -0.0 is no integer. */
static int is_whole(lua_State *L, int index)
{
    lua_Number number = lua_tonumber(L, index);

    return number != 0 || !signbit(number);
}

#endif

static void bind_number(lua_State *L, int index, csync_value *value)
{
    if (is_whole(L, index) && csl_to_integer(L, index, &value->integer)) {
        value->type = CSYNC_INTEGER;
        return;
    }
    value->type = CSYNC_REAL;
    value->real = lua_tonumber(L, index);
}

static void bind(lua_State *L, int index, csync_value *value, int number)
{
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        return; /* zeroed: CSYNC_NULL */
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(L, index))
            return;
        break;
    case LUA_TBOOLEAN:
        value->type = CSYNC_INTEGER;
        value->integer = lua_toboolean(L, index);
        return;
    case LUA_TNUMBER:
        bind_number(L, index, value);
        return;
    case LUA_TSTRING:
        bind_data(L, index, value, CSYNC_TEXT);
        return;
    case LUA_TTABLE:
        if (bind_tagged(L, index, value, number))
            return;
        break;
    default: /* LuaJIT's 64-bit integers */
        value->type = CSYNC_INTEGER;
        if (csl_to_integer(L, index, &value->integer))
            return;
    }
    luaL_error(L,
               "parameter %d: expected nil, csync.null, a boolean, number, string, csync.blob, "
               "csync.integer or csync.real, not a %s",
               number, luaL_typename(L, index));
}

/* Pushes a userdata with the values of the `count` parameters from `first` on. */
static csync_value *read_parameters(lua_State *L, int first, int count)
{
    csync_value *values = csl_newuserdata(L, ((size_t)count + 1) * sizeof *values);

    memset(values, 0, ((size_t)count + 1) * sizeof *values);
    for (int i = 0; i < count; i++)
        bind(L, first + i, &values[i], i + 1);
    return values;
}

/* ---- rows ---------------------------------------------------------------------------------------- */

typedef struct row {
    csl_call *call;
    int count; /* of rows so far */
    int columns;
    const csync_value *values;
} row;

static void push_value(lua_State *L, const csync_value *value)
{
    switch (value->type) {
    case CSYNC_INTEGER:
        csl_push_integer(L, value->integer);
        return;
    case CSYNC_REAL:
        lua_pushnumber(L, value->real);
        return;
    case CSYNC_TEXT:
        lua_pushlstring(L, value->data ? value->data : "", value->length);
        return;
    case CSYNC_BLOB:
        lua_createtable(L, 0, 1);
        lua_pushlstring(L, value->data ? value->data : "", value->length);
        lua_setfield(L, -2, "value");
        luaL_getmetatable(L, CSL_BLOB);
        lua_setmetatable(L, -2);
        return;
    }
    lua_pushlightuserdata(L, NULL);
}

/* Stack: the table of rows. */
static int add_row(lua_State *L, void *arg)
{
    const row *r = arg;

    lua_createtable(L, r->columns, 0);
    for (int i = 0; i < r->columns; i++) {
        push_value(L, &r->values[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_rawseti(L, 1, r->count);
    return CSYNC_OK;
}

static int on_row(void *user_data, int columns, const char *const *names, const csync_value *values)
{
    row *r = user_data;

    (void)names;
    r->count++;
    r->columns = columns;
    r->values = values;
    return csl_protect(r->call, CSL_ROWS, add_row, r);
}

static int replica_execute(lua_State *L)
{
    const char *sql = luaL_checkstring(L, 2);
    int count = lua_gettop(L) - 2, rc;
    csync_value *values = read_parameters(L, 3, count);
    csl_use use;
    row r = {.call = &use.call};

    lua_newtable(L);
    use.self = csl_replica_check(L, 1);
    use.err = (csync_error)CSYNC_ERROR_INIT;
    csl_call_init(L, &use.call);
    lua_pushvalue(L, use.call.base);
    lua_replace(L, use.call.base + CSL_ROWS);
    use.handle = csl_replica_enter(use.self);
    csl_call_begin(&use.call);
    rc = csl_end(&use,
                 csync_execute(use.handle, sql, values, (size_t)count, on_row, &r, NULL, &use.err));
    if (rc)
        return rc;
    lua_settop(L, use.call.base);
    return 1;
}

void csl_add_execute(lua_State *L)
{
    lua_pushcfunction(L, replica_execute);
    lua_setfield(L, -2, "execute");
}
