/* stream.h - server-sent events: one feed for each database, one topic for each table or row that somebody follows, and
 * a stream for each subscriber, which is little more than a place in its topic. */
#ifndef CS_STREAM_H
#define CS_STREAM_H
#include "http/server.h"

typedef struct cs_hub cs_hub;
typedef struct cs_stream cs_stream;

cs_hub *cs_hub_create(csync_server *server, cs_served *served, const char *url, csync_error *err);
/* Heartbeats, and the end of streams that are too old. */
void cs_hub_beat(cs_hub *hub);
/* Says goodbye to every stream. */
void cs_hub_end_streams(cs_hub *hub);
/* The same, and new ones are refused from now on; the feed ends. */
void cs_hub_refuse(cs_hub *hub);
int cs_hub_count(cs_hub *hub);
void cs_hub_free(cs_hub *hub); /* after cs_hub_refuse, the workers and the daemon; NULL is fine */

enum MHD_Result cs_stream_open(cs_ask *ask); /* the request is complete */
enum MHD_Result cs_stream_begin(cs_ask *ask); /* it is registered */
int cs_stream_end(cs_ask *ask); /* DELETE: 0, the reply is there; -1: there is no such stream of this client */
void cs_stream_drop(cs_stream *stream); /* that never began; NULL is fine */

/* ask.c */
enum MHD_Result cs_ask_answer(cs_ask *ask);
int cs_ask_give(cs_ask *ask, cs_pool *pool, int (*job)(cs_job *job, csync *replica));
void cs_ask_fail(cs_ask *ask, const csync_error *why);
void cs_ask_add_headers(cs_ask *ask, struct MHD_Response *response);
#endif
