/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/bind.h"

#include <errno.h>
#include <string.h>

#include "sys/cleanup.h"
#include "sys/holder.h"
#include "sys/log.h"
#include "sys/net.h"

const char *bind_type_text(int type)
{
	return type == SOCK_STREAM ? "tcp" : "udp";
}

static int listening(int fd, int type)
{
	return type == SOCK_STREAM && listen(fd, SOMAXCONN) < 0 ? -errno : 0;
}

int bind_open(int *out_fd, int type, const struct endpoint *local, unsigned flags)
{
	CLEANUP(close_fd) int fd = -1;
	char text[ENDPOINT_TEXT_MAX], holder[HOLDER_MAX];
	int err = net_open(&fd, type, local, flags);

	if (err == 0)
		err = listening(fd, type);
	if (err < 0) {
		log_error("cannot bind %s %s: %s%s%s", bind_type_text(type), endpoint_text(local, text), strerror(-err),
			err == -EADDRINUSE ? ", held by " : "", err == -EADDRINUSE ? holder_name(holder, type, local) : "");
		return err;
	}
	*out_fd = fd;
	fd = -1; /* handed over */
	return 0;
}
