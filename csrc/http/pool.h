/* pool.h - threads that work on a database, each with a handle of its own, and the bounded queue in front of them. */
#ifndef CS_POOL_H
#define CS_POOL_H
#include <pthread.h>

#include "base/error.h"

typedef struct cs_job {
    struct cs_job *next;
    /* On a worker's thread. `replica` NULL: the database cannot be opened, or the pool ends. Returns the code that
     * the database failed with. */
    int (*run)(struct cs_job *job, csync *replica);
} cs_job;

typedef struct cs_worker {
    struct cs_pool *pool;
    csync *replica; /* NULL: to be opened again */
    unsigned failures; /* of the pool when it was opened */
    pthread_t thread;
    int is_started;
} cs_worker;

typedef struct cs_pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    cs_job *first, **last;
    int count, max; /* jobs that wait */
    int busy; /* workers that run one */
    unsigned failures; /* of the database so far */
    int is_ending, is_abandoned;
    char *url;
    cs_worker *workers;
    int worker_count;
} cs_pool;

/* Opens the database for each worker and starts them. NULL with err. */
cs_pool *cs_pool_open(const char *url, int workers, int max, csync_error *err);
/* -1: the queue is full, or the pool ends; the job is still the caller's. `needed`: it counts nothing and is never
 * refused before the end. */
int cs_pool_add(cs_pool *pool, cs_job *job, int needed);
int cs_pool_waiting(cs_pool *pool);
/* Takes no more jobs. Those that are there are run; after `patience_ms` without a database. */
void cs_pool_end(cs_pool *pool, int patience_ms);
/* After cs_pool_end; NULL is fine. */
void cs_pool_free(cs_pool *pool);
/* Starts a thread that gets no signals. 0, or -1. */
int cs_thread_start(pthread_t *thread, void *(*run)(void *), void *arg);
/* Waits on a condition that cs_condition_init made. */
void cs_condition_init(pthread_cond_t *condition);
void cs_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t ms);
#endif
