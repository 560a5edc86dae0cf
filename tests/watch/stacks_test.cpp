#include "watch/stacks.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <thread>

namespace pixelbert::watch {
namespace {

const Stack* named(const std::vector<Stack>& stacks, const std::string& name) {
  for (const Stack& stack : stacks) {
    if (stack.name == name) return &stack;
  }
  return nullptr;
}

TEST(Stacks, ShowsEveryThread) {
  prepare_stacks();
  std::jthread sleeper([](const std::stop_token& stop) {
    pthread_setname_np(pthread_self(), "sleeper");
    while (!stop.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  });
  for (int i = 0; i < 100; ++i) {
    const std::vector<Stack> stacks = stacks_of_all_threads();
    const Stack* stack = named(stacks, "sleeper");
    if (!stack) continue;  // it has no name yet
    std::string all;
    for (const std::string& frame : stack->frames) all += frame + "\n";
    if (all.find("sleep") == std::string::npos) continue;  // it does not sleep yet, or had no core to answer in time
    EXPECT_GE(stacks.size(), 2u);
    return;
  }
  FAIL() << "the thread was not found, or not in its sleep";
}

TEST(Stacks, GivesUpOnAThreadThatBlocksSignals) {
  prepare_stacks();
  std::atomic<bool> blocked = false;
  std::jthread deaf([&](const std::stop_token& stop) {
    pthread_setname_np(pthread_self(), "deaf");
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    blocked = true;
    while (!stop.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  });
  while (!blocked) std::this_thread::yield();
  const std::vector<Stack> stacks = stacks_of_all_threads();
  ASSERT_NE(named(stacks, "deaf"), nullptr);
  EXPECT_TRUE(named(stacks, "deaf")->frames.empty());
}

}  // namespace
}  // namespace pixelbert::watch
