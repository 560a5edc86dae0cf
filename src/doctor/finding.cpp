#include "doctor/finding.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/json_text.h"
#include "core/rank_list.h"

namespace pixelbert::doctor {
namespace {

using json = nlohmann::json;

const char* name_of(Level level) {
  return level == Level::Ok ? "ok" : level == Level::Warning ? "warning" : "FAILURE";
}

struct Line {
  Finding finding;
  std::vector<int> ranks;
};

std::vector<Line> merged(const std::vector<std::vector<Finding>>& findings) {
  std::vector<Line> lines;
  for (std::size_t rank = 0; rank < findings.size(); ++rank) {
    for (const Finding& finding : findings[rank]) {
      auto line = std::ranges::find(lines, finding, &Line::finding);
      if (line == lines.end()) {
        // Put it beside the other findings of its check.
        const auto same = std::find_if(lines.rbegin(), lines.rend(),
                                       [&](const Line& other) { return other.finding.check == finding.check; });
        line = lines.insert(same == lines.rend() ? lines.end() : same.base(), {finding, {}});
      }
      if (line->ranks.empty() || line->ranks.back() != static_cast<int>(rank)) {
        line->ranks.push_back(static_cast<int>(rank));
      }
    }
  }
  return lines;
}

}  // namespace

std::string to_text(const std::vector<Finding>& findings) {
  json list = json::array();
  for (const Finding& one : findings) {
    list.push_back({one.check, static_cast<int>(one.level), one.found, one.advice});
  }
  return json_text(list);
}

std::vector<Finding> from_text(const std::string& text) {
  std::vector<Finding> findings;
  for (const json& one : json::parse(text)) {
    findings.push_back({one[0].get<std::string>(), static_cast<Level>(one[1].get<int>()), one[2].get<std::string>(),
                        one[3].get<std::string>()});
  }
  return findings;
}

std::string table(const std::vector<std::vector<Finding>>& findings) {
  const std::vector<Line> lines = merged(findings);
  std::vector<std::string> ranks;
  std::size_t check_width = 0, ranks_width = 0;
  for (const Line& line : lines) {
    const bool all = line.ranks.size() == findings.size() && findings.size() > 1;
    ranks.push_back(all ? "all ranks" : rank_list(line.ranks));
    check_width = std::max(check_width, line.finding.check.size());
    ranks_width = std::max(ranks_width, ranks.back().size());
  }
  std::string text;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Finding& finding = lines[i].finding;
    text += fmt::format("{:<8} {:<{}}  {:<{}}  {}{}{}\n", name_of(finding.level), finding.check, check_width, ranks[i],
                        ranks_width, finding.found, finding.advice.empty() ? "" : ": ", finding.advice);
  }
  return text;
}

Level worst(const std::vector<std::vector<Finding>>& findings) {
  Level level = Level::Ok;
  for (const auto& of_rank : findings) {
    for (const Finding& finding : of_rank) level = std::max(level, finding.level);
  }
  return level;
}

}  // namespace pixelbert::doctor
