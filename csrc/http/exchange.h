/* exchange.h - one request and the response that it gets. Without sockets. */
#ifndef CS_EXCHANGE_H
#define CS_EXCHANGE_H
#include "base/arena.h"
#include "base/buf.h"
#include "csync.h"
#include "model/scope.h"

enum { CS_HEADERS_MAX = 12, CS_PARAMS_MAX = 64, CS_DATABASE_SIZE = 65 };

typedef struct cs_database {
    char name[CS_DATABASE_SIZE];
    csync *replica; /* NULL: whoever runs the route puts one here */
} cs_database;

/* A grant; several may have the same token. */
typedef struct cs_grant {
    char hash[CSYNC_HASH_SIZE];
    char client[CSYNC_ORIGIN_SIZE]; /* "": anybody's changes (a relay) */
    char database[CS_DATABASE_SIZE]; /* "": all */
    int may;
    int64_t expires; /* milliseconds since 1970; 0: never */
    cs_scope scope; /* the tables that it may see and write */
} cs_grant;

struct csync_api {
    cs_database *databases;
    size_t database_count;
    cs_grant *grants;
    size_t grant_count;
    cs_arena texts; /* of the grants */
    csync_api_options options;
    int is_guarded; /* without grants nobody may do anything */
};

typedef struct cs_param {
    const char *name, *value;
} cs_param;

typedef struct cs_reply {
    csync_response pub; /* first: what the caller gets */
    csync_header headers[CS_HEADERS_MAX];
    cs_buf body;
    cs_arena texts; /* of headers */
} cs_reply;

typedef struct cs_exchange {
    const csync_api *api;
    const csync_request *request;
    cs_param *params; /* in `texts` */
    size_t param_count;
    const cs_database *database;
    const cs_grant *grant; /* NULL: none is needed */
    cs_reply *reply;
    cs_arena texts; /* of the parameters */
} cs_exchange;

/* What running a route needs. */
enum { CS_AT_ONCE, CS_READS, CS_WRITES, CS_STREAMS, CS_ENDS_STREAM, CS_COUNTS };

typedef struct cs_route {
    const char *method, *path;
    int may; /* 0: whoever asks */
    int kind;
    int (*answer)(cs_exchange *x, csync_error *err);
} cs_route;

/* api.c */
/* csync_api_add; the replica may be NULL. */
int cs_api_add(csync_api *api, const char *name, csync *replica, csync_error *err);

/* request.c */
/* Reads the query. CSYNC_EINVAL says what is wrong with it. */
int cs_exchange_query(cs_exchange *x, csync_error *err);
const char *cs_exchange_param(const cs_exchange *x, const char *name); /* NULL: there is none */
/* A parameter that is an integer of at least 0; `fallback` where there is none. CSYNC_EINVAL */
int cs_exchange_count(const cs_exchange *x, const char *name, int64_t fallback, int64_t *out,
                      csync_error *err);
/* The value of a header, whatever the case of its name; NULL: there is none. */
const char *cs_exchange_header(const cs_exchange *x, const char *name);

/* reply.c */
cs_reply *cs_reply_create(void); /* NULL: out of memory */
void cs_reply_destroy(cs_reply *reply);
/* `value` is copied. */
int cs_reply_header(cs_reply *reply, const char *name, const char *value, csync_error *err);
/* What stands in reply->body is the answer, JSON. */
int cs_reply_json(cs_reply *reply, int status, csync_error *err);
/* ... of another type. */
int cs_reply_text(cs_reply *reply, int status, const char *type, csync_error *err);
/* Replaces whatever the reply holds by a problem document (RFC 9457): type urn:csync:TYPE. `why` (NULL: none) gives the
 * fields that a client needs to go on. */
int cs_reply_problem(cs_reply *reply, int status, const char *type, const char *detail,
                     const csync_error *why, csync_error *err);
/* The problem that a csync function's failure is. */
int cs_reply_failure(cs_reply *reply, const csync_error *why, csync_error *err);

/* openapi.c and page.c, made by script/check_embed.py */
extern const char cs_openapi_json[], cs_page_html[], cs_page_policy[];

/* grant.c */
/* What is known of a token. */
int cs_token_hash(const char *token, char hex[CSYNC_HASH_SIZE], csync_error *err);
const char *cs_exchange_token(const cs_exchange *x); /* NULL: there is none */
/* Whether the request may: finds its grant. 0: it may; else the status of the problem. */
int cs_exchange_permit(cs_exchange *x, int may, int *status, csync_error *err);
/* *may 1: the request may do that in this database. */
int cs_exchange_covers(const cs_exchange *x, const cs_database *database, int right, int *may,
                       csync_error *err);
/* Whether it may speak for `origin`. */
int cs_exchange_may_be(const cs_exchange *x, const char *origin);
/* The tables that it may see and write. */
const cs_scope *cs_exchange_scope(const cs_exchange *x);
/* CSYNC_EAUTH: `table` (NULL: none is named) is not among them. */
int cs_exchange_may_see(const cs_exchange *x, const char *table, csync_error *err);

/* coding.c */
/* Answers the request by the route. Its body may have a content coding, and gets the answer in one that it takes. */
int cs_exchange_answer(cs_exchange *x, const cs_route *route, csync_error *err);

/* routes.c */
/* The route, when the request may take it; *route NULL: the reply says why not. */
int cs_exchange_find(cs_exchange *x, const cs_route **route, csync_error *err);
int cs_exchange_run(cs_exchange *x, csync_error *err);
#endif
