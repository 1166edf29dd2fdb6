/* names.c - are the names of an object distinct? Up to 64 are compared as they come; more are sorted at the
 * end, so that no input makes it quadratic. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/names.h"

void cs_names_init(cs_names *n)
{
    n->count = n->cap = 0;
    n->all = NULL;
    memset(n->seen, 0, sizeof n->seen);
}

static int is_same(const cs_name *name, const char *text, size_t len)
{
    return name->len == len && memcmp(name->text, text, len) == 0;
}

static int add_far(cs_names *n, const char *text, size_t len)
{
    if (cs_grow(&n->all, &n->cap, n->count + 1, sizeof *n->all) != CSYNC_OK)
        return CSYNC_ENOMEM;
    if (n->count == CS_NAMES_NEAR)
        memcpy(n->all, n->near, sizeof n->near);
    n->all[n->count].text = text;
    n->all[n->count++].len = len;
    return 0;
}

int cs_names_add(cs_names *n, const char *text, size_t len)
{
    uint64_t first = 0, mask;
    unsigned bit;

    if (n->count >= CS_NAMES_NEAR)
        return add_far(n, text, len);
    memcpy(&first, text, len < 8 ? len : 8);
    bit = cs_name_bit(first, len);
    mask = UINT64_C(1) << (bit & 63);
    if (n->seen[bit >> 6] & mask)
        for (size_t i = 0; i < n->count; i++)
            if (is_same(&n->near[i], text, len))
                return 1;
    n->seen[bit >> 6] |= mask;
    n->near[n->count].text = text;
    n->near[n->count++].len = len;
    return 0;
}

static int compare(const void *a, const void *b)
{
    const cs_name *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);

    return order ? order : (x->len > y->len) - (x->len < y->len);
}

int cs_names_finish(cs_names *n)
{
    int is_repeated = 0;

    if (n->all) {
        qsort(n->all, n->count, sizeof *n->all, compare);
        for (size_t i = 1; i < n->count && !is_repeated; i++)
            is_repeated = compare(&n->all[i - 1], &n->all[i]) == 0;
    }
    cs_free(n->all);
    n->all = NULL;
    return is_repeated;
}
