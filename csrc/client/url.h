/* url.h - the parts of the client of a server. A request is carried out by transfer.c, tried again by attempts.c, and meant by
 * url.c. */
#ifndef CS_URL_H
#define CS_URL_H
#include <stdatomic.h>
#include <sys/types.h>

#include "base/lock.h"
#include "csync_url.h"
#include "client/place.h"

struct csync_url {
    cs_lock lock;
    pid_t pid; /* that opened it */
    const cs_curl *curl;
    CURL *easy;
    CURLM *multi; /* keeps the connection */
    cs_place place;
    char *token, *ca_file, *proxy; /* NULL: none was given */
    char *env_ca_file, *env_ca_dir; /* of the environment, when there is no ca_file */
    csync_url_options options; /* numbers only, with the defaults filled in */
    int coding; /* in which the server takes bodies; -1: none is known */
    atomic_int is_cancelled;
    char name[CSYNC_ORIGIN_SIZE];
    csync_remote remote;
};

typedef struct cs_question {
    const char *url;
    const char *body; /* NULL: it is a GET */
    size_t length;
    const char *coding; /* of the body; NULL: plain */
    int again; /* it does no harm when the server gets it twice */
} cs_question;

typedef struct cs_response {
    long status;
    cs_buf body;
    char retry_after[64], takes[128], coding[32]; /* Retry-After, Accept-Encoding, Content-Encoding */
    char *elsewhere; /* where it redirects to, without what may be secret; NULL: nowhere */
    size_t headers; /* bytes of them */
    int is_headed; /* all of its headers came */
    int is_final; /* there was no response, and another attempt would be as futile */
} cs_response; /* zero-initialised is empty */

void cs_response_clear(cs_response *response);

/* transfer.c */
int cs_transfer_open(csync_url *u, csync_error *err); /* the handles */
void cs_transfer_close(csync_url *u);
/* Asks once. CSYNC_ENET: there was no response; CSYNC_EPROTO: it was too large; CSYNC_ECANCELED, CSYNC_EINVAL, CSYNC_ENOMEM */
int cs_transfer(csync_url *u, const cs_question *question, cs_response *out, csync_error *err);
/* Lets the time pass. CSYNC_ECANCELED */
int cs_transfer_wait(csync_url *u, int64_t ms, csync_error *err);

/* attempts.c */
/* Asks until there is an answer or no more reason to ask; the answer's body, decoded, goes to `out`. */
int cs_url_ask(csync_url *u, const cs_question *question, cs_buf *out, csync_error *err);

/* What a document of the server says that is a text; NULL: not said. Borrowed from `texts`. */
typedef struct cs_said {
    csync_batch *texts;
    const char *detail, *code, *expected, *actual, *origin;
    int64_t version;
} cs_said;
/* said.c. A text that is no such document says nothing. CSYNC_ENOMEM; cs_said_free also then. */
int cs_said_read(cs_said *out, const char *json, size_t len, csync_error *err);
void cs_said_free(cs_said *said);
#endif
