/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct ifreq request(const char *name)
{
	struct ifreq r = { 0 };

	strncpy(r.ifr_name, name, sizeof(r.ifr_name) - 1);
	return r;
}

static int bring_up(const char *name)
{
	struct ifreq mtu = request(name), up = request(name);
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r = 0;

	if (fd < 0)
		return -errno;
	mtu.ifr_mtu = TUN_MTU;
	up.ifr_flags = IFF_UP;
	if (ioctl(fd, SIOCSIFMTU, &mtu) < 0 || ioctl(fd, SIOCSIFFLAGS, &up) < 0)
		r = -errno;
	close(fd);
	return r;
}

int tun_open(int *out_fd, const char *name)
{
	struct ifreq attach = request(name);
	const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	attach.ifr_flags = IFF_TUN | IFF_NO_PI;
	r = ioctl(fd, TUNSETIFF, &attach) < 0 ? -errno : bring_up(name);
	if (r < 0) {
		close(fd);
		return r;
	}
	*out_fd = fd;
	return 0;
}
