/* main.c - the command: runs of many seeds in several processes, one seed, or the ablation. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/rules.h"
#include "sim.h"

unsigned long cs_rules_off;

static const struct {
    const char *name, *why;
} rules[] = {
#define RULE(name, why) {#name, why},
    CS_RULES(RULE)
#undef RULE
};

static world the_world;
static int twice;

static const char usage[] =
    "sim: runs the production code in simulated worlds: 3 to 8 replicas, any topology, and everything that goes\n"
    "wrong. A seed is a run, to the byte.\n"
    "  --runs N        how many seeds (default 2000)\n"
    "  --seed S        the first seed (default 1); alone: that run only\n"
    "  --jobs J        processes (default 2)\n"
    "  --mixed         by lot some replicas are PostgreSQL databases; CSYNC_SIM_POSTGRES says where (script/sim\n"
    "                  starts a server)\n"
    "  --twice         run every seed twice: it has to be the same run\n"
    "  --trace         print every event of the run\n"
    "  --file F        run the seeds that F lists first (the first word of a line; # comments)\n"
    "  --without RULE  switch a rule off; --rules lists them\n"
    "  --ablate[=RULE] switch each rule off in turn, at most --runs seeds each, and print when it was noticed\n";

/* ---- one seed ---- */

static int report(world *w, int shrinking)
{
    if (!w->finding[0])
        return 0;
    printf("sim: seed %llu: %s\n", (unsigned long long)w->seed, w->finding);
    if (shrinking) {
        char first[sizeof w->finding];

        fflush(stdout);
        memcpy(first, w->finding, sizeof first);
        shrink(w, 30);
        printf("sim: the short history of seed %llu:\n", (unsigned long long)w->seed);
        w->trace = 1;
        world_run(w);
        w->trace = 0;
        printf("sim: seed %llu: %s\n", (unsigned long long)w->seed, first);
    }
    fflush(stdout);
    return 1;
}

/* Runs it; the events as text, which the caller frees. */
static char *recorded_run(world *w)
{
    char *text = NULL;
    size_t size;

    w->record = open_memstream(&text, &size);
    world_run(w);
    fclose(w->record);
    w->record = NULL;
    return text;
}

static void run_twice(world *w)
{
    char *one = recorded_run(w), *two = w->finding[0] ? NULL : recorded_run(w);
    size_t at = 0, line = 0;

    while (two && one[at] == two[at] && one[at])
        if (one[at++] == '\n')
            line = at;
    if (two && one[at] != two[at])
        finding(w, "chance", "one seed, two runs: %.*s / %.*s", (int)strcspn(one + line, "\n"),
                one + line, (int)strcspn(two + line, "\n"), two + line);
    free(one);
    free(two);
}

static void run_world(world *w)
{
    if (twice)
        run_twice(w);
    else
        world_run(w);
}

static int run_seed(uint64_t seed, int trace, int shrinking)
{
    world *w = &the_world;

    world_plan(w, seed);
    w->trace = trace;
    run_world(w);
    return report(w, shrinking);
}

static int run_one(uint64_t seed, int trace)
{
    int failed = run_seed(seed, trace, !trace);

    if (!failed)
        printf("sim: seed %llu: nothing found\n", (unsigned long long)seed);
    printf("sim: seed %llu: trace hash %016llx\n", (unsigned long long)seed,
           (unsigned long long)the_world.hash);
    return failed;
}

/* ---- many seeds ---- */

typedef struct tally {
    uint64_t runs, diverged, lost, unrest, other;
} tally;

static void count(tally *t, const char *finding)
{
    t->runs++;
    if (!finding[0])
        return;
    t->diverged += strncmp(finding, "diverged", 8) == 0;
    t->lost += strncmp(finding, "lost", 4) == 0;
    t->unrest += strncmp(finding, "unrest", 6) == 0;
    t->other += strncmp(finding, "diverged", 8) && strncmp(finding, "lost", 4) &&
                strncmp(finding, "unrest", 6);
}

/* The seeds first + job, first + job + jobs, ...; stops after three findings. */
static tally run_share(uint64_t first, uint64_t runs, unsigned job, unsigned jobs)
{
    tally t = {0, 0, 0, 0, 0};
    time_t said = time(NULL);

    for (uint64_t i = job; i < runs && t.diverged + t.lost + t.unrest + t.other < 3; i += jobs) {
        world *w = &the_world;

        world_plan(w, first + i);
        run_world(w);
        count(&t, w->finding);
        report(w, 1);
        if (job == 0 && time(NULL) - said >= 10) {
            said = time(NULL);
            printf("sim: %llu of %llu runs\n", (unsigned long long)i, (unsigned long long)runs);
            fflush(stdout);
        }
    }
    return t;
}

static int run_many(uint64_t first, uint64_t runs, unsigned jobs)
{
    tally all = {0, 0, 0, 0, 0}, one;
    struct timespec begin, end;
    double seconds;
    int pipes[2];

    clock_gettime(CLOCK_MONOTONIC, &begin);
    if (pipe(pipes) != 0)
        return 2;
    fflush(stdout);
    for (unsigned job = 0; job < jobs; job++) {
        if (fork() != 0)
            continue;
        one = run_share(first, runs, job, jobs);
        _exit(write(pipes[1], &one, sizeof one) != sizeof one);
    }
    close(pipes[1]);
    while (read(pipes[0], &one, sizeof one) == sizeof one) {
        all.runs += one.runs;
        all.diverged += one.diverged;
        all.lost += one.lost;
        all.unrest += one.unrest;
        all.other += one.other;
    }
    while (wait(NULL) > 0)
        ;
    clock_gettime(CLOCK_MONOTONIC, &end);
    seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    printf("sim: %llu runs, %llu diverged, %llu lost, %llu unrest, %llu other findings (seeds %llu..%llu, "
           "%.0f s, %.1f ms per run and process)\n",
           (unsigned long long)all.runs, (unsigned long long)all.diverged,
           (unsigned long long)all.lost, (unsigned long long)all.unrest,
           (unsigned long long)all.other, (unsigned long long)first,
           (unsigned long long)(first + runs - 1), seconds,
           all.runs ? seconds * 1000 * jobs / (double)all.runs : 0);
    if (all.runs < runs && !(all.diverged + all.lost + all.unrest + all.other))
        printf("sim: a process died\n");
    return all.runs != runs || all.diverged + all.lost + all.unrest + all.other > 0;
}

