// A disk that fails, for a server that is started with it in LD_PRELOAD: it
// watches what the process does to the files of SQLite.
//
//   BN_DISK_DURABLE=DIR  DIR gets a copy of each file as it is on the disk:
//                        what was written since the last fsync is not in it.
//                        After a kill it is what a power failure leaves.
//   BN_DISK_FULL=FILE    while FILE exists, nothing more can be written (ENOSPC)
//   BN_DISK_BAD=FILE     while FILE exists, a flush fails (EIO)
//
// Only names that hold "sessions.db" are watched, without "-shm", which is
// memory.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { kMaxFd = 4096 };

struct range {
  off_t begin, end;
};

// One watched descriptor's writes that no flush has made durable.
struct watched {
  int mirror;  // descriptor of the copy; 0: not watched
  struct range *dirty;
  size_t count, capacity;
};

static struct watched files[kMaxFd];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static int exists(const char *variable) {
  const char *const path = getenv(variable);
  return path != NULL && access(path, F_OK) == 0;
}

static const char *base_name(const char *path) {
  const char *const slash = strrchr(path, '/');
  return slash == NULL ? path : slash + 1;
}

static int is_watched_name(const char *path) {
  return strstr(base_name(path), "sessions.db") != NULL &&
         strstr(path, "-shm") == NULL;
}

// Of the copy; 0 if none is kept.
static int mirror_path(const char *path, char *out) {
  const char *const folder = getenv("BN_DISK_DURABLE");
  if (folder == NULL || !is_watched_name(path)) return 0;
  return snprintf(out, PATH_MAX, "%s/%s", folder, base_name(path)) < PATH_MAX;
}

static struct watched *watched_of(int fd) {
  return fd >= 0 && fd < kMaxFd && files[fd].mirror > 0 ? &files[fd] : NULL;
}

static int is_ours(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof(path) - 1);
  if (size <= 0) return 0;
  path[size] = 0;
  return is_watched_name(path);
}

static void note(int fd, off_t begin, off_t end) {
  pthread_mutex_lock(&mutex);
  struct watched *const file = watched_of(fd);
  if (file != NULL) {
    if (file->count == file->capacity) {
      file->capacity = file->capacity == 0 ? 64 : 2 * file->capacity;
      file->dirty = realloc(file->dirty, file->capacity * sizeof(struct range));
    }
    file->dirty[file->count++] = (struct range){begin, end};
  }
  pthread_mutex_unlock(&mutex);
}

static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);

static void copy_range(int from, int to, struct range range) {
  char bytes[65536];
  while (range.begin < range.end) {
    const size_t left = (size_t)(range.end - range.begin);
    const size_t part = left < sizeof(bytes) ? left : sizeof(bytes);
    const ssize_t got = pread(from, bytes, part, range.begin);
    if (got <= 0) return;  // truncated since
    if (real_pwrite(to, bytes, (size_t)got, range.begin) != got) abort();
    range.begin += got;
  }
}

static void make_durable(int fd) {
  pthread_mutex_lock(&mutex);
  struct watched *const file = watched_of(fd);
  struct stat status;
  if (file != NULL && fstat(fd, &status) == 0) {
    for (size_t i = 0; i < file->count; ++i) {
      copy_range(fd, file->mirror, file->dirty[i]);
    }
    file->count = 0;
    if (ftruncate(file->mirror, status.st_size) != 0) abort();
  }
  pthread_mutex_unlock(&mutex);
}

static void watch(int fd, const char *path) {
  char copy[PATH_MAX];
  if (fd < 0 || fd >= kMaxFd || !mirror_path(path, copy)) return;
  const int mirror = open(copy, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (mirror < 0) abort();
  pthread_mutex_lock(&mutex);
  files[fd] = (struct watched){.mirror = mirror};
  pthread_mutex_unlock(&mutex);
}

// ---- What SQLite calls

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
  real_pwrite = REAL(pwrite64);
}

int open64(const char *path, int flags, ...) {
  __builtin_va_list arguments;
  __builtin_va_start(arguments, flags);
  const mode_t mode = __builtin_va_arg(arguments, mode_t);
  __builtin_va_end(arguments);
  const int fd = REAL(open64)(path, flags, mode);
  if ((flags & O_ACCMODE) != O_RDONLY) watch(fd, path);
  return fd;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
  if (exists("BN_DISK_FULL") && is_ours(fd)) {
    errno = ENOSPC;
    return -1;
  }
  const ssize_t written = real_pwrite(fd, bytes, size, at);
  if (written > 0) note(fd, at, at + written);
  return written;
}

static int flush(int fd, int (*real)(int)) {
  if (exists("BN_DISK_BAD") && is_ours(fd)) {
    errno = EIO;
    return -1;
  }
  const int result = real(fd);
  if (result == 0) make_durable(fd);
  return result;
}

int fsync(int fd) { return flush(fd, REAL(fsync)); }

int fdatasync(int fd) { return flush(fd, REAL(fdatasync)); }

int close(int fd) {
  pthread_mutex_lock(&mutex);
  struct watched *const file = watched_of(fd);
  const int mirror = file == NULL ? 0 : file->mirror;
  if (file != NULL) {
    free(file->dirty);
    *file = (struct watched){0};
  }
  pthread_mutex_unlock(&mutex);
  if (mirror > 0) REAL(close)(mirror);
  return REAL(close)(fd);
}

int unlink(const char *path) {
  char copy[PATH_MAX];
  if (mirror_path(path, copy)) REAL(unlink)(copy);
  return REAL(unlink)(path);
}
