/* test_session.c - a sync step by step: what is asked, in which order, and what becomes of wrong answers. */
#include <stdlib.h>

#include "refused.h"
#include "snapshot.h"

static const char schema[] = "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT)";

static csync *c, *peer;

static int setup(void **state)
{
    (void)state;
    c = replica_new(schema);
    peer = replica_new(schema);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    csync_close(c);
    csync_close(peer);
    return 0;
}

static void insert(csync *into, int from, int to)
{
    char sql[200];

    snprintf(sql, sizeof sql,
             "WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i+1 FROM n WHERE i<%d) "
             "INSERT INTO person SELECT i, 'name '||i FROM n",
             from, to);
    run(into, sql);
}

static int64_t persons(csync *in)
{
    return number(in, "SELECT count(*) FROM person");
}

static csync_session *start(int direction, int batch_size)
{
    csync_sync_options o = {.struct_size = sizeof o, .direction = direction, .batch_size = batch_size};
    csync_state st = {.struct_size = sizeof st};
    csync_session *s = NULL;

    OK(csync_get_state(peer, &st, err));
    OK(csync_session_new(&s, c, st.origin, &o, err));
    return s;
}

static csync_step next(csync_session *s)
{
    csync_step step = {.struct_size = sizeof step};

    OK(csync_session_next(s, &step, err));
    return step;
}

static csync_batch *page_of(const csync_fetch *fetch)
{
    csync_batch *page = NULL;

    OK(csync_changes(peer, fetch, &page, err));
    return page;
}

/* Asks the peer what the step wants, and feeds the answer. */
static void answer(csync_session *s, const csync_step *step)
{
    csync_outcome *outcome = NULL;

    if (step->kind == CSYNC_STEP_FETCH) {
        csync_batch *page = page_of(&step->fetch);

        OK(csync_session_page(s, page, err));
        csync_batch_free(page);
    } else {
        OK(csync_apply(peer, step->batch, NULL, &outcome, NULL, err));
        OK(csync_session_outcome(s, outcome, err));
        csync_outcome_free(outcome);
    }
}

/* Runs the session to its end: one letter per step. */
static const char *finish(csync_session *s)
{
    static char steps[64];
    size_t n = 0;
    csync_step step;

    while ((step = next(s)).kind != CSYNC_STEP_DONE && n < sizeof steps - 1) {
        steps[n++] = step.kind == CSYNC_STEP_FETCH ? 'F' : 'S';
        answer(s, &step);
    }
    steps[n] = 0;
    return steps;
}

static csync_result result_of(csync_session *s)
{
    csync_result r = {.struct_size = sizeof r};

    assert_int_equal(csync_session_result(s, &r), CSYNC_OK);
    return r;
}

static void steps_of(int direction, int batch_size, const char *steps)
{
    csync_session *s = start(direction, batch_size);

    assert_string_equal(finish(s), steps);
    assert_int_equal(next(s).kind, CSYNC_STEP_DONE);
    csync_session_free(s);
}

static csync_batch *batch(void)
{
    csync_batch *b = NULL;

    OK(csync_batch_new(&b, err));
    return b;
}

/* ---- the order of steps ---- */

static void both_directions_pull_first(void **state)
{
    (void)state;
    insert(c, 1, 2);
    insert(peer, 11, 13);
    steps_of(CSYNC_BOTH, 0, "FS");
    assert_equal(c, peer);
    steps_of(CSYNC_BOTH, 0, "F");
}

static void one_direction_does_no_more(void **state)
{
    (void)state;
    insert(c, 1, 2);
    insert(peer, 11, 13);
    steps_of(CSYNC_PULL, 0, "F");
    assert_int_equal(persons(c), 5);
    assert_int_equal(persons(peer), 3);
    steps_of(CSYNC_PUSH, 0, "S");
    assert_equal(c, peer);
    steps_of(CSYNC_PUSH, 0, "");
}

