/* failing_malloc.h - fails the i-th allocation of csync's, for every i, and counts the live blocks.
 *
 *     static int write_and_read(void *ctx) { ... return rc; }     releases all that it made, returns the code
 *     failing_malloc_each(write_and_read, &ctx, FAILING_STRICT);
 */
#ifndef FAILING_MALLOC_H
#define FAILING_MALLOC_H

enum {
    FAILING_STRICT = 0, /* a failed allocation must come out as CSYNC_ENOMEM */
    FAILING_MAY_RECOVER = 1, /* the run may also succeed without that memory */
    FAILING_MAY_DIFFER = 2 /* or answer another code: a database of its own failed too */
};

/* Runs `fn` once without failures, which must return CSYNC_OK, then once for each allocation that it made,
 * failing that one, and once more failing that one and all after it. After each run as many blocks must live
 * as before. A cmocka assertion fails otherwise. Returns the number of allocations of a run. */
long failing_malloc_each(int (*fn)(void *ctx), void *ctx, int mode);

/* What the allocator has seen; fail_at may be set back to 0 (none) and count with it for somebody else's turn. */
extern struct failing_malloc_state {
    long count, fail_at, live;
    int and_after, has_failed;
} failing_malloc;

/* By hand: counts from now on. The n-th allocation from here fails (0: none), and with `and_after` all later. */
void failing_malloc_begin(long n, int and_after);
/* Brings the default allocator back; blocks made in between must be gone. Returns the allocations made. */
long failing_malloc_end(void);
/* Blocks that live now. */
long failing_malloc_live(void);
#endif
