/* outcomes.c - csync.Outcomes. */
#include "outcomes.h"

static const char *const statuses[] = {"",       "applied",  "duplicate", "lost",
                                       "parked", "rejected", "conflict"};

csl_outcomes *csl_outcomes_new(lua_State *L)
{
    return csl_new(L, CSL_OUTCOMES, sizeof(csl_outcomes));
}

/* The core has no copy function: through JSON, which carries everything. No Lua runs meanwhile. */
static int copy(const csync_outcome *from, csync_outcome **to, csync_error *err)
{
    char *json = NULL;
    int rc = csync_outcome_to_json(from, &json, err);

    if (rc == 0)
        rc = csync_outcome_from_json(to, json, strlen(json), err);
    csync_free(json);
    return rc;
}

int csl_outcomes_give(lua_State *L, int index, csync_outcome **out, csync_error *err)
{
    csl_outcomes *found;

    *out = NULL;
    if (lua_isnoneornil(L, index))
        return CSYNC_OK;
    lua_pushvalue(L, index);
    if (lua_istable(L, -1))
        lua_getfield(L, -1, "outcomes");
    found = csl_test(L, -1, CSL_OUTCOMES);
    if (!found)
        luaL_error(L, "expected nil, csync.Outcomes or what apply() returned, not a %s",
                   luaL_typename(L, index));
    return copy(found->outcome, out, err);
}

/* ---- the type ------------------------------------------------------------------------------------ */

static const csync_outcome *check(lua_State *L)
{
    csl_outcomes *self = luaL_checkudata(L, 1, CSL_OUTCOMES);

    if (!self->outcome)
        luaL_error(L, "the outcomes were not made");
    return self->outcome;
}

static int outcomes_free(lua_State *L)
{
    csl_outcomes *self = luaL_checkudata(L, 1, CSL_OUTCOMES);

    csync_outcome_free(self->outcome);
    self->outcome = NULL;
    return 0;
}

static int outcomes_length(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)csync_outcome_count(check(L)));
    return 1;
}

static int outcomes_tostring(lua_State *L)
{
    lua_pushfstring(L, "csync.Outcomes of %d changes", (int)csync_outcome_count(check(L)));
    return 1;
}

static void push_entry(lua_State *L, const csync_outcome *self, size_t i)
{
    csync_outcome_entry entry = {.struct_size = sizeof entry};

    csync_outcome_at(self, i, &entry);
    lua_createtable(L, 0, 3);
    csl_set_text(L, "status", statuses[entry.status]);
    csl_set_text(L, "reason", entry.reason);
    csl_push_change(L, entry.winner);
    lua_setfield(L, -2, "winner");
}

/* outcomes[i], 1 is the first; or a field. */
static int outcomes_field(lua_State *L)
{
    const csync_outcome *self = check(L);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    int64_t i = 0;

    if (lua_type(L, 2) == LUA_TNUMBER && csl_to_integer(L, 2, &i) && i > 0 &&
        (size_t)i <= csync_outcome_count(self))
        push_entry(L, self, (size_t)i - 1);
    else if (strcmp(name, "position") == 0)
        csl_push_integer(L, csync_outcome_position(self));
    else if (strcmp(name, "epoch") == 0)
        csl_push_text(L, csync_outcome_epoch(self));
    else
        lua_pushnil(L);
    return 1;
}

static int outcomes_to_json(lua_State *L)
{
    const csync_outcome *self = check(L);
    csync_error err = CSYNC_ERROR_INIT;
    char **box = csl_text_box(L);

    if (csync_outcome_to_json(self, box, &err))
        return csl_fail(L, &err);
    csl_push_boxed(L, box);
    return 1;
}

/* core.outcomes_from_json(text) */
static int outcomes_from_json(lua_State *L)
{
    csync_error err = CSYNC_ERROR_INIT;
    size_t length;
    const char *json = luaL_checklstring(L, 1, &length);
    csl_outcomes *made = csl_outcomes_new(L);

    if (csync_outcome_from_json(&made->outcome, json, length, &err))
        return csl_fail(L, &err);
    return 1;
}

void csl_open_outcomes(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", outcomes_free},
                                    {"__len", outcomes_length},
                                    {"__tostring", outcomes_tostring},
                                    {NULL, NULL}};
    static const luaL_Reg methods[] = {{"to_json", outcomes_to_json}, {NULL, NULL}};

    csl_type(L, CSL_OUTCOMES, "Outcomes", meta, methods, outcomes_field);
    lua_pushcfunction(L, outcomes_from_json);
    lua_setfield(L, -2, "outcomes_from_json");
}
