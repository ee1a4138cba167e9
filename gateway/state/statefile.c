/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/state/statefile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sys/cleanup.h"
#include "sys/log.h"

#define DAMAGED_KEPT 4

/* "DIR/" of a path, or "./". */
static int directory_of(const char *path, char out[PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	const size_t len = slash ? (size_t)(slash - path) + 1 : 0;

	if (len + 1 >= PATH_MAX)
		return -ENAMETOOLONG;
	snprintf(out, PATH_MAX, "%.*s", (int)(len ? len : 2), len ? path : "./");
	return 0;
}

/* The last of them for us alone, those above as others expect them. */
static int make_directories(char *directory)
{
	for (char *slash = strchr(directory + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		int err;

		*slash = '\0';
		err = mkdir(directory, slash[1] ? 0755 : 0700) < 0 && errno != EEXIST ? -errno : 0;
		*slash = '/';
		if (err < 0)
			return err;
	}
	return 0;
}

static int open_directory(const char *path, int *out)
{
	char directory[PATH_MAX];
	int err = directory_of(path, directory);

	if (err < 0)
		return err;
	*out = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*out >= 0 || errno != ENOENT)
		return *out < 0 ? -errno : 0;
	err = make_directories(directory);
	if (err < 0)
		return err;
	*out = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *out < 0 ? -errno : 0;
}

/* All of it on the disk, or an error: a full disk may say so as late as at the flush. */
static int write_through(const char *path, const struct state *s)
{
	CLEANUP(close_fd) int fd = -1;
	CLEANUP(close_file) FILE *out = NULL;
	int err;

	unlink(path); /* what a loss of power left, or a link that somebody laid */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	out = fdopen(fd, "w");
	if (!out)
		return -errno;
	fd = -1; /* handed over */
	errno = 0;
	err = state_encode(s, out);
	if (err == 0 && (fflush(out) != 0 || fsync(fileno(out)) < 0))
		err = -EIO;
	return err == -EIO && errno ? -errno : err;
}

int statefile_write(const char *path, const struct state *s)
{
	CLEANUP(close_fd) int directory = -1;
	char tmp[PATH_MAX];
	int err;

	if (snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	err = open_directory(path, &directory);
	if (err == 0)
		err = write_through(tmp, s);
	if (err == 0 && rename(tmp, path) < 0)
		err = -errno;
	if (err < 0) {
		if (directory >= 0)
			unlink(tmp); /* a full disk wants it back */
		return err;
	}
	return fsync(directory) < 0 ? -errno : 0;
}

static void damaged_name(char out[PATH_MAX], const char *path, unsigned age)
{
	if (age)
		snprintf(out, PATH_MAX, "%s.damaged.%u", path, age);
	else
		snprintf(out, PATH_MAX, "%s.damaged", path);
}

static void set_aside(const char *path, const char *why)
{
	char older[PATH_MAX], newer[PATH_MAX];

	for (unsigned age = DAMAGED_KEPT - 1; age > 0; age--) {
		damaged_name(older, path, age);
		damaged_name(newer, path, age - 1);
		rename(newer, older);
	}
	damaged_name(newer, path, 0);
	if (rename(path, newer) < 0)
		log_error("state file %s is damaged (%s), and cannot be set aside error=\"%s\": beginning without it", path, why, strerror(errno));
	else
		log_error("state file %s is damaged (%s): set aside as %s, beginning without it; clients ask anew when their leases end", path, why, newer);
}

/* The whole file. -EISDIR for what is no file, -EFBIG, or what reading says. */
static int slurp(const char *path, char **out, size_t *len)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	CLEANUP(free_text) char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EISDIR;
	if (st.st_size > (off_t)STATEFILE_MAX)
		return -EFBIG;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	*len = 0;
	while ((n = read(fd, text + *len, (size_t)st.st_size - *len)) > 0)
		*len += (size_t)n;
	if (n < 0)
		return -errno;
	*out = text;
	text = NULL; /* handed over */
	return 0;
}

void statefile_read(const char *path, const struct state_limits *limits, struct state *out, bool *whole)
{
	CLEANUP(free_text) char *text = NULL;
	struct state_dropped dropped = { 0 };
	char why[STATE_WHY];
	size_t len = 0;
	int err = slurp(path, &text, &len);

	*out = (struct state){ 0 };
	*whole = false;
	if (err == -ENOENT)
		return;
	if (err == 0)
		err = state_decode(out, text, len, limits, &dropped, why);
	else
		snprintf(why, sizeof(why), "%s", strerror(-err));
	if (err == -EBADMSG || err == -EFBIG || err == -EIO)
		set_aside(path, why);
	else if (err < 0)
		log_error("state file %s cannot be read error=\"%s\": beginning without it; is --state right?", path, strerror(-err));
	if (dropped.count)
		log_warn("state file %s: left out mappings=%zu, the first because \"%s\"", path, dropped.count, dropped.why);
	*whole = err == 0 && dropped.count == 0;
	malloc_trim(0); /* the text as a tree took ten times its size */
}
