/* replica.h - csync.Replica, and what a call of the core on one needs. */
#ifndef CSL_REPLICA_H
#define CSL_REPLICA_H
#include "callback.h"

typedef struct csl_replica {
    csync *handle; /* NULL: closed */
    int uses; /* calls that run: close waits for the outermost */
    int closing;
    char origin[CSYNC_ORIGIN_SIZE];
} csl_replica;

/* The open Replica at `index`; raises. */
csl_replica *csl_replica_check(lua_State *L, int index);
/* Between these two nothing may raise. */
csync *csl_replica_enter(csl_replica *self);
void csl_replica_leave(csl_replica *self);

/* A call without arguments of its own: csl_begin, the core's function, csl_end. What is to own the answer is pushed before
 * csl_begin. */
typedef struct csl_use {
    csl_call call;
    csl_replica *self;
    csync *handle;
    csync_error err;
} csl_use;
void csl_begin(lua_State *L, csl_use *use);
/* 0, or what to return. */
int csl_end(csl_use *use, int rc);

void csl_open_replica(lua_State *L);
void csl_open_session(lua_State *L);
void csl_open_subscription(lua_State *L);
void csl_open_api(lua_State *L);
/* Adds the methods that run SQL, compare, and keep clients to the table at the top of the stack. */
void csl_add_execute(lua_State *L);
void csl_add_clients(lua_State *L);
void csl_add_sync(lua_State *L);

#endif
