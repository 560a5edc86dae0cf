#include "watch/stacks.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>

#include "core/check.h"

namespace pixelbert::watch {
namespace {

constexpr int kMostFrames = 64;
constexpr int kHandlerFrames = 2;  // the handler and the kernel's trampoline

// The state shared with the signal handler: one question at a time.
struct Answer {
  std::array<void*, kMostFrames> frames{};
  int count = 0;
  std::atomic<int> asked{0};  // thread id; a late answer to an earlier question is dropped
  sem_t given{};
};

Answer& answer() {
  static Answer answer;
  return answer;
}

int stack_signal() {
  return SIGRTMIN + 3;
}

void on_signal(int) {
  const int saved_errno = errno;
  Answer& to = answer();
  int self = static_cast<int>(syscall(SYS_gettid));
  if (to.asked.compare_exchange_strong(self, 0)) {
    to.count = backtrace(to.frames.data(), kMostFrames);
    sem_post(&to.given);
  }
  errno = saved_errno;
}

std::string describe(void* frame) {
  Dl_info info{};
  if (dladdr(frame, &info) == 0) return fmt::format("{}", fmt::ptr(frame));
  const std::string library = info.dli_fname ? std::filesystem::path(info.dli_fname).filename().string() : "?";
  const auto offset = static_cast<char*>(frame) - static_cast<char*>(info.dli_fbase);
  if (!info.dli_sname) return fmt::format("({}+{:#x})", library, offset);
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> readable(abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status),
                                                        std::free);
  return fmt::format("{} ({}+{:#x})", status == 0 ? readable.get() : info.dli_sname, library, offset);
}

std::string name_of(int thread_id) {
  std::string name;
  std::getline(std::ifstream(fmt::format("/proc/self/task/{}/comm", thread_id)), name);
  return name;
}

// Returns whether the answer came within a tenth of a second.
bool wait_for_answer() {
  timespec until{};
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 100'000'000;
  if (until.tv_nsec >= 1'000'000'000) {
    until.tv_nsec -= 1'000'000'000;
    ++until.tv_sec;
  }
  while (sem_timedwait(&answer().given, &until) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

Stack stack_of(int thread_id) {
  Stack stack{.thread_id = thread_id, .name = name_of(thread_id)};
  answer().asked = thread_id;
  if (syscall(SYS_tgkill, getpid(), thread_id, stack_signal()) != 0) return stack;
  if (!wait_for_answer()) {
    int asked = thread_id;
    if (answer().asked.compare_exchange_strong(asked, 0)) return stack;
    while (sem_wait(&answer().given) != 0) {  // the handler has begun, so it will post
    }
  }
  for (int i = kHandlerFrames; i < answer().count; ++i) {
    stack.frames.push_back(describe(answer().frames[static_cast<std::size_t>(i)]));
  }
  return stack;
}

}  // namespace

void prepare_stacks() {
  // The first call of backtrace() loads a library, which a handler must not.
  std::array<void*, 1> frame{};
  backtrace(frame.data(), 1);
  sem_init(&answer().given, 0, 0);
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(stack_signal(), &action, nullptr);
}

std::vector<Stack> stacks_of_all_threads() {
  std::vector<int> threads;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    threads.push_back(std::atoi(entry.path().filename().c_str()));
  }
  std::sort(threads.begin(), threads.end());
  std::vector<Stack> stacks;
  for (const int thread : threads) stacks.push_back(stack_of(thread));
  return stacks;
}

}  // namespace pixelbert::watch
