/* grant.c - who may do what: bearer tokens (RFC 6750), of which only hashes are known. */
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "codec/sha256.h"
#include "http/exchange.h"

int cs_token_hash(const char *token, char hex[CSYNC_HASH_SIZE], csync_error *err)
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

const char *cs_exchange_token(const cs_exchange *x)
{
    const char *value = cs_exchange_header(x, "Authorization");

    if (!value || strncasecmp(value, "Bearer ", 7) != 0)
        return NULL;
    value += 7;
    return value + strspn(value, " ");
}

static int is_over(const cs_grant *grant)
{
    return grant->expires && grant->expires <= cs_time_now();
}

static int covers(const cs_grant *grant, const cs_database *database)
{
    return !grant->database[0] || !database || strcmp(grant->database, database->name) == 0;
}

/* What a proxy on this machine passes on comes from elsewhere. */
static int is_local(const cs_exchange *x)
{
    static const char *const marks[] = {"Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"};

    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (cs_exchange_header(x, marks[i]))
            return 0;
    return x->request->local;
}

/* Without grants whoever is on this machine may do everything, and nobody else anything. Hashes are compared whole, so that
 * the time tells nothing of them. */
int cs_exchange_permit(cs_exchange *x, int may, int *status, csync_error *err)
{
    const csync_api *api = x->api;
    const char *token = cs_exchange_token(x);
    char hash[CSYNC_HASH_SIZE];
    int known = 0, rc;

    *status = 401;
    if (!api->grant_count && !api->is_guarded) {
        *status = is_local(x) ? 0 : 401;
        return CSYNC_OK;
    }
    if (!token)
        return CSYNC_OK;
    rc = cs_token_hash(token, hash, err);
    for (size_t i = 0; rc == CSYNC_OK && i < api->grant_count; i++) {
        const cs_grant *grant = &api->grants[i];
        int same = !is_over(grant) && CRYPTO_memcmp(grant->hash, hash, CSYNC_HASH_SIZE - 1) == 0;

        known |= same;
        if (!x->grant && same && covers(grant, x->database) && (grant->may & may) == may)
            x->grant = grant;
    }
    *status = x->grant ? 0 : known ? 403 : 401;
    return rc;
}

const cs_scope *cs_exchange_scope(const cs_exchange *x)
{
    static const cs_scope all = {NULL, 0};

    return x->grant ? &x->grant->scope : &all;
}

int cs_exchange_may_see(const cs_exchange *x, const char *table, csync_error *err)
{
    if (!table || cs_scope_has(cs_exchange_scope(x), table))
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EAUTH, "the token is not for table \"%.100s\"", table);
}

int cs_exchange_covers(const cs_exchange *x, const cs_database *database, int right, int *may,
                       csync_error *err)
{
    cs_exchange other = {.api = x->api, .request = x->request, .database = database};
    int status = 0;
    int rc = cs_exchange_permit(&other, right, &status, err);

    *may = rc == CSYNC_OK && !status;
    return rc;
}

int cs_exchange_may_be(const cs_exchange *x, const char *origin)
{
    return !x->grant || !x->grant->client[0] || strcmp(x->grant->client, origin) == 0;
}
