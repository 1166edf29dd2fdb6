/* memory_world.h - replicas with everything in them that a call may meet, and an allocator that fails when armed. */
#ifndef MEMORY_WORLD_H
#define MEMORY_WORLD_H
#include "csync.h"
#include "failing_malloc.h"

/* failing_malloc fails allocation number n from here on (0: none), and with and_after all after it. */
void arm(long n, int and_after);
void disarm(void);
/* What the host, a callback or a peer allocates in its turn neither fails nor counts. */
void others_turn(int begins);
int memory_hook(void **state); /* of a group of tests: csync allocates through it */
int memory_unhook(void **state);

extern const char memory_schema[];
extern csync *c, *peer; /* peer: of build(1) only */
extern csync_batch *page; /* for c */
csync *memory_replica(const char *origin);
void build(int with_peer);
void unbuild(void); /* nothing may be left */

/* Merges persons. Its own allocation does not fail: what a callback does is its own business. */
int merge(void *user_data, const csync_change *local, const csync_change *remote,
          const csync_change *base, csync_decision *d);
int sync_both(csync_error *err); /* c with peer, through merge */

typedef struct failing_sync {
    void (*make)(void); /* c and peer; unbuild() frees them */
    void (*check)(void); /* what holds when all is done */
    long tries; /* allocations that fail in one world */
    long stride; /* every which allocation */
    const char *begin; /* of c: a statement that fails where a transaction was left open */
} failing_sync;
/* Batches that are complete stay, so there are states between. Some allocations fail in a first sync, the rest in those
 * that continue it: each in a world of its own would take too long. */
void fail_each_of_a_sync(const failing_sync *f);
/* Both hold the same, and a further sync would move nothing. */
void check_synced(void);
#endif
