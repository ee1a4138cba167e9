/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tun - a network device whose wire is a file descriptor (IFF_TUN, no packet information).
 */
#ifndef LAB_TUN_H
#define LAB_TUN_H

enum { TUN_MTU = 1500 };

/* Creates the device and brings it up; the descriptor does not block. It goes when the descriptor is closed. */
int tun_open(int *out_fd, const char *name);

#endif