/* Seeds that once found something. */
static int run_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char line[400];
    int failed = 0, n = 0;

    if (!f) {
        fprintf(stderr, "sim: cannot read %s\n", path);
        return 2;
    }
    while (fgets(line, sizeof line, f)) {
        if (line[0] < '0' || line[0] > '9')
            continue;
        n++;
        failed |= run_seed(strtoull(line, NULL, 10), 0, 1);
    }
    fclose(f);
    printf("sim: %d seeds of %s: %s\n", n, path, failed ? "FAILED" : "nothing found");
    return failed;
}

/* ---- ablation ---- */

/* What is found with all rules on too says nothing of the rule. In a process of its own, which makes its own
 * databases. */
static int fails_anyway(world *w)
{
    int status;

    fflush(stdout);
    if (fork() == 0) {
        cs_rules_off = 0;
        forget_templates();
        world_run(w);
        _exit(w->finding[0] != 0);
    }
    return wait(&status) > 0 && status != 0;
}

static int ablate_one(size_t rule, uint64_t first, uint64_t runs)
{
    world *w = &the_world;

    cs_rules_off = 1ul << rule;
    for (uint64_t i = 0; i < runs; i++) {
        world_plan(w, first + i);
        world_run(w);
        if (!w->finding[0] || fails_anyway(w))
            continue;
        printf("%-14s noticed at run %5llu  %-72s %.60s\n", rules[rule].name,
               (unsigned long long)i + 1, rules[rule].why, w->finding);
        fflush(stdout);
        return 0;
    }
    printf("%-14s NOT NOTICED in %llu runs  %s\n", rules[rule].name, (unsigned long long)runs,
           rules[rule].why);
    fflush(stdout);
    return 1;
}

/* Each in a process of its own: a rule less may well mean a crash. */
static int ablate(const char *only, uint64_t first, uint64_t runs, unsigned jobs)
{
    int missed = 0, running = 0, status;

    for (size_t i = 0; i < CS_RULE_COUNT || running;) {
        fflush(stdout);
        if (i < CS_RULE_COUNT && only && strcmp(only, rules[i].name) != 0) {
            i++;
            continue;
        }
        if (i < CS_RULE_COUNT && running < (int)jobs) {
            if (fork() == 0)
                _exit(ablate_one(i, first, runs));
            running++;
            i++;
            continue;
        }
        wait(&status);
        running--;
        missed += !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    if (!only)
        printf("sim: %d of %d rules noticed when they are off\n", CS_RULE_COUNT - missed,
               CS_RULE_COUNT);
    return missed > 0;
}

static int switch_off(const char *name)
{
    for (size_t i = 0; i < CS_RULE_COUNT; i++)
        if (strcmp(rules[i].name, name) == 0) {
            cs_rules_off |= 1ul << i;
            return 0;
        }
    fprintf(stderr, "sim: no rule %s; --rules lists them\n", name);
    return 2;
}

static int list_rules(void)
{
    for (size_t i = 0; i < CS_RULE_COUNT; i++)
        printf("%-14s %s\n", rules[i].name, rules[i].why);
    return 0;
}

static int use_postgres(void)
{
    const char *where = getenv("CSYNC_SIM_POSTGRES");

    if (!where) {
        fprintf(stderr, "sim: CSYNC_SIM_POSTGRES is not set; script/sim starts a server\n");
        return 2;
    }
    with_postgres = 1;
    postgres_init(where);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"runs", 1, NULL, 'n'},   {"seed", 1, NULL, 's'},  {"jobs", 1, NULL, 'j'},
        {"trace", 0, NULL, 't'},  {"file", 1, NULL, 'f'},  {"without", 1, NULL, 'w'},
        {"ablate", 2, NULL, 'a'}, {"rules", 0, NULL, 'r'}, {"mixed", 0, NULL, 'm'},
        {"twice", 0, NULL, '2'},  {"help", 0, NULL, 'h'},  {NULL, 0, NULL, 0}};
    uint64_t runs = 0, seed = 0;
    unsigned jobs = 2;
    const char *only = NULL, *file = NULL;
    int trace = 0, ablation = 0, c;

    disk_init();
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'n':
            runs = strtoull(optarg, NULL, 10);
            break;
        case 's':
            seed = strtoull(optarg, NULL, 10);
            break;
        case 'j':
            jobs = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 't':
            trace = 1;
            break;
        case 'f':
            file = optarg;
            break;
        case 'w':
            if (switch_off(optarg) != 0)
                return 2;
            break;
        case 'a':
            ablation = 1;
            only = optarg;
            break;
        case 'm':
            if (use_postgres() != 0)
                return 2;
            break;
        case '2':
            twice = 1;
            break;
        case 'r':
            return list_rules();
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (file && run_file(file) != 0)
        return 1;
    if (ablation)
        return ablate(only, seed ? seed : 1, runs ? runs : 1000, jobs ? jobs : 1);
    if (seed && !runs)
        return run_one(seed, trace);
    return run_many(seed ? seed : 1, runs ? runs : 2000, jobs ? jobs : 1);
}
