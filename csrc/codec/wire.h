/* wire.h - batches and outcomes <-> the wire JSON. */
#ifndef CS_WIRE_H
#define CS_WIRE_H
#include "base/buf.h"
#include "model/change.h"
#include "model/outcome.h"

int cs_batch_hash(const csync_batch *batch, char hex[CSYNC_HASH_SIZE], csync_error *err);
/* Two hashes in hex of either case: CSYNC_OK, or CSYNC_EHASH with both in `err`. */
int cs_hash_verify(const char *expected, const char *actual, csync_error *err);
void cs_batch_write(cs_buf *out, const csync_batch *batch);
/* Appends one change as an object of the wire form. */
void cs_change_write(cs_buf *out, const csync_change *change);
int cs_batch_read(csync_batch **out, const char *json, size_t len, csync_error *err);
/* {"position":N,"outcomes":[{"status":"applied"},{"status":"lost","winner":{..}},{"status":"parked","reason":".."}]} */
void cs_outcome_write(cs_buf *out, const csync_outcome *outcome);
int cs_outcome_read(csync_outcome **out, const char *json, size_t len, csync_error *err);
#endif
