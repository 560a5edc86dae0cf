// What the fuzz targets share. A target hands the bytes it is given to a reader, as a file. The reader may accept them,
// or refuse them with an Error of one line that names the file. All else is a finding: a crash, another exception, a
// hang, too much memory (fuzz.sh sets the limits), a message that is of no use.
#pragma once

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"

namespace pixelbert::fuzz {

using Paths = std::vector<std::string>;

// Of this process. fuzz.sh lets it lie in memory and removes it.
const std::filesystem::path& folder();

// Writes folder() / name and returns its path. Not flushed to a disk.
std::filesystem::path write(const std::string& name, std::string_view content);

inline std::string_view text_of(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Several files in one input stand between lines of kSeparator. Those that are missing are empty.
constexpr std::string_view kSeparator = "\n%%%%\n";
std::vector<std::string_view> split(std::string_view input, std::size_t files);

// Ends the process with the reason: a finding.
[[noreturn]] void found(const std::string& reason);

// A finding unless `message` is one line and names one of `files` (where there are any).
void check_message(std::string_view message, const Paths& files);

// The same of each line of a message that may have several.
void check_lines(std::string_view message, const Paths& files);

// A finding when the process has computed for more than 10 s since `start`. Not by the clock on the wall, which on a
// busy machine says nothing; libFuzzer's own limit is for what waits for ever.
void check_time(std::clock_t start);

// Whether `read` accepted `files`.
template <class Read>
bool accepted(const Paths& files, Read read) {
  const std::clock_t start = std::clock();
  bool good = true;
  try {
    read();
  } catch (const Error& error) {
    check_message(error.what(), files);
    good = false;
  }
  check_time(start);
  return good;
}

}  // namespace pixelbert::fuzz
