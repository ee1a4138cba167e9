/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * load - asks a STUN server as fast as it answers, or at a rate, and verifies every answer.
 *
 * Frames go out and come in through AF_PACKET, past this host's own IP: that is several
 * times cheaper than sockets, so one core of it saturates one core of any server, and it
 * may ask from as many addresses as it likes (198.19.0.0 and up, IPv4). An answer counts
 * when it comes from the right socket, to the right one, and has the id and the mapped
 * address of a question that is still open. Prints one line of JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH	    64
#define SEND_LEAST  32 /* questions worth a system call while answers keep coming */
#define BURST	    128 /* at a rate, at most so many at once */
#define SLOTS	    65536
#define FRAME	    512
#define FRAMES	    8192
#define BLOCK	    65536
#define LOST_NS	    300000000ull
#define CLIENTS	    0xc6130000u /* 198.19.0.0 */
#define QUESTION_AT (14 + 20 + 8)

enum kind { RFC8489, RFC3489, CHANGE };
static const char *const kinds[] = { "8489", "3489", "change" };

enum verdict { ANSWERED, LATE, BAD };

struct slot {
	uint32_t number; /* of the question; 0: free */
	uint64_t sent_ns;
};

static struct {
	const char *device;
	enum kind kind;
	uint8_t mac[6], own_mac[6];
	uint32_t to_ip, from_ip, sources;
	uint16_t to_port, from_port;
	double seconds;
	uint32_t window, rate; /* at most so many questions open; questions per second, 0: as answers come */
	bool echo, yield;      /* the question itself is the answer; who answers has this core, too */
} set = { .seconds = 1, .window = 192, .sources = 1000 };

static struct slot slots[SLOTS];
static uint32_t free_slots[SLOTS], free_count;
static uint64_t sent, verdicts[3], lost;
static uint8_t out[BATCH][128];
static struct mmsghdr messages[BATCH];
static struct iovec iov[BATCH];
static uint8_t *ring;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void put16(uint8_t *at, unsigned v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static void put32(uint8_t *at, uint32_t v)
{
	put16(at, v >> 16);
	put16(at + 2, v & 0xffff);
}

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) << 16 | get16(at + 2);
}

static uint32_t client_ip(uint32_t number)
{
	return CLIENTS + number % set.sources;
}

static uint16_t client_port(uint32_t number)
{
	return (uint16_t)(1024 + number % set.sources * 7919ull % 60000);
}

static uint32_t cookie(void)
{
	return set.kind == RFC3489 ? 0x01020304 : 0x2112a442;
}

/* What is the same in every question: Ethernet, IPv4, UDP (without checksum, as IPv4 allows), STUN. */
static void frame_prepare(uint8_t *f)
{
	const unsigned body = set.kind == CHANGE ? 8 : 0, stun = 20 + body;

	memcpy(f, set.mac, 6);
	memcpy(f + 6, set.own_mac, 6);
	put16(f + 12, ETHERTYPE_IP);
	put16(f + 14, 0x4500);
	put16(f + 16, 28 + stun);
	f[22] = 64;
	f[23] = IPPROTO_UDP;
	put32(f + 30, set.to_ip);
	put16(f + 36, set.to_port);
	put16(f + 38, 8 + stun);
	put16(f + QUESTION_AT, 1);
	put16(f + QUESTION_AT + 2, body);
	put32(f + QUESTION_AT + 4, cookie());
	if (body) {
		put32(f + QUESTION_AT + 20, 0x00030004);
		put32(f + QUESTION_AT + 24, 6);
	}
}

static void question_write(uint8_t *f, uint32_t slot, uint32_t number)
{
	uint32_t sum = 0;

	put32(f + 26, client_ip(number));
	put16(f + 34, client_port(number));
	put16(f + 24, 0);
	for (int i = 14; i < 34; i += 2)
		sum += get16(f + i);
	sum = (sum & 0xffff) + (sum >> 16);
	put16(f + 24, ~(sum + (sum >> 16)) & 0xffff);
	put32(f + QUESTION_AT + 8, slot);
	put32(f + QUESTION_AT + 12, number);
	put32(f + QUESTION_AT + 16, ~number);
}

/* LATE: of no open question; perhaps of one given up, or asked by a load before this one. */
static enum verdict verify(const uint8_t *f, size_t len, uint32_t *out_slot)
{
	const uint8_t *s = f + QUESTION_AT;
	const uint32_t mask = set.kind == RFC3489 ? 0 : 0x2112a442;

