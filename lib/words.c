/* SPDX-License-Identifier: MIT */
#include <stunway/stunway.h>

#define WORD(words, i) ((size_t)(i) < sizeof(words) / sizeof((words)[0]) ? (words)[i] : "")

const char *stunway_type_text(enum stunway_type type)
{
	static const char *const words[] = {
		[STUNWAY_UNKNOWN] = "Unknown",
		[STUNWAY_ERROR] = "Error",
		[STUNWAY_BLOCKED] = "Blocked",
		[STUNWAY_OPEN_INTERNET] = "OpenInternet",
		[STUNWAY_SYMMETRIC_UDP_FIREWALL] = "SymmetricUDPFirewall",
		[STUNWAY_FULL_CONE] = "FullCone",
		[STUNWAY_RESTRICTED_CONE] = "RestrictedCone",
		[STUNWAY_PORT_RESTRICTED_CONE] = "PortRestrictedCone",
		[STUNWAY_SYMMETRIC_NAT] = "SymmetricNAT",
	};

	return WORD(words, type);
}

const char *stunway_behavior_text(enum stunway_behavior behavior)
{
	static const char *const words[] = {
		[STUNWAY_BEHAVIOR_UNKNOWN] = "",
		[STUNWAY_ENDPOINT_INDEPENDENT] = "endpoint-independent",
		[STUNWAY_ADDRESS_DEPENDENT] = "address-dependent",
		[STUNWAY_ADDRESS_AND_PORT_DEPENDENT] = "address-and-port-dependent",
	};

	return WORD(words, behavior);
}

const char *stunway_port_mode_text(enum stunway_port_mode mode)
{
	static const char *const words[] = {
		[STUNWAY_PORTS_UNKNOWN] = "",
		[STUNWAY_PORTS_PRESERVED] = "Preserved",
		[STUNWAY_PORTS_INCREMENT] = "Increment",
		[STUNWAY_PORTS_DECREMENT] = "Decrement",
		[STUNWAY_PORTS_RANDOM] = "Random",
	};

	return WORD(words, mode);
}
