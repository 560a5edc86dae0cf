// pixelbert diagnose RUN: what a job was doing when it stopped, from the files that its watchdog left.
#include <chrono>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "core/check.h"
#include "core/files.h"
#include "core/host.h"
#include "core/json_text.h"
#include "watch/report.h"

namespace pixelbert::apps {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Reads a file that may be damaged: a killed job, a full disk or another version left it.
template <class Content>
Content read(const fs::path& path, Content from(const json&)) {
  std::string reason;
  const std::string text = read_file(path);
  try {
    return from(parse_json<json>(text, "the file"));
  } catch (const json::exception& error) {
    reason = json_reason(error.what());
  } catch (const Error& error) {
    reason = error.what();
  }
  fail(
      fmt::format("{} is damaged, or of another version: {}; remove it to see the other files", path.string(), reason));
}

std::string ago(double unix_time) {
  return fmt::format("{:.0f} s ago", pixelbert::unix_time() - unix_time);
}

void print_stacks(const watch::RankStatus& status) {
  for (const watch::Stack& stack : status.stacks) {
    std::cout << fmt::format("    thread {} ({})\n", stack.thread_id, stack.name);
    if (stack.frames.empty()) std::cout << "      did not answer\n";
    for (const std::string& frame : stack.frames) std::cout << "      " << frame << "\n";
  }
}

void print_table(const std::vector<watch::RankStatus>& ranks) {
  for (const watch::RankStatus& status : ranks) {
    std::cout << fmt::format("  rank {:<3} {:<12} {:<8} step {:<7} {:<11} {:>5.0f} s  {}\n", status.rank, status.host,
                             name_of(status.state), status.main.step, name_of(status.main.phase),
                             status.seconds_since_progress, status.main.doing);
  }
}

void print(const watch::Report& report) {
  std::cout << watch::text_of(report) << "\n\n";
  print_table(report.ranks);
  for (const watch::RankStatus& status : report.ranks) {
    if (status.stacks.empty()) continue;
    std::cout << fmt::format("\n  stacks of rank {}\n", status.rank);
    print_stacks(status);
  }
}

// Returns the reports of this job, by file: rank 0's, or those of ranks that had lost rank 0.
std::map<fs::path, watch::Report> reports_in(const fs::path& folder, double since) {
  std::map<fs::path, watch::Report> reports;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("report") || entry.path().extension() != ".json") continue;
    watch::Report report = read(entry.path(), watch::report_from);
    if (report.unix_time >= since) reports.emplace(entry.path(), std::move(report));
  }
  return reports;
}

}  // namespace

int diagnose(const Arguments& arguments) {
  if (arguments.size() != 1 || arguments[0].starts_with("--")) {
    const bool help = arguments.size() == 1 && arguments[0] == "--help";
    const char* usage = "pixelbert diagnose RUN: prints what the last job of a run folder was doing when it stopped";
    if (!help) throw UsageError(usage);
    std::cout << usage << "\n";
    return 0;
  }
  const fs::path folder = fs::path(arguments[0]) / "watchdog";
  PB_CHECK(fs::exists(folder / "ranks.json"),
           "expected {}, which the watchdog keeps while a job runs, found none: give the --run.dir of a job with "
           "--watchdog.seconds above 0",
           (folder / "ranks.json").string());
  const watch::RankTable last = read(folder / "ranks.json", watch::rank_table_from);
  const std::map<fs::path, watch::Report> reports = reports_in(folder, last.started);
  for (const auto& [path, report] : reports) {
    std::cout << fmt::format("{} ({})\n", path.string(), ago(report.unix_time));
    print(report);
  }
  if (!reports.empty()) return 0;

  const std::string when = ago(last.unix_time);
  std::cout << (last.ended
                    ? fmt::format("the job ended by itself {}\n", when)
                    : fmt::format("no report: the job runs, or rank 0 was killed before it could write one; last "
                                  "update {}\n",
                                  when));
  print_table(last.ranks);
  return 0;
}

}  // namespace pixelbert::apps
