/* compat.h - what differs between Lua 5.4 and LuaJIT or Lua 5.1, all of it. */
#ifndef CSL_COMPAT_H
#define CSL_COMPAT_H
#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM >= 504

static inline void *csl_newuserdata(lua_State *L, size_t size)
{
    return lua_newuserdatauv(L, size, 1);
}

static inline void csl_setfuncs(lua_State *L, const luaL_Reg *functions)
{
    luaL_setfuncs(L, functions, 0);
}

/* Pops a table and keeps it alive with the userdata at `index`. */
static inline void csl_keep(lua_State *L, int index)
{
    lua_setiuservalue(L, index, 1);
}

static inline void csl_kept(lua_State *L, int index)
{
    lua_getiuservalue(L, index, 1);
}

#define csl_rawlen(L, index) lua_rawlen(L, index)

#elif LUA_VERSION_NUM == 501

static inline void *csl_newuserdata(lua_State *L, size_t size)
{
    return lua_newuserdata(L, size);
}

static inline void csl_setfuncs(lua_State *L, const luaL_Reg *functions)
{
    luaL_register(L, NULL, functions);
}

/* The environment is the one value that goes with a userdata here, and the collector follows it. */
static inline void csl_keep(lua_State *L, int index)
{
    lua_setfenv(L, index);
}

static inline void csl_kept(lua_State *L, int index)
{
    lua_getfenv(L, index);
}

#define csl_rawlen(L, index) lua_objlen(L, index)

#else
#error "csync is for Lua 5.4, and for LuaJIT or Lua 5.1"
#endif
#endif
