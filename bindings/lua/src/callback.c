/* callback.c - how the core reaches Lua functions. Only this file calls lua_pcall. */
#include "callback.h"

#include <pthread.h>

#include "batch.h"
#include "outcomes.h"

#define LOG_KEY "csync.log"
#define LEVEL_KEY "csync.log_level"

static _Thread_local csl_call *running;

typedef struct frame {
    csl_body body;
    void *arg;
    int code;
} frame;

/* Stack: the frame, the slot's value. */
static int run(lua_State *L)
{
    frame *f = lua_touserdata(L, 1);

    lua_remove(L, 1);
    f->code = f->body(L, f->arg);
    return 0;
}

void csl_call_init(lua_State *L, csl_call *call)
{
    luaL_checkstack(L, CSL_SLOTS + 8, "a call of csync");
    call->L = L;
    call->base = lua_gettop(L);
    call->failed = 0;
    lua_settop(L, call->base + CSL_SLOTS);
    lua_pushcfunction(L, run);
    lua_replace(L, call->base + CSL_RUN);
    lua_getfield(L, LUA_REGISTRYINDEX, LOG_KEY);
    lua_replace(L, call->base + CSL_LOG);
}

int csl_call_take(csl_call *call, int index, const char *name, enum csl_slot slot)
{
    lua_State *L = call->L;

    lua_getfield(L, index, name);
    if (!lua_isnil(L, -1) && !lua_isfunction(L, -1) && !luaL_getmetafield(L, -1, "__call"))
        luaL_error(L, "%s must be a function, not a %s", name, luaL_typename(L, -1));
    lua_settop(L, call->base + CSL_SLOTS + 1);
    lua_replace(L, call->base + slot);
    return !lua_isnil(L, call->base + slot);
}

void csl_call_begin(csl_call *call)
{
    call->outer = running;
    running = call;
}

void csl_call_end(csl_call *call)
{
    running = call->outer;
}

/* Lua's own words for a yield name the C call, which says nothing to whoever wrote the callback. */
static void explain_yield(lua_State *L)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";

    if (strstr(text, "attempt to yield"))
        lua_pushfstring(L, "%s: a callback of csync cannot yield; drive a csync.Session", text);
}

int csl_call_finish(csl_call *call, int rc, const csync_error *err)
{
    lua_State *L = call->L;

    if (call->failed) {
        lua_pushvalue(L, call->base + CSL_ERROR);
        explain_yield(L);
        return lua_error(L);
    }
    return rc ? csl_fail(L, err) : 0;
}

int csl_protect(csl_call *call, enum csl_slot slot, csl_body body, void *arg)
{
    lua_State *L = call->L;
    frame f = {body, arg, CSYNC_ECALLBACK};

    if (call->failed)
        return CSYNC_ECALLBACK;
    lua_pushvalue(L, call->base + CSL_RUN);
    lua_pushlightuserdata(L, &f);
    lua_pushvalue(L, call->base + slot);
    if (lua_pcall(L, 2, 0, 0) == 0)
        return f.code;
    lua_replace(L, call->base + CSL_ERROR);
    call->failed = 1;
    return CSYNC_ECALLBACK;
}

/* ---- on_conflict: csync.lua checks the answer and makes it "local", "remote", "delete" or "merge", and the row - */

typedef struct conflict {
    const csync_change *local, *remote, *base;
    csync_decision *decision;
} conflict;

static int take_row(lua_State *L, int index, csync_decision *decision)
{
    size_t length;
    const char *row = luaL_checklstring(L, index, &length);

    decision->payload = csync_malloc(length + 1);
    if (!decision->payload)
        return luaL_error(L, "not enough memory");
    memcpy(decision->payload, row, length + 1);
    decision->kind = CSYNC_MERGE;
    return CSYNC_OK;
}