static void batches_hold_as_many_rows_as_wanted(void **state)
{
    csync_session *s;
    csync_result r;

    (void)state;
    insert(c, 1, 7);
    insert(peer, 11, 14);
    s = start(CSYNC_BOTH, 3);
    assert_string_equal(finish(s), "FFSSS");
    r = result_of(s);
    assert_int_equal(r.pulled, 4);
    assert_int_equal(r.pushed, 7);
    assert_int_equal(r.batches, 5);
    assert_true(r.bytes > 0);
    assert_equal(c, peer);
    csync_session_free(s);
}

static void a_batch_stops_at_its_bytes_but_not_before_one_change(void **state)
{
    csync_fetch f = {.struct_size = sizeof f, .max_bytes = 1};
    csync_batch_info info = {.struct_size = sizeof info};
    csync_batch *page;
    csync_result r = {.struct_size = sizeof r};
    csync_sync_options o = {.struct_size = sizeof o, .batch_bytes = 120};

    (void)state;
    insert(c, 1, 9);
    insert(peer, 11, 19);
    page = page_of(&f);
    assert_int_equal(csync_batch_count(page), 1);
    assert_int_equal(csync_batch_get_info(page, &info), CSYNC_OK);
    assert_true(info.has_more);
    csync_batch_free(page);
    OK(csync_sync(c, peer, &o, &r, err));
    assert_in_range(r.batches, 6, 12);
    assert_equal(c, peer);
}

static void a_step_is_repeated_until_it_is_answered(void **state)
{
    csync_session *s;
    csync_step one, two;
    const csync_batch *sent;

    (void)state;
    insert(c, 1, 2);
    insert(peer, 11, 13);
    s = start(CSYNC_BOTH, 2);
    one = next(s);
    two = next(s);
    assert_int_equal(two.kind, CSYNC_STEP_FETCH);
    assert_int_equal(two.fetch.since, one.fetch.since);
    assert_int_equal(two.fetch.limit, 2);
    answer(s, &two);
    one = next(s);
    assert_true(one.fetch.since > two.fetch.since);
    answer(s, &one);
    sent = next(s).batch;
    assert_ptr_equal(next(s).batch, sent);
    assert_int_equal(csync_batch_count(sent), 2);
    assert_string_equal(finish(s), "S");
    assert_equal(c, peer);
    csync_session_free(s);
}

static void a_step_names_its_batch_and_fetch_only_where_they_count(void **state)
{
    csync_session *s = start(CSYNC_BOTH, 0);
    csync_step step;

    (void)state;
    insert(c, 1, 1);
    step = next(s);
    assert_null(step.batch);
    assert_int_equal(step.fetch.struct_size, sizeof step.fetch);
    answer(s, &step);
    step = next(s);
    assert_non_null(step.batch);
    answer(s, &step);
    step = next(s);
    assert_int_equal(step.kind, CSYNC_STEP_DONE);
    assert_null(step.batch);
    csync_session_free(s);
}

/* ---- answers out of turn and answers that are wrong ---- */

static void an_answer_out_of_turn_is_refused_and_changes_nothing(void **state)
{
    csync_session *s;
    csync_step step;
    csync_batch *page;
    char *before;

    (void)state;
    insert(c, 1, 2);
    insert(peer, 11, 13);
    s = start(CSYNC_BOTH, 0);
    page = page_of(NULL);
    OK(csync_hash(c, (char[CSYNC_HASH_SIZE]){0}, err));
    before = snapshot(c, SNAPSHOT_EXACT);
    REFUSED(CSYNC_EMISUSE, "not asked", csync_session_page(s, page, err));
    REFUSED(CSYNC_EMISUSE, "not sent", csync_session_outcome(s, NULL, err));
    step = next(s);
    REFUSED(CSYNC_EMISUSE, "not sent", csync_session_outcome(s, NULL, err));
    assert_unchanged(c, before);
    OK(csync_session_page(s, page, err));
    REFUSED(CSYNC_EMISUSE, "not asked", csync_session_page(s, page, err));
    REFUSED(CSYNC_EMISUSE, "not sent", csync_session_outcome(s, NULL, err));
    step = next(s);
    assert_int_equal(step.kind, CSYNC_STEP_SEND);
    REFUSED(CSYNC_EMISUSE, "not asked", csync_session_page(s, page, err));
    answer(s, &step);
    REFUSED(CSYNC_EMISUSE, "not sent", csync_session_outcome(s, NULL, err));
    assert_int_equal(next(s).kind, CSYNC_STEP_DONE);
    REFUSED(CSYNC_EMISUSE, "not asked", csync_session_page(s, page, err));
    assert_equal(c, peer);
    csync_batch_free(page);
    csync_session_free(s);
}

