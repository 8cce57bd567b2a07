/* System calls that fail for one file, as on a failing disk: preloaded into a process under test.
 *
 * While the file $FAILING/CALL exists, CALL (sync, write, cut, read) fails for every file whose path ends with what is
 * written in it, with the number of the error after a space: "history.journal 5" is EIO for the journal.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(const char *call, int fd)
{
	char name[512], text[512], link[64], path[4096];
	const char *folder = getenv("FAILING");
	if (!folder)
		return 0;
	snprintf(name, sizeof name, "%s/%s", folder, call);
	int rules = (int)syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
	if (rules < 0)
		return 0;
	ssize_t size = syscall(SYS_read, rules, text, sizeof text - 1);
	syscall(SYS_close, rules);
	if (size <= 0)
		return 0;
	text[size] = 0;
	char *space = strrchr(text, ' ');
	if (!space)
		return 0;
	*space = 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, sizeof path - 1);
	if (length <= 0)
		return 0;
	path[length] = 0;
	size_t wanted = strlen(text);
	if ((size_t)length < wanted || strcmp(path + length - wanted, text) != 0)
		return 0;
	errno = atoi(space + 1);
	return 1;
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return fails("sync", fd) ? -1 : REAL(int, fsync, int)(fd); }
int fdatasync(int fd) { return fails("sync", fd) ? -1 : REAL(int, fdatasync, int)(fd); }

ssize_t write(int fd, const void *data, size_t size)
{
	return fails("write", fd) ? -1 : REAL(ssize_t, write, int, const void *, size_t)(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
	return fails("write", fd) ? -1 : REAL(ssize_t, pwrite, int, const void *, size_t, off_t)(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
	return fails("write", fd) ? -1 : REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)(fd, data, size, at);
}

int ftruncate(int fd, off_t size) { return fails("cut", fd) ? -1 : REAL(int, ftruncate, int, off_t)(fd, size); }
int ftruncate64(int fd, off64_t size) { return fails("cut", fd) ? -1 : REAL(int, ftruncate64, int, off64_t)(fd, size); }

ssize_t read(int fd, void *data, size_t size)
{
	return fails("read", fd) ? -1 : REAL(ssize_t, read, int, void *, size_t)(fd, data, size);
}

ssize_t pread(int fd, void *data, size_t size, off_t at)
{
	return fails("read", fd) ? -1 : REAL(ssize_t, pread, int, void *, size_t, off_t)(fd, data, size, at);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at)
{
	return fails("read", fd) ? -1 : REAL(ssize_t, pread64, int, void *, size_t, off64_t)(fd, data, size, at);
}
