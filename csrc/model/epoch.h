/* epoch.h - what a log gives out with a position, so that it knows the position again.
 *
 * Each handle that serves a log begins an epoch: a random id and the version that the log ended with. The text that
 * travels with a version is "ID.ASOF.MARK": the newest epoch, the end of the log when it was given out, and a check
 * sum of the entry there. A database that was restored from a backup either lacks the epoch, or has ended it before
 * ASOF, or has written another entry there since. Where only some tables were read ".SCOPE" follows, the mark of these. */
#ifndef CS_EPOCH_H
#define CS_EPOCH_H
#include <stdint.h>

#include "csync.h"
#include "model/position.h"

#define CS_EPOCH_ID_SIZE 17 /* hexadecimal digits, with the NUL */

typedef struct cs_epoch {
    char id[CS_EPOCH_ID_SIZE];
    int64_t asof;
    uint32_t mark; /* 0: there was no entry */
    uint32_t scope; /* cs_scope_mark; 0: every table was read */
} cs_epoch;

int cs_epoch_new_id(char out[CS_EPOCH_ID_SIZE], csync_error *err);
/* The check sum of a log entry; never 0. */
uint32_t cs_epoch_mark(const char *table, const char *pk, const char *operation,
                       const char *timestamp);
void cs_epoch_format(const cs_epoch *epoch, char out[CS_EPOCH_SIZE]);
/* -1: no log gives out such a text. */
int cs_epoch_parse(const char *text, cs_epoch *out);
/* The mark of the scope that a position was read in; 0: every table. */
uint32_t cs_position_scope(const cs_position *position);
void cs_position_set_scope(cs_position *position, uint32_t mark);
#endif
