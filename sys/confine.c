/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/confine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/cleanup.h"

/* What exec could give back, as far as there is any and with the right to: root has it, who root became has not. */
static void bounds_drop(uint64_t keep)
{
	int has;

	for (int cap = 0; cap < 64 && (has = prctl(PR_CAPBSET_READ, cap, 0, 0, 0)) >= 0; cap++)
		if (has && !(keep & CONFINE_CAP(cap)))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

int confine_user(const char *name, uid_t uid, gid_t gid, uint64_t keep)
{
	bounds_drop(keep);
	if (keep && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return -errno;
	return initgroups(name, gid) < 0 || setgid(gid) < 0 || setuid(uid) < 0 ? -errno : 0;
}

struct capabilities {
	struct __user_cap_data_struct words[_LINUX_CAPABILITY_U32S_3];
};

static int capabilities_get(struct capabilities *out)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return syscall(SYS_capget, &header, out->words) < 0 ? -errno : 0;
}

static int capabilities_set(const struct capabilities *c)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return syscall(SYS_capset, &header, c->words) < 0 ? -errno : 0;
}

uint64_t confine_capabilities(void)
{
	struct capabilities c = { 0 };

	return capabilities_get(&c) < 0 ? 0 : c.words[0].effective | (uint64_t)c.words[1].effective << 32;
}

int confine_privileges(uint64_t keep)
{
	struct capabilities c = { 0 };
	int err;

	bounds_drop(keep);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	err = capabilities_get(&c);
	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		c.words[i].permitted &= (uint32_t)(keep >> 32 * i);
		c.words[i].effective = c.words[i].permitted;
		c.words[i].inheritable = 0;
	}
	if (err == 0)
		err = capabilities_set(&c);
	if (err == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		err = -errno;
	return err;
}

int confine_inherit(uint64_t keep)
{
	struct capabilities c = { 0 };
	int err = capabilities_get(&c);

	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		c.words[i].inheritable = c.words[i].permitted & (uint32_t)(keep >> 32 * i);
	if (err == 0)
		err = capabilities_set(&c);
	for (int cap = 0; cap < 64 && err == 0; cap++)
		if (c.words[cap / 32].inheritable >> cap % 32 & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			err = -errno;
	return err;
}

/* A file that root left there while the program still ran as root. */
static void file_hand_over(int directory, const char *name, uid_t uid, gid_t gid)
{
	CLEANUP(close_fd) int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	/* A second name may be that of anything: who owns the directory can have made it. */
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_uid == 0 && fchown(fd, uid, gid) < 0)
		errno = 0; /* it will be found out by whoever wants it */
}

int confine_directory(const char *path, uid_t uid, gid_t gid)
{
	CLEANUP(close_fd) int fd = -1;
	struct dirent *entry;
	DIR *directory;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchown(fd, uid, gid) < 0)
		return -errno;
	directory = fdopendir(fd);
	if (!directory)
		return -errno;
	while ((entry = readdir(directory)))
		file_hand_over(dirfd(directory), entry->d_name, uid, gid);
	closedir(directory); /* and fd */
	fd = -1;
	return 0;
}

#if defined(__x86_64__) && !defined(__ILP32__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__arm__) && defined(__ARMEL__)
#define ARCH AUDIT_ARCH_ARM
#elif defined(__i386__)
#define ARCH AUDIT_ARCH_I386
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#elif defined(__mips__) && defined(_ABIO32) && defined(__MIPSEL__)
#define ARCH AUDIT_ARCH_MIPSEL
#elif defined(__mips__) && defined(_ABIO32)
#define ARCH AUDIT_ARCH_MIPS
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#if defined(ARCH) && !defined(SANITIZED)

/* The low half of an argument, which is all of an int. */
#define LOW(i)                                                                                                      \
	(offsetof(struct seccomp_data, args) + (i) * sizeof(uint64_t) +                                                     \
		(__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? sizeof(uint32_t) : 0))

