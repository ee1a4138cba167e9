/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/face/journal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "sys/clock.h"

struct journal {
	uv_async_t wake;
	uv_mutex_t mutex; /* of what follows */
	struct journal_line lines[JOURNAL_LINES]; /* a line's place is its number modulo their count; text is malloced */
	uint64_t last;

	atomic_bool wanted;
	void (*more)(void *owner);
	void *owner;
};

static void hear(void *owner, enum log_level level, const char *words)
{
	struct journal *j = owner;
	char *text = strdup(words);
	struct journal_line *line;

	if (!text)
		return;
	uv_mutex_lock(&j->mutex);
	line = &j->lines[++j->last % JOURNAL_LINES];
	free((char *)line->text);
	*line = (struct journal_line){ .number = j->last, .at_ms = clock_ms(), .level = level, .text = text };
	uv_mutex_unlock(&j->mutex);
	if (j->wanted)
		uv_async_send(&j->wake);
}

static void woken(uv_async_t *handle)
{
	struct journal *j = handle->data;

	j->more(j->owner);
}

int journal_open(struct journal **out, uv_loop_t *loop, void (*more)(void *owner), void *owner)
{
	struct journal *j = calloc(1, sizeof(*j));
	int err;

	if (!j)
		return -ENOMEM;
	err = uv_mutex_init(&j->mutex);
	if (err < 0) {
		free(j);
		return err;
	}
	err = uv_async_init(loop, &j->wake, woken);
	if (err < 0) {
		uv_mutex_destroy(&j->mutex);
		free(j);
		return err;
	}
	uv_unref((uv_handle_t *)&j->wake);
	j->wake.data = j;
	j->more = more;
	j->owner = owner;
	log_listen(hear, j);
	*out = j;
	return 0;
}

void journal_want(struct journal *j, bool wanted)
{
	j->wanted = wanted;
}

uint64_t journal_last(struct journal *j)
{
	uint64_t last;

	uv_mutex_lock(&j->mutex);
	last = j->last;
	uv_mutex_unlock(&j->mutex);
	return last;
}

void journal_each(struct journal *j, uint64_t from, bool (*visit)(void *owner, const struct journal_line *line), void *owner)
{
	uint64_t first;

	uv_mutex_lock(&j->mutex);
	first = j->last >= JOURNAL_LINES ? j->last - JOURNAL_LINES + 1 : 1;
	for (uint64_t n = from > first ? from : first; n <= j->last; n++)
		if (!visit(owner, &j->lines[n % JOURNAL_LINES]))
			break;
	uv_mutex_unlock(&j->mutex);
}

static void closed(uv_handle_t *handle)
{
	struct journal *j = handle->data;

	for (size_t i = 0; i < JOURNAL_LINES; i++)
		free((char *)j->lines[i].text);
	uv_mutex_destroy(&j->mutex);
	free(j);
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	log_listen(NULL, NULL);
	uv_close((uv_handle_t *)&j->wake, closed);
}
