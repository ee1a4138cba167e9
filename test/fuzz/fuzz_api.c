/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whatever a request's body or path holds: it is answered once, or waits and is answered or forgotten; what is asked
 * of the core is within bounds, and what is answered is JSON.
 *
 * The first byte says what is asked and what the core says, the rest is the body or path.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "sys/log.h"
#include "test/unit/fake_web.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(bool yes)
{
	if (!yes)
		abort();
}

static void check_wish(void)
{
	const struct gateway_wish *w = &fake.wish;

	same(w->key.protocol == LEASE_TCP || w->key.protocol == LEASE_UDP);
	same(w->key.client_ip > 0xc0a80100 && w->key.client_ip < 0xc0a801ff && w->key.internal_port > 0);
	same(w->lifetime_s >= 1 && w->lifetime_s <= fake.config.hold_max_s && (w->relay_port == 0 || w->relay_port >= 1024));
	for (const char *c = fake.description; *c; c++)
		same((unsigned char)*c >= 0x20 && *c != 0x7f);
}

static void finish(struct http_request *r, uint8_t how)
{
	json_error_t error;
	json_t *json;

	if (r->status == 0 && how & 1)
		fake.asker.answer(fake.asker.owner, &fake.asker, NULL, &(struct gateway_answer){ .result = how % 5 });
	else if (r->status == 0)
		fake_leave(r);
	if (r->status) {
		json = json_loadb(r->text, r->len, JSON_REJECT_DUPLICATES, &error);
		same(json != NULL);
		json_decref(json);
	}
	fake_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int says[] = { 0, 1, -EEXIST, -ENOENT };
	char *body, path[512];
	struct http_request *r;

	if (size < 1 || size > HTTP_BODY_MAX)
		return 0;
	if (!fake.api) {
		log_up_to_level((enum log_level)-1);
		fake_open();
		fake_add(LEASE_TCP, 0xc0a8010a, 6881);
	}
	fake.says = says[data[0] >> 2 & 3];
	fake.wishes = 0;
	body = malloc(size); /* of its own, so that reading beyond it shows; terminated, as the web server has it */
	same(body != NULL);
	memcpy(body, data + 1, size - 1);
	body[size - 1] = '\0';
	same(snprintf(path, sizeof(path), "/mappings/%s", body) >= 0);
	switch (data[0] & 3) {
	case 0:
	case 1:
		r = fake_ask("POST", "/mappings", body, size - 1);
		break;
	case 2:
		r = fake_ask("POST", "/login", body, size - 1);
		break;
	default:
		r = fake_ask("DELETE", path, "", 0);
		break;
	}
	if (fake.wishes)
		check_wish();
	if (r)
		finish(r, data[0] >> 4);
	free(body);
	return 0;
}
