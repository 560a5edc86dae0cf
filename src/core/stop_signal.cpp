#include "core/stop_signal.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace pixelbert {
namespace {

constexpr std::array kStopSignals = {SIGTERM, SIGUSR1, SIGINT};

volatile std::sig_atomic_t signalled = 0;

void on_signal(int signal) {
  signalled = 1;
  if (signal != SIGINT) return;
  // At a terminal the user must see that Ctrl-C was received, because nothing happens yet.
  constexpr char kHeard[] = "\nasked to stop; a second Ctrl-C ends at once\n";
  const int saved_errno = errno;
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kHeard, sizeof kHeard - 1);
  errno = saved_errno;
}

}  // namespace

void catch_stop_signals() {
  for (const int signal : kStopSignals) {
    struct sigaction action = {};
    // A shell script starts background commands with SIGINT ignored: Ctrl-C is not meant for them.
    if (signal == SIGINT && sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    if (signal == SIGINT) action.sa_flags |= SA_RESETHAND;
    sigaction(signal, &action, nullptr);
  }
}

void unblock_stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : kStopSignals) sigaddset(&signals, signal);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

bool stop_signalled() {
  return signalled != 0;
}

void end_when_stop_signalled() {
  if (stop_signalled()) throw StopRequested{};
}

}  // namespace pixelbert
