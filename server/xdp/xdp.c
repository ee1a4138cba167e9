/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/xdp/xdp.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <linux/if_vlan.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/peer.h"
#include "server/xdp/answers.h"
#include "server/xdp/program.h"
#include "sys/cleanup.h"
#include "sys/confine.h"
#include "sys/log.h"
#include "sys/net.h"

const bool xdp_built = true;

struct xdp {
	struct program *program;
	const struct place *places;
	size_t place_count;
};

/* --- What stands at the interface --- */

/* The device below a VLAN's, and its number; false for what is no VLAN. */
static bool vlan_of(int fd, char name[IF_NAMESIZE], uint32_t *vid)
{
	struct vlan_ioctl_args real = { .cmd = GET_VLAN_REALDEV_NAME_CMD }, number = { .cmd = GET_VLAN_VID_CMD };

	memcpy(real.device1, name, IF_NAMESIZE);
	memcpy(number.device1, name, IF_NAMESIZE);
	if (ioctl(fd, SIOCGIFVLAN, &real) < 0 || ioctl(fd, SIOCGIFVLAN, &number) < 0)
		return false;
	*vid = (uint32_t)number.u.VID;
	memcpy(name, real.u.device2, IF_NAMESIZE);
	return true;
}

/* Whether a device is the interface or a VLAN over it, up to two deep; its tags, the inner one below. */
static bool is_at(int fd, const char *device, const char *interface, uint32_t *tags)
{
	char name[IF_NAMESIZE] = "";

	*tags = 0;
	for (unsigned depth = 0; depth <= 2; depth++) {
		uint32_t vid;

		if (depth == 0)
			snprintf(name, sizeof(name), "%.*s", (int)strcspn(device, ":"), device); /* eth0:1 is an old alias of eth0 */
		if (strcmp(name, interface) == 0)
			return true;
		if (depth == 2 || !vlan_of(fd, name, &vid))
			return false;
		*tags |= XDP_TAG(vid) << 16 * depth;
	}
	return false;
}

struct address {
	struct endpoint ip, mask;
	uint32_t tags, broadcast;
	bool here;
};

static struct endpoint endpoint_at(const struct sockaddr *a)
{
	struct sockaddr_storage s = { 0 };

