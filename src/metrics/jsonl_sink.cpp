#include "metrics/jsonl_sink.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/activity.h"
#include "core/check.h"
#include "core/json_text.h"

namespace pixelbert::metrics {
namespace {

using json = nlohmann::ordered_json;

// The whole lines of steps up to a resumed one, at the front of the file.
struct Kept {
  std::uintmax_t bytes = 0;
  std::int64_t last_step = 0;
};

Kept lines_to_keep(const std::filesystem::path& path, std::int64_t resumed_step) {
  activity::reading(path);
  std::ifstream in(path);
  Kept keep;
  for (std::string text; std::getline(in, text) && !in.eof();) {  // eof: the last line has no end
    const json line = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!line.is_object() || !line.contains("step") || line["step"] > resumed_step) break;
    keep.bytes += text.size() + 1;
    keep.last_step = line["step"];
  }
  return keep;
}

json to_json(const StepStats& stats) {
  json line = {{"step", stats.step}, {"epoch", stats.epoch}, {"samples", stats.samples}, {"loss", stats.loss}};
  for (const auto& [term, value] : stats.term_loss) line[term + "_loss"] = value;
  for (const auto& [term, value] : stats.term_accuracy) line[term + "_accuracy"] = value;
  line["learning_rate"] = stats.learning_rate;
  line["gradient_norm"] = stats.gradient_norm;
  line["seconds"] = stats.seconds;
  for (std::size_t i = 0; i < kPhaseNames.size(); ++i) line["phase_seconds"][kPhaseNames[i]] = stats.phase_seconds[i];
  if (!stats.skipped.empty()) line["skipped"] = stats.skipped;
  return line;
}

}  // namespace

std::string jsonl_line(const StepStats& stats) {
  return json_text(to_json(stats));
}

JsonlSink::JsonlSink(std::filesystem::path path, std::int64_t resumed_step, const std::string& last_line)
    : path_(std::move(path)) {
  Kept kept;
  if (std::filesystem::is_regular_file(path_)) {
    kept = lines_to_keep(path_, resumed_step);
    std::filesystem::resize_file(path_, kept.bytes);
  }
  out_.open(path_, std::ios::app);
  if (kept.last_step == resumed_step - 1 && !last_line.empty()) out_ << last_line << '\n' << std::flush;
  PB_CHECK(out_, "cannot open {}: {}", path_.string(), std::strerror(errno));
}

void JsonlSink::record(const StepStats& stats) {
  out_ << jsonl_line(stats) << '\n' << std::flush;
  PB_CHECK(out_, "cannot write {}: {}", path_.string(), std::strerror(errno));
}

}  // namespace pixelbert::metrics