#define LOAD(at)    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(at))
#define RETURN(how) BPF_STMT(BPF_RET | BPF_K, (how))
#define NUMBER	    LOAD(offsetof(struct seccomp_data, nr))
/* If the call is this one: so be it. */
#define CALL(nr, how) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), RETURN(how)
#define ALLOW(nr)     CALL(nr, SECCOMP_RET_ALLOW)
#define KILL(nr)      CALL(nr, SECCOMP_RET_KILL_PROCESS)
/* Allowed if none of these bits is in argument i, or if it is this value. */
#define ALLOW_WITHOUT(nr, i, bits)                                                                                  \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 4), LOAD(LOW(i)), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), 1, 0), \
		RETURN(SECCOMP_RET_ALLOW), RETURN(SECCOMP_RET_ERRNO | EPERM)
#define ALLOW_WITH(nr, i, value)                                                                                    \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 4), LOAD(LOW(i)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, 1), \
		RETURN(SECCOMP_RET_ALLOW), RETURN(SECCOMP_RET_ERRNO | EPERM)

/* A new thread, not a new process. (s390's clone has its flags elsewhere, but that is no ARCH of ours.) */
#define ALLOW_THREAD                                                                                                \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4), LOAD(LOW(0)),                                                 \
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1), RETURN(SECCOMP_RET_ALLOW),                             \
		RETURN(SECCOMP_RET_ERRNO | ENOSYS)

#define WRITES (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)

/* What an answer takes stands first; the kernel (5.11 and later) remembers per call what is allowed whatever its arguments. */
static const struct sock_filter begin[] = {
	LOAD(offsetof(struct seccomp_data, arch)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	NUMBER,
};

static const struct sock_filter server[] = {
	/* syslog(3) may have to connect anew */
	ALLOW_WITH(SYS_socket, 0, AF_UNIX),
	/* SIGHUP reads the configuration */
	ALLOW_WITHOUT(SYS_openat, 2, WRITES),
#ifdef SYS_open
	ALLOW_WITHOUT(SYS_open, 1, WRITES),
#endif
	ALLOW_WITHOUT(SYS_fcntl, 1, ~3u /* but F_DUPFD and the flags' */),
#ifdef SYS_fcntl64
	ALLOW(SYS_fcntl64),
#endif
};

static const struct sock_filter gateway[] = {
	/* holes, netlink, the helper's sockets; no raw packets */
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 7), LOAD(LOW(0)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 3, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 2, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 1, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 1),
	RETURN(SECCOMP_RET_ALLOW), RETURN(SECCOMP_RET_ERRNO | EPERM),
	/* which interface has which name and number, and whether it is up; other ioctls are looked at below */
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 6), LOAD(LOW(1)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SIOCGIFINDEX, 2, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SIOCGIFNAME, 1, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SIOCGIFFLAGS, 0, 1),
	RETURN(SECCOMP_RET_ALLOW), NUMBER,
	ALLOW(SYS_socketpair), ALLOW(SYS_bind), ALLOW(SYS_listen), ALLOW(SYS_ppoll),
	/* libnftables waits by select(2) */
	ALLOW(SYS_pselect6),
#ifdef SYS_poll
	ALLOW(SYS_poll),
#endif
#ifdef SYS_select
	ALLOW(SYS_select),
#endif
#ifdef SYS__newselect
	ALLOW(SYS__newselect),
#endif
#ifdef SYS_ppoll_time64
	ALLOW(SYS_ppoll_time64), ALLOW(SYS_pselect6_time64),
