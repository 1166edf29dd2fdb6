/* callback.h - one call of the core, and the user's functions that it may call back.
 *
 * The life of a call:
 *  1. csl_call_init reserves stack for everything that step 3 needs, and may raise. The user's functions go into slots
 *     there.
 *  2. csl_call_begin; the core runs. From here to step 4 nothing may raise: the core's frames would be jumped over.
 *  3. A trampoline calls csl_protect, the only place with a lua_pcall. All that touches Lua is done by its `body`, under
 *     protection, pushing arguments included: also that may run out of memory. What is raised, a yield too, waits in a slot;
 *     the core is told CSYNC_ECALLBACK and rolls back. After one failure no other callback runs.
 *  4. csl_call_end.
 *  5. csl_call_finish raises the very object that was raised, or returns what the core reported as nil, message, code,
 *     detail.
 * What the core makes is owned by a userdata that was pushed before step 2. */
#ifndef CSL_CALLBACK_H
#define CSL_CALLBACK_H
#include "convert.h"

enum csl_slot {
    CSL_ERROR = 1, /* what was raised */
    CSL_RUN, /* the protected function */
    CSL_ON_CONFLICT,
    CSL_PROGRESS,
    CSL_FETCH,
    CSL_SEND,
    CSL_DIGEST,
    CSL_LOG,
    CSL_ROWS, /* of execute: the table that they go to */
    CSL_SLOTS = CSL_ROWS
};

typedef struct csl_call {
    lua_State *L; /* that runs this call: the same for its callbacks */
    int base; /* slot n is at base + n */
    int failed;
    struct csl_call *outer; /* that this thread is in */
} csl_call;

void csl_call_init(lua_State *L, csl_call *call);
/* Puts field `name` of the table at `index` into a slot; 1 where it is there. Raises when it is no function. */
int csl_call_take(csl_call *call, int index, const char *name, enum csl_slot slot);
void csl_call_begin(csl_call *call);
void csl_call_end(csl_call *call);
/* 0: go on, and push what there is. Else return it. */
int csl_call_finish(csl_call *call, int rc, const csync_error *err);

/* With the value of the slot at index 1. Returns the code for the core. */
typedef int (*csl_body)(lua_State *L, void *arg);
int csl_protect(csl_call *call, enum csl_slot slot, csl_body body, void *arg);

/* Reads the options that csync.lua has checked, at `index`, and wires the trampolines to `call`. */
void csl_options_read(csl_call *call, int index, csync_sync_options *out);
void csl_verify_options_read(csl_call *call, int index, csync_verify_options *out);
/* The remote of the table at `index`: name, fetch, send, digest. */
void csl_remote_read(csl_call *call, int index, csync_remote *out);

/* Lets the core's log reach csync.set_log of the state whose call runs on the thread. */
void csl_open_log(lua_State *L);

#endif