static int decide(lua_State *L, void *arg)
{
    static const char *const kinds[] = {"local", "remote", "delete", NULL};
    static const int codes[] = {CSYNC_KEEP_LOCAL, CSYNC_TAKE_REMOTE, CSYNC_DELETE_ROW};
    conflict *c = arg;

    csl_push_change(L, c->local);
    csl_push_change(L, c->remote);
    csl_push_change(L, c->base);
    lua_call(L, 3, 2);
    if (strcmp(luaL_checkstring(L, 1), "merge") == 0)
        return take_row(L, 2, c->decision);
    c->decision->kind = codes[luaL_checkoption(L, 1, NULL, kinds)];
    return CSYNC_OK;
}

static int on_conflict(void *user_data, const csync_change *local, const csync_change *remote,
                       const csync_change *base, csync_decision *decision)
{
    conflict c = {local, remote, base, decision};

    return csl_protect(user_data, CSL_ON_CONFLICT, decide, &c);
}

/* ---- progress ------------------------------------------------------------------------------------ */

static const char *phase_name(int phase)
{
    return phase == CSYNC_PULLING ? "pulling" : phase == CSYNC_PUSHING ? "pushing" : "verifying";
}

static int report(lua_State *L, void *arg)
{
    const csync_progress *p = arg;

    lua_createtable(L, 0, 4);
    csl_set_text(L, "phase", phase_name(p->phase));
    csl_set_integer(L, "changes", p->changes);
    csl_set_integer(L, "bytes", p->bytes);
    csl_set_integer(L, "total", p->total);
    lua_call(L, 1, 0);
    return CSYNC_OK;
}

static int on_progress(void *user_data, const csync_progress *progress)
{
    return csl_protect(user_data, CSL_PROGRESS, report, (void *)progress);
}

/* ---- fetch, send and digest ---------------------------------------------------------------------- */

typedef struct exchange {
    const csync_fetch *fetch;
    const csync_batch *batch;
    csync_batch **page;
    csync_outcome **outcome;
    const char *request;
    char **answer;
    csync_error *err;
} exchange;

/* The peer said nil and why. What else is wrong is raised. */
static int refused(lua_State *L, csync_error *err)
{
    csl_error_read(L, 2, err);
    return err->code;
}

static int do_fetch(lua_State *L, void *arg)
{
    exchange *e = arg;

    csl_push_position(L, e->fetch);
    lua_pushinteger(L, e->fetch->limit);
    lua_call(L, 2, 4);
    if (lua_isnil(L, 1) && !lua_isnil(L, 2))
        return refused(L, e->err);
    return csl_batch_give(L, 1, e->page, e->err);
}

static int fetch(void *user_data, const csync_fetch *wanted, csync_batch **out, csync_error *err)
{
    exchange e = {.fetch = wanted, .page = out, .err = err};

    return csl_protect(user_data, CSL_FETCH, do_fetch, &e);
}

static int do_send(lua_State *L, void *arg)
{
    exchange *e = arg;
    int rc = csl_batch_copy(L, e->batch, e->err);

    if (rc)
        return rc;
    lua_call(L, 1, 4);
    if (lua_isnil(L, 1) && !lua_isnil(L, 2))
        return refused(L, e->err);
    return csl_outcomes_give(L, 1, e->outcome, e->err);
}

static int send(void *user_data, const csync_batch *batch, csync_outcome **out, csync_error *err)
{
    exchange e = {.batch = batch, .outcome = out, .err = err};

    return csl_protect(user_data, CSL_SEND, do_send, &e);
}

static int do_digest(lua_State *L, void *arg)
{
    exchange *e = arg;
    size_t length;
    const char *answer;

    lua_pushstring(L, e->request);
    lua_call(L, 1, 4);
    if (lua_isnil(L, 1) && !lua_isnil(L, 2))
        return refused(L, e->err);
    if (lua_type(L, 1) != LUA_TSTRING)
        return luaL_error(L, "digest must return a string, not a %s", luaL_typename(L, 1));
    answer = lua_tolstring(L, 1, &length);
    *e->answer = csync_malloc(length + 1);
    if (!*e->answer)
        return luaL_error(L, "not enough memory");
    memcpy(*e->answer, answer, length + 1);
    return CSYNC_OK;
}

