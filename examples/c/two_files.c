/* two_files.c - two SQLite files in step, from C.
 *
 *     cc two_files.c $(pkg-config --cflags --libs csync) -o two_files && ./two_files laptop.db phone.db */
#include <stdio.h>
#include <stdlib.h>

#include <csync.h>

static void check(int rc, const csync_error *err)
{
    if (rc == CSYNC_OK)
        return;
    fprintf(stderr, "two_files: %s (%s)\n", err->message, csync_code_name(rc));
    exit(1);
}

static csync *open_notes(const char *path)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync *db = NULL;

    check(csync_open(&db, path, NULL, &err), &err);
    check(csync_execute(db, "CREATE TABLE IF NOT EXISTS note(id INTEGER PRIMARY KEY, text TEXT)",
                        NULL, 0, NULL, NULL, NULL, &err),
          &err);
    check(csync_track(db, "note", NULL, &err), &err);
    return db;
}

static void write_note(csync *db, int64_t id, const char *text, size_t length)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_value params[2] = {{.type = CSYNC_INTEGER, .integer = id},
                             {.type = CSYNC_TEXT, .data = text, .length = length}};

    check(csync_execute(db, "INSERT OR REPLACE INTO note VALUES(?1, ?2)", params, 2, NULL, NULL,
                        NULL, &err),
          &err);
}

int main(int argc, char **argv)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_result result = {.struct_size = sizeof result};
    char here[CSYNC_HASH_SIZE], there[CSYNC_HASH_SIZE];
    csync *laptop, *phone;

    if (argc != 3) {
        fprintf(stderr, "usage: two_files LAPTOP.db PHONE.db\n");
        return 2;
    }
    laptop = open_notes(argv[1]);
    phone = open_notes(argv[2]);
    write_note(laptop, 1, "milk", 4);
    write_note(phone, 2, "call Ada", 8);
    check(csync_sync(laptop, phone, NULL, &result, &err), &err);
    check(csync_hash(laptop, here, &err), &err);
    check(csync_hash(phone, there, &err), &err);
    check(csync_verify_hash(here, there, &err), &err);
    printf("pulled %lld, pushed %lld, equal: %.16s...\n", (long long)result.pulled,
           (long long)result.pushed, here);
    csync_close(laptop);
    csync_close(phone);
    return 0;
}
