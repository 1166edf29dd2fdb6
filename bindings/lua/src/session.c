/* session.c - the C half of csync.Session: a sync that the caller drives step by step. */
#include "batch.h"
#include "outcomes.h"
#include "replica.h"

typedef struct session {
    csync_session *session;
    csl_replica *replica; /* kept alive, with the options, as this userdata's own table */
    csl_call call; /* the core holds a pointer to it */
    int busy;
} session;

static session *check(lua_State *L)
{
    session *self = luaL_checkudata(L, 1, CSL_SESSION);

    if (!self->session)
        luaL_error(L, "the session is closed");
    if (self->busy)
        luaL_error(L, "the session is in use: a callback of its own cannot drive it");
    if (!self->replica->handle || self->replica->closing)
        luaL_error(L, "the replica is closed");
    return self;
}

/* What is pushed before stays below the slots. */
static session *begin(lua_State *L)
{
    session *self = check(L);
    csync_sync_options options;

    csl_call_init(L, &self->call);
    csl_kept(L, 1);
    lua_replace(L, self->call.base + CSL_ROWS); /* a slot that a session has no use for */
    csl_options_read(&self->call, self->call.base + CSL_ROWS, &options);
    self->busy = 1;
    csl_replica_enter(self->replica);
    csl_call_begin(&self->call);
    return self;
}

static int end(session *self, int rc, const csync_error *err)
{
    csl_call_end(&self->call);
    csl_replica_leave(self->replica);
    self->busy = 0;
    return csl_call_finish(&self->call, rc, err);
}

/* core.session_new(replica, peer, options) */
static int session_new(lua_State *L)
{
    csl_replica *replica = csl_replica_check(L, 1);
    const char *peer = luaL_checkstring(L, 2);
    csync_error err = CSYNC_ERROR_INIT;
    csync_sync_options options;
    session *self = csl_new(L, CSL_SESSION, sizeof *self);
    csync *handle;
    int rc;

    lua_pushvalue(L, 1);
    lua_setfield(L, 3, "replica");
    lua_pushvalue(L, 3);
    csl_keep(L, -2);
    self->replica = replica;
    csl_call_init(L, &self->call);
    csl_options_read(&self->call, 3, &options);
    handle = csl_replica_enter(replica);
    csl_call_begin(&self->call);
    rc = csync_session_new(&self->session, handle, peer, &options, &err);
    csl_call_end(&self->call);
    csl_replica_leave(replica);
    if ((rc = csl_call_finish(&self->call, rc, &err)) != 0)
        return rc;
    lua_settop(L, self->call.base);
    return 1;
}

static int push_send(lua_State *L, const csync_step *step)
{
    csync_error err = CSYNC_ERROR_INIT;

    if (csl_batch_copy(L, step->batch, &err))
        return csl_fail(L, &err);
    lua_setfield(L, -2, "batch");
    return 1;
}

static int push_step(lua_State *L, const csync_step *step)
{
    lua_createtable(L, 0, 4);
    csl_set_text(L, "kind",
                 step->kind == CSYNC_STEP_DONE   ? "done"
                 : step->kind == CSYNC_STEP_SEND ? "send"
                                                 : "fetch");
    if (step->kind == CSYNC_STEP_SEND)
        return push_send(L, step);
    if (step->kind != CSYNC_STEP_DONE) {
        csl_push_position(L, &step->fetch);
        lua_setfield(L, -2, "since");
        csl_set_integer(L, "limit", step->fetch.limit);
        csl_set_integer(L, "max_bytes", step->fetch.max_bytes);
    }
    return 1;
}

static int session_next(lua_State *L)
{
    csync_step step = {.struct_size = sizeof step};
    csync_error err = CSYNC_ERROR_INIT;
    session *self = begin(L);
    int rc = end(self, csync_session_next(self->session, &step, &err), &err);

    return rc ? rc : push_step(L, &step);
}

static int answered(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

static int session_page(lua_State *L)
{
    csync_error err = CSYNC_ERROR_INIT;
    const csync_batch *page = csl_batch_read(L, 2, &err);
    session *self;
    int rc;

    if (!page)
        return csl_fail(L, &err);
    self = begin(L);
    rc = end(self, csync_session_page(self->session, page, &err), &err);
    return rc ? rc : answered(L);
}

static int session_outcome(lua_State *L)
{
    csync_error err = CSYNC_ERROR_INIT;
    csl_outcomes *kept = csl_outcomes_new(L); /* what is given is freed with it */
    session *self;
    int rc;

    if (csl_outcomes_give(L, 2, &kept->outcome, &err))
        return csl_fail(L, &err);
    self = begin(L);
    rc = end(self, csync_session_outcome(self->session, kept->outcome, &err), &err);
    return rc ? rc : answered(L);
}

/* session:refused(message, code, detail) */
static int session_refused(lua_State *L)
{
    csync_error err = CSYNC_ERROR_INIT, why = CSYNC_ERROR_INIT;
    session *self;
    int rc;

    lua_settop(L, 4);
    csl_error_read(L, 2, &why);
    self = begin(L);
    rc = end(self, csync_session_refused(self->session, &why, &err), &err);
    return rc ? rc : answered(L);
}

static int session_result(lua_State *L)
{
    csync_result result = {.struct_size = sizeof result};
    session *self = check(L);

    csync_session_result(self->session, &result);
    csl_push_result(L, &result);
    return 1;
}

/* The core's session keeps what it needs of the replica, so the order in which they are collected does not matter. */
static int session_close(lua_State *L)
{
    session *self = luaL_checkudata(L, 1, CSL_SESSION);

    if (self->busy)
        return luaL_error(L, "the session is in use: a callback of its own cannot close it");
    csync_session_free(self->session);
    self->session = NULL;
    return 0;
}

void csl_open_session(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", session_close}, {"__close", session_close}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"close", session_close},
                                       {"_next", session_next},
                                       {"_page", session_page},
                                       {"_outcome", session_outcome},
                                       {"_refused", session_refused},
                                       {"_result", session_result},
                                       {NULL, NULL}};

    csl_type(L, CSL_SESSION, "Session", meta, methods, NULL);
    lua_pushcfunction(L, session_new);
    lua_setfield(L, -2, "session_new");
}
