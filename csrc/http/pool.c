/* pool.c - worker threads and their queue. */
#include "http/pool.h"

#include <signal.h>
#include <time.h>

#include "base/mem.h"
#include "base/watch.h"

int cs_thread_start(pthread_t *thread, void *(*run)(void *), void *arg)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    rc = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc ? -1 : 0;
}

void cs_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

void cs_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(condition, lock, &until);
}

/* ---- workers ---- */

/* The next job; NULL: the pool has ended. */
static cs_job *take(cs_pool *pool)
{
    cs_job *job;

    pthread_mutex_lock(&pool->lock);
    while (!pool->first && !pool->is_ending)
        pthread_cond_wait(&pool->wake, &pool->lock);
    job = pool->first;
    if (job) {
        pool->first = job->next;
        if (!pool->first)
            pool->last = &pool->first;
        pool->count--;
        pool->busy++;
    }
    pthread_mutex_unlock(&pool->lock);
    return job;
}

static void give_handle(cs_worker *worker, csync *replica)
{
    csync *before;

    pthread_mutex_lock(&worker->pool->lock);
    before = worker->replica;
    worker->replica = replica;
    pthread_mutex_unlock(&worker->pool->lock);
    csync_close(before);
}

/* NULL where it cannot be had now. */
static csync *handle_of(cs_worker *worker)
{
    csync *replica = NULL;
    int is_abandoned, is_old;

    pthread_mutex_lock(&worker->pool->lock);
    is_abandoned = worker->pool->is_abandoned;
    is_old = worker->failures != worker->pool->failures;
    worker->failures = worker->pool->failures;
    pthread_mutex_unlock(&worker->pool->lock);
    if (is_abandoned)
        return NULL;
    if (is_old)
        give_handle(worker, NULL);
    if (!worker->replica && csync_open(&replica, worker->pool->url, NULL, NULL) == CSYNC_OK)
        give_handle(worker, replica);
    return worker->replica;
}

/* Where the database has failed all handles are opened again: a server that has ended one connection may have ended all. */
static void *work(void *arg)
{
    cs_worker *worker = arg;
    cs_pool *pool = worker->pool;
    cs_job *job;

    while ((job = take(pool)) != NULL) {
        const int rc = job->run(job, handle_of(worker));

        pthread_mutex_lock(&pool->lock);
        pool->failures += rc == CSYNC_EDB;
        pool->busy--;
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    return NULL;
}

/* ---- the pool ---- */

static int start_workers(cs_pool *pool, int workers, csync_error *err)
{
    for (int i = 0; i < workers; i++) {
        cs_worker *worker = &pool->workers[pool->worker_count++];
        int rc;

        worker->pool = pool;
        rc = csync_open(&worker->replica, pool->url, NULL, err);
        if (rc != CSYNC_OK)
            return rc;
        if (cs_thread_start(&worker->thread, work, worker) != 0)
            return cs_fail(err, CSYNC_ERROR, "a thread of the server cannot be started");
        worker->is_started = 1;
    }
    return CSYNC_OK;
}

cs_pool *cs_pool_open(const char *url, int workers, int max, csync_error *err)
{
    cs_pool *pool = cs_calloc(1, sizeof *pool);

    if (!pool) {
        cs_fail_nomem(err);
        return NULL;
    }
    pthread_mutex_init(&pool->lock, NULL);
    cs_condition_init(&pool->wake);
    pool->last = &pool->first;
    pool->max = max;
    pool->url = cs_strdup(url);
    pool->workers = cs_calloc((size_t)workers, sizeof *pool->workers);
    if (!pool->url || !pool->workers)
        cs_fail_nomem(err);
    else if (start_workers(pool, workers, err) == CSYNC_OK)
        return pool;
    cs_pool_end(pool, 0);
    cs_pool_free(pool);
    return NULL;
}

int cs_pool_add(cs_pool *pool, cs_job *job, int needed)
{
    int rc = -1;

    pthread_mutex_lock(&pool->lock);
    if (!pool->is_ending && (needed || pool->count < pool->max)) {
        job->next = NULL;
        *pool->last = job;
        pool->last = &job->next;
        pool->count++;
        pthread_cond_signal(&pool->wake);
        rc = 0;
    }
    pthread_mutex_unlock(&pool->lock);
    return rc;
}

int cs_pool_waiting(cs_pool *pool)
{
    int count;

    pthread_mutex_lock(&pool->lock);
    count = pool->count;
    pthread_mutex_unlock(&pool->lock);
    return count;
}

void cs_pool_end(cs_pool *pool, int patience_ms)
{
    const int64_t until = cs_monotonic_ms() + patience_ms;
    int64_t left = patience_ms;

    pthread_mutex_lock(&pool->lock);
    pool->is_ending = 1;
    pthread_cond_broadcast(&pool->wake);
    while ((pool->count || pool->busy) && left > 0) {
        cs_condition_wait(&pool->wake, &pool->lock, left);
        left = until - cs_monotonic_ms();
    }
    pool->is_abandoned = 1;
    for (int i = 0; i < pool->worker_count; i++)
        if (pool->busy && pool->workers[i].replica)
            csync_cancel(pool->workers[i].replica);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->worker_count; i++)
        if (pool->workers[i].is_started)
            pthread_join(pool->workers[i].thread, NULL);
}

void cs_pool_free(cs_pool *pool)
{
    if (!pool)
        return;
    for (int i = 0; i < pool->worker_count; i++)
        csync_close(pool->workers[i].replica);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    cs_free(pool->workers);
    cs_free(pool->url);
    cs_free(pool);
}
