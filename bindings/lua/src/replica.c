/* replica.c - csync.Replica: opening, closing, and the calls about what is in it. */
#include "replica.h"

#include <stdio.h>

/* ---- uses and close ------------------------------------------------------------------------------ */

csl_replica *csl_replica_check(lua_State *L, int index)
{
    csl_replica *self = luaL_checkudata(L, index, CSL_REPLICA);

    if (!self->handle || self->closing)
        luaL_error(L, "the replica is closed");
    return self;
}

csync *csl_replica_enter(csl_replica *self)
{
    self->uses++;
    return self->handle;
}

static void close_now(csl_replica *self)
{
    csync *handle = self->handle;

    self->handle = NULL;
    csync_close(handle);
}

void csl_replica_leave(csl_replica *self)
{
    if (--self->uses == 0 && self->closing)
        close_now(self);
}

void csl_begin(lua_State *L, csl_use *use)
{
    use->self = csl_replica_check(L, 1);
    use->err = (csync_error)CSYNC_ERROR_INIT;
    csl_call_init(L, &use->call);
    use->handle = csl_replica_enter(use->self);
    csl_call_begin(&use->call);
}

int csl_end(csl_use *use, int rc)
{
    csl_call_end(&use->call);
    csl_replica_leave(use->self);
    return csl_call_finish(&use->call, rc, &use->err);
}

/* close(), __gc and __close. In a callback the end of the outermost call closes. */
static int replica_close(lua_State *L)
{
    csl_replica *self = luaL_checkudata(L, 1, CSL_REPLICA);

    self->closing = 1;
    if (self->uses == 0)
        close_now(self);
    return 0;
}

static int replica_cancel(lua_State *L)
{
    csl_replica *self = luaL_checkudata(L, 1, CSL_REPLICA);

    if (self->handle)
        csync_cancel(self->handle);
    return 0;
}

static int replica_field(lua_State *L)
{
    csl_replica *self = luaL_checkudata(L, 1, CSL_REPLICA);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";

    if (strcmp(name, "origin") == 0)
        lua_pushstring(L, self->origin);
    else if (strcmp(name, "closed") == 0)
        lua_pushboolean(L, !self->handle || self->closing);
    else
        lua_pushnil(L);
    return 1;
}

static int replica_tostring(lua_State *L)
{
    csl_replica *self = luaL_checkudata(L, 1, CSL_REPLICA);

    lua_pushfstring(L, "csync.Replica %s%s", self->origin,
                    self->handle && !self->closing ? "" : ", closed");
    return 1;
}

/* ---- open ---------------------------------------------------------------------------------------- */

static void read_open_options(lua_State *L, int index, csync_open_options *out)
{
    *out = (csync_open_options){.struct_size = sizeof *out};
    lua_getfield(L, index, "busy_timeout_ms");
    out->busy_timeout_ms = (int)lua_tointeger(L, -1);
    lua_getfield(L, index, "foreign_keys");
    out->foreign_keys = (int)lua_tointeger(L, -1);
    lua_pop(L, 2);
    lua_getfield(L, index, "origin");
    out->origin = luaL_optstring(L, -1, NULL); /* it stays on the stack */
}

static int note_origin(csl_replica *self, csync_error *err)
{
    csync_state state = {.struct_size = sizeof state};
    int rc = csync_get_state(self->handle, &state, err);

    snprintf(self->origin, sizeof self->origin, "%s", state.origin);
    return rc;
}

/* The sqlite3 * of another binding: a light userdata, or a pointer of LuaJIT's FFI. */
static void *connection_at(lua_State *L, int index)
{
    if (lua_islightuserdata(L, index))
        return lua_touserdata(L, index);
    return *(void *const *)lua_topointer(L, index);
}

/* core.is_light(value) */
static int is_light(lua_State *L)
{
    lua_pushboolean(L, lua_islightuserdata(L, 1) && lua_touserdata(L, 1) != NULL);
    return 1;
}

/* core.open(url or pointer, options) */
static int open_replica(lua_State *L)
{
    const char *url = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
    void *db = url ? NULL : connection_at(L, 1);
    csync_error err = CSYNC_ERROR_INIT;
    csync_open_options options;
    csl_replica *self;
    csl_call call;
    int rc;

    read_open_options(L, 2, &options);
    self = csl_new(L, CSL_REPLICA, sizeof *self);
    if (!url) { /* the connection has to outlive the replica */
        lua_pushvalue(L, 2);
        csl_keep(L, -2);
    }
    csl_call_init(L, &call);
    csl_call_begin(&call);
    rc = url ? csync_open(&self->handle, url, &options, &err)
             : csync_open_sqlite(&self->handle, db, NULL, &options, &err);
    if (rc == 0)
        rc = note_origin(self, &err);
    csl_call_end(&call);
    if ((rc = csl_call_finish(&call, rc, &err)) != 0)
        return rc;
    lua_settop(L, call.base);
    return 1;
}

