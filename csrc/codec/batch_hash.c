/* batch_hash.c - the hash of a batch: {version}:{table}:{pk}:{operation}:{payload or null}\n of each change. */
#include <string.h>

#include "base/text.h"
#include "codec/sha256.h"
#include "codec/wire.h"

static void add_change(cs_sha256 *h, const cs_change *c)
{
    const char *operation = cs_operation_name(c->pub.operation);
    char digits[CS_INT_SIZE], *end = digits + sizeof digits;
    char *version = cs_int_format(end, c->pub.version);

    cs_sha256_update(h, version, (size_t)(end - version));
    cs_sha256_update(h, ":", 1);
    cs_sha256_update(h, c->pub.table, c->table_len);
    cs_sha256_update(h, ":", 1);
    cs_sha256_update(h, c->pub.pk, c->pk_len);
    cs_sha256_update(h, ":", 1);
    cs_sha256_update(h, operation, strlen(operation));
    cs_sha256_update(h, ":", 1);
    if (c->pub.payload)
        cs_sha256_update(h, c->pub.payload, c->payload_len);
    else
        cs_sha256_update(h, "null", 4);
    cs_sha256_update(h, "\n", 1);
}

int cs_batch_hash(const csync_batch *batch, char hex[CSYNC_HASH_SIZE], csync_error *err)
{
    cs_sha256 *h;
    int rc;

    hex[0] = 0;
    rc = cs_sha256_new(&h, err);
    if (rc != CSYNC_OK)
        return rc;
    for (size_t i = 0; i < batch->count; i++)
        add_change(h, &batch->items[i]);
    rc = cs_sha256_final(h, hex, err);
    cs_sha256_free(h);
    return rc;
}

static int is_same_hex(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        char x = *a >= 'A' && *a <= 'Z' ? (char)(*a + 32) : *a;
        char y = *b >= 'A' && *b <= 'Z' ? (char)(*b + 32) : *b;

        if (x != y)
            return 0;
    }
    return *a == *b;
}

int cs_hash_verify(const char *expected, const char *actual, csync_error *err)
{
    if (is_same_hex(expected, actual))
        return CSYNC_OK;
    if (err && err->struct_size >= sizeof *err) {
        cs_text_copy(err->expected, sizeof err->expected, expected);
        cs_text_copy(err->actual, sizeof err->actual, actual);
    }
    return cs_fail(err, CSYNC_EHASH, "the hash is %.64s, not %.64s as expected", actual, expected);
}