static void a_page_from_elsewhere_is_dropped_and_asked_for_again(void **state)
{
    csync_session *s;
    csync_fetch later = {.struct_size = sizeof later, .since = 2};
    csync_batch *page;
    csync_step step;

    (void)state;
    insert(peer, 1, 4);
    s = start(CSYNC_PULL, 0);
    step = next(s);
    page = page_of(&later);
    OK(csync_session_page(s, page, err));
    csync_batch_free(page);
    assert_int_equal(persons(c), 0);
    assert_int_equal(result_of(s).batches, 0);
    assert_int_equal(next(s).fetch.since, step.fetch.since);
    assert_string_equal(finish(s), "F");
    assert_equal(c, peer);
    csync_session_free(s);
}

/* A restarted peer, say: the same wrong page for ever. */
static void a_peer_that_never_answers_from_the_position_is_given_up(void **state)
{
    csync_session *s;
    csync_fetch later = {.struct_size = sizeof later, .since = 2};
    csync_batch *page;
    csync_error e = CSYNC_ERROR_INIT;
    int rc = CSYNC_OK, asked = 0;

    (void)state;
    insert(peer, 1, 4);
    s = start(CSYNC_PULL, 0);
    page = page_of(&later);
    for (; rc == CSYNC_OK && asked < 1000; asked++) {
        next(s);
        rc = csync_session_page(s, page, &e);
    }
    assert_string_equal(csync_code_name(rc), "CSYNC_EPROTO");
    assert_non_null(strstr(e.message, "position"));
    assert_in_range(asked, 2, 100);
    assert_int_equal(persons(c), 0);
    csync_batch_free(page);
    csync_session_free(s);
    steps_of(CSYNC_PULL, 0, "F");
    assert_equal(c, peer);
}

static void more_without_progress_is_a_fault_of_the_peer(void **state)
{
    csync_session *s = start(CSYNC_PULL, 0);
    csync_batch_info info = {.struct_size = sizeof info, .has_more = 1};
    csync_batch *page = batch();

    (void)state;
    OK(csync_batch_set_info(page, &info, err));
    next(s);
    FAILS(CSYNC_EPROTO, "more", csync_session_page(s, page, err));
    csync_batch_free(page);
    csync_session_free(s);
}

static csync_outcome *outcome_of(int64_t position, int count)
{
    char json[512];
    int len = snprintf(json, sizeof json, "{\"position\":%lld,\"outcomes\":[", (long long)position);
    csync_outcome *o = NULL;

    for (int i = 0; i < count; i++)
        len += snprintf(json + len, sizeof json - (size_t)len, "%s{\"status\":\"applied\"}",
                        i ? "," : "");
    len += snprintf(json + len, sizeof json - (size_t)len, "]}");
    OK(csync_outcome_from_json(&o, json, (size_t)len, err));
    return o;
}

