// Finds the real images and texts for tests. They are not part of the project.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace pixelbert::test {

// Returns the folder of real data, or nothing if it is absent. In that case the calling test fails with CI=true.
// Use: const auto data = shared_data("coco-train2017"); if (data.empty()) GTEST_SKIP() << "no real data";
inline std::filesystem::path shared_data(std::string_view name) {
  const char* given = std::getenv("PIXELBERT_SHARED_DATA");
  const std::filesystem::path folder = std::filesystem::path(given ? given : PIXELBERT_SHARED_DATA) / name;
  if (std::filesystem::is_directory(folder)) return folder;
  const char* ci = std::getenv("CI");
  if (ci && std::string_view(ci) == "true") ADD_FAILURE() << "CI=true and there is no real data: expected " << folder;
  return {};
}

}  // namespace pixelbert::test