/* ---- what is in it ------------------------------------------------------------------------------- */

static int capture_at(lua_State *L, int index)
{
    static const char *const names[] = {"full", "keys", NULL};

    return luaL_checkoption(L, index, "full", names) + CSYNC_CAPTURE_FULL;
}

static int yes(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

static int replica_track(lua_State *L)
{
    const char *table = luaL_checkstring(L, 2);
    csync_track_options options = {.struct_size = sizeof options, .capture = capture_at(L, 3)};
    csl_use use;
    int rc;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_track(use.handle, table, &options, &use.err));
    return rc ? rc : yes(L);
}

static int replica_untrack(lua_State *L)
{
    const char *table = luaL_checkstring(L, 2);
    csl_use use;
    int rc;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_untrack(use.handle, table, &use.err));
    return rc ? rc : yes(L);
}

/* What the core says as JSON. */
static int report(lua_State *L, int (*of)(csync *, char **, csync_error *))
{
    char **box = csl_text_box(L);
    csl_use use;
    int rc;

    csl_begin(L, &use);
    rc = csl_end(&use, of(use.handle, box, &use.err));
    if (rc)
        return rc;
    csl_push_boxed(L, box);
    return 1;
}

static int replica_tables(lua_State *L)
{
    return report(L, csync_tables);
}

static int replica_trigger_sql(lua_State *L)
{
    const char *table = luaL_checkstring(L, 2);
    int capture = capture_at(L, 3), rc;
    char **box = csl_text_box(L);
    csl_use use;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_trigger_sql(use.handle, table, capture, box, &use.err));
    if (rc)
        return rc;
    csl_push_boxed(L, box);
    return 1;
}

static int replica_state(lua_State *L)
{
    csync_state s = {.struct_size = sizeof s};
    csl_use use;
    int rc;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_get_state(use.handle, &s, &use.err));
    if (rc)
        return rc;
    lua_createtable(L, 0, 7);
    csl_set_text(L, "origin", s.origin);
    csl_set_integer(L, "max_version", s.max_version);
    csl_set_integer(L, "last_server_version", s.last_server_version);
    csl_set_integer(L, "last_push_version", s.last_push_version);
    csl_set_integer(L, "tables", s.tables);
    csl_set_integer(L, "parked", s.parked);
    csl_set_integer(L, "conflicts", s.conflicts);
    return 1;
}

static int replica_parked(lua_State *L)
{
    return report(L, csync_parked);
}

static int replica_lag(lua_State *L)
{
    return report(L, csync_lag);
}

static int replica_doctor(lua_State *L)
{
    return report(L, csync_doctor);
}

static int replica_conflicts(lua_State *L)
{
    int64_t since = csl_check_integer(L, 2);
    int limit = (int)luaL_checkinteger(L, 3), rc;
    char **box = csl_text_box(L);
    csl_use use;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_conflicts(use.handle, since, limit, box, &use.err));
    if (rc)
        return rc;
    csl_push_boxed(L, box);
    return 1;
}

static int replica_hash(lua_State *L)
{
    char hex[CSYNC_HASH_SIZE];
    csl_use use;
    int rc;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_hash(use.handle, hex, &use.err));
    if (rc)
        return rc;
    lua_pushstring(L, hex);
    return 1;
}

static int replica_suppress_begin(lua_State *L)
{
    csl_use use;
    int rc;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_suppress_begin(use.handle, &use.err));
    return rc ? rc : yes(L);
}

static int replica_suppress_end(lua_State *L)
{
    int commit = lua_toboolean(L, 2), rc;
    csl_use use;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_suppress_end(use.handle, commit, &use.err));
    return rc ? rc : yes(L);
}

void csl_open_replica(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", replica_close},
                                    {"__close", replica_close},
                                    {"__tostring", replica_tostring},
                                    {NULL, NULL}};
    static const luaL_Reg methods[] = {{"close", replica_close},
                                       {"cancel", replica_cancel},
                                       {"hash", replica_hash},
                                       {"state", replica_state},
                                       {"_track", replica_track},
                                       {"_untrack", replica_untrack},
                                       {"_tables", replica_tables},
                                       {"_trigger_sql", replica_trigger_sql},
                                       {"_parked", replica_parked},
                                       {"_lag", replica_lag},
                                       {"_doctor", replica_doctor},
                                       {"_conflicts", replica_conflicts},
                                       {"_suppress_begin", replica_suppress_begin},
                                       {"_suppress_end", replica_suppress_end},
                                       {NULL, NULL}};

    csl_type(L, CSL_REPLICA, "Replica", meta, methods, replica_field);
    lua_pushcfunction(L, open_replica);
    lua_setfield(L, -2, "open");
    lua_pushcfunction(L, is_light);
    lua_setfield(L, -2, "is_light");
    lua_getfield(L, -1, "Replica");
    csl_add_sync(L);
    csl_add_clients(L);
    csl_add_execute(L);
    lua_pop(L, 1);
}
