/* arena.c - memory that is released all at once. */
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"

struct cs_arena_block {
    cs_arena_block *next;
    size_t used, cap; /* of the bytes behind this head */
};

enum { FIRST_BLOCK = 1024, LARGEST_BLOCK = 256 * 1024 };

static char *bytes_of(cs_arena_block *block)
{
    return (char *)(block + 1);
}

static cs_arena_block *block_new(size_t cap)
{
    cs_arena_block *block = cap < PTRDIFF_MAX / 2 ? cs_malloc(sizeof *block + cap) : NULL;

    if (block) {
        block->next = NULL;
        block->used = 0;
        block->cap = cap;
    }
    return block;
}

/* A block of its own for what is large, behind the head, whose room stays in use. */
static void *alloc_apart(cs_arena *arena, size_t size)
{
    cs_arena_block *block = block_new(size);

    if (!block)
        return NULL;
    block->used = size;
    if (arena->blocks) {
        block->next = arena->blocks->next;
        arena->blocks->next = block;
    } else {
        arena->blocks = block;
    }
    return bytes_of(block);
}

void *cs_arena_alloc(cs_arena *arena, size_t size)
{
    cs_arena_block *head = arena->blocks;
    size_t cap;

    if (size > PTRDIFF_MAX / 4)
        return NULL;
    size = (size + 7) & ~(size_t)7;
    if (!head || head->cap - head->used < size) {
        cap = !head ? FIRST_BLOCK : head->cap < LARGEST_BLOCK / 2 ? head->cap * 2 : LARGEST_BLOCK;
        if (size > cap / 4)
            return alloc_apart(arena, size);
        head = block_new(cap);
        if (!head)
            return NULL;
        head->next = arena->blocks;
        arena->blocks = head;
    }
    head->used += size;
    return bytes_of(head) + head->used - size;
}

char *cs_arena_copy(cs_arena *arena, const char *text, size_t len)
{
    char *copy = len < PTRDIFF_MAX / 4 ? cs_arena_alloc(arena, len + 1) : NULL;

    if (!copy)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = 0;
    return copy;
}

void cs_arena_free(cs_arena *arena)
{
    cs_arena_block *next;

    for (cs_arena_block *block = arena->blocks; block; block = next) {
        next = block->next;
        cs_free(block);
    }
    arena->blocks = NULL;
}
