// Error, SharedError, UsageError, fail, PB_CHECK: the only ways to fail.
//
// A message says what was expected, what was found, where, and what to do:
//   shard train-00017.h5 is format 3, this build reads 1 to 2: make the shards again [shard_reader.cpp:41]
#pragma once

#include <spdlog/fmt/fmt.h>

#include <source_location>
#include <stdexcept>
#include <string>

namespace pixelbert {

// Something the job cannot go on from: a broken file, a full disk, a lost rank. main() ends the job with exit 1.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Met by every rank alike, which decided it together: said once.
struct SharedError : Error {
  using Error::Error;
};

// Wrong command line or configuration, found before any work: exit 2. By every rank alike, unless a file is missing on
// some host only.
struct UsageError : SharedError {
  using SharedError::SharedError;
};

// Throws Error; the source position is appended to the message.
[[noreturn]] void fail(const std::string& message, std::source_location at = std::source_location::current());

}  // namespace pixelbert

// PB_CHECK(condition, "expected {} rows, found {} in {}", ...). Holds in release builds too.
#define PB_CHECK(condition, ...)                                   \
  do {                                                             \
    if (!(condition)) ::pixelbert::fail(fmt::format(__VA_ARGS__)); \
  } while (false)
