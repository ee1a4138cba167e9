/* SPDX-License-Identifier: MIT */
/* The verdict in one call: cc nat_info.c $(pkg-config --cflags --libs stunway) && ./a.out stun.example.org */
#include <stdio.h>
#include <string.h>

#include <stunway/stunway.h>

int main(int argc, char **argv)
{
	const struct stunway_nat_options options = { .server = argc > 1 ? argv[1] : "stun.example.org", .port_mode = 1 };
	struct stunway_nat_info info;
	const int err = stunway_nat_info(&info, &options);

	if (err < 0) {
		fprintf(stderr, "%s: %s\n", options.server, strerror(-err));
		return 1;
	}
	printf("%s, mapping %s, filtering %s, ports %s\n%s\n", stunway_type_text(info.type), stunway_behavior_text(info.mapping),
		stunway_behavior_text(info.filtering), stunway_port_mode_text(info.port_mode), info.info);
	return 0;
}
