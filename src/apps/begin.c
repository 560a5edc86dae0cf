// build/bin/pixelbert: makes the process fit to receive signals, then becomes the program beside it.
//
// To load LibTorch takes a tenth of a second, and seconds from a slow disk. A request to stop that comes meanwhile would
// kill a process that has no handler yet; here it is blocked, and the program's main() finds it waiting.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char kProgram[] = "-program";

int main(int argc, char** argv) {
  (void)argc;
  sigset_t requests;
  sigemptyset(&requests);
  sigaddset(&requests, SIGTERM);
  sigaddset(&requests, SIGUSR1);
  sigaddset(&requests, SIGINT);
  sigprocmask(SIG_BLOCK, &requests, NULL);

  // With stdout closed the first file that is opened would be stdout, and be written into.
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd) return 1;
  }

  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof kProgram);
  if (length > 0) {
    memcpy(path + length, kProgram, sizeof kProgram);
    execv(path, argv);
  }
  fprintf(stderr, "pixelbert: cannot start %s: %s: build it, and keep the two together\n",
          length > 0 ? path : "/proc/self/exe", strerror(errno));
  return 1;
}
