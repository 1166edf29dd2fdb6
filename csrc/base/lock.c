/* lock.c - the lock of a handle. */
#include "base/lock.h"
#include "csync.h"

int cs_lock_init(cs_lock *lock)
{
    pthread_mutexattr_t kind;
    int rc;

    if (pthread_mutexattr_init(&kind) != 0)
        return CSYNC_ENOMEM;
    rc = pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
    if (rc == 0)
        rc = pthread_mutex_init(&lock->mutex, &kind);
    pthread_mutexattr_destroy(&kind);
    return rc == 0 ? CSYNC_OK : CSYNC_ENOMEM;
}

void cs_lock_destroy(cs_lock *lock)
{
    pthread_mutex_destroy(&lock->mutex);
}

int cs_lock_enter(cs_lock *lock)
{
    return pthread_mutex_lock(&lock->mutex) == 0 ? CSYNC_OK : CSYNC_EBUSY;
}

void cs_lock_leave(cs_lock *lock)
{
    pthread_mutex_unlock(&lock->mutex);
}
