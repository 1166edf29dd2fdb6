/* clients.c - the calls of a Replica about who reads its log, and what need not be kept for them. */
#include "replica.h"

static int replica_clients(lua_State *L)
{
    int days = (int)luaL_checkinteger(L, 2), rc;
    char **box = csl_text_box(L);
    csl_use use;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_clients(use.handle, days, box, &use.err));
    if (rc)
        return rc;
    csl_push_boxed(L, box);
    return 1;
}

static int replica_register_client(lua_State *L)
{
    const char *origin = luaL_checkstring(L, 2);
    int64_t version = lua_isnoneornil(L, 3) ? 0 : csl_check_integer(L, 3);
    csl_use use;
    int rc;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_register_client(use.handle, origin, version, &use.err));
    if (rc)
        return rc;
    lua_pushboolean(L, 1);
    return 1;
}

static int replica_forget_client(lua_State *L)
{
    const char *origin = luaL_checkstring(L, 2);
    csl_use use;
    int rc;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_forget_client(use.handle, origin, &use.err));
    if (rc)
        return rc;
    lua_pushboolean(L, 1);
    return 1;
}

static int replica_safe_version(lua_State *L)
{
    int days = (int)luaL_checkinteger(L, 2), rc;
    int64_t version = 0;
    csl_use use;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_safe_version(use.handle, days, &version, &use.err));
    if (rc)
        return rc;
    csl_push_integer(L, version);
    return 1;
}

static int replica_purge(lua_State *L)
{
    csync_purge_options options = {.struct_size = sizeof options,
                                   .stale_days = (int)luaL_checkinteger(L, 2)};
    csync_purged purged = {.struct_size = sizeof purged};
    csl_use use;
    int rc;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_purge(use.handle, &options, &purged, &use.err));
    if (rc)
        return rc;
    lua_createtable(L, 0, 3);
    csl_set_integer(L, "version", purged.version);
    csl_set_integer(L, "entries", purged.entries);
    csl_set_integer(L, "tombstones", purged.tombstones);
    return 1;
}

void csl_add_clients(lua_State *L)
{
    static const luaL_Reg methods[] = {{"register_client", replica_register_client},
                                       {"forget_client", replica_forget_client},
                                       {"_clients", replica_clients},
                                       {"_safe_version", replica_safe_version},
                                       {"_purge", replica_purge},
                                       {NULL, NULL}};

    csl_setfuncs(L, methods);
}
