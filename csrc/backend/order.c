/* order.c - parents before their children, and the other way round for deletes. */
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/mem.h"

static int by_rank_and_name(const void *x, const void *y)
{
    const cs_table *a = *(cs_table *const *)x, *b = *(cs_table *const *)y;

    return a->rank != b->rank ? a->rank - b->rank : strcmp(a->name, b->name);
}

int cs_backend_ranked(const cs_backend *b, cs_table ***out, csync_error *err)
{
    *out = cs_calloc(b->table_count + 1, sizeof **out);
    if (!*out)
        return cs_fail_nomem(err);
    if (b->table_count)
        memcpy(*out, b->tables, b->table_count * sizeof **out);
    qsort(*out, b->table_count, sizeof **out, by_rank_and_name);
    return CSYNC_OK;
}

typedef struct order_key {
    size_t index;
    int rank; /* upserts by rank, then deletes against it */
} order_key;

static int by_rank(const void *a, const void *b)
{
    const order_key *x = a, *y = b;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

int cs_items_order(const cs_item *items, size_t count, size_t *order, size_t *n, csync_error *err)
{
    order_key *keys = cs_calloc(count + 1, sizeof *keys);
    int sorted = 1;

    *n = 0;
    if (!keys)
        return cs_fail_nomem(err);
    for (size_t i = 0; i < count; i++) {
        const cs_item *item = &items[i];
        int deletes = item->change->pub.operation == CSYNC_DELETE;

        if (item->status || !item->table)
            continue;
        keys[*n].index = i;
        keys[*n].rank = deletes ? INT32_MAX - item->table->rank : item->table->rank;
        sorted &= *n == 0 || keys[*n - 1].rank <= keys[*n].rank;
        ++*n;
    }
    if (!sorted)
        qsort(keys, *n, sizeof *keys, by_rank);
    for (size_t i = 0; i < *n; i++)
        order[i] = keys[i].index;
    cs_free(keys);
    return CSYNC_OK;
}