	if (len < QUESTION_AT + (set.echo ? 20 : 32) || f[23] != IPPROTO_UDP || get32(f + 26) != set.from_ip || get16(f + 34) != set.from_port)
		return BAD;
	const uint32_t slot = get32(s + 8), number = get32(s + 12);

	if (slot >= SLOTS || number == 0 || slots[slot].number != number || get32(s + 16) != ~number || get32(s + 4) != cookie())
		return LATE;
	if (get16(s) != (set.echo ? 0x0001 : 0x0101) || get16(s + 2) + 20u + QUESTION_AT > len || get32(f + 30) != client_ip(number) ||
		get16(f + 36) != client_port(number))
		return BAD;
	*out_slot = slot;
	if (set.echo)
		return ANSWERED;
	/* The first attribute is the mapped address, whatever else may follow: coturn's RFC 3489 answers among them. */
	const bool xored = get16(s + 20) == 0x20;

	if (!(xored ? set.kind != RFC3489 : get16(s + 20) == 1))
		return BAD;
	const uint32_t m = xored ? mask : 0;

	return get16(s + 26) == (client_port(number) ^ m >> 16) && get32(s + 28) == (client_ip(number) ^ m) ? ANSWERED : BAD;
}

static unsigned receive(void)
{
	static unsigned at;
	unsigned n = 0;

	for (;; n++) {
		uint8_t *frame = ring + (size_t)at * FRAME;
		struct tpacket2_hdr *h = (struct tpacket2_hdr *)frame;
		enum verdict v;
		uint32_t slot;

		if (!(__atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
			return n;
		v = verify(frame + h->tp_mac, h->tp_snaplen, &slot);
		verdicts[v]++;
		if (v == ANSWERED) {
			slots[slot].number = 0;
			free_slots[free_count++] = slot;
		}
		__atomic_store_n(&h->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		at = (at + 1) % FRAMES;
	}
}

static void ask(int fd, unsigned count, uint64_t now)
{
	for (unsigned i = 0; i < count; i++) {
		const uint32_t slot = free_slots[--free_count];

		slots[slot] = (struct slot){ .number = (uint32_t)++sent, .sent_ns = now };
		question_write(out[i], slot, (uint32_t)sent);
	}
	for (unsigned done = 0; done < count;) {
		const int n = sendmmsg(fd, messages + done, count - done, 0);

		done += n < 0 ? 0 : (unsigned)n;
		if (n < 0 && errno != ENOBUFS && errno != EAGAIN) {
			perror("load: sendmmsg");
			exit(1);
		}
	}
}

/* Questions not answered for long are lost, and make room. */
static void give_up(uint64_t before)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		if (slots[i].number == 0 || slots[i].sent_ns > before)
			continue;
		lost++;
		slots[i].number = 0;
		free_slots[free_count++] = i;
	}
}

static void run(int fd)
{
	const uint64_t began = now_ns(), end = began + (uint64_t)(set.seconds * 1e9);
	uint64_t now = began, checked = began, asked = 0;

	for (free_count = 0; free_count < set.window; free_count++)
		free_slots[free_count] = free_count;
	for (; now < end; now = now_ns()) {
		const unsigned got = receive();
		uint64_t count = free_count;

		if (set.rate) {
			const uint64_t due = (uint64_t)((double)(now - began) * 1e-9 * set.rate);

			count = due - asked < count ? due - asked : count;
			if (due - asked > BURST) /* held up: what was not asked in time is not asked at all, lest it come as a flood */
				asked = due - BURST;
			count = count < BURST ? count : BURST;
		}
		if (count >= SEND_LEAST || (count > 0 && got == 0)) {
			count = count < BATCH ? count : BATCH;
			ask(fd, (unsigned)count, now);
			asked += count;
		}
		if (set.yield && free_count == 0)
			sched_yield();
		if (now - checked > LOST_NS / 3) {
			give_up(now - LOST_NS);
			checked = now;
		}
	}
	while (sent > verdicts[ANSWERED] + lost && now_ns() < end + LOST_NS)
		receive();
	give_up(end);
	printf("{\"seconds\":%.3f,\"sent\":%llu,\"answered\":%llu,\"late\":%llu,\"bad\":%llu,\"lost\":%llu}\n", set.seconds,
		(unsigned long long)sent, (unsigned long long)verdicts[ANSWERED], (unsigned long long)verdicts[LATE],
		(unsigned long long)verdicts[BAD], (unsigned long long)lost);
}

static int die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int packet_open(void)
{
	struct tpacket_req ring_wanted = { .tp_block_size = BLOCK, .tp_block_nr = FRAMES / (BLOCK / FRAME), .tp_frame_size = FRAME,
		.tp_frame_nr = FRAMES };
	struct sockaddr_ll local = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP) };
	struct ifreq device = { 0 };
	const int fd = socket(AF_PACKET, SOCK_RAW, 0);

	strncpy(device.ifr_name, set.device, sizeof(device.ifr_name) - 1);
	local.sll_ifindex = (int)if_nametoindex(set.device);
	if (fd < 0 || local.sll_ifindex == 0 || ioctl(fd, SIOCGIFHWADDR, &device) < 0)
		die(set.device);
	memcpy(set.own_mac, device.ifr_hwaddr.sa_data, 6);
	if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &(int){ TPACKET_V2 }, sizeof(int)) < 0 ||
		setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &(int){ 1 }, sizeof(int)) < 0 ||
		setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &(int){ 1 }, sizeof(int)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){ 4 << 20 }, sizeof(int)) < 0 ||
		setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring_wanted, sizeof(ring_wanted)) < 0)
		die("AF_PACKET");
	ring = mmap(NULL, (size_t)FRAMES * FRAME, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ring == MAP_FAILED || bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0)
		die("AF_PACKET");
	for (int i = 0; i < BATCH; i++) {
		frame_prepare(out[i]);
		iov[i] = (struct iovec){ out[i], QUESTION_AT + (set.kind == CHANGE ? 28 : 20) };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	return fd;
}

