/* types.c - how objects are made, recognized and asked for their fields. */
#include "types.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_BOX "csync.text"
enum { TYPE_CDATA = 10 }; /* of LuaJIT's FFI */

void *csl_new(lua_State *L, const char *type, size_t size)
{
    void *made = csl_newuserdata(L, size);

    memset(made, 0, size);
    luaL_getmetatable(L, type);
    lua_setmetatable(L, -2);
    return made;
}

/* __index: upvalue 1 has the methods, upvalue 2 answers for fields. */
static int index_object(lua_State *L)
{
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1) || lua_isnil(L, lua_upvalueindex(2)))
        return 1;
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_call(L, 2, 1);
    return 1;
}

void csl_type(lua_State *L, const char *name, const char *member, const luaL_Reg *meta,
              const luaL_Reg *methods, lua_CFunction field)
{
    luaL_newmetatable(L, name);
    csl_setfuncs(L, meta);
    lua_pushliteral(L, "csync");
    lua_setfield(L, -2, "__metatable"); /* getmetatable must not hand out __gc */
    lua_newtable(L);
    csl_setfuncs(L, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, member);
    if (field)
        lua_pushcfunction(L, field);
    else
        lua_pushnil(L);
    lua_pushcclosure(L, index_object, 2);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

int csl_is(lua_State *L, int index, const char *type)
{
    int same;

    if (!lua_getmetatable(L, index))
        return 0;
    luaL_getmetatable(L, type);
    same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

void *csl_test(lua_State *L, int index, const char *type)
{
    return lua_type(L, index) == LUA_TUSERDATA && csl_is(L, index, type) ? lua_touserdata(L, index)
                                                                         : NULL;
}

/* ---- texts --------------------------------------------------------------------------------------- */

static int free_text(lua_State *L)
{
    char **box = lua_touserdata(L, 1);

    csync_free(*box);
    *box = NULL;
    return 0;
}

char **csl_text_box(lua_State *L)
{
    return csl_new(L, TEXT_BOX, sizeof(char *));
}

void csl_push_boxed(lua_State *L, char **box)
{
    csl_push_text(L, *box);
    csync_free(*box);
    *box = NULL;
}

void csl_push_text(lua_State *L, const char *text)
{
    if (text)
        lua_pushstring(L, text);
    else
        lua_pushnil(L);
}

void csl_set_text(lua_State *L, const char *name, const char *text)
{
    csl_push_text(L, text);
    lua_setfield(L, -2, name);
}

void csl_set_integer(lua_State *L, const char *name, int64_t value)
{
    csl_push_integer(L, value);
    lua_setfield(L, -2, name);
}

/* ---- integers ------------------------------------------------------------------------------------ */

#if LUA_VERSION_NUM >= 503

void csl_push_integer(lua_State *L, int64_t value)
{
    lua_pushinteger(L, value);
}

static int from_number(lua_State *L, int index, int64_t *value)
{
    int is_integer;

    *value = lua_tointegerx(L, index, &is_integer);
    return is_integer;
}

#else

#define EXACT ((int64_t)1 << 53)

void csl_push_integer(lua_State *L, int64_t value)
{
    char digits[24];

    if (value >= -EXACT && value <= EXACT) {
        lua_pushnumber(L, (lua_Number)value);
        return;
    }
    snprintf(digits, sizeof digits, "%" PRId64, value);
    lua_pushstring(L, digits);
}

/* Beyond 2^53 a number may stand for another integer than was meant: that is for a string to say. */
static int from_number(lua_State *L, int index, int64_t *value)
{
    lua_Number number = lua_tonumber(L, index);

    if (!(number >= -(lua_Number)EXACT && number <= (lua_Number)EXACT))
        return 0;
    *value = (int64_t)number;
    return (lua_Number)*value == number;
}

#endif

/* `end`: what may follow the digits. */
static int from_digits(const char *text, const char *end, int64_t *value)
{
    char *rest;

    if (!text || (*text != '-' && (*text < '0' || *text > '9')))
        return 0;
    errno = 0;
    *value = strtoll(text, &rest, 10);
    return errno == 0 && rest != text && strcmp(rest, end) == 0;
}

static int from_cdata(lua_State *L, int index, int64_t *value)
{
    const char *text;
    int ok;

    if (!luaL_callmeta(L, index, "__tostring"))
        return 0;
    text = lua_tostring(L, -1);
    ok = from_digits(text, "LL", value) || from_digits(text, "ULL", value);
    lua_pop(L, 1);
    return ok;
}

int csl_to_integer(lua_State *L, int index, int64_t *value)
{
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        return from_number(L, index, value);
    case LUA_TSTRING:
        return from_digits(lua_tostring(L, index), "", value);
    case TYPE_CDATA:
        return from_cdata(L, index, value);
    }
    return 0;
}

int64_t csl_check_integer(lua_State *L, int index)
{
    int64_t value = 0;

    if (!csl_to_integer(L, index, &value))
        luaL_argerror(L, index, "expected an integer");
    return value;
}

void csl_open_types(lua_State *L)
{
    static const char *const tables[] = {CSL_CHANGE,  CSL_POSITION, CSL_BLOB,
                                         CSL_INTEGER, CSL_REAL,     NULL};
    static const luaL_Reg text[] = {{"__gc", free_text}, {NULL, NULL}};

    luaL_newmetatable(L, TEXT_BOX);
    csl_setfuncs(L, text);
    lua_pop(L, 1);
    for (int i = 0; tables[i]; i++) { /* what they do is said in Lua */
        luaL_newmetatable(L, tables[i]);
        lua_setfield(L, -2, tables[i] + strlen("csync."));
    }
}
