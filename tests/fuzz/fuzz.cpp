#include "tests/fuzz/fuzz.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "core/log.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::fuzz {

const std::filesystem::path& folder() {
  static const test::TemporaryFolder folder;
  return folder.path();
}

std::filesystem::path write(const std::string& name, std::string_view content) {
  const std::filesystem::path path = folder() / name;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content << std::flush;
  PB_CHECK(file, "cannot write {}", path.string());
  return path;
}

std::vector<std::string_view> split(std::string_view input, std::size_t files) {
  std::vector<std::string_view> parts;
  while (parts.size() + 1 < files) {
    const std::size_t end = std::min(input.find(kSeparator), input.size());
    parts.push_back(input.substr(0, end));
    input.remove_prefix(std::min(end + kSeparator.size(), input.size()));
  }
  parts.push_back(input);
  return parts;
}

void found(const std::string& reason) {
  std::cerr << "finding: " << reason << std::endl;
  std::abort();
}

void check_message(std::string_view message, const Paths& files) {
  const auto says = [&](std::string_view text) { return message.find(text) != message.npos; };
  if (says("\n") || says("\r")) found(fmt::format("a message of several lines: {}", message));
  if (!files.empty() && std::ranges::none_of(files, [&](const auto& file) { return says(file); })) {
    found(fmt::format("a message that does not name {}: {}", fmt::join(files, " or "), message));
  }
}

void check_lines(std::string_view message, const Paths& files) {
  for (std::size_t begin = 0; begin <= message.size();) {
    const std::size_t end = std::min(message.find('\n', begin), message.size());
    check_message(message.substr(begin, end - begin), files);
    begin = end + 1;
  }
}

void check_time(std::clock_t start) {
  constexpr int kMostSeconds = 10;
  const auto seconds = (std::clock() - start) / CLOCKS_PER_SEC;
  if (seconds > kMostSeconds) found(fmt::format("{} s of work for one file", seconds));
}

}  // namespace pixelbert::fuzz

// libFuzzer calls it once. Turns off the readers' warnings, which would be most of the output.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  spdlog::set_level(spdlog::level::off);
  return 0;
}
