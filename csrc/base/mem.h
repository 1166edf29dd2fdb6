/* mem.h - memory through the allocator hook. NULL means there is none; sizes are checked for overflow. */
#ifndef CS_MEM_H
#define CS_MEM_H
#include <stddef.h>
#include "csync.h"

void *cs_malloc(size_t size);
void *cs_calloc(size_t count, size_t size);
void *cs_realloc(void *p, size_t size);
void cs_free(void *p);
char *cs_strdup(const char *text); /* NULL gives NULL */
char *cs_strndup(const char *text, size_t len);
/* Makes room for at least `need` elements of `size` bytes in *p, doubling *cap. CSYNC_OK or CSYNC_ENOMEM. */
int cs_grow(void *p, size_t *cap, size_t need, size_t size);
#endif
