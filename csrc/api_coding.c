/* api_coding.c - content codings: the public entry points. */
#include "codec/coding.h"

#include <string.h>

const char *csync_codings(void)
{
    return cs_codings_here();
}

/* The coding, and nothing at *out yet. */
static int begin(const char *coding, const void *data, size_t length, char **out,
                 size_t *out_length, int *found, csync_error *err)
{
    cs_error_clear(err);
    if (out)
        *out = NULL;
    if (out_length)
        *out_length = 0;
    if (!coding || !out || !out_length || (length && !data))
        return cs_fail(err, CSYNC_EMISUSE, "coding, data or out is NULL");
    *found = cs_coding_find(coding, strlen(coding));
    return *found < 0 ? cs_fail(err, CSYNC_EUNSUPPORTED, "there is no coding \"%.40s\"", coding)
                      : CSYNC_OK;
}

static int give(cs_buf *result, int rc, char **out, size_t *out_length, csync_error *err)
{
    size_t len = result->len;

    if (rc == CSYNC_OK && !(*out = cs_buf_take(result, err)))
        rc = CSYNC_ENOMEM;
    if (rc == CSYNC_OK)
        *out_length = len;
    cs_buf_free(result);
    return rc;
}

int csync_encode(const char *coding, const void *data, size_t length, char **out,
                 size_t *out_length, csync_error *err)
{
    cs_buf result = {0};
    int found, rc = begin(coding, data, length, out, out_length, &found, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = cs_coding_encode(found, data ? data : "", length, &result, err);
    return give(&result, rc, out, out_length, err);
}

int csync_decode(const char *coding, const void *data, size_t length, size_t max, char **out,
                 size_t *out_length, csync_error *err)
{
    cs_buf result = {0};
    int found, rc = begin(coding, data, length, out, out_length, &found, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = cs_coding_decode(found, data ? data : "", length, max, &result, err);
    return give(&result, rc, out, out_length, err);
}
