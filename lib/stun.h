/* SPDX-License-Identifier: MIT */
/*
 * stun - the messages of RFC 8489 (and 5389), RFC 3489 and RFC 5780.
 *
 * A message is 20 bytes of header and attributes, each a type, a length and a
 * value padded to 4 bytes. What is known of an attribute is one row of a table
 * (stun_row): its name and how its value is laid out. Decoding checks the whole
 * structure and notes where the first attribute of each known type stands;
 * values are read when asked for. Nothing is copied: a decoded message borrows
 * the bytes it came from.
 *
 *	struct stun_message m;
 *	struct stun_value outer;
 *
 *	if (stun_decode(&m, bytes, len) == 0 && m.class == STUN_SUCCESS &&
 *	    stun_get(&m, STUN_XOR_MAPPED_ADDRESS, &outer) == 0)
 *		use(&outer.endpoint);
 *
 * MESSAGE-INTEGRITY and its kin are carried, not computed. Errors are negative
 * errno.
 */
#ifndef LIB_STUN_H
#define LIB_STUN_H

#include "lib/cursor.h"
#include "lib/endpoint.h"

#define STUN_PORT	3478
#define STUN_COOKIE	0x2112a442u /* RFC 8489 section 5 */
#define STUN_HEADER_LEN 20
#define STUN_MESSAGE_MAX 65535 /* no datagram is longer; refused on TCP too */
#define STUN_ID_LEN	16 /* the cookie and 96 bits of transaction id; all 128 bits are the id in RFC 3489 */

/* RFC 8489 section 5; RFC 3489's message types are the same bits. */
enum stun_class { STUN_REQUEST, STUN_INDICATION, STUN_SUCCESS, STUN_ERROR };
enum stun_method { STUN_BINDING = 1, STUN_SHARED_SECRET = 2 /* RFC 3489 only */ };

enum stun_type {
	STUN_MAPPED_ADDRESS = 0x0001,
	STUN_RESPONSE_ADDRESS = 0x0002,
	STUN_CHANGE_REQUEST = 0x0003,
	STUN_SOURCE_ADDRESS = 0x0004,
	STUN_CHANGED_ADDRESS = 0x0005,
	STUN_USERNAME = 0x0006,
	STUN_PASSWORD = 0x0007,
	STUN_MESSAGE_INTEGRITY = 0x0008,
	STUN_ERROR_CODE = 0x0009,
	STUN_UNKNOWN_ATTRIBUTES = 0x000a,
	STUN_REFLECTED_FROM = 0x000b,
	STUN_REALM = 0x0014,
	STUN_NONCE = 0x0015,
	STUN_MESSAGE_INTEGRITY_SHA256 = 0x001c,
	STUN_PASSWORD_ALGORITHM = 0x001d,
	STUN_USERHASH = 0x001e,
	STUN_XOR_MAPPED_ADDRESS = 0x0020,
	STUN_PADDING = 0x0026,
	STUN_RESPONSE_PORT = 0x0027,
	STUN_PASSWORD_ALGORITHMS = 0x8002,
	STUN_ALTERNATE_DOMAIN = 0x8003,
	STUN_SOFTWARE = 0x8022,
	STUN_ALTERNATE_SERVER = 0x8023,
	STUN_CACHE_TIMEOUT = 0x8027,
	STUN_FINGERPRINT = 0x8028,
	STUN_RESPONSE_ORIGIN = 0x802b,
	STUN_OTHER_ADDRESS = 0x802c,
};

/* CHANGE-REQUEST's bits, RFC 5780 section 7.2. */
#define STUN_CHANGE_IP	 0x4u
#define STUN_CHANGE_PORT 0x2u

/* How a value is laid out, and which member of stun_value holds it. */
enum stun_layout {
	STUN_LAYOUT_BYTES,	 /* bytes: text or opaque */
	STUN_LAYOUT_ADDRESS,	 /* endpoint, RFC 8489 section 14.1 */
	STUN_LAYOUT_XOR_ADDRESS, /* endpoint, section 14.2 */
	STUN_LAYOUT_U32,	 /* u32 */
	STUN_LAYOUT_PORT,	 /* u32, 0 to 65535; 2 bytes, or 4 of which the last 2 are ignored */
	STUN_LAYOUT_ERROR,	 /* error, section 14.8 */
	STUN_LAYOUT_TYPES,	 /* types, section 14.13 */
};

struct stun_row {
	uint16_t type;
	uint16_t min, max; /* bounds on the value's length */
	enum stun_layout layout;
	const char *name;
	const char *section; /* where it is written */
};

