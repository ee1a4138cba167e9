/* SPDX-License-Identifier: MIT */
/*
 * cursor - reads and writes the bytes of a packet, network byte order.
 *
 * A cursor remembers overrun: reads beyond the end give 0 (or NULL), writes
 * beyond the end are dropped, and the caller asks once when done. So code
 * follows the picture in the RFC, line by line.
 */
#ifndef LIB_CURSOR_H
#define LIB_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct reader {
	const uint8_t *at;
	size_t left;
	bool overrun;
};

/* The next n bytes, borrowed from the packet; NULL and overrun when there are fewer. */
static inline const uint8_t *read_bytes(struct reader *r, size_t n)
{
	const uint8_t *at = r->at;

	if (r->overrun || r->left < n) {
		r->overrun = true;
		return NULL;
	}
	r->at += n;
	r->left -= n;
	return at;
}

static inline uint8_t read_u8(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 1);

	return p ? p[0] : 0;
}

static inline uint16_t read_u16(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 2);

	return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

static inline uint32_t read_u32(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 4);

	return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

/* Carves the next n bytes into a reader of their own, so what parses them cannot read its neighbour. */
static inline struct reader read_part(struct reader *r, size_t n)
{
	const uint8_t *p = read_bytes(r, n);

	return p ? (struct reader){ .at = p, .left = n } : (struct reader){ .overrun = true };
}

struct writer {
	uint8_t *start;
	size_t used, max;
	bool overrun;
};

static inline struct writer writer_new(void *buf, size_t max)
{
	return (struct writer){ .start = buf, .max = max };
}

/* Room for n bytes at the end; NULL and overrun when there is not enough. */
static inline uint8_t *write_room(struct writer *w, size_t n)
{
	uint8_t *at = w->start + w->used;

	if (w->overrun || w->max - w->used < n) {
		w->overrun = true;
		return NULL;
	}
	w->used += n;
	return at;
}

static inline void write_bytes(struct writer *w, const void *bytes, size_t n)
{
	uint8_t *p = write_room(w, n);

	if (p && n)
		memcpy(p, bytes, n);
}

static inline void write_zeros(struct writer *w, size_t n)
{
	uint8_t *p = write_room(w, n);

	if (p && n)
		memset(p, 0, n);
}

static inline void write_u8(struct writer *w, uint8_t v)
{
	write_bytes(w, &v, 1);
}

static inline void write_u16(struct writer *w, uint16_t v)
{
	write_bytes(w, (uint8_t[]){ (uint8_t)(v >> 8), (uint8_t)v }, 2);
}

static inline void write_u32(struct writer *w, uint32_t v)
{
	write_u16(w, (uint16_t)(v >> 16));
	write_u16(w, (uint16_t)v);
}

#endif
