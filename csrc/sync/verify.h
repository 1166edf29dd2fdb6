/* verify.h - this replica's tables compared with a peer's, row by row where they differ. */
#ifndef CS_VERIFY_H
#define CS_VERIFY_H
#include "base/arena.h"
#include "codec/digest.h"
#include "sync/replica.h"

/* Has the peer answer a digest request; *answer is the caller's. */
typedef int (*cs_ask)(void *ctx, const char *request, char **answer, csync_error *err);

enum cs_verify_kind { CS_DIFFERS, CS_MISSING_HERE, CS_MISSING_THERE };

/* A row that differs; texts live in the arena. */
typedef struct cs_difference {
    const char *table, *pk;
    enum cs_verify_kind kind;
    cs_row_state mine, theirs;
    const char *explained; /* static text; "": equal stamps, other content */
    int is_repaired;
    const char *reason; /* static text: why it is not; NULL: nothing to say */
} cs_difference;

/* A table on both sides. */
typedef struct cs_tally {
    const char *table;
    int is_here, is_there;
    int64_t rows, peer_rows;
    int has_other_shape; /* other columns: its rows cannot be compared */
    int64_t counts[3]; /* by kind */
} cs_tally;

typedef struct cs_verify {
    csync *replica;
    cs_ask ask;
    void *ctx;
    csync_verify_options options;
    cs_arena arena;
    cs_buf request;
    int is_equal;
    int64_t rounds, bytes; /* questions to the peer, and the bytes both ways */
    cs_tally *tallies;
    size_t tally_count, tally_cap;
    cs_difference *differences; /* as many as are to be reported */
    size_t difference_count, difference_cap;
    int64_t found; /* all of them */
    int64_t repaired;
    csync_batch *repairs; /* changes that wait to be written; of each: */
    ptrdiff_t *repair_of; /* its place in `differences`, or -1 */
    size_t repair_cap;
    size_t tried; /* so many of them have been refused before */
} cs_verify;

/* Compares, and repairs if the options say so. Outside of any call on the replica. */
int cs_verify_run(cs_verify *v, csync_error *err);
/* What was found, as JSON. */
int cs_verify_report(const cs_verify *v, char **report, csync_error *err);
void cs_verify_free(cs_verify *v);

/* verify_rows.c: the rows of the buckets with these prefixes are compared. */
int cs_verify_rows(cs_verify *v, cs_tally *tally, const uint64_t *prefixes, size_t count,
                   size_t width, csync_error *err);
/* Both have a head: with the same stamp. */
int cs_verify_same_stamp(const cs_row_state *a, const cs_row_state *b);
/* verify_repair.c: what is wrong here is put down to be repaired; `reported` is its place in v->differences, -1: it is
 * not reported. */
typedef struct cs_suspect {
    const char *table, *pk;
    const cs_row_state *mine, *theirs;
    ptrdiff_t reported;
} cs_suspect;
int cs_verify_suspects(cs_verify *v, const cs_suspect *suspects, size_t count, csync_error *err);
/* Writes what waits; `last` 0: only if there is much. */
int cs_verify_flush(cs_verify *v, int last, csync_error *err);

/* Both answer v->request, which is made with the writers of codec/digest.h; free both in any case. CSYNC_EPROTO: what
 * the peer answers is malformed. */
int cs_verify_ask(cs_verify *v, enum cs_digest_kind kind, cs_digest_answer *mine,
                  cs_digest_answer *theirs, csync_error *err);
/* Only the peer. */
int cs_verify_ask_peer(cs_verify *v, enum cs_digest_kind kind, cs_digest_answer *theirs,
                       csync_error *err);
/* CSYNC_EINVAL from what the peer sent is CSYNC_EPROTO. */
int cs_verify_protocol(int rc, const csync_error *why, csync_error *err);
#endif
