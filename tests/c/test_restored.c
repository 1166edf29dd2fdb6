/* test_restored.c - what the simulator found about copied files, restored peers and decided conflicts. */
#include <stdlib.h>
#include <unistd.h>

#include "support.h"

static char folder[] = "/tmp/csync-restored-XXXXXX";

static const char *path_of(const char *name)
{
    static char paths[4][200];
    static int at;

    at = (at + 1) % 4;
    snprintf(paths[at], sizeof paths[at], "%s/%s", folder, name);
    return paths[at];
}

static csync *open_file(const char *name)
{
    csync *c = NULL;

    OK(csync_open(&c, path_of(name), NULL, err));
    return c;
}

static csync *new_file(const char *name)
{
    csync *c;

    unlink(path_of(name));
    c = open_file(name);
    run(c, "CREATE TABLE note(id INTEGER PRIMARY KEY, v)");
    OK(csync_track(c, "note", NULL, err));
    return c;
}

/* Of a closed database: its whole content is in the one file. `onto_itself` keeps the file, as a restore does. */
static void copy_file(const char *from, const char *to, int onto_itself)
{
    FILE *in = fopen(path_of(from), "rb"), *out;
    char buffer[4096];
    size_t n;

    if (!onto_itself)
        unlink(path_of(to));
    out = fopen(path_of(to), "wb");
    assert_non_null(in);
    assert_non_null(out);
    while ((n = fread(buffer, 1, sizeof buffer, in)) > 0)
        assert_int_equal(fwrite(buffer, 1, n, out), n);
    fclose(in);
    fclose(out);
}

/* The origin of a copy is random: sometimes it is the lower one. */
static void an_edit_in_a_copied_file_beats_what_it_saw(void **state)
{
    csync *one, *copy;

    (void)state;
    one = new_file("one");
    run(one, "UPDATE _sync_session SET clock='2101-01-01T00:00:00.000Z'"); /* time stands still */
    run(one, "INSERT INTO note VALUES(1,'seen')");
    for (int i = 0; i < 12; i++) {
        csync_close(one);
        copy_file("one", "copy", 0);
        one = open_file("one");
        copy = open_file("copy");
        run(copy, "UPDATE note SET v='edited'");
        sync_all(one, copy);
        assert_string_equal(text(one, "SELECT v FROM note"), "edited");
        csync_close(copy);
        csync_close(one);
        unlink(path_of("one"));
        one = new_file("one");
        run(one, "UPDATE _sync_session SET clock='2101-01-01T00:00:00.000Z'");
        run(one, "INSERT INTO note VALUES(1,'seen')");
    }
    csync_close(one);
}

static void a_restored_server_gets_back_what_a_client_had_pulled_from_it(void **state)
{
    csync *server, *client;

    (void)state;
    server = new_file("server");
    run(server, "INSERT INTO note VALUES(1,'old')");
    csync_close(server);
    copy_file("server", "backup", 0);
    server = open_file("server");
    client = new_file("client");
    run(server, "INSERT INTO note VALUES(2,'new')");
    sync_all(client, server);
    csync_close(server);
    copy_file("backup", "server", 1);
    server = open_file("server");
    assert_int_equal(number(server, "SELECT count(*) FROM note"), 1);
    sync_all(client, server);
    assert_string_equal(text(server, "SELECT v FROM note WHERE id=2"), "new");
    assert_equal(client, server);
    csync_close(server);
    csync_close(client);
}

static int keep(void *user_data, const csync_change *local, const csync_change *remote,
                const csync_change *base, csync_decision *decision)
{
    (void)user_data, (void)local, (void)remote, (void)base;
    decision->kind = CSYNC_KEEP_LOCAL;
    return CSYNC_OK;
}

/* Should the wall clock step back now, the next edit must still be stamped above the decision. */
static void a_decision_moves_the_clock_of_edits_on(void **state)
{
    csync_sync_options o = {.struct_size = sizeof o, .strategy = CSYNC_CUSTOM, .on_conflict = keep};
    csync *client = new_file("client"), *server = new_file("server");

    (void)state;
    run(server, "INSERT INTO note VALUES(1,'server')");
    run(client, "INSERT INTO note VALUES(1,'client')");
    usleep(20000);
    OK(csync_sync(client, server, &o, NULL, err));
    assert_string_equal(text(server, "SELECT v FROM note"), "client");
    assert_int_equal(
        number(client, "SELECT clock>=(SELECT max(timestamp) FROM _sync_log) FROM _sync_session"), 1);
    csync_close(client);
    csync_close(server);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"one", "copy", "server", "backup", "client"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(path_of(names[i]));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edit_in_a_copied_file_beats_what_it_saw),
        cmocka_unit_test(a_restored_server_gets_back_what_a_client_had_pulled_from_it),
        cmocka_unit_test(a_decision_moves_the_clock_of_edits_on),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