/* The row of a type, NULL for an unknown one; stun_row_at walks the table, NULL at its end. */
const struct stun_row *stun_row(uint16_t type);
const struct stun_row *stun_row_at(size_t i);

#define STUN_ROWS	 32 /* at least as many as the table has; test_stun says when it grows */
#define STUN_UNKNOWN_MAX 16
#define STUN_TYPES_MAX	 32

struct stun_value {
	enum stun_layout layout;
	union {
		struct {
			const uint8_t *at;
			size_t len;
		} bytes; /* borrowed */
		struct endpoint endpoint;
		uint32_t u32;
		struct {
			uint16_t code; /* 300 to 699 */
			const uint8_t *reason;
			size_t reason_len;
		} error; /* reason borrowed, UTF-8 by the RFC but unchecked */
		struct {
			uint16_t list[STUN_TYPES_MAX];
			size_t count;
		} types;
	};
};

struct stun_message {
	enum stun_class class;
	uint16_t method;
	bool classic; /* no magic cookie: an RFC 3489 peer */
	uint8_t id[STUN_ID_LEN];
	const uint8_t *bytes; /* the whole message, borrowed */
	size_t len;
	uint16_t at[STUN_ROWS];			  /* offset of the first attribute of each row, 0 for none */
	uint16_t unknown[STUN_UNKNOWN_MAX];	  /* comprehension-required types (below 0x8000) without a row */
	size_t unknown_count;			  /* bounded by STUN_UNKNOWN_MAX; the rest are not listed */
	uint16_t malformed;			  /* a known attribute whose value is not what its row says, 0 for none */
};

/*
 * Decodes one message that fills the bytes exactly. -EBADMSG for whatever is not
 * STUN: too short, first bits set, a length that does not fit, an attribute that
 * leaves the message, FINGERPRINT wrong or not last. A structurally sound message
 * with a bad value decodes, and names it in `malformed` (a server answers 400).
 * Attributes behind MESSAGE-INTEGRITY are ignored but for FINGERPRINT and
 * MESSAGE-INTEGRITY-SHA256 (RFC 8489 section 14.5).
 */
int stun_decode(struct stun_message *out, const void *bytes, size_t len);

/*
 * Length of the message at the start of a TCP stream (RFC 8489 section 6.2.2):
 * 0 when fewer than 4 bytes are there, -EBADMSG when no STUN message begins so.
 */
int stun_stream_len(const void *bytes, size_t len);

bool stun_has(const struct stun_message *m, uint16_t type);
/* Value of the first attribute of a known type; -ENOENT, or -EBADMSG for a malformed one. */
int stun_get(const struct stun_message *m, uint16_t type, struct stun_value *out);
/* The address this response says the client has: XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS. -ENOENT, -EBADMSG. */
int stun_mapped(const struct stun_message *m, struct endpoint *out);

/* One attribute as it stands in the message. */
struct stun_attr {
	uint16_t type;
	uint16_t len;
	const uint8_t *value;
};

/* Walks all attributes in order: *offset begins at 0. False at the end. */
bool stun_next(const struct stun_message *m, size_t *offset, struct stun_attr *out);
/* Decodes an attribute's value by its row, as bytes if it has none. -EBADMSG. */
int stun_value_decode(struct stun_value *out, const struct stun_attr *attr, const uint8_t id[STUN_ID_LEN]);

/* Puts a message together. Overrun is remembered; stun_end says it. */
struct stun_builder {
	struct writer w;
};

/* The transaction id an RFC 8489 client sends: the cookie, then 12 bytes of its choice. */
void stun_id(uint8_t out[STUN_ID_LEN], const uint8_t chosen[12]);
void stun_begin(struct stun_builder *b, void *buf, size_t max, enum stun_class class, uint16_t method,
	const uint8_t id[STUN_ID_LEN]);
void stun_put(struct stun_builder *b, uint16_t type, const struct stun_value *value);
void stun_put_endpoint(struct stun_builder *b, uint16_t type, const struct endpoint *e);
void stun_put_u32(struct stun_builder *b, uint16_t type, uint32_t v); /* a port too */
void stun_put_bytes(struct stun_builder *b, uint16_t type, const void *bytes, size_t len);
void stun_put_error(struct stun_builder *b, uint16_t code, const char *reason);
void stun_put_types(struct stun_builder *b, uint16_t type, const uint16_t *list, size_t count);
/* Must be the last. RFC 8489 section 14.7. */
void stun_put_fingerprint(struct stun_builder *b);
/* Writes the length field. Returns the message's length, or 0 when it did not fit. */
size_t stun_end(struct stun_builder *b);

#endif
