#include "core/single_thread.h"

#include <ATen/Parallel.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <thread>

namespace pixelbert {
namespace {

TEST(SingleThread, HoldsForTheThreadThatAskedAndForNoOther) {
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  int asked = 0, other = 0;
  std::thread([&] {
    at::get_num_threads();
    use_single_thread();
    at::ones({1 << 20}).add_(1);  // large enough for several threads
    asked = at::get_num_threads();
  }).join();
  std::thread([&] { other = at::get_num_threads(); }).join();
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(other, 3);
  EXPECT_EQ(at::get_num_threads(), 3);
  at::set_num_threads(before);
}

}  // namespace
}  // namespace pixelbert
