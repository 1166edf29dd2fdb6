/* disk.c - an SQLite VFS whose files are memory: replica n has the files rn, rn-journal, rn-wal.
 *
 * It knows three things that a real disk does not tell: when the process dies (every later call on the replica's
 * files fails), what of the unsynced writes survives a power loss, and what time it is. Locks and
 * shared memory are those of one process with several connections. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { MAX_FILES = 4 * (MAX_REPLICAS + 1), MAX_UNSYNCED = 256, SHM_PAGES = 8 };

typedef struct unsynced {
    int64_t offset;
    int length;
    unsigned char *data; /* NULL: the file was cut to offset */
} unsynced;

typedef struct file {
    char name[32]; /* "": free */
    int replica;
    int number; /* an inode: copies have another */
    int exists;
    unsigned char *data;
    int64_t size, cap;
    int shared, reserved, exclusive; /* connections that hold locks */
    unsigned char *shm[SHM_PAGES];
    int shm_users, shm_shared[SQLITE_SHM_NLOCK], shm_exclusive[SQLITE_SHM_NLOCK];
    /* while a power loss may come: what was there at the last sync, and what came since */
    unsigned char *durable;
    int64_t durable_size;
    unsynced *writes;
    int write_count;
} file;

typedef struct handle {
    sqlite3_file base;
    file *file;
    int temporary;
    int lock;
    int shm_mapped, shm_shared, shm_exclusive; /* masks */
} handle;

struct disk_image {
    unsigned char *data[3];
    int64_t size[3];
    int exists[3];
};

static const char *const suffixes[] = {"", "-journal", "-wal"};

static file files[MAX_FILES];
static struct {
    int countdown, power, dead;
    rng rng;
} fate[MAX_REPLICAS + 1];
static int numbers;
static int64_t now_ms;
static rng entropy;

/* ---- files ---- */

static file *find(const char *name, int make)
{
    file *spare = NULL;

    for (int i = 0; i < MAX_FILES; i++) {
        if (strcmp(files[i].name, name) == 0 && name[0])
            return &files[i];
        if (!files[i].name[0] && !spare)
            spare = &files[i];
    }
    if (!make || !spare)
        return NULL;
    memset(spare, 0, sizeof *spare);
    snprintf(spare->name, sizeof spare->name, "%s", name);
    spare->number = ++numbers;
    spare->replica = name[0] == 'r' ? atoi(name + 1) : -1;
    return spare;
}

static int grow(file *f, int64_t size)
{
    if (size > f->cap) {
        int64_t cap = f->cap ? f->cap : 16384;

        while (cap < size)
            cap *= 2;
        f->data = realloc(f->data, (size_t)cap);
        if (!f->data)
            abort();
        f->cap = cap;
    }
    if (size > f->size) {
        memset(f->data + f->size, 0, (size_t)(size - f->size));
        f->size = size;
    }
    return SQLITE_OK;
}

static void put(file *f, int64_t offset, const void *data, int length)
{
    grow(f, offset + length);
    memcpy(f->data + offset, data, (size_t)length);
}

static void forget_unsynced(file *f)
{
    for (int i = 0; i < f->write_count; i++)
        free(f->writes[i].data);
    free(f->writes);
    free(f->durable);
    f->writes = NULL;
    f->durable = NULL;
    f->write_count = 0;
}

static void remember(file *f, int64_t offset, const void *data, int length)
{
    unsynced *u;

    if (!f->durable || f->write_count == MAX_UNSYNCED)
        return;
    u = &f->writes[f->write_count++];
    u->offset = offset;
    u->length = length;
    u->data = data ? malloc((size_t)length) : NULL;
    if (u->data)
        memcpy(u->data, data, (size_t)length);
}

static void begin_unsynced(file *f)
{
    forget_unsynced(f);
    f->durable = malloc((size_t)f->size + 1);
    f->writes = calloc(MAX_UNSYNCED, sizeof *f->writes);
    if (!f->durable || !f->writes)
        abort();
    if (f->size)
        memcpy(f->durable, f->data, (size_t)f->size);
    f->durable_size = f->size;
}

/* Of what was written since the last sync each piece is there, torn, or not. */
static void lose_power(file *f, rng *g)
{
    if (!f->durable || !f->exists)
        return;
    f->size = 0;
    put(f, 0, f->durable, (int)f->durable_size);
    for (int i = 0; i < f->write_count; i++) {
        unsynced *u = &f->writes[i];
        unsigned luck = rng_below(g, 4);

        if (luck < 2 && !u->data)
            f->size = u->offset < f->size ? u->offset : f->size;
        else if (luck < 2)
            put(f, u->offset, u->data, u->length);
        else if (luck == 2 && u->data && u->length > 512)
            put(f, u->offset, u->data, 512);
    }
}

