/* SPDX-License-Identifier: GPL-2.0-or-later */
/* echo - the limit bench_xdp.py stands beside: a frame goes back as it came, with its addresses swapped. And pass, for the other side. */
#include <linux/bpf.h>
#include <stdint.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char licence[] SEC("license") = "GPL";

#define SWAP(type, a, b)                             \
	do {                                         \
		const type swapped = *(type *)(a);       \
		*(type *)(a) = *(type *)(b);             \
		*(type *)(b) = swapped;                  \
	} while (0)

SEC("xdp")
int echo(struct xdp_md *ctx)
{
	uint8_t *at = (uint8_t *)(long)ctx->data;

	if (at + 42 > (uint8_t *)(long)ctx->data_end || *(uint16_t *)(at + 12) != bpf_htons(0x0800) || at[23] != 17)
		return XDP_PASS;
	SWAP(uint32_t, at, at + 6);
	SWAP(uint16_t, at + 4, at + 10);
	SWAP(uint32_t, at + 26, at + 30);
	SWAP(uint16_t, at + 34, at + 36);
	return XDP_TX;
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}
