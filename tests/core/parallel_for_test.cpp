#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <thread>

namespace pixelbert {
namespace {

#if !defined(__clang__) && !defined(__SANITIZE_THREAD__)  // see cmake/Compiler.cmake
TEST(ParallelFor, UsesTheThreadsThatLibTorchMayUse) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  at::parallel_for(0, 2, /*grain_size=*/1, [&](std::int64_t, std::int64_t) {
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(threads.size(), 2u);
  at::set_num_threads(before);
}
#endif

}  // namespace
}  // namespace pixelbert
