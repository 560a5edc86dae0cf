// What a check has found on one rank, and a table of all findings.
#pragma once

#include <string>
#include <vector>

namespace pixelbert::doctor {

enum class Level { Ok, Warning, Failure };

struct Finding {
  std::string check;
  Level level = Level::Ok;
  std::string found;
  std::string advice;  // what to do; empty when all is well
  bool operator==(const Finding&) const = default;
};

// As text, to send to rank 0.
std::string to_text(const std::vector<Finding>& findings);
std::vector<Finding> from_text(const std::string& text);

// Returns one line for each different finding, in the order of their first rank and check, with the ranks that have it.
// `findings` has those of each rank.
std::string table(const std::vector<std::vector<Finding>>& findings);

Level worst(const std::vector<std::vector<Finding>>& findings);

}  // namespace pixelbert::doctor