int disk_operation(int r)
{
    if (r < 0)
        return 1;
    if (fate[r].dead)
        return 0;
    if (!fate[r].countdown || --fate[r].countdown)
        return 1;
    fate[r].dead = 1;
    for (int i = 0; fate[r].power && i < MAX_FILES; i++)
        if (files[i].name[0] && files[i].replica == r)
            lose_power(&files[i], &fate[r].rng);
    return 0;
}

static int survives(const file *f)
{
    return disk_operation(f->replica);
}

static int is_dead(const file *f)
{
    return f->replica >= 0 && fate[f->replica].dead;
}

/* ---- methods ---- */

static int x_close(sqlite3_file *base)
{
    handle *h = (handle *)base;

    if (h->temporary) {
        free(h->file->data);
        free(h->file);
    }
    return SQLITE_OK;
}

static int x_read(sqlite3_file *base, void *out, int length, sqlite3_int64 offset)
{
    file *f = ((handle *)base)->file;
    int64_t have = f->size - offset;

    if (is_dead(f))
        return SQLITE_IOERR_READ;
    if (have >= length) {
        memcpy(out, f->data + offset, (size_t)length);
        return SQLITE_OK;
    }
    memset(out, 0, (size_t)length);
    if (have > 0)
        memcpy(out, f->data + offset, (size_t)have);
    return SQLITE_IOERR_SHORT_READ;
}

static int x_write(sqlite3_file *base, const void *data, int length, sqlite3_int64 offset)
{
    file *f = ((handle *)base)->file;

    if (!survives(f))
        return SQLITE_IOERR_WRITE;
    remember(f, offset, data, length);
    put(f, offset, data, length);
    return SQLITE_OK;
}

static int x_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    file *f = ((handle *)base)->file;

    if (!survives(f))
        return SQLITE_IOERR_TRUNCATE;
    remember(f, size, NULL, 0);
    if (size < f->size)
        f->size = size;
    return SQLITE_OK;
}

static int x_sync(sqlite3_file *base, int flags)
{
    file *f = ((handle *)base)->file;

    (void)flags;
    if (!survives(f))
        return SQLITE_IOERR_FSYNC;
    if (f->durable)
        begin_unsynced(f);
    return SQLITE_OK;
}

static int x_size(sqlite3_file *base, sqlite3_int64 *size)
{
    *size = ((handle *)base)->file->size;
    return SQLITE_OK;
}

static int x_lock(sqlite3_file *base, int level)
{
    handle *h = (handle *)base;
    file *f = h->file;

    if (is_dead(f))
        return SQLITE_IOERR_LOCK;
    if (level <= h->lock)
        return SQLITE_OK;
    if (h->lock == SQLITE_LOCK_NONE) {
        if (f->exclusive)
            return SQLITE_BUSY;
        f->shared++;
        h->lock = SQLITE_LOCK_SHARED;
    }
    if (level >= SQLITE_LOCK_RESERVED && h->lock < SQLITE_LOCK_RESERVED) {
        if (f->reserved)
            return SQLITE_BUSY;
        f->reserved = 1;
        h->lock = SQLITE_LOCK_RESERVED;
    }
    if (level == SQLITE_LOCK_EXCLUSIVE) {
        if (f->shared > 1)
            return SQLITE_BUSY;
        f->exclusive = 1;
        h->lock = SQLITE_LOCK_EXCLUSIVE;
    }
    return SQLITE_OK;
}

static int x_unlock(sqlite3_file *base, int level)
{
    handle *h = (handle *)base;
    file *f = h->file;

    if (h->lock >= SQLITE_LOCK_EXCLUSIVE && level < SQLITE_LOCK_EXCLUSIVE)
        f->exclusive = 0;
    if (h->lock >= SQLITE_LOCK_RESERVED && level < SQLITE_LOCK_RESERVED)
        f->reserved = 0;
    if (h->lock >= SQLITE_LOCK_SHARED && level == SQLITE_LOCK_NONE)
        f->shared--;
    if (level < h->lock)
        h->lock = level;
    return SQLITE_OK;
}

static int x_check_reserved(sqlite3_file *base, int *out)
{
    *out = ((handle *)base)->file->reserved;
    return SQLITE_OK;
}

