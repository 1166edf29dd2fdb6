/* options.c - size-prefixed structs across the border. */
#include "base/options.h"

#include <string.h>

#define LARGEST 4096 /* beyond it struct_size was never set */

static int size_of(const void *s, size_t *size, csync_error *err)
{
    memcpy(size, s, sizeof *size);
    if (*size < sizeof *size || *size > LARGEST)
        return cs_fail(err, CSYNC_EMISUSE, "struct_size is %zu; set it to sizeof the struct", *size);
    return CSYNC_OK;
}

int cs_options_in(void *to, size_t size, const void *from, csync_error *err)
{
    size_t theirs = size;
    int rc = CSYNC_OK;

    memset(to, 0, size);
    if (from)
        rc = size_of(from, &theirs, err);
    if (rc != CSYNC_OK)
        return rc;
    if (from)
        memcpy(to, from, theirs < size ? theirs : size);
    memcpy(to, &size, sizeof size);
    for (size_t i = size; i < theirs; i++)
        if (((const unsigned char *)from)[i])
            return cs_fail(err, CSYNC_EUNSUPPORTED,
                           "the options ask for something that csync %s does not know",
                           csync_version());
    return CSYNC_OK;
}

int cs_struct_check(const void *out, csync_error *err)
{
    size_t size;

    return out ? size_of(out, &size, err) : cs_fail(err, CSYNC_EMISUSE, "the result struct is NULL");
}

void cs_struct_out(void *out, const void *from, size_t size)
{
    size_t theirs;

    memcpy(&theirs, out, sizeof theirs);
    memset(out, 0, theirs);
    memcpy(out, from, theirs < size ? theirs : size);
    memcpy(out, &theirs, sizeof theirs);
}
