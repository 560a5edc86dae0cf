// Shared parts of the fuzz targets. A target passes its bytes to a reader as a file. The reader may accept them, or
// refuse them with an Error of one line that names the file. Anything else is a finding: a crash, another exception, a
// hang, too much memory (fuzz.sh sets the limits), a useless message.
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

// Returns a folder of this process. fuzz.sh puts it into memory and removes it.
const std::filesystem::path& folder();

// Writes folder() / name and returns its path. Not flushed to a disk.
std::filesystem::path write(const std::string& name, std::string_view content);

inline std::string_view text_of(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Lines of kSeparator separate several files in one input. Missing files are empty.
constexpr std::string_view kSeparator = "\n%%%%\n";
std::vector<std::string_view> split(std::string_view input, std::size_t files);

// Reports a finding: ends the process with the reason.
[[noreturn]] void found(const std::string& reason);

// Reports a finding unless `message` is one line and names one of `files` (if there are any).
void check_message(std::string_view message, const Paths& files);

// The same for each line of a message that may have several.
void check_lines(std::string_view message, const Paths& files);

// Reports a finding if the process has computed for more than 10 s since `start`. Wall-clock time would mean nothing on
// a busy machine; libFuzzer's own limit finds endless waits.
void check_time(std::clock_t start);

// Returns whether `read` accepted `files`.
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