static int x_control(sqlite3_file *base, int op, void *arg)
{
    (void)base, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int x_sector(sqlite3_file *base)
{
    (void)base;
    return 512;
}

static int x_characteristics(sqlite3_file *base)
{
    (void)base;
    return 0;
}

/* ---- shared memory of WAL ---- */

static int x_shm_map(sqlite3_file *base, int page, int size, int extend, void volatile **out)
{
    handle *h = (handle *)base;
    file *f = h->file;

    *out = NULL;
    if (is_dead(f) || page >= SHM_PAGES)
        return SQLITE_IOERR_SHMMAP;
    if (!h->shm_mapped) {
        h->shm_mapped = 1;
        f->shm_users++;
    }
    if (!f->shm[page] && extend && !(f->shm[page] = calloc(1, (size_t)size)))
        abort();
    *out = f->shm[page];
    return SQLITE_OK;
}

static void shm_release(handle *h, int i)
{
    if (h->shm_exclusive >> i & 1)
        h->file->shm_exclusive[i] = 0;
    if (h->shm_shared >> i & 1)
        h->file->shm_shared[i]--;
    h->shm_exclusive &= ~(1 << i);
    h->shm_shared &= ~(1 << i);
}

static int shm_take(handle *h, int i, int exclusive)
{
    file *f = h->file;
    int mine = h->shm_shared >> i & 1;

    if (f->shm_exclusive[i] && !(h->shm_exclusive >> i & 1))
        return SQLITE_BUSY;
    if (exclusive && f->shm_shared[i] > mine)
        return SQLITE_BUSY;
    if (exclusive) {
        f->shm_exclusive[i] = 1;
        h->shm_exclusive |= 1 << i;
    } else if (!mine) {
        f->shm_shared[i]++;
        h->shm_shared |= 1 << i;
    }
    return SQLITE_OK;
}

static int x_shm_lock(sqlite3_file *base, int offset, int n, int flags)
{
    handle *h = (handle *)base;
    int rc = SQLITE_OK;

    if (!(flags & SQLITE_SHM_UNLOCK) && is_dead(h->file))
        return SQLITE_IOERR_SHMLOCK;
    for (int i = offset; rc == SQLITE_OK && i < offset + n; i++) {
        if (flags & SQLITE_SHM_UNLOCK)
            shm_release(h, i);
        else
            rc = shm_take(h, i, flags & SQLITE_SHM_EXCLUSIVE);
    }
    for (int i = offset; rc != SQLITE_OK && i < offset + n; i++)
        shm_release(h, i);
    return rc;
}

static void x_shm_barrier(sqlite3_file *base)
{
    (void)base;
}

static int x_shm_unmap(sqlite3_file *base, int delete)
{
    handle *h = (handle *)base;
    file *f = h->file;

    (void)delete;
    for (int i = 0; i < SQLITE_SHM_NLOCK; i++)
        shm_release(h, i);
    if (h->shm_mapped && --f->shm_users == 0)
        for (int i = 0; i < SHM_PAGES; i++) {
            free(f->shm[i]);
            f->shm[i] = NULL;
        }
    h->shm_mapped = 0;
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {2,
                                           x_close,
                                           x_read,
                                           x_write,
                                           x_truncate,
                                           x_sync,
                                           x_size,
                                           x_lock,
                                           x_unlock,
                                           x_check_reserved,
                                           x_control,
                                           x_sector,
                                           x_characteristics,
                                           x_shm_map,
                                           x_shm_lock,
                                           x_shm_barrier,
                                           x_shm_unmap,
                                           NULL,
                                           NULL};

/* ---- the VFS ---- */

static int x_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out)
{
    handle *h = (handle *)base;

    (void)vfs;
    memset(h, 0, sizeof *h);
    h->temporary = !name;
    h->file = name ? find(name, flags & SQLITE_OPEN_CREATE) : calloc(1, sizeof *h->file);
    if (!h->file || (!h->file->exists && !(flags & SQLITE_OPEN_CREATE) && name))
        return SQLITE_CANTOPEN;
    if (!name)
        h->file->replica = -1;
    if (is_dead(h->file))
        return SQLITE_CANTOPEN;
    if (!h->file->exists)
        h->file->size = 0;
    h->file->exists = 1;
    if (name && fate[h->file->replica].power && !h->file->durable)
        begin_unsynced(h->file);
    if (out)
        *out = flags;
    h->base.pMethods = &methods;
    return SQLITE_OK;
}

static int x_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    file *f = find(name, 0);

    (void)vfs, (void)sync;
    if (!f || !f->exists)
        return SQLITE_IOERR_DELETE_NOENT;
    if (!survives(f))
        return SQLITE_IOERR_DELETE;
    f->exists = 0;
    f->size = 0;
    forget_unsynced(f);
    return SQLITE_OK;
}

static int x_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    file *f = find(name, 0);

    (void)vfs, (void)flags;
    *out = f && f->exists && f->size > 0;
    return f && is_dead(f) ? SQLITE_IOERR_ACCESS : SQLITE_OK;
}

