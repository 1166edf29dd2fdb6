/* pg_server.h - a private PostgreSQL server: one directory, one socket, no network. */
#ifndef PG_SERVER_H
#define PG_SERVER_H

/* Starts it. 1: PostgreSQL is not installed. A server that does not start ends the program. */
int pg_server_start(void);
/* What libpq needs to connect to it. */
const char *pg_server_address(void);
/* Stops it and removes its directory; without a server it does nothing. */
void pg_server_stop(void);
#endif
