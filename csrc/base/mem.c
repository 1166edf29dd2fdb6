/* mem.c - the allocator hook and what stands on it. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void *default_malloc(void *user_data, size_t size)
{
    (void)user_data;
    return malloc(size);
}

static void *default_realloc(void *user_data, void *p, size_t size)
{
    (void)user_data;
    return realloc(p, size);
}

static void default_free(void *user_data, void *p)
{
    (void)user_data;
    free(p);
}

static const csync_allocator standard = {sizeof(csync_allocator), NULL, default_malloc,
                                         default_realloc, default_free};
static csync_allocator current = {sizeof(csync_allocator), NULL, default_malloc, default_realloc,
                                  default_free};

int csync_set_allocator(const csync_allocator *allocator)
{
    if (!allocator) {
        current = standard;
        return CSYNC_OK;
    }
    if (allocator->struct_size < sizeof *allocator || !allocator->malloc_fn ||
        !allocator->realloc_fn || !allocator->free_fn)
        return CSYNC_EMISUSE;
    current = *allocator;
    return CSYNC_OK;
}

void *csync_malloc(size_t size)
{
    return cs_malloc(size);
}

void csync_free(void *p)
{
    cs_free(p);
}

void *cs_malloc(size_t size)
{
    if (size > PTRDIFF_MAX)
        return NULL;
    return current.malloc_fn(current.user_data, size ? size : 1);
}

void *cs_calloc(size_t count, size_t size)
{
    void *p;

    if (size && count > PTRDIFF_MAX / size)
        return NULL;
    p = cs_malloc(count * size);
    if (p)
        memset(p, 0, count * size);
    return p;
}

void *cs_realloc(void *p, size_t size)
{
    if (!p)
        return cs_malloc(size);
    if (size > PTRDIFF_MAX)
        return NULL;
    return current.realloc_fn(current.user_data, p, size ? size : 1);
}

void cs_free(void *p)
{
    if (p)
        current.free_fn(current.user_data, p);
}

char *cs_strdup(const char *text)
{
    return text ? cs_strndup(text, strlen(text)) : NULL;
}

char *cs_strndup(const char *text, size_t len)
{
    char *copy = len < PTRDIFF_MAX ? cs_malloc(len + 1) : NULL;

    if (!copy)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = 0;
    return copy;
}

int cs_grow(void *p, size_t *cap, size_t need, size_t size)
{
    size_t to = *cap ? *cap : 8;
    void *old, *grown;

    if (need <= *cap)
        return CSYNC_OK;
    if (need > PTRDIFF_MAX / 2 / size)
        return CSYNC_ENOMEM;
    while (to < need)
        to *= 2;
    memcpy(&old, p, sizeof old); /* `p` points at a pointer of any type */
    grown = cs_realloc(old, to * size);
    if (!grown)
        return CSYNC_ENOMEM;
    memcpy(p, &grown, sizeof grown);
    *cap = to;
    return CSYNC_OK;
}
