/* file.c - small files. */
#include "http/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/text.h"

enum { PATH_SIZE = 4096 };

int cs_file_read(const char *path, size_t max, cs_buf *out, csync_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;

    if (fd < 0)
        return cs_fail(err, errno == ENOENT ? CSYNC_ENOTFOUND : CSYNC_EINVAL,
                       "%s cannot be read: %m", path);
    while (n > 0 && out->len <= max) {
        char *room = cs_buf_reserve(out, 4096);

        n = room ? read(fd, room, 4096) : 0;
        out->len += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    if (n < 0)
        return cs_fail(err, CSYNC_EINVAL, "%s cannot be read: %m", path);
    if (out->len > max)
        return cs_fail(err, CSYNC_EINVAL, "%s is too large", path);
    return cs_buf_check(out, err);
}

static int write_all(int fd, const char *content, size_t len)
{
    while (len) {
        ssize_t n = write(fd, content, len);

        if (n < 0)
            return -1;
        content += n;
        len -= (size_t)n;
    }
    return fsync(fd);
}

static void directory_of(const char *path, char out[PATH_SIZE])
{
    char *slash;

    cs_text_copy(out, PATH_SIZE, path);
    slash = strrchr(out, '/');
    if (slash)
        slash[slash == out] = 0;
    else
        cs_text_copy(out, PATH_SIZE, ".");
}

/* That the new name survives a crash. */
static int sync_directory(const char *path)
{
    char directory[PATH_SIZE];
    int fd, rc;

    directory_of(path, directory);
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = fd < 0 ? -1 : fsync(fd);
    if (fd >= 0)
        close(fd);
    return rc;
}

int cs_file_replace(const char *path, const char *content, size_t len, csync_error *err)
{
    char beside[PATH_SIZE];
    int n = snprintf(beside, sizeof beside, "%s.new", path);
    int fd = n > 0 && n < PATH_SIZE
                 ? open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)
                 : -1;
    int rc = fd < 0 ? -1 : write_all(fd, content, len);

    if (fd >= 0 && close(fd) != 0)
        rc = -1;
    if (rc == 0)
        rc = rename(beside, path);
    if (rc == 0)
        rc = sync_directory(path);
    return rc == 0 ? CSYNC_OK : cs_fail(err, CSYNC_ERROR, "%s cannot be written: %m", path);
}

int cs_file_lock(const char *path, int *lock, csync_error *err)
{
    char directory[PATH_SIZE];

    directory_of(path, directory);
    *lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock >= 0 && flock(*lock, LOCK_EX) == 0)
        return CSYNC_OK;
    return cs_fail(err, CSYNC_ERROR, "the directory of %s cannot be locked: %m", path);
}

void cs_file_unlock(int lock)
{
    if (lock >= 0)
        close(lock);
}