/* Answers every push with the same outcome; returns how the session ended. */
static int push_against(int64_t position, int count, int *sent)
{
    csync_session *s = start(CSYNC_PUSH, 2);
    csync_outcome *o = outcome_of(position, count);
    csync_step step = {.struct_size = sizeof step};
    int rc;

    for (*sent = 0; (rc = csync_session_next(s, &step, NULL)) == CSYNC_OK && *sent < 200; ++*sent)
        if (step.kind == CSYNC_STEP_DONE || (rc = csync_session_outcome(s, o, NULL)) != CSYNC_OK)
            break;
    csync_outcome_free(o);
    csync_session_free(s);
    return rc;
}

static void a_peer_that_never_takes_the_push_is_given_up(void **state)
{
    int sent;

    (void)state;
    insert(c, 1, 4);
    assert_int_equal(push_against(0, 0, &sent), CSYNC_EPROTO);
    assert_in_range(sent, 1, 100);
    steps_of(CSYNC_PUSH, 0, "S");
    assert_equal(c, peer);
}

/* All taken, it says, and yet it stands where it stood. */
static void a_peer_that_takes_all_but_does_not_move_is_given_up(void **state)
{
    int sent;

    (void)state;
    insert(c, 1, 4);
    assert_int_equal(push_against(0, 2, &sent), CSYNC_EPROTO);
    assert_in_range(sent, 0, 100);
    steps_of(CSYNC_PUSH, 0, "S");
    assert_equal(c, peer);
}

/* Believed, it would keep all changes up to there from ever being sent. */
static void a_position_beyond_the_log_is_a_fault_of_the_peer(void **state)
{
    int sent;

    (void)state;
    insert(c, 1, 4);
    assert_int_equal(push_against(1000, 2, &sent), CSYNC_EPROTO);
    assert_int_equal(push_against(1000, 0, &sent), CSYNC_EPROTO);
    steps_of(CSYNC_PUSH, 0, "S");
    insert(c, 5, 6);
    steps_of(CSYNC_PUSH, 0, "S");
    assert_equal(c, peer);
}

static void an_outcome_that_does_not_fit_the_batch_is_a_fault(void **state)
{
    csync_session *s;
    csync_outcome *o = outcome_of(4, 3);
    csync_error e = CSYNC_ERROR_INIT;

    (void)state;
    insert(c, 1, 4);
    s = start(CSYNC_PUSH, 0);
    next(s);
    assert_int_equal(csync_session_outcome(s, o, &e), CSYNC_EPROTO);
    assert_non_null(strstr(e.message, "3 outcomes for 4 changes"));
    assert_string_equal(finish(s), "S");
    assert_equal(c, peer);
    csync_outcome_free(o);
    csync_session_free(s);
}

static void no_outcome_means_all_taken(void **state)
{
    csync_session *s;
    csync_step step;
    csync_batch *copy = NULL;
    char *json = NULL;

    (void)state;
    insert(c, 1, 4);
    s = start(CSYNC_PUSH, 0);
    step = next(s);
    OK(csync_batch_to_json(step.batch, &json, NULL, err));
    OK(csync_session_outcome(s, NULL, err));
    assert_int_equal(next(s).kind, CSYNC_STEP_DONE);
    assert_int_equal(result_of(s).pushed, 4);
    csync_session_free(s);
    OK(csync_batch_from_json(&copy, json, strlen(json), err));
    OK(csync_apply(peer, copy, NULL, NULL, NULL, err));
    assert_equal(c, peer);
    csync_batch_free(copy);
    csync_free(json);
}

static void a_wrong_hash_applies_nothing(void **state)
{
    csync_session *s;
    csync_batch_info info = {.struct_size = sizeof info};
    csync_step step;
    csync_batch *page;
    char *before;

    (void)state;
    insert(peer, 1, 4);
    s = start(CSYNC_PULL, 0);
    OK(csync_hash(c, (char[CSYNC_HASH_SIZE]){0}, err));
    before = snapshot(c, SNAPSHOT_EXACT);
    step = next(s);
    page = page_of(&step.fetch);
    assert_int_equal(csync_batch_get_info(page, &info), CSYNC_OK);
    info.hash[5] = info.hash[5] == '0' ? '1' : '0';
    OK(csync_batch_set_info(page, &info, err));
    FAILS(CSYNC_EHASH, "as expected", csync_session_page(s, page, err));
    assert_unchanged(c, before);
    assert_string_equal(finish(s), "F");
    assert_equal(c, peer);
    csync_batch_free(page);
    csync_session_free(s);
}

