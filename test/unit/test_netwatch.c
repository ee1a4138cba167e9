/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In a network namespace of its own, which wants root; skipped without. */
#include "test/unit/test.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <uv.h>

#include "sys/netwatch.h"

struct seen {
	uv_loop_t loop;
	struct netwatch *watch;
	unsigned interfaces, ruleset;
};

static void saw_interfaces(void *owner)
{
	((struct seen *)owner)->interfaces++;
}

static void saw_ruleset(void *owner)
{
	((struct seen *)owner)->ruleset++;
}

static const struct netwatch_callbacks callbacks = { saw_interfaces, saw_ruleset };

static void stop(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

static void run_for(struct seen *s, uint64_t ms)
{
	uv_timer_t timer;

	uv_update_time(&s->loop); /* the loop stood still meanwhile, and counts from when it last ran */
	uv_timer_init(&s->loop, &timer);
	uv_timer_start(&timer, stop, ms, 0);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&s->loop, UV_RUN_NOWAIT);
}

static void open_watch(struct seen *s)
{
	if (unshare(CLONE_NEWNET) < 0)
		skip();
	assert_int_equal(uv_loop_init(&s->loop), 0);
	assert_int_equal(netwatch_open(&s->watch, &s->loop, &callbacks, s), 0);
}

static void close_watch(struct seen *s)
{
	netwatch_close(s->watch);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&s->loop), 0);
}

static void a_burst_of_changes_is_told_once(void **state)
{
	struct seen s = { 0 };

	(void)state;
	open_watch(&s);
	run_for(&s, 150);
	assert_int_equal(s.interfaces + s.ruleset, 0);
	assert_int_equal(system("printf 'link set lo up\\naddr add 192.0.2.1/32 dev lo\\naddr add 192.0.2.2/32 dev lo\\n"
				"route add 198.51.100.0/24 dev lo\\naddr del 192.0.2.1/32 dev lo\\n' | ip -batch -"), 0);
	run_for(&s, 300);
	assert_int_equal(s.interfaces, 1);
	assert_int_equal(s.ruleset, 0);
	close_watch(&s);
}

static void a_change_of_the_ruleset_by_another_process_is_told(void **state)
{
	struct seen s = { 0 };

	(void)state;
	open_watch(&s);
	assert_int_equal(system("nft add table inet somebody"), 0);
	run_for(&s, 300);
	assert_int_equal(s.ruleset, 1);
	assert_int_equal(s.interfaces, 0);
	close_watch(&s);
}

static struct nlmsghdr *put_message(struct mnl_nlmsg_batch *b, uint16_t type, uint8_t family, uint16_t resource)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(mnl_nlmsg_batch_current(b));
	struct nfgenmsg *m = mnl_nlmsg_put_extra_header(nlh, sizeof(*m));

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	*m = (struct nfgenmsg){ .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource) };
	return nlh;
}

/* A table, by one transaction. */
static void *change_ruleset(void *name)
{
	char buf[4096];
	struct mnl_socket *nl = mnl_socket_open(NETLINK_NETFILTER);
	struct mnl_nlmsg_batch *b = mnl_nlmsg_batch_start(buf, sizeof(buf));

	put_message(b, NFNL_MSG_BATCH_BEGIN, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	mnl_nlmsg_batch_next(b);
	mnl_attr_put_strz(put_message(b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, NFPROTO_INET, 0), NFTA_TABLE_NAME, name);
	mnl_nlmsg_batch_next(b);
	put_message(b, NFNL_MSG_BATCH_END, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	mnl_nlmsg_batch_next(b);
	mnl_socket_sendto(nl, mnl_nlmsg_batch_head(b), mnl_nlmsg_batch_size(b));
	mnl_nlmsg_batch_stop(b);
	mnl_socket_close(nl);
	while (__atomic_load_n((char *)name, __ATOMIC_ACQUIRE)) /* the thread is there until it is told to go */
		sched_yield();
	return NULL;
}

static void a_change_by_a_thread_of_ours_is_not_told(void **state)
{
	struct seen s = { 0 };
	char name[] = "ours";
	pthread_t thread;

	(void)state;
	open_watch(&s);
	pthread_create(&thread, NULL, change_ruleset, name);
	run_for(&s, 300);
	assert_int_equal(s.ruleset, 0);
	assert_int_equal(system("nft list table inet ours >/dev/null"), 0);
	__atomic_store_n(name, '\0', __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	close_watch(&s);
}

/* Far more than its socket has room for: what was lost counts as a change, and it listens on. */
static void what_the_kernel_had_no_room_to_say_is_a_change(void **state)
{
	struct seen s = { 0 };

	(void)state;
	open_watch(&s);
	assert_int_equal(system("ip link set lo up; for i in $(seq 2000); do echo route add 198.18.$((i / 250)).$((i % 250))/32 dev lo; done"
				" | ip -batch -"), 0);
	run_for(&s, 300);
	assert_in_range(s.interfaces, 1, 6);
	s.interfaces = 0;
	assert_int_equal(system("ip addr add 192.0.2.3/32 dev lo"), 0);
	run_for(&s, 300);
	assert_int_equal(s.interfaces, 1);
	close_watch(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_burst_of_changes_is_told_once),
		T(a_change_of_the_ruleset_by_another_process_is_told),
		T(a_change_by_a_thread_of_ours_is_not_told),
		T(what_the_kernel_had_no_room_to_say_is_a_change),
	};

	return RUN(tests);
}
