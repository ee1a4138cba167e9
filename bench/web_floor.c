/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * web_floor ADDRESS PORT FILE - the least that a web server of libmicrohttpd can do, for bench_api.py.
 *
 * One thread, epoll; every request is answered with the bytes of FILE, read once, or with 304 where it is "-". IPv4.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct served {
	struct MHD_Response *response;
	unsigned status;
};

static enum MHD_Result answer(void *served, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
	const char *bytes, size_t *len, void **request)
{
	const struct served *s = served;

	(void)url, (void)method, (void)version, (void)bytes, (void)len;
	if (!*request) { /* answered at its head, a connection would be closed */
		*request = served;
		return MHD_YES;
	}
	return MHD_queue_response(connection, s->status, s->response);
}

static struct MHD_Response *read_file(const char *path)
{
	const int fd = open(path, O_RDONLY);
	struct stat is;
	void *bytes;

	if (fd < 0 || fstat(fd, &is) < 0)
		return NULL;
	bytes = malloc((size_t)is.st_size);
	if (!bytes || read(fd, bytes, (size_t)is.st_size) != is.st_size)
		return NULL;
	close(fd);
	return MHD_create_response_from_buffer((size_t)is.st_size, bytes, MHD_RESPMEM_MUST_FREE);
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	struct served s = { NULL, MHD_HTTP_OK };

	if (argc != 4 || inet_pton(AF_INET, argv[1], &at.sin_addr) != 1) {
		fprintf(stderr, "usage: web_floor ADDRESS PORT FILE\n");
		return 2;
	}
	at.sin_port = htons((uint16_t)atoi(argv[2]));
	if (strcmp(argv[3], "-") == 0) {
		s.response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
		s.status = MHD_HTTP_NOT_MODIFIED;
	} else {
		s.response = read_file(argv[3]);
	}
	if (!s.response || !MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, answer, &s, MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_END)) {
		perror("web_floor");
		return 1;
	}
	puts("listening");
	fflush(stdout);
	pause();
	return 0;
}
