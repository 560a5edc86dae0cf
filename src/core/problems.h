// What is wrong with a command line, a configuration or its surroundings: all of it, so that a user corrects it in one
// go.
#pragma once

#include <string>
#include <vector>

#include "core/check.h"

namespace pixelbert {

class Problems {
 public:
  void add(std::string problem) { list_.push_back(std::move(problem)); }
  void require(bool holds, std::string problem) {
    if (!holds) add(std::move(problem));
  }

  // Runs `work`; an Error that ends it is one more problem.
  template <class Work>
  void collect(Work work) {
    try {
      work();
    } catch (const Error& error) {
      add(error.what());
    }
  }

  const std::vector<std::string>& list() const { return list_; }

  // UsageError with one problem a line.
  void throw_if_any() const {
    if (!list_.empty()) throw UsageError(fmt::format("{}", fmt::join(list_, "\n")));
  }

 private:
  std::vector<std::string> list_;
};

}  // namespace pixelbert
