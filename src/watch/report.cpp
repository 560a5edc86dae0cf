#include "watch/report.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "core/check.h"
#include "core/json_text.h"
#include "core/rank_list.h"

namespace pixelbert::watch {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// A rank reports at least once a second and several times within the limit. One that has sent nothing for 5 s, or for
// half of a shorter limit, counts as silent.
bool speaks(const RankStatus& status, const Report& report) {
  return status.state == State::Running && status.silent_seconds < std::min(5.0, report.limit_seconds / 2);
}

std::string whole_seconds(double seconds) {
  return fmt::format("{:.0f} s", seconds);
}

std::string rank_name(const RankStatus& status) {
  if (status.host.empty()) return fmt::format("rank {}, which has not reached rank 0,", status.rank);
  return fmt::format("rank {} on host {} (pid {})", status.rank, status.host, status.pid);
}

std::string where(const activity::Activity& main) {
  return main.step > 0 ? fmt::format("{} of step {}, {}", name_of(main.phase), main.step, main.doing)
                       : fmt::format("{}, {}", name_of(main.phase), main.doing);
}

std::string died_where(const activity::Activity& main) {
  if (main.doing.empty()) return "while starting";
  return main.phase == activity::Phase::Start ? "while starting, " + main.doing : "in " + where(main);
}

// In some phases the main thread waits for others of its process, a loader or the saver; show what these do.
std::string helpers_of(const RankStatus& status) {
  std::vector<std::string> helpers;
  for (const activity::Activity& other : status.others) {
    const bool saver = other.phase == activity::Phase::Checkpoint;
    if (status.main.phase != (saver ? activity::Phase::Checkpoint : activity::Phase::Data)) continue;
    helpers.push_back(fmt::format("{}: {}, for {}", other.thread, other.doing, whole_seconds(other.seconds)));
  }
  return helpers.empty() ? "" : fmt::format(" ({})", fmt::join(helpers, "; "));
}

std::string fate_of(const RankStatus& status, const Report& report) {
  const std::string place = where(status.main) + helpers_of(status), silent = whole_seconds(status.silent_seconds);
  if (status.state == State::Failed) return fmt::format("failed in {}: {}", place, status.error);
  if (status.state == State::Gone) {
    return fmt::format("died {}: its connection closed unexpectedly", died_where(status.main) + helpers_of(status));
  }
  if (status.state == State::Stopped)
    return fmt::format("has been stopped (SIGSTOP, or a debugger) for {} in {}", silent, place);
  if (!speaks(status, report)) {
    return fmt::format(
        "has sent nothing for {}, last in {}: its host is down, the network to it is cut, or its "
        "process is stopped",
        silent, place);
  }
  const char* verb = report.reason == Reason::Stalled ? "has spent" : "had spent";
  return fmt::format("{} {} in {}", verb, whole_seconds(status.seconds_since_progress), place);
}

std::pair<std::int64_t, activity::Wait> place_of(const RankStatus& status) {
  return {status.main.step, status.main.wait};
}

std::vector<const RankStatus*> those(const Report& report, const auto& which) {
  std::vector<const RankStatus*> found;
  for (const RankStatus& status : report.ranks) {
    if (which(status)) found.push_back(&status);
  }
  return found;
}

std::string ranks_text(const std::vector<const RankStatus*>& ranks) {
  std::vector<int> numbers;
  for (const RankStatus* status : ranks) numbers.push_back(status->rank);
  return rank_list(numbers);
}

std::vector<const RankStatus*> culprits_of(const Report& report, std::string& why) {
  for (const State state : {State::Failed, State::Gone, State::Stopped}) {
    auto found = those(report, [&](const RankStatus& status) { return status.state == state; });
    if (!found.empty()) return found;
  }
  auto silent = those(report, [&](const RankStatus& status) { return !speaks(status, report); });
  if (!silent.empty()) return silent;

  // All ranks report. A rank that does not wait holds up the others; among several, those that are furthest behind.
  auto busy = those(report, [](const RankStatus& status) { return status.main.wait == activity::Wait::None; });
  if (!busy.empty()) {
    std::int64_t behind = busy[0]->main.step;
    for (const RankStatus* status : busy) behind = std::min(behind, status->main.step);
    std::erase_if(busy, [&](const RankStatus* status) { return status->main.step != behind; });
    return busy;
  }

  // All ranks wait. They reach the same places in the same order, so one that waits further on has skipped a place.
  auto place = place_of(report.ranks[0]), first = place;
  for (const RankStatus& status : report.ranks) {
    place = std::max(place, place_of(status));
    first = std::min(first, place_of(status));
  }
  if (first == place) {
    why =
        "all ranks wait at the same place, so none of them is behind: the network between them or the library that "
        "moves the data is stuck";
    return those(report, [](const RankStatus&) { return true; });
  }
  const auto waiting = those(report, [&](const RankStatus& status) { return place_of(status) == first; });
  why = fmt::format("it has gone past a collective that {} still waits in ({}): it skipped that one",
                    ranks_text(waiting), where(waiting[0]->main));
  return those(report, [&](const RankStatus& status) { return place_of(status) == place; });
}

ordered_json to_json(const activity::Activity& activity) {
  return {{"thread", activity.thread}, {"step", activity.step}, {"phase", name_of(activity.phase)},
          {"doing", activity.doing},   {"wait", activity.wait}, {"seconds", activity.seconds}};
}

// nlohmann silently converts 6e28 to an integer.
int whole_of(const json& json, const char* name, int most = std::numeric_limits<int>::max()) {
  return static_cast<int>(json_integer(json, name, "the report", 0, most));
}

template <class Enum>
Enum value_at(const json& json, const char* key) {
  const auto& name = json.at(key).get_ref<const std::string&>();
  const std::optional<Enum> value = value_of<Enum>(name);
  PB_CHECK(value, "the report: '{}' is '{}', expected one of {}", key, name, fmt::join(names(Enum()), ", "));
  return *value;
}

activity::Activity activity_from(const json& json) {
  return {.thread = json.at("thread"),
          .step = json_integer(json, "step", "the report"),
          .phase = value_at<activity::Phase>(json, "phase"),
          .doing = json.at("doing"),
          .wait = activity::Wait{whole_of(json, "wait", static_cast<int>(activity::Wait::Save))},
          .seconds = json.at("seconds")};
}

}  // namespace