static void a_push_fed_twice_is_taken_once(void **state)
{
    csync_session *s;
    csync_step step;
    csync_outcome *o = NULL;

    (void)state;
    insert(c, 1, 4);
    s = start(CSYNC_PUSH, 0);
    step = next(s);
    OK(csync_apply(peer, step.batch, NULL, NULL, NULL, err));
    OK(csync_apply(peer, step.batch, NULL, &o, NULL, err));
    assert_int_equal(csync_outcome_count(o), 0);
    assert_int_equal(csync_outcome_position(o), number(c, "SELECT max(version) FROM _sync_log"));
    OK(csync_session_outcome(s, o, err));
    assert_string_equal(finish(s), "");
    assert_equal(c, peer);
    csync_outcome_free(o);
    csync_session_free(s);
}

static void a_page_of_this_very_replica_is_refused(void **state)
{
    csync_session *s;
    csync_batch *own = NULL;

    (void)state;
    insert(c, 1, 2);
    OK(csync_changes(c, NULL, &own, err));
    s = start(CSYNC_PULL, 0);
    next(s);
    REFUSED(CSYNC_EINVAL, "this very replica", csync_session_page(s, own, err));
    csync_batch_free(own);
    csync_session_free(s);
}

/* ---- interruptions ---- */

static void an_interrupted_session_is_continued_by_the_next(void **state)
{
    csync_session *s;
    csync_step step;

    (void)state;
    insert(c, 1, 6);
    insert(peer, 11, 16);
    for (int i = 0; i < 2; i++) {
        s = start(CSYNC_BOTH, 2);
        step = next(s);
        answer(s, &step);
        next(s);
        csync_session_free(s);
    }
    s = start(CSYNC_BOTH, 2);
    assert_string_equal(finish(s), "FSSS");
    assert_int_equal(result_of(s).pulled, 2);
    csync_session_free(s);
    assert_equal(c, peer);
}

/* The peer took the batch, but its answer never came. */
static void a_lost_answer_to_a_push_does_no_harm(void **state)
{
    csync_session *s;

    (void)state;
    insert(c, 1, 4);
    s = start(CSYNC_PUSH, 2);
    OK(csync_apply(peer, next(s).batch, NULL, NULL, NULL, err));
    csync_session_free(s);
    run(c, "UPDATE person SET name='edited meanwhile' WHERE id=1");
    s = start(CSYNC_PUSH, 2);
    finish(s);
    csync_session_free(s);
    assert_equal(c, peer);
    assert_string_equal(text(peer, "SELECT name FROM person WHERE id=1"), "edited meanwhile");
}

static void writes_between_two_steps_take_part(void **state)
{
    csync_session *s;
    csync_step step;

    (void)state;
    insert(c, 1, 2);
    insert(peer, 11, 12);
    s = start(CSYNC_BOTH, 1);
    step = next(s);
    run(c, "INSERT INTO person VALUES(3,'between')");
    run(peer, "INSERT INTO person VALUES(13,'between')");
    answer(s, &step);
    run(c, "DELETE FROM person WHERE id=1");
    finish(s);
    csync_session_free(s);
    assert_equal(c, peer);
    assert_int_equal(persons(c), 5);
}

/* Two at once, each with its own view of the position: what one has moved, the other notices. */
static void two_sessions_with_one_peer_do_no_harm(void **state)
{
    csync_session *s, *t;
    csync_step a, b;

    (void)state;
    insert(c, 1, 4);
    insert(peer, 11, 14);
    s = start(CSYNC_BOTH, 3);
    t = start(CSYNC_BOTH, 3);
    for (int i = 0; i < 20; i++) {
        a = next(s);
        b = next(t);
        if (a.kind != CSYNC_STEP_DONE)
            answer(s, &a);
        if (b.kind != CSYNC_STEP_DONE)
            answer(t, &b);
    }
    assert_string_equal(finish(s), "");
    assert_string_equal(finish(t), "");
    assert_equal(c, peer);
    csync_session_free(s);
    csync_session_free(t);
}

