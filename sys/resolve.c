/* SPDX-License-Identifier: MIT */
#include "sys/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sys/sockaddr.h"

/* Shared by the asker and the thread; who lets go last frees it. */
struct lookup {
	pthread_mutex_t lock;
	pthread_cond_t done;
	int holders;
	bool finished;
	int gai; /* getaddrinfo's verdict */
	int system_errno;
	int count;
	struct endpoint found[RESOLVE_MAX];
	enum endpoint_family family;
	uint16_t port;
	char host[];
};

static struct lookup *lookup_new(const char *host, uint16_t port, enum endpoint_family family)
{
	struct lookup *l = calloc(1, sizeof(*l) + strlen(host) + 1);
	pthread_condattr_t attr;

	if (!l)
		return NULL;
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->done, &attr);
	pthread_condattr_destroy(&attr);
	l->holders = 2;
	l->family = family;
	l->port = port;
	strcpy(l->host, host);
	return l;
}

static void lookup_release(struct lookup *l, int holders)
{
	bool last;

	pthread_mutex_lock(&l->lock);
	l->holders -= holders;
	last = l->holders == 0;
	pthread_mutex_unlock(&l->lock);
	if (!last)
		return;
	pthread_cond_destroy(&l->done);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static int copy(struct endpoint out[RESOLVE_MAX], const struct addrinfo *list, uint16_t port)
{
	int count = 0;

	for (const struct addrinfo *a = list; a && count < RESOLVE_MAX; a = a->ai_next) {
		out[count] = net_endpoint(a->ai_addr);
		out[count].port = port;
		count += out[count].family != ENDPOINT_NONE;
	}
	return count;
}

static void *lookup_run(void *arg)
{
	struct lookup *l = arg;
	const struct addrinfo hints = { .ai_socktype = SOCK_DGRAM,
		.ai_family = l->family == ENDPOINT_IPV4 ? AF_INET : l->family == ENDPOINT_IPV6 ? AF_INET6 : AF_UNSPEC };
	struct addrinfo *list = NULL;
	const int gai = getaddrinfo(l->host, NULL, &hints, &list);
	const int system_errno = errno;

	pthread_mutex_lock(&l->lock);
	l->gai = gai;
	l->system_errno = system_errno;
	l->count = gai == 0 ? copy(l->found, list, l->port) : 0;
	l->finished = true;
	pthread_cond_signal(&l->done);
	pthread_mutex_unlock(&l->lock);
	if (gai == 0)
		freeaddrinfo(list);
	lookup_release(l, 1);
	return NULL;
}

/* Signals stay with the threads that the program made. */
static int lookup_start(struct lookup *l)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int err;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, &attr, lookup_run, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

/* Returns whether it finished in time. */
static bool lookup_wait(struct lookup *l, uint32_t timeout_ms)
{
	struct timespec until;
	bool finished;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&l->lock);
	while (!l->finished && err == 0)
		err = pthread_cond_timedwait(&l->done, &l->lock, &until);
	finished = l->finished;
	pthread_mutex_unlock(&l->lock);
	return finished;
}

int resolve(struct endpoint out[RESOLVE_MAX], const char *host, uint16_t port, enum endpoint_family family, uint32_t timeout_ms,
	char why[RESOLVE_WHY_MAX])
{
	struct lookup *l;
	int count = 0;

	if (endpoint_parse_ip(&out[0], host, port) == 0) {
		snprintf(why, RESOLVE_WHY_MAX, "it is no IPv%d address", (int)family);
		return family == ENDPOINT_NONE || out[0].family == family;
	}
	l = lookup_new(host, port, family);
	if (!l)
		return -ENOMEM;
	if (lookup_start(l) < 0) {
		lookup_release(l, 2);
		return -ENOMEM;
	}
	if (!lookup_wait(l, timeout_ms)) {
		snprintf(why, RESOLVE_WHY_MAX, "no answer from the name server in %u.%u s", timeout_ms / 1000, timeout_ms % 1000 / 100);
	} else {
		count = l->count;
		memcpy(out, l->found, sizeof(l->found));
		snprintf(why, RESOLVE_WHY_MAX, "%s", l->gai == EAI_SYSTEM ? strerror(l->system_errno) : gai_strerror(l->gai));
	}
	lookup_release(l, 1);
	return count;
}
