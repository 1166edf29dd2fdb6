/* host.c - a host of Lua: host threads|memory FILE. Runs the file in several states in several threads at a time, or in one
 * state whose memory ends at the first allocation, the second, and so on until it suffices. Then nothing of csync's may be
 * left or broken, which a sanitizer or valgrind looks for. Linked with whichever Lua it is built for. */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4 };

typedef struct job {
    const char *file;
    long left; /* allocations that succeed; negative: all */
    int armed; /* the file has begun what has to survive */
    int number;
    int failed;
} job;

static void *allocate(void *user_data, void *p, size_t old, size_t size)
{
    job *j = user_data;

    if (size == 0) {
        free(p);
        return NULL;
    }
    if (j->armed && j->left >= 0 && size > (p ? old : 0) && j->left-- == 0) {
        j->left = 0; /* from here on there is none */
        return NULL;
    }
    return realloc(p, size);
}

/* arm(true): memory counts from here. The file calls it when the modules are loaded. */
static int arm(lua_State *L)
{
    job *j = lua_touserdata(L, lua_upvalueindex(1));

    j->armed = lua_toboolean(L, 1);
    return 0;
}

static int run_file(lua_State *L)
{
    job *j = lua_touserdata(L, 1);

    luaL_openlibs(L);
    lua_pushlightuserdata(L, j);
    lua_pushcclosure(L, arm, 1);
    lua_setglobal(L, "arm");
    lua_pushinteger(L, j->number);
    lua_setglobal(L, "number");
    if (luaL_loadfile(L, j->file))
        return lua_error(L);
    lua_call(L, 0, 0);
    return 0;
}

/* 0: it ran to its end; 1: memory ended; 2: something else went wrong. */
static int run(job *j)
{
    lua_State *L = lua_newstate(allocate, j);
    const char *message;
    int result = 0;

    j->armed = 0;
    lua_pushcfunction(L, run_file);
    lua_pushlightuserdata(L, j);
    if (lua_pcall(L, 1, 0, 0)) {
        message = lua_tostring(L, -1);
        result = message && strstr(message, "not enough memory") ? 1 : 2;
        if (result == 2)
            fprintf(stderr, "%s\n", message ? message : "an error that is no string");
    }
    j->armed = 0;
    lua_close(L);
    return result;
}

static void *work(void *arg)
{
    job *j = arg;

    j->failed = run(j);
    return NULL;
}

static int in_threads(const char *file)
{
    pthread_t threads[THREADS];
    job jobs[THREADS];
    int failed = 0;

    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (job){.file = file, .left = -1, .number = i};
        pthread_create(&threads[i], NULL, work, &jobs[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        failed |= jobs[i].failed;
    }
    printf("%d threads: %s\n", THREADS, failed ? "failed" : "ok");
    return failed;
}

/* Each allocation is another point at which Lua raises. */
static int without_memory(const char *file)
{
    job j = {.file = file};
    long points = 0;
    int result = 1;

    for (; result == 1; points++) {
        j.left = points;
        result = run(&j);
    }
    printf("memory ended at %ld points: %s\n", points - 1, result ? "failed" : "ok");
    return result;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "threads") == 0)
        return in_threads(argv[2]);
    if (argc == 3 && strcmp(argv[1], "memory") == 0)
        return without_memory(argv[2]);
    fprintf(stderr, "host threads|memory FILE\n");
    return 2;
}
