/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * again - for xdp_alone.c: puts the question back where the last run's answer is, from the next of many senders, and goes on to the
 * program that is measured. A repeated BPF_PROG_TEST_RUN does not: it hands on what the last run left.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bench/again.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct again);
} state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, uint32_t);
} next SEC(".maps");

char licence[] SEC("license") = "GPL";

SEC("xdp")
int again(struct xdp_md *ctx)
{
	const uint32_t only = 0;
	struct again *s = bpf_map_lookup_elem(&state, &only);
	uint64_t data = ctx->data, data_end = ctx->data_end;
	int64_t len = (int64_t)(data_end - data);
	uint8_t *at, *end;
	uint16_t number;

	__asm__ volatile("" : "+r"(len)); /* 64 bits: a pointer has no lower half */
	if (!s || bpf_xdp_adjust_head(ctx, (int)(len - s->len)))
		return XDP_ABORTED;
	at = (uint8_t *)(long)ctx->data;
	end = (uint8_t *)(long)ctx->data_end;
	/* The number and its complement: checksums stay right. */
	number = (uint16_t)(s->turn & s->senders);
	*(uint16_t *)(s->frame + (s->from & 63)) = number;
	*(uint16_t *)(s->frame + (s->id & 127)) = (uint16_t)~number;
	if (s->ip_id)
		*(uint16_t *)(s->frame + (s->ip_id & 31)) = (uint16_t)~number;
	for (unsigned i = 0; i < AGAIN_FRAME / 8; i++, at += 8) {
		__asm__ volatile("" : "+r"(at));
		if (at + 8 > end)
			break;
		*(uint64_t *)at = ((uint64_t *)s->frame)[i];
	}
	for (unsigned i = 0; i < 3; i++, at += 2) {
		__asm__ volatile("" : "+r"(at));
		if (at + 2 > end)
			break;
		*(uint16_t *)at = *(uint16_t *)(s->frame + (s->len & 120) + 2 * i);
	}
	/* Locked: the frame is in the cache before it is read, as when it comes from elsewhere. */
	__sync_fetch_and_add(&s->turn, 1);
	bpf_tail_call(ctx, &next, 0);
	return XDP_ABORTED;
}

/* Stands in another's place to tell what again costs. */
SEC("xdp")
int nothing(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_TX;
}
