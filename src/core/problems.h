// All that is wrong with a command line, a configuration or its surroundings, so that a user can correct it at once.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"

namespace pixelbert {

class Problems {
 public:
  void add(std::string problem) { list_.push_back(std::move(problem)); }
  void require(bool holds, std::string problem) {
    if (!holds) add(std::move(problem));
  }

  // Adds a problem if the option's value is out of range.
  void at_least(std::string_view option, std::int64_t value, std::int64_t least) {
    require(value >= least, fmt::format("--{} must be at least {}, found {}", option, least, value));
  }
  void between(std::string_view option, std::int64_t value, std::int64_t least, std::int64_t most) {
    require(value >= least && value <= most,
            fmt::format("--{} must be from {} to {}, found {}", option, least, most, value));
  }
  void countable(std::string_view option, std::int64_t value) {  // for numbers that are multiplied by others
    between(option, value, 1, std::numeric_limits<std::int32_t>::max());
  }
  void dropout(std::string_view option, double value) {  // on CPUs rounded to 1/65536 (model/layers.h), but never to 1
    constexpr double kMost = 0.9999;
    require(value >= 0 && value <= kMost, fmt::format("--{} must be from 0 to {}, found {}", option, kMost, value));
  }

  // Runs `work`; an Error that it throws becomes a problem.
  template <class Work>
  void collect(Work work) {
    try {
      work();
    } catch (const Error& error) {
      add(error.what());
    }
  }

  const std::vector<std::string>& list() const { return list_; }

  // Throws UsageError with one problem per line.
  void throw_if_any() const {
    if (!list_.empty()) throw UsageError(fmt::format("{}", fmt::join(list_, "\n")));
  }

 private:
  std::vector<std::string> list_;
};

// The most threads that an option may ask for.
constexpr std::int64_t kMostThreads = 4096;

// Throws UsageError with all that find_problems() finds.
template <class Config>
void validate(const Config& config) {
  Problems problems;
  find_problems(config, problems);
  problems.throw_if_any();
}

}  // namespace pixelbert
