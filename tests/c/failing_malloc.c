/* failing_malloc.c - an allocator that fails when told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "csync.h"
#include "failing_malloc.h"

struct failing_malloc_state failing_malloc;

static int is_to_fail(void)
{
    failing_malloc.count++;
    if (!failing_malloc.fail_at || failing_malloc.count < failing_malloc.fail_at ||
        (failing_malloc.count > failing_malloc.fail_at && !failing_malloc.and_after))
        return 0;
    failing_malloc.has_failed = 1;
    return 1;
}

static void *take(void *user_data, size_t size)
{
    void *p = is_to_fail() ? NULL : malloc(size);

    (void)user_data;
    failing_malloc.live += p != NULL;
    return p;
}

static void *retake(void *user_data, void *p, size_t size)
{
    (void)user_data;
    return is_to_fail() ? NULL : realloc(p, size);
}

static void give(void *user_data, void *p)
{
    (void)user_data;
    failing_malloc.live--;
    free(p);
}

void failing_malloc_begin(long n, int and_after)
{
    const csync_allocator failing = {sizeof failing, NULL, take, retake, give};

    failing_malloc.count = failing_malloc.live = 0;
    failing_malloc.fail_at = n;
    failing_malloc.and_after = and_after;
    failing_malloc.has_failed = 0;
    assert_int_equal(csync_set_allocator(&failing), CSYNC_OK);
}

long failing_malloc_end(void)
{
    assert_int_equal(failing_malloc.live, 0);
    csync_set_allocator(NULL);
    return failing_malloc.count;
}

long failing_malloc_live(void)
{
    return failing_malloc.live;
}

static void check_code(int rc, int mode, long n)
{
    if (rc == CSYNC_ENOMEM || mode == FAILING_MAY_DIFFER)
        return;
    if (mode == FAILING_MAY_RECOVER && rc == CSYNC_OK)
        return;
    fail_msg("allocation %ld failed and the answer was %s", n, csync_code_name(rc));
}

long failing_malloc_each(int (*fn)(void *ctx), void *ctx, int mode)
{
    long total;

    failing_malloc_begin(0, 0);
    assert_int_equal(fn(ctx), CSYNC_OK);
    total = failing_malloc_end();
    for (long n = 1; n <= total; n++)
        for (int and_after = 0; and_after <= 1; and_after++) {
            int rc, has_failed;

            failing_malloc_begin(n, and_after);
            rc = fn(ctx);
            has_failed = failing_malloc.has_failed;
            failing_malloc_end();
            if (has_failed)
                check_code(rc, mode, n);
            else
                assert_int_equal(rc, CSYNC_OK);
        }
    return total;
}
