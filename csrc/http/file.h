/* file.h - small files that are read and replaced as a whole. */
#ifndef CS_FILE_H
#define CS_FILE_H
#include "base/buf.h"

/* CSYNC_ENOTFOUND: it is not there. CSYNC_EINVAL: it cannot be read, or has more than `max` bytes. */
int cs_file_read(const char *path, size_t max, cs_buf *out, csync_error *err);
/* Readers see the old content or the new one, also after a crash. Only the owner may read it. */
int cs_file_replace(const char *path, const char *content, size_t len, csync_error *err);
/* One writer at a time: a lock on its directory. */
int cs_file_lock(const char *path, int *lock, csync_error *err);
void cs_file_unlock(int lock); /* -1 is fine */
#endif
