#include "plan/memory.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <string>

#include "core/files.h"

namespace pixelbert::plan {
namespace {

double part(const std::vector<Part>& parts, const std::string& name) {
  for (const Part& part : parts) {
    if (part.name == name) return part.bytes;
  }
  return 0;
}

std::vector<Part> host(bool sizes_vary, bool cuda) {
  return memory_of_rank({}, {}, {}, {.sizes_vary = sizes_vary}, {.cuda = cuda}).host;
}

TEST(Memory, CountsThePlansOfCudnnUpToTheLimitOfTheLaunchScripts) {
  const std::string name = "plans of cuDNN for each size";
  const std::string settings = read_file(std::filesystem::path(__FILE__).parent_path() / "../../launch/env.sh");
  const std::string variable = "TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT:=";
  const std::size_t at = settings.find(variable);
  ASSERT_NE(at, settings.npos);
  const int limit = std::stoi(settings.substr(at + variable.size()));
  EXPECT_EQ(part(host(true, true), name), 2.0 * limit * 200 * 1024);
  EXPECT_EQ(part(host(false, true), name), 0) << "one size";
  EXPECT_EQ(part(host(true, false), name), 0) << "a CPU";
}

TEST(Memory, RoundsPinnedBatchesUpToAPowerOfTwo) {
  const BatchShape shape{.images = 1, .height = 100, .width = 100};
  const Load load{.micro_batches = 2, .queue = 3};
  const double pixels = 3 * 100 * 100;
  const auto images = [&](bool cuda) {
    return part(memory_of_rank({}, {}, shape, load, {.cuda = cuda}).host, "images of 5 micro-batches");
  };
  EXPECT_EQ(images(false), 5 * pixels);
  EXPECT_EQ(images(true), 5 * 32768);
}

}  // namespace
}  // namespace pixelbert::plan
