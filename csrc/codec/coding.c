/* coding.c - content codings by name. */
#include "codec/coding.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

const char *const cs_coding_names[CS_CODINGS] = {"zstd", "gzip"};

static const struct {
    int (*open)(csync_error *err);
    int (*encode)(const void *data, size_t len, cs_buf *out);
    int (*decode)(const void *data, size_t len, size_t max, cs_buf *out);
} codings[CS_CODINGS] = {{cs_zstd_open, cs_zstd_encode, cs_zstd_decode},
                         {cs_gzip_open, cs_gzip_encode, cs_gzip_decode}};

/* What came of opening the libraries. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static csync_error opened[CS_CODINGS];
static char here[32];

static void open_all(void)
{
    for (int i = 0; i < CS_CODINGS; i++) {
        size_t used = strlen(here);

        opened[i] = (csync_error)CSYNC_ERROR_INIT;
        opened[i].code = codings[i].open(&opened[i]);
        if (opened[i].code == CSYNC_OK)
            snprintf(here + used, sizeof here - used, "%s%s", used ? ", " : "", cs_coding_names[i]);
    }
}

const char *cs_codings_here(void)
{
    pthread_once(&once, open_all);
    return here;
}

int cs_coding_find(const char *name, size_t len)
{
    if (len == 6 && strncasecmp(name, "x-gzip", len) == 0) /* RFC 9110, 8.4.1.3 */
        return cs_coding_find("gzip", 4);
    for (int i = 0; i < CS_CODINGS; i++)
        if (strlen(cs_coding_names[i]) == len && strncasecmp(cs_coding_names[i], name, len) == 0)
            return i;
    return -1;
}

int cs_coding_check(int coding, csync_error *err)
{
    pthread_once(&once, open_all);
    if (opened[coding].code != CSYNC_OK)
        cs_error_copy(err, &opened[coding]);
    return opened[coding].code;
}

int cs_coding_encode(int coding, const void *data, size_t len, cs_buf *out, csync_error *err)
{
    int rc = cs_coding_check(coding, err);

    if (rc == CSYNC_OK && codings[coding].encode(data, len, out) != CS_CODED)
        rc = cs_fail_nomem(err);
    return rc;
}

int cs_coding_decode(int coding, const void *data, size_t len, size_t max, cs_buf *out,
                     csync_error *err)
{
    int rc = cs_coding_check(coding, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = codings[coding].decode(data, len, max, out);
    if (rc == CS_CODED_TOO_MUCH)
        out->failed = CSYNC_EINVAL;
    if (rc == CS_CODED_BADLY)
        return cs_fail(err, CSYNC_EINVAL, "this is no %s, or not the whole of it",
                       cs_coding_names[coding]);
    if (out->failed == CSYNC_EINVAL)
        return cs_fail(err, CSYNC_EINVAL, "what this %s holds is more than %zu bytes",
                       cs_coding_names[coding], max);
    return rc == CS_CODED ? CSYNC_OK : cs_fail_nomem(err);
}