/* ---- csync_remote ---- */

static int asked, sent;

static int fetch(void *user_data, const csync_fetch *f, csync_batch **out, csync_error *err)
{
    asked++;
    return csync_changes(user_data, f, out, err);
}

static int send(void *user_data, const csync_batch *b, csync_outcome **out, csync_error *err)
{
    sent++;
    return csync_apply(user_data, b, NULL, out, NULL, err);
}

static void a_remote_with_one_function_serves_one_direction(void **state)
{
    csync_remote only_fetch = {.struct_size = sizeof only_fetch, .user_data = peer, .fetch = fetch};
    csync_remote only_send = {.struct_size = sizeof only_send, .user_data = peer, .send = send};
    csync_sync_options o = {.struct_size = sizeof o, .direction = CSYNC_PULL};
    csync_result r = {.struct_size = sizeof r};

    (void)state;
    asked = sent = 0;
    insert(c, 1, 3);
    insert(peer, 11, 12);
    OK(csync_sync_remote(c, &only_fetch, &o, &r, err));
    assert_int_equal(r.pulled, 2);
    o.direction = CSYNC_PUSH;
    OK(csync_sync_remote(c, &only_send, &o, &r, err));
    assert_int_equal(r.pushed, 3);
    assert_int_equal(asked, 1);
    assert_int_equal(sent, 1);
    assert_equal(c, peer);
}

static int fetch_bare(void *user_data, const csync_fetch *f, csync_batch **out, csync_error *err)
{
    csync_batch *page = NULL;

    asked++;
    OK(csync_changes(user_data, f, &page, err));
    *out = batch();
    for (size_t i = 0; i < csync_batch_count(page); i++)
        OK(csync_batch_add(*out, csync_batch_at(page, i), err));
    csync_batch_free(page);
    (void)err;
    return CSYNC_OK;
}

static int send_blind(void *user_data, const csync_batch *b, csync_outcome **out, csync_error *err)
{
    (void)out;
    sent++;
    return csync_apply(user_data, b, NULL, NULL, NULL, err);
}

static void batches_without_info_and_sends_without_outcome_do(void **state)
{
    csync_remote remote = {.struct_size = sizeof remote,
                           .name = "bare",
                           .user_data = peer,
                           .fetch = fetch_bare,
                           .send = send_blind};
    csync_sync_options o = {.struct_size = sizeof o, .batch_size = 2};

    (void)state;
    asked = sent = 0;
    insert(c, 1, 3);
    insert(peer, 11, 15);
    OK(csync_sync_remote(c, &remote, &o, NULL, err));
    assert_equal(c, peer);
    assert_int_equal(asked, 3);
    assert_int_equal(sent, 2);
}

/* ---- progress ---- */

typedef struct heard {
    int calls, stop_at_phase;
    int64_t stop_at, changes[3], total;
    int64_t last, batches_before;
} heard;

static int hear(void *user_data, const csync_progress *p)
{
    heard *h = user_data;

    assert_int_equal(p->struct_size, sizeof *p);
    assert_in_range(p->phase, CSYNC_PULLING, CSYNC_PUSHING);
    assert_true(p->changes >= h->changes[p->phase]);
    assert_true(p->total == 0 || p->total >= p->changes);
    h->changes[p->phase] = p->changes;
    h->calls++;
    return p->phase == h->stop_at_phase && p->changes >= h->stop_at ? CSYNC_ECALLBACK : CSYNC_OK;
}

