/* shrink.c - a short history that still fails: steps are left out as long as something is found. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "sim.h"

static int fails(world *w)
{
    world_run(w);
    return w->finding[0] != 0;
}

/* Leaves out `n` steps from `from` on. */
static int try_without(world *w, int from, int n)
{
    step saved[MAX_STEPS];
    int left_out = 0;

    memcpy(saved, w->steps, sizeof saved);
    for (int i = from; i < from + n && i < w->config.steps; i++) {
        left_out |= !w->steps[i].skip;
        w->steps[i].skip = 1;
    }
    if (left_out && fails(w))
        return 1;
    memcpy(w->steps, saved, sizeof saved);
    return 0;
}

static void try_config(world *w, int *field, int value, time_t end)
{
    int saved = *field;

    if (saved == value || time(NULL) >= end)
        return;
    *field = value;
    if (!fails(w))
        *field = saved;
}

void shrink(world *w, int seconds)
{
    time_t end = time(NULL) + seconds, limit = end + seconds; /* runs may be slow */
    int trace = w->trace, progress = 1;

    w->trace = 0;
    while (progress && time(NULL) < end) {
        progress = 0;
        for (int n = w->config.steps / 2; n >= 1; n /= 2)
            for (int from = 0; from < w->config.steps && time(NULL) < end; from += n)
                progress |= try_without(w, from, n);
    }
    try_config(w, &w->config.faults, 0, limit);
    for (int bit = 1; bit < 64; bit *= 2)
        try_config(w, &w->config.faults, w->config.faults & ~bit, limit);
    try_config(w, &w->config.skew, 0, limit);
    for (int n = 3; n < w->config.replicas; n++)
        try_config(w, &w->config.replicas, n, limit);
    w->trace = trace;
}
