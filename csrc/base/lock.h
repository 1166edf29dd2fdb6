/* lock.h - the lock of a handle: waits for other threads, refuses the thread that holds it. */
#ifndef CS_LOCK_H
#define CS_LOCK_H
#include <pthread.h>

typedef struct cs_lock {
    pthread_mutex_t mutex; /* of type PTHREAD_MUTEX_ERRORCHECK */
} cs_lock;

int cs_lock_init(cs_lock *lock); /* CSYNC_OK or CSYNC_ENOMEM */
void cs_lock_destroy(cs_lock *lock);
int cs_lock_enter(cs_lock *lock); /* CSYNC_OK, or CSYNC_EBUSY when this thread holds it */
void cs_lock_leave(cs_lock *lock);
#endif