static void progress_counts_up_in_each_phase(void **state)
{
    heard h = {0};
    csync_sync_options o = {
        .struct_size = sizeof o, .batch_size = 100, .on_progress = hear, .user_data = &h};

    (void)state;
    insert(c, 1, 500);
    insert(peer, 1001, 1250);
    OK(csync_sync(c, peer, &o, NULL, err));
    assert_int_equal(h.changes[CSYNC_PULLING], 250);
    assert_int_equal(h.changes[CSYNC_PUSHING], 500);
    assert_true(h.calls >= 8);
}

static void a_stop_rolls_the_open_batch_back_and_keeps_those_before(void **state)
{
    heard h = {.stop_at_phase = CSYNC_PULLING, .stop_at = 164};
    csync_sync_options o = {
        .struct_size = sizeof o, .batch_size = 100, .on_progress = hear, .user_data = &h};
    csync_result r = {.struct_size = sizeof r};

    (void)state;
    insert(peer, 1, 500);
    FAILS(CSYNC_ECALLBACK, "progress", csync_sync(c, peer, &o, &r, err));
    assert_int_equal(persons(c), 100);
    assert_int_equal(r.batches, 1);
    assert_int_equal(r.pulled, 100);
    h = (heard){0};
    OK(csync_sync(c, peer, &o, &r, err));
    assert_int_equal(r.pulled, 400);
    assert_equal(c, peer);
}

static void a_stop_while_pushing_keeps_what_the_peer_has(void **state)
{
    heard h = {.stop_at_phase = CSYNC_PUSHING, .stop_at = 100};
    csync_sync_options o = {
        .struct_size = sizeof o, .batch_size = 100, .on_progress = hear, .user_data = &h};
    csync_result r = {.struct_size = sizeof r};

    (void)state;
    insert(c, 1, 300);
    FAILS(CSYNC_ECALLBACK, "progress", csync_sync(c, peer, &o, NULL, err));
    assert_int_equal(persons(peer), 100);
    h = (heard){0};
    OK(csync_sync(c, peer, &o, &r, err));
    assert_int_equal(r.pushed, 200);
    assert_equal(c, peer);
}

#define ON_C(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_C(both_directions_pull_first),
        ON_C(one_direction_does_no_more),
        ON_C(batches_hold_as_many_rows_as_wanted),
        ON_C(a_batch_stops_at_its_bytes_but_not_before_one_change),
        ON_C(a_step_is_repeated_until_it_is_answered),
        ON_C(a_step_names_its_batch_and_fetch_only_where_they_count),
        ON_C(an_answer_out_of_turn_is_refused_and_changes_nothing),
        ON_C(a_page_from_elsewhere_is_dropped_and_asked_for_again),
        ON_C(a_peer_that_never_answers_from_the_position_is_given_up),
        ON_C(more_without_progress_is_a_fault_of_the_peer),
        ON_C(a_peer_that_never_takes_the_push_is_given_up),
        ON_C(a_peer_that_takes_all_but_does_not_move_is_given_up),
        ON_C(a_position_beyond_the_log_is_a_fault_of_the_peer),
        ON_C(an_outcome_that_does_not_fit_the_batch_is_a_fault),
        ON_C(no_outcome_means_all_taken),
        ON_C(a_wrong_hash_applies_nothing),
        ON_C(a_push_fed_twice_is_taken_once),
        ON_C(a_page_of_this_very_replica_is_refused),
        ON_C(an_interrupted_session_is_continued_by_the_next),
        ON_C(a_lost_answer_to_a_push_does_no_harm),
        ON_C(writes_between_two_steps_take_part),
        ON_C(two_sessions_with_one_peer_do_no_harm),
        ON_C(a_remote_with_one_function_serves_one_direction),
        ON_C(batches_without_info_and_sends_without_outcome_do),
        ON_C(progress_counts_up_in_each_phase),
        ON_C(a_stop_rolls_the_open_batch_back_and_keeps_those_before),
        ON_C(a_stop_while_pushing_keeps_what_the_peer_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
