/* pg_server.c - a private PostgreSQL server out of Debian's package, as tests/python/pg.py makes it. */
#include "pg_server.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static char bin[200], home[64], address[128];

/* The newest one's programs. */
static int find_programs(void)
{
    glob_t found;
    int newest = 0;

    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) != 0)
        return 1;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *path = found.gl_pathv[i];
        int version = atoi(path + strlen("/usr/lib/postgresql/"));

        if (version > newest) {
            newest = version;
            snprintf(bin, sizeof bin, "%.*s", (int)(strrchr(path, '/') - path), path);
        }
    }
    globfree(&found);
    return newest == 0;
}

/* initdb refuses to run as root. */
static int as_user(const char *command)
{
    const char *shell = geteuid() == 0 ? "su postgres -s /bin/sh -c" : "sh -c";
    char line[1000];

    snprintf(line, sizeof line, "cd %s && %s '%s' >>%s/log.tests 2>&1 </dev/null", home, shell,
             command, home);
    return system(line);
}

static void must(int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s failed; see %s/log.tests\n", what, home);
    exit(1);
}

/* A new cluster takes 40 MB; in memory where there is more. */
static int has_room(const char *directory)
{
    struct statvfs room;

    return access(directory, W_OK) == 0 && statvfs(directory, &room) == 0 &&
           (double)room.f_bavail * (double)room.f_frsize > 1e9;
}

int pg_server_start(void)
{
    char command[600];

    if (find_programs() != 0)
        return 1;
    snprintf(home, sizeof home, "%s/csync-pg-XXXXXX", has_room("/dev/shm") ? "/dev/shm" : "/tmp");
    must(!mkdtemp(home) || chmod(home, 0777) != 0, "making a directory");
    snprintf(address, sizeof address, "host=%s dbname=postgres user=postgres", home);
    snprintf(command, sizeof command,
             "%s/initdb -D %s/data -U postgres -A trust -E UTF8 --no-sync --locale=C.UTF-8", bin,
             home);
    must(as_user(command), "initdb");
    atexit(pg_server_stop);
    snprintf(command, sizeof command,
             "%s/pg_ctl -D %s/data -w -l %s/log -o \"-k %s -c listen_addresses= -c fsync=off\" start",
             bin, home, home, home);
    must(as_user(command), "pg_ctl start");
    return 0;
}

const char *pg_server_address(void)
{
    return address;
}

void pg_server_stop(void)
{
    char command[600];

    if (!home[0])
        return;
    snprintf(command, sizeof command, "%s/pg_ctl -D %s/data -m immediate -w stop", bin, home);
    (void)as_user(command);
    snprintf(command, sizeof command, "rm -rf %s", home);
    if (system(command) != 0)
        fprintf(stderr, "%s is left behind\n", home);
    home[0] = 0;
}