	memcpy(&s, a, a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
	return net_endpoint(&s);
}

/* Looks an address up among those of this host. */
static void address_find(struct address *out, const struct ifaddrs *list, int fd, const char *interface)
{
	for (const struct ifaddrs *i = list; i && !out->here; i = i->ifa_next) {
		struct endpoint ip;

		if (!i->ifa_addr || !i->ifa_netmask || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
			continue;
		ip = endpoint_at(i->ifa_addr);
		if (!endpoint_same_ip(&ip, &out->ip) || !is_at(fd, i->ifa_name, interface, &out->tags))
			continue;
		out->here = true;
		i->ifa_netmask->sa_family = i->ifa_addr->sa_family; /* some leave that out */
		out->mask = endpoint_at(i->ifa_netmask);
		if (ip.family == ENDPOINT_IPV4 && i->ifa_flags & IFF_BROADCAST && i->ifa_broadaddr)
			memcpy(&out->broadcast, endpoint_at(i->ifa_broadaddr).ip, sizeof(out->broadcast));
	}
}

static bool is_single(const struct endpoint *mask)
{
	return mask->ip[endpoint_ip_len(mask) - 1] == 255;
}

/* By the way a question to the one came an answer from the other may go: in one network, or of no network (as in clouds). */
static bool together(const struct address a[SITE_ADDRESSES])
{
	if (!a[0].here || !a[1].here || a[0].tags != a[1].tags)
		return false;
	if (is_single(&a[0].mask) || is_single(&a[1].mask))
		return true;
	for (size_t i = 0; i < sizeof(a[0].ip.ip); i++)
		if (a[0].mask.ip[i] != a[1].mask.ip[i] || ((a[0].ip.ip[i] ^ a[1].ip.ip[i]) & a[0].mask.ip[i]))
			return false;
	return true;
}

/* What the kernel gives a datagram nobody has asked anything else for. */
static uint8_t hops_default(enum endpoint_family family)
{
	const bool v6 = family == ENDPOINT_IPV6;
	CLEANUP(close_fd) int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int hops = 0;
	socklen_t len = sizeof(hops);

	if (fd < 0 || getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_UNICAST_HOPS : IP_TTL, &hops, &len) < 0 || hops < 1 ||
		hops > 255)
		return 64;
	return (uint8_t)hops;
}

/* How many addresses of a place stand there. */
static unsigned standing_find(struct standing *out, const struct place *place, const struct ifaddrs *list, int fd, const char *interface)
{
	struct address addresses[SITE_ADDRESSES] = { 0 };
	unsigned found = 0;

	*out = (struct standing){ .hops = hops_default((enum endpoint_family)place->local[0][0].family) };
	for (unsigned i = 0; i < SITE_ADDRESSES; i++) {
		struct address *a = &addresses[i];

		a->ip = place->local[i][0];
		if (a->ip.family != ENDPOINT_NONE)
			address_find(a, list, fd, interface);
		out->here[i] = a->here;
		out->tags[i] = a->tags;
		out->broadcast[i] = a->broadcast;
		found += a->here;
	}
	out->together = together(addresses);
	return found;
}

/* An Ethernet interface's address. -ENODEV, -EPROTONOSUPPORT. */
static int mac_find(uint8_t mac[8], int fd, const char *interface)
{
	struct ifreq request = { 0 };

	memcpy(request.ifr_name, interface, strnlen(interface, IF_NAMESIZE - 1));
	if (ioctl(fd, SIOCGIFHWADDR, &request) < 0)
		return -errno;
	if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return -EPROTONOSUPPORT;
	memset(mac, 0, 8);
	memcpy(mac, request.ifr_hwaddr.sa_data, 6);
	return 0;
}

/* What the program is to know: how many served addresses stand there, or a negative errno. */
static int knowledge_make(struct xdp_fixed *fixed, struct xdp_answers *answers, const char *interface, const struct place *places,
	size_t count)
{
	CLEANUP(close_fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifaddrs *list;
	unsigned found = 0;
	int err = fd < 0 ? -errno : mac_find(fixed->mac, fd, interface);

	if (err == 0 && getifaddrs(&list) < 0)
		err = -errno;
	if (err < 0)
		return err;
	for (size_t i = 0; i < count; i++) {
		struct standing standing;

		found += standing_find(&standing, &places[i], list, fd, interface);
		answers_make(fixed, answers, &places[i], &standing);
	}
	freeifaddrs(list);
	return (int)found;
}

/* --- The program --- */

static int attach(struct program *p, const char *interface, unsigned addresses)
{
	const unsigned ifindex = if_nametoindex(interface);
	int err = program_attach(p, ifindex, true), native_err = err;

	if (err < 0 && err != -EBUSY && err != -EEXIST)
		err = program_attach(p, ifindex, false);
	if (err == -EBUSY || err == -EEXIST)
		log_error("--xdp %s: another XDP program is attached there, and there can be only one (ip link show %s)", interface, interface);
	else if (err < 0)
		log_error("--xdp %s: cannot attach the program: %s", interface, strerror(-err));
	else if (native_err < 0)
		log_warn("xdp interface=%s mode=generic addresses=%u: slower, since the driver has no native mode now: %s", interface,
			addresses, strerror(-native_err));
	else
		log_info("xdp interface=%s mode=native addresses=%u", interface, addresses);
	return err;
}

static const char *load_advice(void)
{
	/* Without one of them the kernel says EPERM, or EINVAL when it cannot prove the program harmless. */
	return confine_capabilities() & CONFINE_CAP(CAP_PERFMON) ? "; Linux 5.15 or later is needed" :
		"; CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are needed at the start";
}

static int start(struct xdp *x, const char *interface, struct xdp_fixed *fixed, struct xdp_answers *answers, uint32_t rate)
{
	const int found = knowledge_make(fixed, answers, interface, x->places, x->place_count);
	int err;

	if (found <= 0) {
		log_error("--xdp %s: %s", interface, found == 0 ? "no address served stands there, or at a VLAN over it" :
			found == -EPROTONOSUPPORT ? "no Ethernet interface" : strerror(-found));
		return found < 0 ? found : -EADDRNOTAVAIL;
	}
	err = program_load(&x->program, fixed, answers, rate);
	if (err < 0) {
		log_error("--xdp %s: cannot load the program: %s%s", interface, strerror(-err), load_advice());
		return err;
	}
	xdp_follow(x);
	return attach(x->program, interface, (unsigned)found);
}

int xdp_new(struct xdp **out, const char *interface, const struct place *places, size_t count, uint32_t rate)
{
	struct xdp *x = calloc(1, sizeof(*x));
	struct xdp_fixed *fixed = calloc(1, sizeof(*fixed));
	struct xdp_answers *answers = calloc(1, sizeof(*answers));
	int err = -ENOMEM;

	if (x && fixed && answers) {
		x->places = places;
		x->place_count = count;
		err = start(x, interface, fixed, answers, rate);
	}
	free(fixed);
	free(answers);
	if (err < 0) {
		xdp_free(x);
		return err;
	}
	*out = x;
	return 0;
}

void xdp_free(struct xdp *x)
{
	if (x)
		program_free(x->program);
	free(x);
}

void xdp_follow(struct xdp *x)
{
	for (size_t i = 0; i < x->place_count; i++) {
		const struct place *p = &x->places[i];

		program_shared(x->program)->bank[p->local[0][0].family == ENDPOINT_IPV6] = p->peer && !peer_alive(p->peer);
	}
}

void xdp_rate(struct xdp *x, uint32_t rate)
{
	program_rate(x->program, rate);
}

void xdp_counts(const struct xdp *x, struct counts_sum *sum)
{
	const uint64_t answered = program_count(x->program, XDP_ANSWERED), limited = program_count(x->program, XDP_LIMITED);

	sum->of[COUNT_ANSWERED] += answered;
	sum->of[COUNT_RATE_LIMITED] += limited;
	sum->of[COUNT_XDP_ANSWERED] += answered;
	sum->of[COUNT_XDP_RATE_LIMITED] += limited;
	sum->of[COUNT_XDP_PASSED] += program_count(x->program, XDP_PASSED);
}
