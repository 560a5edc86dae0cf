// Files that a run writes into its folder and reads again: metrics.jsonl ("metrics N" in an input's first line; resumed
// at step N), the watchdog's table of ranks ("ranks") and a report ("report").
#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "metrics/jsonl_sink.h"
#include "tests/fuzz/fuzz.h"
#include "watch/report.h"

namespace pixelbert::fuzz {
namespace {

void resume_metrics(std::string_view content, std::int64_t step) {
  const std::filesystem::path path = write("metrics.jsonl", content);
  accepted({path}, [&] {
    metrics::JsonlSink sink(path, step, R"({"step":3})");
    metrics::StepStats stats;
    stats.step = step + 1;
    sink.record(stats);
  });
}

template <class Read>
void read_json(std::string_view content, const Read& read) {
  const auto json = nlohmann::json::parse(content, nullptr, /*allow_exceptions=*/false);
  try {
    read(json);
  } catch (const nlohmann::json::exception&) {  // its caller names the file
  } catch (const Error& error) {
    check_message(error.what(), {});
  }
}

void read_report(std::string_view content) {
  read_json(content, [](const nlohmann::json& json) {
    const watch::Report report = watch::report_from(json);
    static_cast<void>(watch::text_of(report));
    static_cast<void>(watch::to_json(report));
  });
}

void read_ranks(std::string_view content) {
  read_json(content,
            [](const nlohmann::json& json) { static_cast<void>(watch::to_json(watch::rank_table_from(json))); });
}

}  // namespace
}  // namespace pixelbert::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = pixelbert::fuzz::text_of({data, size});
  const std::size_t end = std::min(input.find('\n'), input.size());
  const std::string kind(input.substr(0, end));
  const std::string_view content = input.substr(std::min(end + 1, size));
  if (kind == "report") pixelbert::fuzz::read_report(content);
  if (kind == "ranks") pixelbert::fuzz::read_ranks(content);
  if (kind.starts_with("metrics ")) pixelbert::fuzz::resume_metrics(content, std::atoi(kind.c_str() + 8));
  return 0;
}
