/* module.c - the module csync.core, and the functions that need no replica. */
#include <dlfcn.h>

#include "batch.h"
#include "outcomes.h"
#include "replica.h"

/* core.bind_sqlite(path or nil): the copy in this loaded object, or the one that the program itself has. true, or nil: there
 * is none there; or the failure. The handle is never closed: the copy must stay. */
static int bind_sqlite(lua_State *L)
{
    const char *path = luaL_optstring(L, 1, NULL);
    void *handle = dlopen(path, path ? RTLD_NOW | RTLD_NOLOAD : RTLD_NOW);
    csync_error err = CSYNC_ERROR_INIT;

    if (!handle || !dlsym(handle, "sqlite3_libversion")) {
        lua_pushnil(L);
        return 1;
    }
    if (csync_bind_sqlite(handle, &err))
        return csl_fail(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

static int verify_hash(lua_State *L)
{
    csync_error err = CSYNC_ERROR_INIT;

    if (csync_verify_hash(luaL_checkstring(L, 1), luaL_checkstring(L, 2), &err))
        return csl_fail(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

/* core.resolve(local, remote, strategy) */
static int resolve(lua_State *L)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_change local, remote;
    int decision = 0;

    if (csl_read_change(L, 1, &local, &err) || csl_read_change(L, 2, &remote, &err) ||
        csync_resolve(&local, &remote, (int)luaL_checkinteger(L, 3), &decision, &err))
        return csl_fail(L, &err);
    lua_pushstring(L, decision == CSYNC_KEEP_LOCAL ? "local" : "remote");
    return 1;
}

static int canonical_json(lua_State *L)
{
    csync_error err = CSYNC_ERROR_INIT;
    size_t length;
    const char *json = luaL_checklstring(L, 1, &length);
    char **box = csl_text_box(L);

    if (csync_canonical_json(json, length, box, &err))
        return csl_fail(L, &err);
    csl_push_boxed(L, box);
    return 1;
}

static void add_constants(lua_State *L)
{
#define CONSTANT(name) csl_set_integer(L, #name, name)
    CONSTANT(CSYNC_LAST_WRITE_WINS);
    CONSTANT(CSYNC_SERVER_WINS);
    CONSTANT(CSYNC_CLIENT_WINS);
    CONSTANT(CSYNC_CUSTOM);
    CONSTANT(CSYNC_BOTH);
    CONSTANT(CSYNC_PULL);
    CONSTANT(CSYNC_PUSH);
    CONSTANT(CSYNC_MAY_READ);
    CONSTANT(CSYNC_MAY_WRITE);
#undef CONSTANT
}

__attribute__((visibility("default"))) int luaopen_csync_core(lua_State *L)
{
    static const luaL_Reg functions[] = {{"bind_sqlite", bind_sqlite},
                                         {"verify_hash", verify_hash},
                                         {"resolve", resolve},
                                         {"canonical_json", canonical_json},
                                         {NULL, NULL}};

    lua_newtable(L);
    csl_setfuncs(L, functions);
    csl_open_types(L);
    csl_open_log(L);
    csl_open_batch(L);
    csl_open_outcomes(L);
    csl_open_replica(L);
    csl_open_session(L);
    csl_open_subscription(L);
    csl_open_api(L);
    csl_set_text(L, "version", csync_version());
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    add_constants(L);
    return 1;
}