static int x_full_name(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
    (void)vfs;
    sqlite3_snprintf(size, out, "%s", name);
    return SQLITE_OK;
}

static int x_randomness(sqlite3_vfs *vfs, int size, char *out)
{
    (void)vfs;
    for (int i = 0; i < size; i++)
        out[i] = (char)rng_next(&entropy);
    return size;
}

static int x_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    return us;
}

static int x_time64(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    (void)vfs;
    *out = now_ms + INT64_C(210866760000000);
    return SQLITE_OK;
}

static int x_time(sqlite3_vfs *vfs, double *out)
{
    sqlite3_int64 ms;

    x_time64(vfs, &ms);
    *out = (double)ms / 86400000.0;
    return SQLITE_OK;
}

static int x_last_error(sqlite3_vfs *vfs, int size, char *out)
{
    (void)vfs, (void)size, (void)out;
    return 0;
}

void disk_init(void)
{
    static sqlite3_vfs vfs = {.iVersion = 2,
                              .szOsFile = sizeof(handle),
                              .mxPathname = 64,
                              .zName = "sim",
                              .xOpen = x_open,
                              .xDelete = x_delete,
                              .xAccess = x_access,
                              .xFullPathname = x_full_name,
                              .xRandomness = x_randomness,
                              .xSleep = x_sleep,
                              .xCurrentTime = x_time,
                              .xGetLastError = x_last_error,
                              .xCurrentTimeInt64 = x_time64};

    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    sqlite3_vfs_register(&vfs, 1);
}

void disk_file_id(const char *path, char out[64])
{
    file *f = find(path, 0);

    snprintf(out, 64, f ? "file %d" : "", f ? f->number : 0);
}

void disk_wipe(void)
{
    numbers = 0;
    for (int i = 0; i < MAX_FILES; i++) {
        forget_unsynced(&files[i]);
        free(files[i].data);
    }
    memset(files, 0, sizeof files);
    memset(fate, 0, sizeof fate);
}

void disk_set_time(int64_t ms)
{
    now_ms = ms;
}

void disk_set_entropy(uint64_t seed)
{
    entropy = rng_of(seed);
    sqlite3_randomness(0, NULL); /* SQLite draws its own seed again */
}

/* ---- what happens to a replica's disk ---- */

void disk_arm(int replica, int nth, int power, uint64_t seed)
{
    fate[replica].countdown = nth;
    fate[replica].power = nth && power;
    fate[replica].rng = rng_of(seed);
    for (int i = 0; i < MAX_FILES; i++) {
        file *f = &files[i];

        if (!f->name[0] || f->replica != replica)
            continue;
        forget_unsynced(f);
        if (fate[replica].power && f->exists)
            begin_unsynced(f);
    }
}

int disk_power(int replica)
{
    return fate[replica].power;
}

int disk_dead(int replica)
{
    return fate[replica].dead;
}

void disk_revive(int replica)
{
    fate[replica].dead = 0;
    disk_arm(replica, 0, 0, 0);
}

static file *file_of(int replica, int which, int make)
{
    char name[32];

    snprintf(name, sizeof name, "r%d%s", replica, suffixes[which]);
    return find(name, make);
}

disk_image *disk_save(int replica)
{
    disk_image *image = calloc(1, sizeof *image);

    for (int i = 0; image && i < 3; i++) {
        file *f = file_of(replica, i, 0);

        if (!f || !f->exists)
            continue;
        image->exists[i] = 1;
        image->size[i] = f->size;
        image->data[i] = malloc((size_t)f->size + 1);
        if (!image->data[i])
            abort();
        memcpy(image->data[i], f->data, (size_t)f->size);
    }
    return image;
}

void disk_restore(int replica, const disk_image *image)
{
    for (int i = 0; i < 3; i++) {
        file *f = file_of(replica, i, image->exists[i]);

        if (!f)
            continue;
        f->size = 0;
        f->exists = image->exists[i];
        if (f->exists)
            put(f, 0, image->data[i], (int)image->size[i]);
    }
}

void disk_remove(int replica)
{
    static const disk_image nothing;

    disk_restore(replica, &nothing);
}

int disk_image_read(const disk_image *image, sqlite3 *into)
{
    unsigned char *copy = sqlite3_malloc64((sqlite3_uint64)image->size[0]);

    if (!copy)
        return SQLITE_NOMEM;
    memcpy(copy, image->data[0], (size_t)image->size[0]);
    return sqlite3_deserialize(into, "main", copy, image->size[0], image->size[0],
                               SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE);
}

void disk_image_free(disk_image *image)
{
    for (int i = 0; image && i < 3; i++)
        free(image->data[i]);
    free(image);
}
