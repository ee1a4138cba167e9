/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/xdp/program.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "stun.lskel.h" /* made at build: script/build */

#define SECOND_NS 1000000000ull

struct program {
	struct stun_bpf *skeleton;
	struct xdp_shared *shared; /* NULL: not mapped */
	int link;		   /* -1: not attached */
};

static size_t map_len(size_t value)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (value + page - 1) / page * page;
}

/* A map of one element. */
static void *map_memory(int fd, size_t value)
{
	void *at = mmap(NULL, map_len(value), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* CRC-32 (ITU V.42) of a byte with none to seven zero bytes behind it: two words at a time take eight lookups, none of which waits for another. */
static void crc_make(uint32_t crc[8][256])
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
		crc[0][i] = c;
	}
	for (int k = 1; k < 8; k++)
		for (int i = 0; i < 256; i++)
			crc[k][i] = crc[k - 1][i] >> 8 ^ crc[0][crc[k - 1][i] & 255];
}

static int fixed_complete(struct xdp_fixed *fixed)
{
	crc_make(fixed->crc);
	return getrandom(&fixed->key, sizeof(fixed->key), 0) == sizeof(fixed->key) ? 0 : -EIO;
}

static int answers_put(int fd, const struct xdp_answers *answers)
{
	void *at = map_memory(fd, sizeof(*answers));

	if (!at)
		return -errno;
	memcpy(at, answers, sizeof(*answers));
	munmap(at, map_len(sizeof(*answers)));
	return 0;
}

static int load(struct program *p, const struct xdp_fixed *fixed, const struct xdp_answers *answers, uint32_t rate)
{
	int err;

	p->skeleton = stun_bpf__open();
	if (!p->skeleton)
		return -ENOMEM;
	memcpy(&p->skeleton->rodata->fixed, fixed, sizeof(*fixed));
	err = stun_bpf__load(p->skeleton);
	if (err < 0)
		return err;
	p->shared = map_memory(p->skeleton->maps.shared.map_fd, sizeof(*p->shared));
	if (!p->shared)
		return -errno;
	program_rate(p, rate);
	return answers_put(p->skeleton->maps.answers.map_fd, answers);
}

int program_load(struct program **out, struct xdp_fixed *fixed, const struct xdp_answers *answers, uint32_t rate)
{
	struct program *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->link = -1;
	err = fixed_complete(fixed);
	if (err == 0)
		err = load(p, fixed, answers, rate);
	if (err < 0) {
		program_free(p);
		return err;
	}
	*out = p;
	return 0;
}

void program_free(struct program *p)
{
	if (!p)
		return;
	if (p->link >= 0)
		close(p->link);
	if (p->shared)
		munmap(p->shared, map_len(sizeof(*p->shared)));
	if (p->skeleton)
		stun_bpf__destroy(p->skeleton);
	free(p);
}

int program_attach(struct program *p, unsigned ifindex, bool native)
{
	union bpf_attr attr = { .link_create = { .prog_fd = (uint32_t)program_fd(p), .target_ifindex = ifindex, .attach_type = BPF_XDP,
					.flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE } };

	p->link = skel_sys_bpf(BPF_LINK_CREATE, &attr, sizeof(attr.link_create));
	return p->link < 0 ? -errno : 0;
}

int program_fd(const struct program *p)
{
	return p->skeleton->progs.stun.prog_fd;
}

struct xdp_shared *program_shared(const struct program *p)
{
	return p->shared;
}

/* An interval is rounded up, so that the rate is never exceeded; a full bucket holds a second's worth. */
void program_rate(struct program *p, uint32_t rate)
{
	const uint64_t per_tick = 1u << XDP_TICK_BITS;
	const uint32_t interval = rate ? (uint32_t)((SECOND_NS / rate + per_tick - 1) / per_tick) : 0;

	p->shared->depth = interval * rate;
	p->shared->interval = interval;
}

uint64_t program_count(const struct program *p, enum xdp_count row)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < XDP_CPUS; i++)
		sum += *(const volatile uint64_t *)&p->shared->cpus[i].of[row];
	return sum;
}
