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

// A failure that ends the job: a broken file, a full disk, a lost rank. main() ends with exit code 1.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A failure that all ranks have agreed on; it is reported once.
struct SharedError : Error {
  using Error::Error;
};

// A wrong command line or configuration, found before any work: exit code 2. Every rank finds it, unless a file is
// missing on some hosts only.
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
