/* replica.h - the C half of csync.Replica. */
#ifndef CSPY_REPLICA_H
#define CSPY_REPLICA_H
#include "callback.h"
#include "sqlite_ext.h"

typedef struct cspy_replica cspy_replica;

/* One use of a replica by one thread, on that thread's stack. Everything about uses is under the GIL. */
typedef struct cspy_use {
    unsigned long thread;
    struct cspy_use *next;
} cspy_use;

/* Marks the replica as in use and returns its handle, which stays valid until cspy_leave, also when another
 * thread closes it meanwhile. NULL with an exception: it is closed, or its connection is. */
csync *cspy_enter(PyObject *replica, cspy_use *use);
/* Ends the use; the last one out carries out a close that had to wait. Keeps a pending exception. */
void cspy_leave(PyObject *replica, cspy_use *use);

#endif
