/* sha256.c - SHA-256 through libcrypto. */
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "codec/sha256.h"

enum { GATHER = 16 * 1024 };

struct cs_sha256 {
    EVP_MD_CTX *ctx;
    int has_failed;
    size_t used;
    unsigned char gathered[GATHER];
};

static EVP_MD *method; /* fetched once: a fetch costs more than the digest of a change */
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void fetch_method(void)
{
    method = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static void start(cs_sha256 *h)
{
    h->used = 0;
    h->has_failed = EVP_DigestInit_ex2(h->ctx, method, NULL) != 1;
}

int cs_sha256_new(cs_sha256 **out, csync_error *err)
{
    cs_sha256 *h;

    *out = NULL;
    pthread_once(&method_once, fetch_method);
    if (!method)
        return cs_fail(err, CSYNC_EUNSUPPORTED, "libcrypto has no SHA-256");
    h = cs_malloc(sizeof *h);
    if (!h)
        return cs_fail_nomem(err);
    h->ctx = EVP_MD_CTX_new();
    if (!h->ctx) {
        cs_free(h);
        return cs_fail_nomem(err);
    }
    start(h);
    *out = h;
    return CSYNC_OK;
}

static void flush(cs_sha256 *h)
{
    if (h->used && EVP_DigestUpdate(h->ctx, h->gathered, h->used) != 1)
        h->has_failed = 1;
    h->used = 0;
}

void cs_sha256_update(cs_sha256 *h, const void *bytes, size_t len)
{
    if (len > GATHER - h->used)
        flush(h);
    if (len > GATHER) {
        if (EVP_DigestUpdate(h->ctx, bytes, len) != 1)
            h->has_failed = 1;
        return;
    }
    if (len)
        memcpy(h->gathered + h->used, bytes, len);
    h->used += len;
}

int cs_sha256_final(cs_sha256 *h, char hex[CSYNC_HASH_SIZE], csync_error *err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char sum[EVP_MAX_MD_SIZE];

    hex[0] = 0;
    flush(h);
    if (h->has_failed || EVP_DigestFinal_ex(h->ctx, sum, NULL) != 1) {
        start(h);
        return cs_fail(err, CSYNC_ERROR, "libcrypto failed to compute a SHA-256");
    }
    for (int i = 0; i < 32; i++) {
        hex[2 * i] = digits[sum[i] >> 4];
        hex[2 * i + 1] = digits[sum[i] & 15];
    }
    hex[64] = 0;
    start(h);
    return CSYNC_OK;
}

void cs_sha256_free(cs_sha256 *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->ctx);
    cs_free(h);
}
