/* program.c - the commands of the program csync that a server's machine needs, which may be without Python: serve and token.
 * The others are in bindings/python/csync/_program.py (docs/architecture.md says why). It stands on csync.h, as any program could. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "csync.h"

enum { DATABASES_MAX = 64, ORIGINS_MAX = 64, TABLES_MAX = 256, NAME_SIZE = 65 };
enum { DONE = 0, FAILED = 1, USAGE = 2 };

static const char usage_text[] =
    "usage: csync serve [NAME=]DATABASE... [--listen HOST:PORT] [--config FILE] [--tokens FILE]\n"
    "                   [--tls-cert FILE --tls-key FILE] [--behind-proxy] [--origin ORIGIN]... [--quiet]\n"
    "       csync token add FILE [--client ORIGIN] [--db NAME] [--may read|write|both] [--days N]\n"
    "                   [--table NAME]...\n"
    "       csync token list FILE\n"
    "       csync token revoke FILE ID\n"
    "       csync --version | --help\n"
    "The other commands (sync, verify, log, ...) come with the Python package: pip install csync\n";

static int usage(const char *why, const char *what)
{
    if (why)
        fprintf(stderr, "csync: %s%s%s\n", why, what ? ": " : "", what ? what : "");
    fputs(usage_text, stderr);
    return USAGE;
}

static int help(void)
{
    fputs(usage_text, stdout);
    return DONE;
}

static int failed(const csync_error *err)
{
    fprintf(stderr, "csync: %s\n", err->message);
    return FAILED;
}

/* The value of the option at *i, which is then behind it; NULL: there is none. */
static const char *value_of(int argc, char **argv, int *i)
{
    return *i + 1 < argc ? argv[++*i] : NULL;
}

/* ---- serve ---- */

typedef struct serving {
    csync_server_options options;
    csync_served databases[DATABASES_MAX];
    char names[DATABASES_MAX][NAME_SIZE];
    const char *origins[ORIGINS_MAX];
    int is_quiet;
} serving;

/* "name=url"; without a name the file's, up to its first dot. */
static int add_database(serving *s, const char *text)
{
    csync_server_options *o = &s->options;
    const size_t i = o->database_count;
    const char *equals = strchr(text, '='), *from = text, *slash = strrchr(text, '/');
    size_t len = equals ? (size_t)(equals - text) : 0;

    if (i == DATABASES_MAX)
        return -1;
    if (equals && !memchr(text, ':', len) && !memchr(text, '/', len)) {
        text = equals + 1;
    } else {
        from = slash ? slash + 1 : strchr(text, ':') ? strchr(text, ':') + 1 : text;
        len = strcspn(from, ".?");
    }
    if (!len || len >= NAME_SIZE)
        return -1;
    memcpy(s->names[i], from, len);
    s->names[i][len] = 0;
    s->databases[i] = (csync_served){s->names[i], text};
    o->databases = s->databases;
    o->database_count++;
    return 0;
}

static int set_option(serving *s, const char *name, const char *value)
{
    csync_server_options *o = &s->options;

    if (!value)
        return -1;
    if (strcmp(name, "--listen") == 0)
        o->listen = value;
    else if (strcmp(name, "--config") == 0)
        o->config = value;
    else if (strcmp(name, "--tokens") == 0)
        o->tokens = value;
    else if (strcmp(name, "--tls-cert") == 0)
        o->tls_cert = value;
    else if (strcmp(name, "--tls-key") == 0)
        o->tls_key = value;
    else if (strcmp(name, "--origin") == 0 && o->origin_count < ORIGINS_MAX)
        s->origins[o->origin_count++] = value;
    else
        return -1;
    o->origins = s->origins;
    return 0;
}

static int read_arguments(serving *s, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        const char *text = argv[i];

        if (strcmp(text, "--behind-proxy") == 0)
            s->options.behind_proxy = 1;
        else if (strcmp(text, "--quiet") == 0)
            s->is_quiet = 1;
        else if (text[0] != '-' && add_database(s, text) == 0)
            continue;
        else if (text[0] != '-' || set_option(s, text, value_of(argc, argv, &i)) != 0)
            return usage("not understood", text);
    }
    if (!s->options.database_count && !s->options.config)
        return usage("no database", NULL);
    return DONE;
}

