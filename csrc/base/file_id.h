/* file_id.h - telling a file from its copies. */
#ifndef CS_FILE_ID_H
#define CS_FILE_ID_H

#define CS_FILE_ID_SIZE 64

/* Text that stays the same as long as the file is the same one, renamed or not, and that a copy does not share;
 * "" where there is no such file. */
void cs_file_id(const char *path, char out[CS_FILE_ID_SIZE]);
/* Replaces the file system's answer, for files that are not in it (tests); NULL: back to it. */
void cs_file_id_source(void (*source)(const char *path, char out[CS_FILE_ID_SIZE]));
#endif
