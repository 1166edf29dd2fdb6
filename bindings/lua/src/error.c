/* error.c - nil, message, code, detail. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Where the log begins and where the reader stands, as numbers. */
static void describe_positions(lua_State *L, const csync_error *err)
{
    csl_set_integer(L, "oldest_version", strtoll(err->expected, NULL, 10));
    csl_set_integer(L, "client_version", strtoll(err->actual, NULL, 10));
}

static void push_detail(lua_State *L, const csync_error *err)
{
    lua_createtable(L, 0, 8);
    csl_set_text(L, "code", csync_code_name(err->code));
    csl_set_text(L, "message", err->message);
    csl_set_integer(L, "native_code", err->native_code);
    if (err->table[0])
        csl_set_text(L, "table", err->table);
    if (err->version)
        csl_set_integer(L, "version", err->version);
    if (err->expected[0] || err->actual[0]) {
        csl_set_text(L, "expected", err->expected);
        csl_set_text(L, "actual", err->actual);
    }
    if (err->code == CSYNC_EFULLRESYNC && err->expected[0])
        describe_positions(L, err);
}

int csl_fail(lua_State *L, const csync_error *err)
{
    const char *message = err->message[0] ? err->message : csync_code_name(err->code);

    if (err->code == CSYNC_ENOMEM)
        return luaL_error(L, "not enough memory");
    if (err->code == CSYNC_EMISUSE)
        return luaL_error(L, "%s", message);
    lua_pushnil(L);
    lua_pushstring(L, message);
    lua_pushstring(L, csync_code_name(err->code));
    push_detail(L, err);
    return 4;
}

static int code_of(const char *name)
{
    if (name)
        for (int code = CSYNC_ECLOCK; code < 0; code++)
            if (strcmp(csync_code_name(code), name) == 0)
                return code;
    return CSYNC_ENET; /* a message without a code of ours: from the transport */
}

static void read_field(lua_State *L, int index, const char *name, char *out, size_t size)
{
    lua_getfield(L, index, name);
    if (lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER)
        snprintf(out, size, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
}

void csl_error_read(lua_State *L, int index, csync_error *err)
{
    const char *message = lua_tostring(L, index);

    err->code = code_of(lua_type(L, index + 1) == LUA_TSTRING ? lua_tostring(L, index + 1) : NULL);
    snprintf(err->message, sizeof err->message, "%s", message ? message : "the peer failed");
    if (!lua_istable(L, index + 2))
        return;
    read_field(L, index + 2, "expected", err->expected, sizeof err->expected);
    read_field(L, index + 2, "actual", err->actual, sizeof err->actual);
    read_field(L, index + 2, "table", err->table, sizeof err->table);
}

int csl_error_set(csync_error *err, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    err->code = code;
    return code;
}
