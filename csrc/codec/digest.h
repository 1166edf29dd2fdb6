/* digest.h - the documents in which two replicas compare their tables, and their JSON.
 *
 *   {}, {"tables":[T]}                            -> {"tables":[{"table","rows","digest","shape"}]}
 *   {"table":T,"prefixes":["3f"],"digits":2}      -> {"buckets":{"3f00":"16 digits",...}}
 *   {"table":T,"prefixes":["3f0a"]}               -> {"rows":{"{\"id\":1}":"32 digits",...}}
 *   {"table":T,"keys":["{\"id\":1}"],"payload":B} -> {"states":[{"head","timestamp","origin","seq","digest",
 *                                                    "payload"}]}
 *
 * A bucket is the rows whose key's SHA-256 begins with a prefix of hex digits. Only buckets with rows in them are
 * answered. States answer the keys in their order, perhaps only the first of them. */
#ifndef CS_DIGEST_H
#define CS_DIGEST_H
#include "base/buf.h"
#include "model/change.h"

enum {
    CS_PREFIX_MAX = 14, /* hex digits */
    CS_DIGITS_MAX = 2, /* by which one request may narrow its prefixes */
    CS_BUCKETS_MAX = 1 << 18, /* of one answer */
    CS_PREFIXES_MAX = 1 << 12, /* of a request for rows */
    CS_KEYS_MAX = 1000, /* of a request for states */
    CS_BUCKET_HEX = 16, /* digits of a bucket's digest */
    CS_ROW_HEX = 32 /* and of a row's */
};

enum cs_digest_kind { CS_ASK_TABLES, CS_ASK_BUCKETS, CS_ASK_ROWS, CS_ASK_STATES };

typedef struct cs_digest_request {
    enum cs_digest_kind kind;
    csync_batch *texts; /* holds the texts */
    const char *table;
    size_t width; /* digits of each prefix */
    uint64_t *prefixes; /* ascending */
    size_t count, cap; /* of prefixes or keys */
    int digits;
    const char **keys;
    int payload;
    const char **tables; /* CS_ASK_TABLES: only these; table_count 0: all */
    size_t table_count, table_cap;
} cs_digest_request;

/* `out` is zeroed. CSYNC_EINVAL names the byte. Free it in any case. */
int cs_digest_request_read(cs_digest_request *out, const char *json, size_t len, csync_error *err);
void cs_digest_request_free(cs_digest_request *request);
/* digits 0: for rows. */
void cs_digest_put_prefixes(cs_buf *out, const char *table, const uint64_t *prefixes, size_t count,
                            size_t width, int digits);
void cs_digest_put_tables(cs_buf *out, const char *const *tables, size_t count);
void cs_digest_put_keys(cs_buf *out, const char *table, const char *const *keys, size_t count,
                        int payload);

typedef struct cs_table_digest {
    const char *table, *digest; /* digest: of all rows */
    const char *shape; /* SHA-256 of the names of the columns, and which are the key */
    int64_t rows;
} cs_table_digest;
typedef struct cs_bucket {
    uint64_t prefix, sum;
} cs_bucket;
typedef struct cs_row_digest {
    const char *pk, *digest;
} cs_row_digest;

enum cs_head_state { CS_HEAD_NONE, CS_HEAD_LIVE, CS_HEAD_DELETED, CS_HEAD_PARKED };
typedef struct cs_row_state {
    enum cs_head_state head;
    const char *timestamp, *origin; /* of the head; NULL: none */
    int64_t seq;
    const char *digest; /* of the row that is there; NULL: none is */
    const char *payload; /* the row, if it was asked for */
} cs_row_state;

/* What was read of an answer: one of the lists. */
typedef struct cs_digest_answer {
    csync_batch *texts;
    cs_table_digest *tables; /* in order of name */
    cs_bucket *buckets; /* in order of prefix */
    cs_row_digest *rows;
    cs_row_state *states;
    size_t count, cap;
} cs_digest_answer;

/* `out` is zeroed; the answer must be of that kind. CSYNC_EINVAL names the byte. Free it in any case. */
int cs_digest_answer_read(cs_digest_answer *out, enum cs_digest_kind kind, const char *json,
                          size_t len, csync_error *err);
void cs_digest_answer_free(cs_digest_answer *answer);
void cs_digest_put_table(cs_buf *out, const cs_table_digest *table);
void cs_digest_put_bucket(cs_buf *out, const cs_bucket *bucket, size_t width);
void cs_digest_put_row(cs_buf *out, const cs_row_digest *row);
void cs_digest_put_state(cs_buf *out, const cs_row_state *state);

/* 0, or -1: not lower-case hex, or more than 16 digits. */
int cs_prefix_parse(const char *hex, size_t len, uint64_t *out);
#endif
