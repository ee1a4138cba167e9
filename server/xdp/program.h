/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * program - stun.bpf.c in the kernel: loads it, attaches it, and holds the memory it shares with us.
 *
 * Loading is a light skeleton's: the program's bytes are in ours, and bpf(2) is all they take, no library and no
 * file. That, and attaching, needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (without which the kernel allows no
 * packet pointer that varies); nothing that follows is a system call
 * but program_free's close and munmap. Linux 5.15 and later.
 */
#ifndef SERVER_XDP_PROGRAM_H
#define SERVER_XDP_PROGRAM_H

#include <stdbool.h>

#include "server/xdp/layout.h"

struct program;

/*
 * Loads it with what it is to know; fixed's crc and key are filled in here. rate: answers per second
 * and source, 0 for no limit. Negative errno: -EPERM or -EINVAL without the capabilities, -ENOSYS without bpf(2), and
 * whatever the kernel has against it.
 */
int program_load(struct program **out, struct xdp_fixed *fixed, const struct xdp_answers *answers, uint32_t rate);
/* Detaches it, too; so does the kernel when the process ends. NULL is fine. */
void program_free(struct program *p);

/*
 * To an interface: in the driver (native), or behind it, where the kernel has made a packet of its own of the
 * frame (generic). Negative errno: -EBUSY or -EEXIST where another XDP program is, -EOPNOTSUPP and others where
 * the driver has no such mode.
 */
int program_attach(struct program *p, unsigned ifindex, bool native);

/* For BPF_PROG_TEST_RUN. */
int program_fd(const struct program *p);
/* What it shares with us, borrowed. */
struct xdp_shared *program_shared(const struct program *p);

/* From now on at this rate. */
void program_rate(struct program *p, uint32_t rate);
/* How often so far, on all CPUs. */
uint64_t program_count(const struct program *p, enum xdp_count row);

#endif