#endif
	/* libuv's loop, and its threads, which resolve names; clone3 is answered with ENOSYS, and then comes clone */
	ALLOW_THREAD, ALLOW(SYS_epoll_create1), ALLOW(SYS_eventfd2), ALLOW(SYS_pipe2),
	ALLOW(SYS_timerfd_create), ALLOW(SYS_timerfd_settime), ALLOW(SYS_dup), ALLOW(SYS_dup3), ALLOW(SYS_fcntl),
	ALLOW(SYS_prlimit64), ALLOW(SYS_uname), ALLOW(SYS_sysinfo), ALLOW(SYS_membarrier), ALLOW(SYS_getuid), ALLOW(SYS_geteuid),
	ALLOW(SYS_getgid), ALLOW(SYS_getegid), ALLOW(SYS_capget), ALLOW(SYS_wait4),
#ifdef SYS_fcntl64
	ALLOW(SYS_fcntl64), ALLOW(SYS_getuid32), ALLOW(SYS_geteuid32), ALLOW(SYS_getgid32), ALLOW(SYS_getegid32),
#endif
#ifdef SYS_getrlimit
	ALLOW(SYS_getrlimit),
#endif
#ifdef SYS_timerfd_settime64
	ALLOW(SYS_timerfd_settime64),
#endif
	/* the state file, and what says who is in the way */
	ALLOW(SYS_openat), ALLOW(SYS_fsync), ALLOW(SYS_fdatasync), ALLOW(SYS_ftruncate), ALLOW(SYS_renameat2), ALLOW(SYS_unlinkat),
	ALLOW(SYS_mkdirat), ALLOW(SYS_pread64), ALLOW(SYS_pwrite64), ALLOW(SYS_getdents64), ALLOW(SYS_readlinkat), ALLOW(SYS_faccessat),
#ifdef SYS_renameat
	ALLOW(SYS_renameat),
#endif
#ifdef SYS_open
	ALLOW(SYS_open), ALLOW(SYS_mkdir), ALLOW(SYS_rename), ALLOW(SYS_unlink), ALLOW(SYS_readlink), ALLOW(SYS_access),
#endif
};

static const struct sock_filter common[] = {
	ALLOW(SYS_recvmmsg),
	ALLOW(SYS_sendmmsg),
	ALLOW(SYS_epoll_pwait),
#ifdef SYS_epoll_wait
	ALLOW(SYS_epoll_wait),
#endif
#ifdef SYS_epoll_pwait2
	ALLOW(SYS_epoll_pwait2),
#endif
#ifdef SYS_recvmmsg_time64
	ALLOW(SYS_recvmmsg_time64),
#endif
	/* sockets */
	ALLOW(SYS_recvmsg), ALLOW(SYS_sendmsg), ALLOW(SYS_recvfrom), ALLOW(SYS_sendto),
#ifdef SYS_recv
	ALLOW(SYS_recv), ALLOW(SYS_send),
#endif
	ALLOW(SYS_accept4),
#ifdef SYS_accept
	ALLOW(SYS_accept),
#endif
	ALLOW(SYS_epoll_ctl), ALLOW(SYS_shutdown), ALLOW(SYS_getsockname), ALLOW(SYS_getpeername), ALLOW(SYS_getsockopt),
	ALLOW(SYS_setsockopt), ALLOW(SYS_close),
	ALLOW(SYS_connect),
	/* signals, time, waiting for threads */
	ALLOW(SYS_read), ALLOW(SYS_write), ALLOW(SYS_writev), ALLOW(SYS_futex), ALLOW(SYS_clock_gettime),
	ALLOW(SYS_clock_nanosleep), ALLOW(SYS_nanosleep), ALLOW(SYS_gettimeofday), ALLOW(SYS_restart_syscall),
	ALLOW(SYS_rt_sigreturn), ALLOW(SYS_rt_sigprocmask), ALLOW(SYS_rt_sigaction), ALLOW(SYS_sigaltstack), ALLOW(SYS_getpid),
	ALLOW(SYS_gettid), ALLOW(SYS_tgkill), ALLOW(SYS_getrandom), ALLOW(SYS_sched_yield), ALLOW(SYS_exit),
	ALLOW(SYS_exit_group),
	/* a thread that begins does so by itself, behind pthread_create's back */
	ALLOW(SYS_set_robust_list), ALLOW(SYS_set_tid_address),
#ifdef SYS_rseq
	ALLOW(SYS_rseq),
#endif
#ifdef SYS_time
	ALLOW(SYS_time),
#endif
#ifdef SYS_futex_time64
	ALLOW(SYS_futex_time64), ALLOW(SYS_clock_gettime64), ALLOW(SYS_clock_nanosleep_time64),
#endif
#ifdef SYS_sigreturn
	ALLOW(SYS_sigreturn),
#endif
	/* memory */
	ALLOW(SYS_brk), ALLOW(SYS_munmap), ALLOW(SYS_mremap), ALLOW(SYS_madvise),
#ifdef SYS_mmap2
	ALLOW_WITHOUT(SYS_mmap2, 2, PROT_EXEC),
#else
	ALLOW_WITHOUT(SYS_mmap, 2, PROT_EXEC),
#endif
	ALLOW_WITHOUT(SYS_mprotect, 2, PROT_EXEC),
	/* localtime(3) reads the time zone, isatty(3) asks what stderr is, libuv makes descriptors non-blocking */
	ALLOW(SYS_lseek), ALLOW(SYS_fstat), ALLOW(SYS_sched_getaffinity),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 6), LOAD(LOW(1)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TCGETS, 2, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TIOCGWINSZ, 1, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FIONBIO, 0, 1),
	RETURN(SECCOMP_RET_ALLOW), RETURN(SECCOMP_RET_ERRNO | ENOTTY),
