/* replica.h - the handle, and the transactions that everything runs in. */
#ifndef CS_REPLICA_H
#define CS_REPLICA_H
#include <stdatomic.h>
#include <sys/types.h>

#include "backend/backend.h"
#include "base/lock.h"
#include "csync.h"

#define CS_PEER_MAX 512 /* bytes of a peer's or client's name */

struct csync {
    cs_lock lock; /* held by the thread that is in a call */
    cs_backend *backend;
    pid_t pid; /* of the process that opened it */
    int closed; /* the database is closed; memory stays until the last session is gone */
    atomic_int close_wanted; /* csync_close came while a call or a driver runs: it waits for the last */
    atomic_int driving; /* drivers that run calls on this replica */
    atomic_int references; /* the owner's and one per session */
    int64_t repaired; /* tables whose capture was repaired since the replica was opened */
    int suppressing; /* between csync_suppress_begin and _end */
    atomic_int running; /* calls, and drivers that make several */
    atomic_int cancelled; /* until none is running any more */
    atomic_int wake; /* signal to the replica's subscriptions; -1: it never had one */
    atomic_int unwatched; /* one of them has no file that shows writes: each call is a reason to look */
};

/* CSYNC_EINVAL: no name for a peer or client. */
int cs_peer_check(const char *name, csync_error *err);
/* Takes ownership of the backend, also when it fails. */
int cs_replica_create(csync **out, cs_backend *backend, const char *origin, csync_error *err);
/* Enters a call: not NULL, not closed, not forked, not from its own callback. Clears err. */
int cs_replica_enter(csync *c, csync_error *err);
/* Leaves it; returns rc, or CSYNC_ECANCELED for what a cancelled call failed with. */
int cs_replica_leave(csync *c, int rc, csync_error *err);
/* The same after a call that has written nothing that a subscription should see. */
int cs_replica_leave_quietly(csync *c, int rc, csync_error *err);
/* Brackets a wait between calls, without the lock: csync_cancel ends it, csync_close does not wait for it. */
int cs_replica_begin_wait(csync *c, csync_error *err);
void cs_replica_end_wait(csync *c);
/* csync_close: now, or when the driver or call that runs has ended. */
void cs_replica_close(csync *c);
void cs_replica_retain(csync *c);
void cs_replica_release(csync *c);
/* Brackets a driver's series of calls: csync_cancel stops it as one, csync_close waits for its end. */
void cs_replica_begin_drive(csync *c);
void cs_replica_end_drive(csync *c);
/* CSYNC_ECANCELED once csync_cancel was called. */
int cs_replica_cancelled(csync *c, csync_error *err);

typedef int (*cs_work)(csync *c, void *ctx, csync_error *err);
/* Runs `work` in a write transaction with the tables checked; commits, or rolls back when it fails.
 * Tables whose capture had to be repaired count in c->repaired. */
int cs_replica_write(csync *c, cs_work work, void *ctx, csync_error *err);
/* The same without looking at the tables. */
int cs_replica_write_unchecked(csync *c, cs_work work, void *ctx, csync_error *err);
/* *has 0: a read would find nothing in the log after `since`; much cheaper than the read. */
int cs_replica_has_news(csync *c, int64_t since, int *has, csync_error *err);
/* Runs it in a read transaction with the tables checked and the heads up to date. */
int cs_replica_read(csync *c, cs_work work, void *ctx, csync_error *err);
/* Runs it in a read transaction with everything as it is: it waits for nobody, whatever is in disorder. */
int cs_replica_look(csync *c, cs_work work, void *ctx, csync_error *err);
#endif