Verdict verdict_of(const Report& report) {
  PB_CHECK(!report.ranks.empty(), "expected a report of at least one rank, found none");
  Verdict verdict;
  std::string why;
  const std::vector<const RankStatus*> culprits = culprits_of(report, why);
  constexpr std::size_t kMostNamed = 8;
  std::vector<std::string> sentences;
  for (const RankStatus* status : culprits) {
    verdict.culprits.push_back(status->rank);
    if (sentences.size() < kMostNamed) {
      sentences.push_back(fmt::format("{} {}", rank_name(*status), fate_of(*status, report)));
    }
  }
  if (culprits.size() > kMostNamed) sentences.push_back(fmt::format("and {} more", culprits.size() - kMostNamed));
  verdict.summary = fmt::format("{}", fmt::join(sentences, "; "));
  if (!why.empty()) verdict.summary += "; " + why;

  std::map<std::string, std::vector<const RankStatus*>> waiting;
  for (const RankStatus& status : report.ranks) {
    const bool blamed = std::ranges::find(verdict.culprits, status.rank) != verdict.culprits.end();
    if (!blamed && status.main.wait != activity::Wait::None) waiting[where(status.main)].push_back(&status);
  }
  for (const auto& [place, ranks] : waiting) {
    verdict.waits.push_back(fmt::format("{} {} for {}: {}", ranks_text(ranks), ranks.size() == 1 ? "waits" : "wait",
                                        ranks_text(culprits), place));
  }
  return verdict;
}

