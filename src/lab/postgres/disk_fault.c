/*
 * A disk that is full or slow, for one server and its children. Loaded before the C library's own functions; the page
 * it looks at is a file of the lab, so that a fault begins and ends while the server runs.
 *
 * Only files that would grow meet a full disk: blocks that are there can be written over, as on a real one. Logs are
 * spared, because they say what happened: they are appended to.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct page {
	uint32_t is_full;
	uint32_t sync_ms;
};

static volatile struct page *page;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("PGRUN_LAB_DISK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	void *map = mmap(NULL, sizeof(struct page), PROT_READ, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		page = map;
	close(fd);
}

static int is_refused(int fd, off64_t end)
{
	struct stat64 st;
	if (!page || !page->is_full || fstat64(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return 0;
	return end > st.st_size && !(fcntl(fd, F_GETFL) & O_APPEND);
}

static void hold(void)
{
	uint32_t ms = page ? page->sync_ms : 0;
	struct timespec left = { ms / 1000, (long)(ms % 1000) * 1000000L };
	while (ms && nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

static off64_t length(const struct iovec *parts, int count)
{
	off64_t all = 0;
	for (int i = 0; i < count; i++)
		all += parts[i].iov_len;
	return all;
}

/* The real function, looked up once. */
#define REAL(name) \
	static __typeof__(&name) real; \
	if (!real) \
		real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define FULL(fd, end) \
	if (is_refused(fd, end)) { \
		errno = ENOSPC; \
		return -1; \
	}

ssize_t write(int fd, const void *from, size_t size)
{
	REAL(write);
	if (page && page->is_full)
		FULL(fd, lseek64(fd, 0, SEEK_CUR) + (off64_t)size);
	return real(fd, from, size);
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t at)
{
	REAL(pwrite);
	FULL(fd, at + (off64_t)size);
	return real(fd, from, size, at);
}

ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at)
{
	REAL(pwrite64);
	FULL(fd, at + (off64_t)size);
	return real(fd, from, size, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
	REAL(pwritev);
	FULL(fd, at + length(parts, count));
	return real(fd, parts, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at)
{
	REAL(pwritev64);
	FULL(fd, at + length(parts, count));
	return real(fd, parts, count, at);
}

int posix_fallocate(int fd, off_t at, off_t size)
{
	REAL(posix_fallocate);
	return is_refused(fd, at + size) ? ENOSPC : real(fd, at, size);
}

int posix_fallocate64(int fd, off64_t at, off64_t size)
{
	REAL(posix_fallocate64);
	return is_refused(fd, at + size) ? ENOSPC : real(fd, at, size);
}

int fsync(int fd)
{
	REAL(fsync);
	hold();
	return real(fd);
}

int fdatasync(int fd)
{
	REAL(fdatasync);
	hold();
	return real(fd);
}