static int digest(void *user_data, const char *request, char **out, csync_error *err)
{
    exchange e = {.request = request, .answer = out, .err = err};

    return csl_protect(user_data, CSL_DIGEST, do_digest, &e);
}

/* ---- the log ------------------------------------------------------------------------------------- */

typedef struct message {
    int level;
    const char *text;
} message;

static int log_message(lua_State *L, void *arg)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    const message *m = arg;

    lua_getfield(L, LUA_REGISTRYINDEX, LEVEL_KEY);
    if (m->level < lua_tointeger(L, -1))
        return CSYNC_OK;
    lua_pop(L, 1);
    lua_pushstring(L, names[m->level - 1]);
    lua_pushstring(L, m->text);
    lua_call(L, 2, 0);
    return CSYNC_OK;
}

/* The core logs on the thread of the call that it is busy with: that call's state is the one that may run. */
static void on_log(void *user_data, int level, const char *text)
{
    message m = {level, text};

    (void)user_data;
    if (running && !lua_isnil(running->L, running->base + CSL_LOG))
        csl_protect(running, CSL_LOG, log_message, &m);
}

static void install_log(void)
{
    csync_set_log(on_log, NULL, CSYNC_LOG_DEBUG);
}

/* core.set_log(function or nil, level) */
static int set_log(lua_State *L)
{
    static const char *const levels[] = {"debug", "info", "warning", "error", NULL};
    int level = luaL_checkoption(L, 2, "info", levels) + 1;

    if (!lua_isnil(L, 1))
        luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushvalue(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, LOG_KEY);
    lua_pushinteger(L, level);
    lua_setfield(L, LUA_REGISTRYINDEX, LEVEL_KEY);
    return 0;
}

void csl_open_log(lua_State *L)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, install_log); /* before the first replica, whatever threads there will be */
    lua_pushcfunction(L, set_log);
    lua_setfield(L, -2, "set_log");
}

/* ---- options ------------------------------------------------------------------------------------- */

static int int_field(lua_State *L, int index, const char *name)
{
    int value;

    lua_getfield(L, index, name);
    value = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return value;
}

void csl_options_read(csl_call *call, int index, csync_sync_options *out)
{
    lua_State *L = call->L;

    *out = (csync_sync_options){
        .struct_size = sizeof *out,
        .direction = int_field(L, index, "direction"),
        .batch_size = int_field(L, index, "batch_size"),
        .max_retry_passes = int_field(L, index, "max_retry_passes"),
        .strategy = int_field(L, index, "strategy"),
        .full_resync = int_field(L, index, "full_resync"),
        .on_conflict = csl_call_take(call, index, "on_conflict", CSL_ON_CONFLICT) ? on_conflict : NULL,
        .on_progress = csl_call_take(call, index, "progress", CSL_PROGRESS) ? on_progress : NULL,
        .user_data = call,
    };
}

void csl_verify_options_read(csl_call *call, int index, csync_verify_options *out)
{
    lua_State *L = call->L;

    *out = (csync_verify_options){
        .struct_size = sizeof *out,
        .repair = int_field(L, index, "repair"),
        .limit = int_field(L, index, "limit"),
        .on_progress = csl_call_take(call, index, "progress", CSL_PROGRESS) ? on_progress : NULL,
        .user_data = call,
    };
}

void csl_remote_read(csl_call *call, int index, csync_remote *out)
{
    *out = (csync_remote){
        .struct_size = sizeof *out,
        .user_data = call,
        .fetch = csl_call_take(call, index, "fetch", CSL_FETCH) ? fetch : NULL,
        .send = csl_call_take(call, index, "send", CSL_SEND) ? send : NULL,
        .digest = csl_call_take(call, index, "digest", CSL_DIGEST) ? digest : NULL,
    };
    lua_getfield(call->L, index, "name");
    out->name = luaL_optstring(call->L, -1, NULL); /* it stays on the stack */
}
