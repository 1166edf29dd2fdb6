/* feed.c - csync.Subscription: being told of changes. */
#include "batch.h"
#include "replica.h"

typedef struct feed {
    csync_subscription *handle; /* NULL: closed */
    csl_replica *replica; /* kept alive as this userdata's own table */
} feed;

static feed *check(lua_State *L)
{
    feed *self = luaL_checkudata(L, 1, CSL_SUBSCRIPTION);

    if (!self->handle)
        luaL_error(L, "the subscription is closed");
    return self;
}

/* core.subscribe(replica, table, pk, resume, since, id) */
static int subscribe(lua_State *L)
{
    csl_replica *replica = csl_replica_check(L, 1);
    csync_subscribe_options options = {
        .struct_size = sizeof options,
        .table = luaL_optstring(L, 2, NULL),
        .pk = luaL_optstring(L, 3, NULL),
        .resume = lua_toboolean(L, 4),
        .since = csl_check_integer(L, 5),
        .id = luaL_optstring(L, 6, NULL),
    };
    feed *self = csl_new(L, CSL_SUBSCRIPTION, sizeof *self);
    csl_use use;
    int rc;

    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    csl_keep(L, -2);
    self->replica = replica;
    csl_begin(L, &use);
    rc = csl_end(&use, csync_subscribe(&self->handle, use.handle, &options, &use.err));
    if (rc)
        return rc;
    lua_settop(L, use.call.base);
    return 1;
}

/* feed:_next(timeout_ms) -> Batch, or nil: nothing yet */
static int feed_next(lua_State *L)
{
    feed *self = check(L);
    int timeout_ms = (int)luaL_checkinteger(L, 2), rc;
    csl_batch *made = csl_batch_new(L);
    csync_error err = CSYNC_ERROR_INIT;
    csl_call call;

    if (!self->replica->handle || self->replica->closing)
        return luaL_error(L, "the replica is closed");
    csl_call_init(L, &call);
    csl_replica_enter(self->replica);
    csl_call_begin(&call);
    rc = csync_subscription_next(self->handle, timeout_ms, &made->batch, &err);
    csl_call_end(&call);
    csl_replica_leave(self->replica);
    if ((rc = csl_call_finish(&call, rc, &err)) != 0)
        return rc;
    lua_settop(L, call.base);
    if (!made->batch)
        lua_pushnil(L);
    return 1;
}

static int feed_fileno(lua_State *L)
{
    lua_pushinteger(L, csync_subscription_fd(check(L)->handle));
    return 1;
}

/* close(), __gc and __close. The core does not mind which of replica and subscription goes first. */
static int feed_close(lua_State *L)
{
    feed *self = luaL_checkudata(L, 1, CSL_SUBSCRIPTION);

    csync_subscription_close(self->handle);
    self->handle = NULL;
    return 0;
}

static int feed_field(lua_State *L)
{
    feed *self = luaL_checkudata(L, 1, CSL_SUBSCRIPTION);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";

    if (strcmp(name, "closed") == 0)
        lua_pushboolean(L, !self->handle);
    else if (strcmp(name, "id") == 0)
        csl_push_text(L, csync_subscription_id(check(L)->handle));
    else if (strcmp(name, "version") == 0)
        csl_push_integer(L, csync_subscription_version(check(L)->handle));
    else
        lua_pushnil(L);
    return 1;
}

void csl_open_subscription(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", feed_close}, {"__close", feed_close}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"close", feed_close}, {"fileno", feed_fileno}, {"_next", feed_next}, {NULL, NULL}};

    csl_type(L, CSL_SUBSCRIPTION, "Subscription", meta, methods, feed_field);
    lua_pushcfunction(L, subscribe);
    lua_setfield(L, -2, "subscribe");
}