static void set_of(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

/* Until SIGINT or SIGTERM. */
static void wait_for_the_end(csync_server *server, const sigset_t *signals)
{
    csync_error err = CSYNC_ERROR_INIT;
    int which = 0;

    while (which != SIGINT && which != SIGTERM) {
        which = sigwaitinfo(signals, NULL);
        if (which == SIGHUP && csync_server_reload(server, &err) != CSYNC_OK)
            fprintf(stderr, "csync: tokens and certificate stay as they were: %s\n", err.message);
    }
}

/* Whoever waits for the first line knows that the server answers. Signals are blocked before any thread is started, so
 * that they come to this one. */
static int run_server(serving *s)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_server *server;
    sigset_t signals, before;
    int status = DONE;

    set_of(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    if (csync_server_start(&server, &s->options, &err) == CSYNC_OK) {
        printf("%s\n", csync_server_url(server));
        fflush(stdout);
        wait_for_the_end(server, &signals);
        csync_server_stop(server);
    } else {
        status = failed(&err);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

static int serve(int argc, char **argv)
{
    serving s;
    int status;

    memset(&s, 0, sizeof s);
    s.options.struct_size = sizeof s.options;
    status = read_arguments(&s, argc, argv);
    if (status != DONE)
        return status;
    s.options.log_fd = s.is_quiet ? 0 : STDERR_FILENO;
    return run_server(&s);
}

/* ---- token ---- */

static int set_days(csync_token_options *o, const char *text)
{
    char *end;
    long days;

    errno = 0;
    days = strtol(text, &end, 10);
    if (errno || *end || end == text || days < 1 || days > 36500)
        return -1;
    o->expires_ms = ((int64_t)time(NULL) + (int64_t)days * 86400) * 1000;
    return 0;
}

static int set_may(csync_token_options *o, const char *text)
{
    o->may = strcmp(text, "read") == 0    ? CSYNC_MAY_READ
             : strcmp(text, "write") == 0 ? CSYNC_MAY_WRITE
             : strcmp(text, "both") == 0  ? CSYNC_MAY_READ | CSYNC_MAY_WRITE
                                          : -1;
    return o->may < 0 ? -1 : 0;
}

static int add_table(csync_token_options *o, const char **tables, const char *name)
{
    if (o->table_count == TABLES_MAX)
        return -1;
    tables[o->table_count++] = name;
    o->tables = tables;
    return 0;
}

static int set_token_option(csync_token_options *o, const char **tables, const char *name,
                            const char *value)
{
    if (!value)
        return -1;
    if (strcmp(name, "--client") == 0)
        o->client = value;
    else if (strcmp(name, "--db") == 0)
        o->database = value;
    else if (strcmp(name, "--may") == 0)
        return set_may(o, value);
    else if (strcmp(name, "--days") == 0)
        return set_days(o, value);
    else if (strcmp(name, "--table") == 0)
        return add_table(o, tables, value);
    else
        return -1;
    return 0;
}

static int add_token(const char *file, int argc, char **argv)
{
    csync_token_options options = {.struct_size = sizeof options};
    csync_error err = CSYNC_ERROR_INIT;
    const char *tables[TABLES_MAX];
    char *token;

    for (int i = 0; i < argc; i++) {
        const char *name = argv[i];

        if (set_token_option(&options, tables, name, value_of(argc, argv, &i)) != 0)
            return usage("not understood", name);
    }
    if (csync_token_add(file, &options, &token, &err) != CSYNC_OK)
        return failed(&err);
    printf("%s\n", token);
    csync_free(token);
    return DONE;
}

static int list_tokens(const char *file)
{
    csync_error err = CSYNC_ERROR_INIT;
    char *json;

    if (csync_token_list(file, &json, &err) != CSYNC_OK)
        return failed(&err);
    printf("%s\n", json);
    csync_free(json);
    return DONE;
}

static int revoke_token(const char *file, const char *id)
{
    csync_error err = CSYNC_ERROR_INIT;

    return csync_token_revoke(file, id, &err) == CSYNC_OK ? DONE : failed(&err);
}

static int token(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[0], "add") == 0)
        return add_token(argv[1], argc - 2, argv + 2);
    if (argc == 2 && strcmp(argv[0], "list") == 0)
        return list_tokens(argv[1]);
    if (argc == 3 && strcmp(argv[0], "revoke") == 0)
        return revoke_token(argv[1], argv[2]);
    return usage(NULL, NULL);
}

int csync_program(int argc, char **argv)
{
    if (argc < 2 || !argv)
        return usage(NULL, NULL);
    if (argc == 3 && strcmp(argv[2], "--help") == 0)
        return help();
    if (strcmp(argv[1], "serve") == 0)
        return serve(argc - 2, argv + 2);
    if (strcmp(argv[1], "token") == 0)
        return token(argc - 2, argv + 2);
    if (strcmp(argv[1], "--version") == 0) {
        printf("csync %s\n", csync_version());
        return DONE;
    }
    if (strcmp(argv[1], "--help") == 0)
        return help();
    return usage("no such command", argv[1]);
}