/* ADDRESS:PORT */
static bool endpoint_read(const char *text, uint32_t *ip, uint16_t *port)
{
	char address[32] = "";
	unsigned p = 0;

	if (sscanf(text, "%31[0-9.]:%u", address, &p) != 2 || inet_pton(AF_INET, address, ip) != 1)
		return false;
	*ip = ntohl(*ip);
	*port = (uint16_t)p;
	return true;
}

static bool option_read(int letter, const char *v)
{
	uint8_t *m = set.mac;

	switch (letter) {
	case 'd':
		set.device = v;
		return true;
	case 'm':
		return sscanf(v, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) == 6;
	case 't':
		return endpoint_read(v, &set.to_ip, &set.to_port);
	case 'f':
		return endpoint_read(v, &set.from_ip, &set.from_port);
	case 'k':
		for (set.kind = RFC8489; set.kind <= CHANGE; set.kind++)
			if (strcmp(v, kinds[set.kind]) == 0)
				return true;
		return false;
	case 's':
		set.seconds = atof(v);
		return set.seconds > 0;
	case 'w':
		set.window = (uint32_t)atoi(v);
		return set.window >= 1 && set.window <= SLOTS;
	case 'r':
		set.rate = (uint32_t)atoi(v);
		set.window = SLOTS;
		return set.rate > 0;
	case 'e':
		return set.echo = true;
	case 'y':
		return set.yield = true;
	case 'n':
		set.sources = (uint32_t)atoi(v);
		return set.sources > 0;
	}
	return false;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "device", 1, 0, 'd' }, { "mac", 1, 0, 'm' }, { "to", 1, 0, 't' },
		{ "from", 1, 0, 'f' }, { "kind", 1, 0, 'k' }, { "seconds", 1, 0, 's' }, { "window", 1, 0, 'w' }, { "rate", 1, 0, 'r' },
		{ "sources", 1, 0, 'n' }, { "echo", 0, 0, 'e' }, { "yield", 0, 0, 'y' }, { 0 } };
	int letter;

	while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (!option_read(letter, optarg))
			return 2;
	if (!set.device || !set.to_port || optind < argc) {
		fprintf(stderr, "usage: load --device NAME --mac MAC --to IP:PORT [--from IP:PORT] [--kind 8489|3489|change]\n"
				"            [--seconds S] [--window N | --rate N] [--sources N] [--echo] [--yield]\n");
		return 2;
	}
	if (!set.from_port || set.echo) {
		set.from_ip = set.to_ip;
		set.from_port = set.to_port;
	}
	run(packet_open());
	return 0;
}