std::string text_of(const Report& report) {
  const Verdict verdict = verdict_of(report);
  std::string text;
  if (report.reason == Reason::Stalled) {
    text = fmt::format("nothing has moved for {} (watchdog.seconds): ", whole_seconds(report.limit_seconds));
  }
  text += verdict.summary;
  for (const std::string& wait : verdict.waits) text += "\n  " + wait;
  return text;
}

ordered_json to_json(const RankStatus& status) {
  ordered_json others = ordered_json::array(), stacks = ordered_json::array();
  for (const activity::Activity& other : status.others) others.push_back(to_json(other));
  for (const Stack& stack : status.stacks) {
    stacks.push_back({{"thread_id", stack.thread_id}, {"name", stack.name}, {"frames", stack.frames}});
  }
  return {{"rank", status.rank},
          {"host", status.host},
          {"pid", status.pid},
          {"state", name_of(status.state)},
          {"step", status.main.step},
          {"phase", name_of(status.main.phase)},
          {"doing", status.main.doing},
          {"seconds_since_progress", status.seconds_since_progress},
          {"silent_seconds", status.silent_seconds},
          {"error", status.error},
          {"main", to_json(status.main)},
          {"others", others},
          {"stacks", stacks}};
}

RankStatus rank_status_from(const json& json) {
  RankStatus status{.rank = whole_of(json, "rank"),
                    .host = json.at("host"),
                    .pid = whole_of(json, "pid"),
                    .main = activity_from(json.at("main")),
                    .seconds_since_progress = json.at("seconds_since_progress"),
                    .silent_seconds = json.at("silent_seconds"),
                    .state = value_at<State>(json, "state"),
                    .error = json.at("error")};
  for (const auto& other : json.at("others")) status.others.push_back(activity_from(other));
  for (const auto& stack : json.at("stacks")) {
    status.stacks.push_back({whole_of(stack, "thread_id"), stack.at("name"), stack.at("frames")});
  }
  return status;
}

ordered_json to_json(const RankTable& table) {
  ordered_json ranks = ordered_json::array();
  for (const RankStatus& status : table.ranks) ranks.push_back(to_json(status));
  return {{"started", table.started}, {"unix_time", table.unix_time}, {"ended", table.ended}, {"ranks", ranks}};
}

RankTable rank_table_from(const json& json) {
  RankTable table{.started = json.at("started"), .unix_time = json.at("unix_time"), .ended = json.at("ended")};
  for (const auto& rank : json.at("ranks")) table.ranks.push_back(rank_status_from(rank));
  return table;
}

ordered_json to_json(const Report& report) {
  const Verdict verdict = verdict_of(report);
  ordered_json ranks = ordered_json::array();
  for (const RankStatus& status : report.ranks) ranks.push_back(to_json(status));
  return {{"reason", name_of(report.reason)},
          {"unix_time", report.unix_time},
          {"limit_seconds", report.limit_seconds},
          {"reporter", report.reporter},
          {"culprits", verdict.culprits},
          {"summary", verdict.summary},
          {"waits", verdict.waits},
          {"ranks", ranks}};
}

Report report_from(const json& json) {
  Report report{.reason = value_at<Reason>(json, "reason"),
                .unix_time = json.at("unix_time"),
                .limit_seconds = json.at("limit_seconds"),
                .reporter = whole_of(json, "reporter")};
  for (const auto& rank : json.at("ranks")) report.ranks.push_back(rank_status_from(rank));
  return report;
}

double seconds_since_progress(const std::vector<activity::Activity>& all) {
  if (all.empty()) return 0;
  double seconds = all[0].seconds;
  if (all[0].phase != activity::Phase::Data) return seconds;
  for (const activity::Activity& other : all) seconds = std::min(seconds, other.seconds);
  return seconds;
}

}  // namespace pixelbert::watch
