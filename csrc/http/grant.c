/* grant.c - who may do what: bearer tokens (RFC 6750), of which only hashes are known. */
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#include "codec/sha256.h"
#include "http/exchange.h"

static int hash_of(const char *token, char hex[CSYNC_HASH_SIZE], csync_error *err)
{
    cs_sha256 *h;
    int rc = cs_sha256_new(&h, err);

    if (rc != CSYNC_OK)
        return rc;
    cs_sha256_update(h, token, strlen(token));
    rc = cs_sha256_final(h, hex, err);
    cs_sha256_free(h);
    return rc;
}

/* NULL: the request has none. */
static const char *bearer(const cs_exchange *x)
{
    const char *value = cs_exchange_header(x, "Authorization");

    if (!value || strncasecmp(value, "Bearer ", 7) != 0)
        return NULL;
    value += 7;
    return value + strspn(value, " ");
}

/* The hashes are compared whole, so that the time tells nothing of them. */
static int is_for(const cs_exchange *x, const cs_grant *grant, const char *hash)
{
    return CRYPTO_memcmp(grant->hash, hash, CSYNC_HASH_SIZE - 1) == 0 &&
           (!grant->database[0] || !x->database || strcmp(grant->database, x->database->name) == 0);
}

/* Without grants whoever is on this machine may do everything, and nobody else anything. */
int cs_exchange_permit(cs_exchange *x, int may, int *status, csync_error *err)
{
    const csync_api *api = x->api;
    const char *token = bearer(x);
    char hash[CSYNC_HASH_SIZE];
    int known = 0, rc;

    *status = 401;
    if (!api->grant_count) {
        *status = x->request->local ? 0 : 401;
        return CSYNC_OK;
    }
    if (!token)
        return CSYNC_OK;
    rc = hash_of(token, hash, err);
    for (size_t i = 0; rc == CSYNC_OK && i < api->grant_count; i++) {
        const cs_grant *grant = &api->grants[i];

        known |= CRYPTO_memcmp(grant->hash, hash, CSYNC_HASH_SIZE - 1) == 0;
        if (!x->grant && is_for(x, grant, hash) && (grant->may & may) == may)
            x->grant = grant;
    }
    *status = x->grant ? 0 : known ? 403 : 401;
    return rc;
}

int cs_exchange_may_be(const cs_exchange *x, const char *origin)
{
    return !x->grant || !x->grant->client[0] || strcmp(x->grant->client, origin) == 0;
}
