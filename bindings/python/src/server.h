/* server.h - functions of the module that server.c has. */
#ifndef CSPY_SERVER_H
#define CSPY_SERVER_H
#include "state.h"

PyObject *cspy_token_add(PyObject *module, PyObject *args);
PyObject *cspy_token_list(PyObject *module, PyObject *args);
PyObject *cspy_token_revoke(PyObject *module, PyObject *args);
PyObject *cspy_program(PyObject *module, PyObject *args);
#endif
