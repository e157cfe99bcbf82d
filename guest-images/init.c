// First program of the boot, as /init of the initial RAM disk: loads the drivers that reach the
// root disk, prepares the root, and goes there. A program and not a script, for under emulation
// each program that a script starts costs 20 to 60 ms, and a script of the same needs thirty of
// them.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char label[] = "pxroot";

/// Nothing can go on without a root: say why on every console, and stay.
static void give_up(const char* format, ...) {
  va_list values;
  va_start(values, format);
  FILE* console = fopen("/dev/console", "w");
  if (console != NULL) {
    vfprintf(console, format, values);
    fprintf(console, ": %s\n", strerror(errno));
    fclose(console);
  }
  va_end(values);
  for (;;) pause();
}

static void mount_at(const char* type, const char* path, unsigned long flags, const char* data) {
  mkdir(path, 0755);
  if (mount(type, path, type, flags, data) != 0 && errno != EBUSY) give_up("%s", path);
}

static void sleep_ms(long ms) {
  const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&time, NULL);
}

/// Loads the modules that a list names, one a line, in their order. A device that is not there is
/// no error: the list serves all machines.
static void load_modules(const char* list) {
  FILE* names = fopen(list, "r");
  if (names == NULL) give_up("%s", list);
  char name[256];
  while (fgets(name, sizeof name, names) != NULL) {
    name[strcspn(name, "\n")] = '\0';
    const int module = open(name, O_RDONLY | O_CLOEXEC);
    if (module < 0) continue;
    syscall(SYS_finit_module, module, "", 0);
    close(module);
    unlink(name);
  }
  fclose(names);
}

/// Whether a block device holds the ext4 file system of our label (ext4: the superblock lies 1024
/// bytes from the start, its magic number at 56, its label at 120).
static int is_root(const char* device) {
  unsigned char block[136];
  const int file = open(device, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t size = pread(file, block, sizeof block, 1024);
  close(file);
  return size == sizeof block && block[56] == 0x53 && block[57] == 0xef &&
         memcmp(block + 120, label, sizeof label) == 0;
}

/// Waits for the root disk; 0 when it did not come in time.
static int find_root(char* device, size_t size, int wait_ms) {
  for (int waited = 0;; waited += 10) {
    FILE* partitions = fopen("/proc/partitions", "r");
    if (partitions == NULL) give_up("/proc/partitions");
    char line[256], name[64];
    while (fgets(line, sizeof line, partitions) != NULL) {
      if (sscanf(line, "%*d %*d %*d %63s", name) != 1) continue;
      snprintf(device, size, "/dev/%s", name);
      if (is_root(device)) {
        fclose(partitions);
        return 1;
      }
    }
    fclose(partitions);
    if (waited >= wait_ms) return 0;
    sleep_ms(10);
  }
}

/// Makes the disk that is mounted at /root the root of everything.
static void switch_root(void) {
  static const char* const carried[] = {"/dev", "/proc", "/sys"};
  char target[32];
  for (size_t i = 0; i < sizeof carried / sizeof *carried; ++i) {
    snprintf(target, sizeof target, "/root%s", carried[i]);
    if (mount(carried[i], target, NULL, MS_MOVE, NULL) != 0) give_up("%s", target);
  }
  unlink("/init");
  if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 ||
      chdir("/") != 0) {
    give_up("/root");
  }
}

static void link_to(const char* target, const char* path) {
  if (symlink(target, path) != 0 && errno != EEXIST) give_up("%s", path);
}

static void set_host_name(void) {
  char name[65] = "";
  FILE* file = fopen("/etc/hostname", "r");
  if (file == NULL) return;
  if (fscanf(file, "%64s", name) == 1 && sethostname(name, strlen(name)) != 0) give_up("%s", name);
  fclose(file);
}

/// A clone has none yet (machine-id(5): 32 hexadecimal digits; made as random UUID, version 4).
static void make_machine_id(void) {
  struct stat status;
  if (stat("/etc/machine-id", &status) == 0 && status.st_size > 0) return;
  unsigned char id[16];
  if (getrandom(id, sizeof id, 0) != sizeof id) give_up("getrandom");
  id[6] = (id[6] & 0x0f) | 0x40;
  id[8] = (id[8] & 0x3f) | 0x80;
  FILE* file = fopen("/etc/machine-id", "w");
  if (file == NULL) give_up("/etc/machine-id");
  for (size_t i = 0; i < sizeof id; ++i) fprintf(file, "%02x", id[i]);
  fputc('\n', file);
  fclose(file);
}

int main(void) {
  mount_at("devtmpfs", "/dev", MS_NOSUID, "mode=755");
  mount_at("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount_at("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);

  char device[80];
  load_modules("/modules/first");
  if (!find_root(device, sizeof device, 300)) {
    load_modules("/modules/rest");
    if (!find_root(device, sizeof device, 15000)) give_up("no disk with the label %s", label);
  }
  if (mount(device, "/root", "ext4", MS_NOATIME, NULL) != 0) give_up("%s", device);
  switch_root();

  mount_at("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755,size=50%");
  mkdir("/run/lock", 0777);
  chmod("/run/lock", 01777);
  mount_at("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666");
  mount_at("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
  link_to("/proc/self/fd", "/dev/fd");
  link_to("/proc/self/fd/0", "/dev/stdin");
  link_to("/proc/self/fd/1", "/dev/stdout");
  link_to("/proc/self/fd/2", "/dev/stderr");
  set_host_name();
  make_machine_id();

  execl("/usr/sbin/init", "init", NULL);
  give_up("/usr/sbin/init");
}
