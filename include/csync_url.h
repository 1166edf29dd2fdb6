/* csync_url.h - a replica behind a URL: the client of the REST API (docs/rest.md). The rules of csync.h hold here too.
 *
 *     csync_url *peer;
 *     csync_url_options options = {.struct_size = sizeof options, .token = getenv("CSYNC_TOKEN")};
 *
 *     if (csync_url_open(&peer, "https://notes.example.org/", &options, &err) == CSYNC_OK)
 *         csync_sync_remote(db, csync_url_remote(peer), NULL, &result, &err);
 *     csync_url_close(peer);
 *
 * libcurl does the work (Debian: libcurl4). It is opened when it is needed first, and never linked.
 */
#ifndef CSYNC_URL_H
#define CSYNC_URL_H
#include "csync.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct csync_url csync_url; /* a server, and the connection to it that is kept open between requests */

typedef struct csync_url_options {
    size_t struct_size;
    const char *token; /* goes over https:// only, or to this machine. NULL: none; no variable of the environment is read */
    const char *ca_file; /* PEM file of the authorities to trust, and no others. NULL: the system's, and those that
                            SSL_CERT_FILE and SSL_CERT_DIR of the environment name */
    const char *proxy; /* URL of a proxy. NULL: what https_proxy, http_proxy, all_proxy and no_proxy of the environment say;
                          "": none. This machine is never asked through one */
    int connect_ms; /* for a connection; 0: 20 seconds */
    int silence_ms; /* without a byte, after which a connection counts as lost; 0: a minute. There is no other limit */
    int tries; /* for each request, in all; 0: 5 */
    int wait_ms; /* before the second try up to so long, by chance; doubles with each, up to a minute. 0: half a second. A
                    server's Retry-After of at most a minute goes before it */
    int64_t max_answer; /* bytes of one answer, also unfolded; 0: 1 GiB, which is the most */
} csync_url_options;

/* Asks the server at `url` (http:// or https://, a path, ?db=NAME) who it is. `options` may be NULL; its texts are copied.
 * Certificates are checked, and redirections not followed, so that a token goes to the host of the URL alone. What fails for
 * a moment (no connection, 429, 502, 503, 504) is tried again; what a request does twice has the effect of once.
 * It waits for the server, and nobody can cancel that: connect_ms and tries bound it.
 * CSYNC_EINVAL: the URL or an option is malformed, or says more than it should (a password, a token over http://).
 * CSYNC_ENOTFOUND: ca_file cannot be read. CSYNC_EUNSUPPORTED: there is no libcurl, or one older than 7.68.
 * CSYNC_ENET: the server cannot be reached, or its certificate is not to be trusted. CSYNC_EAUTH: it wants another token.
 * CSYNC_EPROTO: what answers is no csync. */
CSYNC_API int csync_url_open(csync_url **out, const char *url, const csync_url_options *options,
                             csync_error *err);

/* What csync_sync_remote and csync_verify_remote take. Its name is the server's origin. Borrowed until csync_url_close; NULL
 * for NULL. Its functions fail with the code that the server's csync failed with, or with those of csync_url_open. They may
 * be called by any thread, one at a time: others wait. In a process that was forked meanwhile they fail with CSYNC_EMISUSE. */
CSYNC_API const csync_remote *csync_url_remote(const csync_url *peer);

/* Any thread, at any time before csync_url_close: the request that runs, or else the next one, ends with CSYNC_ECANCELED,
 * and a sync with it; the batches before it stay. csync_cancel of the replica alone is noticed when the answer is there. */
CSYNC_API void csync_url_cancel(csync_url *peer);

/* Closes the connection; NULL is fine. No thread may be in a call on it. */
CSYNC_API void csync_url_close(csync_url *peer);

#ifdef __cplusplus
}
#endif
#endif
