/* SPDX-License-Identifier: MIT */
/* cleanup - local owners clean themselves: CLEANUP(close_fd) int fd = -1; */
#ifndef SYS_CLEANUP_H
#define SYS_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void close_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

static inline void free_text(char **text)
{
	free(*text);
}

#endif
