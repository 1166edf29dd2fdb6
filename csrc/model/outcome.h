/* outcome.h - what became of the changes of a pushed batch. */
#ifndef CS_OUTCOME_H
#define CS_OUTCOME_H
#include "model/change.h"

typedef struct cs_outcome_item {
    int status; /* CSYNC_APPLIED ... CSYNC_CONFLICT */
    const char *reason; /* "" or text in the arena */
    ptrdiff_t winner; /* index into winners, -1: none */
} cs_outcome_item;

struct csync_outcome {
    cs_outcome_item *items;
    size_t count, cap;
    csync_batch *winners; /* NULL until there is one */
    int64_t position;
    const char *epoch; /* of the position, in the arena; NULL: none */
    cs_arena arena;
};

csync_outcome *cs_outcome_create(void); /* NULL: out of memory */
/* Appends an entry; `reason` is copied, `winner` (may be NULL) too. */
int cs_outcome_add(csync_outcome *outcome, int status, const char *reason,
                   const csync_change *winner, csync_error *err);
const char *cs_outcome_name(int status); /* "applied", "duplicate", "lost", "parked", "rejected",
                                              "conflict" */
int cs_outcome_parse(const char *text, size_t len); /* 0: none of them */
/* Sets position and epoch. CSYNC_ENOMEM. */
int cs_outcome_stand(csync_outcome *outcome, const cs_position *position, csync_error *err);
void cs_outcome_destroy(csync_outcome *outcome);
#endif
