/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake_web - a web server and a gateway that are none: what gateway/face/api.c is tested and fuzzed between.
 *
 * Requests go straight to the table of routes; the gateway says what the test told it to say.
 */
#ifndef TEST_FAKE_WEB_H
#define TEST_FAKE_WEB_H

#include "gateway/face/api.h"

#define FAKE_MAPPINGS 2000

struct http_request {
	char path[512];
	const char *segments[HTTP_SEGMENTS_MAX];
	const char *body;
	size_t body_len;
	struct endpoint client;
	unsigned status; /* 0: not answered */
	char *type, *text, header[64]; /* "Name: value" of one more */
	size_t len;
	void (*gone)(void *data);
	void *gone_data;
	const char *password; /* what came through to http_log_in */
	bool streams, full;   /* full: takes no more */
};

struct fake {
	uv_loop_t loop;
	struct api *api;
	struct config config;
	struct netif lans[2];
	size_t lan_count;
	struct gateway_mapping mappings[FAKE_MAPPINGS];
	size_t mapping_count;
	struct gateway_status status;
	struct traffic_counts traffic;
	size_t looks; /* at the traffic */
	const struct gateway_observer *observer;
	/* What gateway_wish and gateway_unmap say, and were asked. */
	int says;
	bool answers_before; /* the answer comes before the call returns */
	struct gateway_answer answer;
	struct gateway_wish wish;
	char description[STATE_DESCRIPTION];
	struct gateway_asker asker;
	struct lease_key unmapped, forgotten;
	unsigned wishes, unmaps, forgets;
};

extern struct fake fake;

void fake_open(void);
void fake_close(void);
/* The loop, for so long. */
void fake_run(unsigned ms);
struct gateway_mapping *fake_add(enum lease_protocol protocol, uint32_t ip, uint16_t port);
/* Answered or not: whoever asked frees it. NULL: there is no such route. */
struct http_request *fake_ask(const char *method, const char *path, const char *body, size_t len);
void fake_free(struct http_request *r);
/* The client goes away. */
void fake_leave(struct http_request *r);

#endif
