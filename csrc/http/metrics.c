/* metrics.c - what the server counts, for Prometheus (text format 0.0.4). */
#include "http/server.h"
#include "http/stream.h"

static void put(cs_buf *b, const char *name, const char *type, const char *help, long value)
{
    cs_buf_printf(b, "# HELP csync_%s %s\n# TYPE csync_%s %s\ncsync_%s %ld\n", name, help, name,
                  type, name, value);
}

static int clients_of(csync_server *server)
{
    int count;

    pthread_mutex_lock(&server->lock);
    count = server->client_count;
    pthread_mutex_unlock(&server->lock);
    return count;
}

static void put_served(cs_buf *b, const cs_served *s)
{
    cs_buf_printf(b, "csync_waiting{database=\"%s\",for=\"writer\"} %d\n", s->name,
                  cs_pool_waiting(s->writes));
    if (s->reads != s->writes)
        cs_buf_printf(b, "csync_waiting{database=\"%s\",for=\"readers\"} %d\n", s->name,
                      cs_pool_waiting(s->reads));
}

int cs_server_count(csync_server *server, cs_reply *reply)
{
    cs_buf *b = &reply->body;

    put(b, "requests_total", "counter", "Requests begun.", atomic_load(&server->requests));
    put(b, "refused_total", "counter", "Requests answered by 4xx or 5xx, or not at all.",
        atomic_load(&server->refused));
    put(b, "cut_total", "counter", "Connections cut because they were too slow.",
        atomic_load(&server->cut));
    put(b, "sent_bytes_total", "counter", "Bytes of answers, without event streams.",
        atomic_load(&server->bytes));
    put(b, "connections", "gauge", "Open connections.", clients_of(server));
    cs_buf_puts(b, "# HELP csync_waiting Requests that wait for a database.\n"
                   "# TYPE csync_waiting gauge\n");
    for (size_t i = 0; i < server->served_count; i++)
        put_served(b, &server->served[i]);
    cs_buf_puts(b, "# HELP csync_streams Open event streams.\n# TYPE csync_streams gauge\n");
    for (size_t i = 0; i < server->served_count; i++)
        cs_buf_printf(b, "csync_streams{database=\"%s\"} %d\n", server->served[i].name,
                      cs_hub_count(server->served[i].hub));
    return cs_reply_text(reply, 200, "text/plain; version=0.0.4", NULL);
}
