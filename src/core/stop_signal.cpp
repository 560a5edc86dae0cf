#include "core/stop_signal.h"

#include <csignal>
#include <initializer_list>

namespace pixelbert {
namespace {

volatile std::sig_atomic_t signalled = 0;

}  // namespace

void catch_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { signalled = 1; };
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
}

bool stop_signalled() {
  return signalled != 0;
}

void end_when_stop_signalled() {
  if (stop_signalled()) throw StopRequested{};
}

}  // namespace pixelbert
