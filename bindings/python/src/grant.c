/* grant.c - csync.Grant as the core reads it. */
#include "grant.h"

int cspy_read_names(PyObject *tuple, const char *const **names, size_t *count)
{
    const Py_ssize_t size = PyTuple_Size(tuple);
    const char **list = size > 0 ? PyMem_Calloc((size_t)size, sizeof *list) : NULL;

    *names = NULL;
    *count = 0;
    if (size > 0 && list == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        list[i] = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(tuple, i), NULL);
        if (list[i] == NULL) {
            PyMem_Free(list);
            return -1;
        }
    }
    *names = list;
    *count = (size_t)size;
    return 0;
}

int cspy_grant_read(PyObject *tuple, csync_grant *grant)
{
    PyObject *tables;
    long long expires_ms;

    *grant = (csync_grant){.struct_size = sizeof *grant};
    if (!PyArg_ParseTuple(tuple, "szziLO!:grant", &grant->token_hash, &grant->client,
                          &grant->database, &grant->may, &expires_ms, &PyTuple_Type, &tables))
        return -1;
    grant->expires_ms = expires_ms;
    return cspy_read_names(tables, &grant->tables, &grant->table_count);
}

void cspy_grant_free(csync_grant *grant)
{
    PyMem_Free((void *)grant->tables);
    grant->tables = NULL;
}
