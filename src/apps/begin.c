// build/bin/pixelbert: blocks the signals that ask for a stop, then becomes the program beside it.
//
// Loading LibTorch takes a tenth of a second, and seconds from a slow disk. A request to stop that comes in this time
// would kill a process without a handler; here it is blocked, and the program's main() receives it.
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

  // With stdout closed, the first file that is opened would become stdout, and output would go into it.
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
