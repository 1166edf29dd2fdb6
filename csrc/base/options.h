/* options.h - size-prefixed structs across the border: the only place that reads and writes them.
 *
 * A caller compiled against an older header has a smaller struct: what it lacks is zero, the default. One
 * compiled against a newer header may use what this library knows, and gets CSYNC_EUNSUPPORTED when it sets
 * what it does not. */
#ifndef CS_OPTIONS_H
#define CS_OPTIONS_H
#include <stddef.h>

#include "base/error.h"

/* Copies *from (NULL: all defaults) into *to of `size` bytes. */
int cs_options_in(void *to, size_t size, const void *from, csync_error *err);
/* That the caller's struct can be written to. */
int cs_struct_check(const void *out, csync_error *err);
/* Writes as much as the caller's struct takes; its struct_size stays, what we do not know becomes zero. */
void cs_struct_out(void *out, const void *from, size_t size);

#define CS_OPTIONS_IN(to, from, err) cs_options_in(to, sizeof *(to), from, err)
#define CS_STRUCT_CHECK(out, err) cs_struct_check(out, err)
#define CS_STRUCT_OUT(out, from) cs_struct_out(out, from, sizeof *(from))
#endif