#ifdef SYS_stat
	ALLOW(SYS_stat),
#endif
#ifdef SYS_newfstatat
	ALLOW(SYS_newfstatat),
#endif
#ifdef SYS_fstatat64
	ALLOW(SYS_fstatat64), ALLOW(SYS_fstat64), ALLOW(SYS__llseek),
#endif
#ifdef SYS_statx
	ALLOW(SYS_statx),
#endif
	/* what an intruder begins with */
	KILL(SYS_execve), KILL(SYS_execveat), KILL(SYS_ptrace), KILL(SYS_process_vm_readv), KILL(SYS_process_vm_writev),
	KILL(SYS_mount), KILL(SYS_unshare), KILL(SYS_setns), KILL(SYS_bpf), KILL(SYS_init_module), KILL(SYS_finit_module),
	KILL(SYS_keyctl), KILL(SYS_add_key), KILL(SYS_memfd_create), KILL(SYS_userfaultfd),
	RETURN(SECCOMP_RET_ERRNO | ENOSYS),
};

#define PART(name) { name, sizeof(name) / sizeof(name[0]) }

int confine_calls(enum confine_work work)
{
	const struct {
		const struct sock_filter *code;
		size_t len;
	} works[] = { [CONFINE_SERVER] = PART(server), [CONFINE_GATEWAY] = PART(gateway) }, parts[] = { PART(begin), works[work], PART(common) };
	struct sock_filter code[512];
	struct sock_fprog program = { .len = 0, .filter = code };

	_Static_assert(sizeof(begin) + sizeof(server) + sizeof(gateway) + sizeof(common) <= sizeof(code), "a filter fits");
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		memcpy(code + program.len, parts[i].code, parts[i].len * sizeof(code[0]));
		program.len += (unsigned short)parts[i].len;
	}
	/* Without SPEC_ALLOW kernels before 5.16 slow every call down for the sake of programs that run foreign code. */
	const unsigned flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	const long err = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);

	if (err < 0)
		return errno == ENOSYS || errno == EINVAL ? -ENOTSUP : -errno;
	return err > 0 ? -EBUSY : 0; /* the thread that could not be brought along */
}

#else

int confine_calls(enum confine_work work)
{
	(void)work;
	return -ENOTSUP;
}

#endif
