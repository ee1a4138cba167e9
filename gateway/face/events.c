/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/face/events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/face/journal.h"
#include "sys/clock.h"

#define GATHER_MS 100
#define BEAT_MS	  2000 /* how often traffic is looked at */
#define BEATS	  7    /* of which one is heard */

static const char HELLO[] = "retry: 2000\n\n", BEAT[] = ":\n\n";

struct listener {
	struct events *events;
	struct http_stream *stream;
	struct listener *next, **at;
};

struct moved {
	struct lease_key key;
	struct traffic_counts traffic;
};

struct events {
	const struct view *view;
	struct journal *journal;
	uv_timer_t gather, beat;
	unsigned closing;
	struct listener *listeners;
	size_t count;

	unsigned beats;
	struct moved *moved; /* what listeners know of traffic, in the order of keys */
	size_t moved_count;

	/* noted */
	struct lease_key *keys;
	size_t key_count, key_room;
	bool status;
	char *status_told; /* but for its moment; NULL: never */
	uint64_t line;	    /* the next of the journal */
	uint64_t second_ms; /* when the count of lines began … */
	unsigned lines;	    /* … of which so many were told */
};

static const char *const levels[] = { [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARN] = "warn", [LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug" };

/* --- to the listeners --- */

static void send_all(struct events *e, const char *bytes, size_t len)
{
	struct http_chunk *chunk = http_chunk_new(bytes, len);
	struct listener *next;

	if (!chunk)
		return;
	for (struct listener *l = e->listeners; l; l = next) {
		next = l->next;
		http_stream_write(l->stream, chunk); /* who is too slow is gone by this, and comes again */
	}
	http_chunk_free(chunk);
}

static void begin(struct text *t, const char *event)
{
	text_word(t, "event: ");
	text_word(t, event);
	text_word(t, "\ndata: ");
}

static void end(struct text *t)
{
	text_word(t, "\n\n");
}

/* --- what is told --- */

static void put_mapping(struct events *e, struct text *t, const struct lease_key *key)
{
	struct gateway_mapping m;
	const bool there = gateway_find(e->view->gateway, key, &m);
	struct traffic_counts traffic;
	struct json j;

	begin(t, "mapping");
	json_append(&j, t);
	json_bool(&j, "gone", !there);
	json_open(&j, "mapping");
	if (there)
		view_json_mapping(&j, &m, traffic_of(e->view->traffic, key, &traffic) ? &traffic : NULL);
	else
		view_json_key(&j, key);
	json_close(&j);
	json_end(&j);
	end(t);
}

static int by_key(const void *a, const void *b)
{
	return view_compare(a, b);
}

static void each_key_once(struct events *e)
{
	size_t n = 0;

	if (e->key_count)
		qsort(e->keys, e->key_count, sizeof(*e->keys), by_key);
	for (size_t i = 0; i < e->key_count; i++)
		if (n == 0 || view_compare(&e->keys[n - 1], &e->keys[i]) != 0)
			e->keys[n++] = e->keys[i];
	e->key_count = n;
}

static void put_mappings(struct events *e, struct text *t)
{
	each_key_once(e);
	for (size_t i = 0; i < EVENTS_MAPPINGS && e->key_count > 0; i++)
		put_mapping(e, t, &e->keys[--e->key_count]);
}

/* Whether it is another than what was told last. */
static bool status_moved(struct events *e)
{
	struct text now = TEXT_GROWING;
	struct json j;
	size_t len;
	char *text;
	bool moved;

	json_append(&j, &now);
	view_json_status(&j, e->view);
	json_end(&j);
	text = text_take(&now, &len);
	moved = !text || !e->status_told || strcmp(text, e->status_told) != 0;
	free(e->status_told);
	e->status_told = text;
	return moved;
}

static void put_status(struct events *e, struct text *t)
{
	struct json j;

	if (!e->status)
		return;
	e->status = false;
	if (!status_moved(e))
		return;
	begin(t, "status");
	json_append(&j, t);
	view_json_moment(&j, e->view);
	view_json_status(&j, e->view);
	json_end(&j);
	end(t);
}

static void put_line(struct text *t, const struct journal_line *line)
{
	char at[VIEW_TIME_MAX];
	struct json j;

	json_append(&j, t);
	json_count(&j, "number", line->number);
	json_text(&j, "time", view_time(line->at_ms, at));
	json_text(&j, "level", levels[line->level]);
	json_text(&j, "text", line->text);
	json_end(&j);
}

struct lines {
	struct events *events;
	struct text *text;
};

static bool put_log_line(void *owner, const struct journal_line *line)
{
	struct lines *l = owner;

	if (l->events->lines == EVENTS_LOG_PER_S)
		return false;
	l->events->lines++;
	l->events->line = line->number + 1;
	begin(l->text, "log");
	put_line(l->text, line);
	end(l->text);
	return true;
}

/* What a second had no room for is a number in the next. */
static void put_log(struct events *e, struct text *t)
{
	const uint64_t now_ms = clock_ms(), last = journal_last(e->journal);
	char words[64];

	if (now_ms - e->second_ms >= 1000) {
		if (e->lines == EVENTS_LOG_PER_S && e->line <= last) {
			snprintf(words, sizeof(words), "… and %llu more", (unsigned long long)(last + 1 - e->line));
			begin(t, "log");
			put_line(t, &(struct journal_line){ last, now_ms, LOG_LEVEL_INFO, words });
			end(t);
			e->line = last + 1;
		}
		e->second_ms = now_ms;
		e->lines = 0;
	}
	journal_each(e->journal, e->line, put_log_line, &(struct lines){ e, t });
}

/* --- when --- */

static void gathered(uv_timer_t *timer);

/* Not put off by what comes meanwhile. */
static void note(struct events *e)
{
	if (e->count && !e->closing && !uv_is_active((uv_handle_t *)&e->gather))
		uv_timer_start(&e->gather, gathered, GATHER_MS, 0);
}

static void gathered(uv_timer_t *timer)
{
	struct events *e = timer->data;
	struct text t = TEXT_GROWING;

	put_mappings(e, &t);
	put_status(e, &t);
	put_log(e, &t);
	if (t.len && !t.overrun)
		send_all(e, t.at, t.len);
	text_free(&t);
	if (e->key_count || e->line <= journal_last(e->journal))
		note(e);
}

static void more_lines(void *owner)
{
	note(owner);
}

static void beat(uv_timer_t *timer)
{
	struct events *e = timer->data;

	traffic_look(e->view->traffic);
	if (++e->beats % BEATS == 0)
		send_all(e, BEAT, sizeof(BEAT) - 1);
}

/* --- traffic --- */

struct look {
	const struct view *view;
	struct moved *all;
	size_t count, room;
};

static void look_at(void *owner, const struct gateway_mapping *m)
{
	struct look *look = owner;
	struct moved *at = look->count < look->room ? &look->all[look->count] : NULL;

	if (!at || !traffic_of(look->view->traffic, &m->key, &at->traffic))
		return;
	at->key = m->key;
	look->count++;
}

static int by_moved(const void *a, const void *b)
{
	return view_compare(&((const struct moved *)a)->key, &((const struct moved *)b)->key);
}

/* Those that moved since the last look, or at all where there was none. */
static void put_moved(const struct events *e, struct text *t, const struct look *look)
{
	static const struct moved none;
	struct json j;

	for (size_t i = 0; i < look->count; i++) {
		const struct moved *now = &look->all[i];
		const struct moved *before = e->moved_count ? bsearch(now, e->moved, e->moved_count, sizeof(*now), by_moved) : NULL;

		if (memcmp(&(before ? before : &none)->traffic, &now->traffic, sizeof(now->traffic)) == 0)
			continue;
		text_word(t, t->len ? "," : "[");
		json_append(&j, t);
		view_json_key(&j, &now->key);
		view_json_traffic(&j, &now->traffic);
		json_end(&j);
	}
	text_word(t, t->len ? "]" : "");
}

void events_traffic(struct events *e)
{
	struct look look = { .view = e->view };
	struct gateway_status status;
	struct text t = TEXT_GROWING;

	if (!e->count)
		return;
	gateway_status(e->view->gateway, &status);
	look.room = status.mappings;
	look.all = calloc(look.room + 1, sizeof(*look.all));
	if (!look.all)
		return;
	gateway_each(e->view->gateway, look_at, &look);
	qsort(look.all, look.count, sizeof(*look.all), by_moved);
	put_moved(e, &t, &look);
	if (t.len && !t.overrun)
		events_tell(e, "traffic", t.at);
	text_free(&t);
	free(e->moved);
	e->moved = look.all;
	e->moved_count = look.count;
}

void events_mapping(struct events *e, const struct lease_key *key)
{
	struct lease_key *keys = e->keys;
	size_t room = e->key_room;

	if (!e->count)
		return;
	if (e->key_count == room)
		each_key_once(e);
	if (e->key_count > room / 2) { /* then one that is noted again and again is not sorted out again and again */
		room *= 2;
		keys = realloc(keys, room * sizeof(*keys));
	} else if (!room) {
		room = 64;
		keys = malloc(room * sizeof(*keys));
	}
	if (keys) {
		e->keys = keys;
		e->key_room = room;
	}
	if (e->key_count < e->key_room)
		e->keys[e->key_count++] = *key;
	note(e);
}

void events_status(struct events *e)
{
	e->status = e->count > 0;
	note(e);
}

void events_tell(struct events *e, const char *event, const char *data)
{
	struct text t = TEXT_GROWING;

	if (!e->count)
		return;
	begin(&t, event);
	text_word(&t, data);
	end(&t);
	if (!t.overrun)
		send_all(e, t.at, t.len);
	text_free(&t);
}

static bool put_recent(void *owner, const struct journal_line *line)
{
	struct text *t = owner;

	text_word(t, t->len > 1 ? ",\n" : "");
	put_line(t, line);
	return true;
}

void events_recent(struct events *e, struct text *out)
{
	text_word(out, "[");
	journal_each(e->journal, 0, put_recent, out);
	text_word(out, "]\n");
}

/* --- who listens --- */

static void sleep_again(struct events *e)
{
	journal_want(e->journal, false);
	uv_timer_stop(&e->gather);
	uv_timer_stop(&e->beat);
	free(e->keys);
	e->keys = NULL;
	e->key_count = e->key_room = 0;
	free(e->moved);
	e->moved = NULL;
	e->moved_count = 0;
	e->status = false;
	free(e->status_told);
	e->status_told = NULL;
}

static void gone(void *data)
{
	struct listener *l = data;
	struct events *e = l->events;

	*l->at = l->next;
	if (l->next)
		l->next->at = l->at;
	free(l);
	if (--e->count == 0 && !e->closing)
		sleep_again(e);
}

static void wake(struct events *e)
{
	e->line = journal_last(e->journal) + 1;
	journal_want(e->journal, true);
	uv_timer_start(&e->beat, beat, BEAT_MS, BEAT_MS);
}

static void greet(struct listener *l)
{
	struct http_chunk *chunk = http_chunk_new(HELLO, sizeof(HELLO) - 1);

	if (!chunk)
		return;
	http_stream_write(l->stream, chunk);
	http_chunk_free(chunk);
}

void events_listen(struct events *e, struct http_request *r)
{
	struct listener *l = e->count < EVENTS_LISTENERS_MAX ? calloc(1, sizeof(*l)) : NULL;

	if (!l) {
		http_header(r, "Retry-After", HTTP_RETRY_LATER);
		http_error(r, 503, "%zu listen to events already: come again later", e->count);
		return;
	}
	l->events = e;
	if (http_stream_open(&l->stream, r, "text/event-stream", gone, l) < 0) {
		free(l);
		http_header(r, "Retry-After", HTTP_RETRY_LATER);
		http_error(r, 503, "no memory for another listener: come again later");
		return;
	}
	if (e->count++ == 0)
		wake(e);
	l->next = e->listeners;
	l->at = &e->listeners;
	if (l->next)
		l->next->at = &l->next;
	e->listeners = l;
	greet(l);
}

size_t events_listeners(const struct events *e)
{
	return e->count;
}

int events_open(struct events **out, uv_loop_t *loop, const struct view *view)
{
	struct events *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	err = journal_open(&e->journal, loop, more_lines, e);
	if (err < 0) {
		free(e);
		return err;
	}
	e->view = view;
	uv_timer_init(loop, &e->gather);
	uv_timer_init(loop, &e->beat);
	e->gather.data = e->beat.data = e;
	*out = e;
	return 0;
}

static void closed(uv_handle_t *handle)
{
	struct events *e = handle->data;

	if (--e->closing > 0)
		return;
	free(e->keys);
	free(e->moved);
	free(e->status_told);
	free(e);
}

void events_close(struct events *e)
{
	if (!e)
		return;
	e->closing = 2;
	journal_close(e->journal);
	uv_close((uv_handle_t *)&e->gather, closed);
	uv_close((uv_handle_t *)&e->beat, closed);
}
