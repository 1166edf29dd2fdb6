/* sync.c - the calls of a Replica that move changes or compare: changes, apply, sync, digest, verify. */
#include "batch.h"
#include "outcomes.h"
#include "replica.h"

/* db:_changes(since, limit, max_bytes, epoch, origin, cursor) */
static int replica_changes(lua_State *L)
{
    csync_fetch fetch = {
        .struct_size = sizeof fetch,
        .since = csl_check_integer(L, 2),
        .limit = (int)luaL_checkinteger(L, 3),
        .max_bytes = csl_check_integer(L, 4),
        .epoch = luaL_optstring(L, 5, NULL),
        .origin = luaL_optstring(L, 6, NULL),
        .cursor = luaL_optstring(L, 7, NULL),
    };
    csl_batch *made = csl_batch_new(L);
    int top = lua_gettop(L), rc;
    csl_use use;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_changes(use.handle, &fetch, &made->batch, &use.err));
    if (rc)
        return rc;
    lua_settop(L, top);
    return 1;
}

/* db:_apply(changes, options) -> counts with outcomes */
static int replica_apply(lua_State *L)
{
    csync_result result = {.struct_size = sizeof result};
    csync_error err = CSYNC_ERROR_INIT;
    csl_replica *self = csl_replica_check(L, 1);
    const csync_batch *batch = csl_batch_read(L, 2, &err);
    csync_sync_options options;
    csl_outcomes *made;
    csl_call call;
    csync *handle;
    int rc;

    if (!batch)
        return csl_fail(L, &err);
    made = csl_outcomes_new(L);
    csl_call_init(L, &call);
    csl_options_read(&call, 3, &options);
    handle = csl_replica_enter(self);
    csl_call_begin(&call);
    rc = csync_apply(handle, batch, &options, &made->outcome, &result, &err);
    csl_call_end(&call);
    csl_replica_leave(self);
    if ((rc = csl_call_finish(&call, rc, &err)) != 0)
        return rc;
    csl_push_result(L, &result);
    lua_pushvalue(L, call.base);
    lua_setfield(L, -2, "outcomes");
    return 1;
}

/* db:_sync(peer, options) */
static int replica_sync(lua_State *L)
{
    csync_result result = {.struct_size = sizeof result};
    csync_error err = CSYNC_ERROR_INIT;
    csl_replica *self = csl_replica_check(L, 1), *peer = csl_replica_check(L, 2);
    csync_sync_options options;
    csync *handle, *other;
    csl_call call;
    int rc;

    csl_call_init(L, &call);
    csl_options_read(&call, 3, &options);
    handle = csl_replica_enter(self);
    other = csl_replica_enter(peer);
    csl_call_begin(&call);
    rc = csync_sync(handle, other, &options, &result, &err);
    csl_call_end(&call);
    csl_replica_leave(peer);
    csl_replica_leave(self);
    if ((rc = csl_call_finish(&call, rc, &err)) != 0)
        return rc;
    csl_push_result(L, &result);
    return 1;
}

/* db:_sync_remote(remote, options) */
static int replica_sync_remote(lua_State *L)
{
    csync_result result = {.struct_size = sizeof result};
    csync_error err = CSYNC_ERROR_INIT;
    csl_replica *self = csl_replica_check(L, 1);
    csync_sync_options options;
    csync_remote remote;
    csync *handle;
    csl_call call;
    int rc;

    csl_call_init(L, &call);
    csl_options_read(&call, 3, &options);
    csl_remote_read(&call, 2, &remote);
    handle = csl_replica_enter(self);
    csl_call_begin(&call);
    rc = csync_sync_remote(handle, &remote, &options, &result, &err);
    csl_call_end(&call);
    csl_replica_leave(self);
    if ((rc = csl_call_finish(&call, rc, &err)) != 0)
        return rc;
    csl_push_result(L, &result);
    return 1;
}

static int replica_digest(lua_State *L)
{
    const char *request = luaL_checkstring(L, 2);
    char **box = csl_text_box(L);
    csl_use use;
    int rc;

    csl_begin(L, &use);
    rc = csl_end(&use, csync_digest(use.handle, request, box, &use.err));
    if (rc)
        return rc;
    csl_push_boxed(L, box);
    return 1;
}

/* db:_verify(peer, options): a Replica, or a remote */
static int replica_verify(lua_State *L)
{
    csync_error err = CSYNC_ERROR_INIT;
    csl_replica *self = csl_replica_check(L, 1), *peer = NULL;
    csync_verify_options options;
    csync_remote remote;
    char **box = csl_text_box(L);
    csync *handle;
    csl_call call;
    int rc;

    csl_call_init(L, &call);
    csl_verify_options_read(&call, 3, &options);
    if (csl_test(L, 2, CSL_REPLICA))
        peer = csl_replica_check(L, 2);
    else
        csl_remote_read(&call, 2, &remote);
    handle = csl_replica_enter(self);
    csl_call_begin(&call);
    if (peer)
        rc = csync_verify(handle, csl_replica_enter(peer), &options, box, &err);
    else
        rc = csync_verify_remote(handle, &remote, &options, box, &err);
    csl_call_end(&call);
    if (peer)
        csl_replica_leave(peer);
    csl_replica_leave(self);
    if ((rc = csl_call_finish(&call, rc, &err)) != 0)
        return rc;
    csl_push_boxed(L, box);
    return 1;
}

void csl_add_sync(lua_State *L)
{
    static const luaL_Reg methods[] = {{"digest", replica_digest},
                                       {"_changes", replica_changes},
                                       {"_apply", replica_apply},
                                       {"_sync", replica_sync},
                                       {"_sync_remote", replica_sync_remote},
                                       {"_verify", replica_verify},
                                       {NULL, NULL}};

    csl_setfuncs(L, methods);
}
