/* arena.h - memory that is released all at once: the strings of a batch. */
#ifndef CS_ARENA_H
#define CS_ARENA_H
#include <stddef.h>

typedef struct cs_arena_block cs_arena_block;
typedef struct cs_arena {
    cs_arena_block *blocks;
} cs_arena; /* zero-initialised is empty */

/* `size` bytes aligned to 8, or NULL. */
void *cs_arena_alloc(cs_arena *arena, size_t size);
/* A NUL-terminated copy of `len` bytes, or NULL. */
char *cs_arena_copy(cs_arena *arena, const char *text, size_t len);
void cs_arena_free(cs_arena *arena);
#endif
