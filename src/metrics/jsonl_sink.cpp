#include "metrics/jsonl_sink.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/check.h"

namespace pixelbert::metrics {
namespace {

using json = nlohmann::ordered_json;

// How many bytes at the front of the file are whole lines of steps up to `resumed_step`.
std::uintmax_t bytes_to_keep(const std::filesystem::path& path, std::int64_t resumed_step) {
  std::ifstream in(path);
  std::uintmax_t keep = 0;
  for (std::string text; std::getline(in, text) && !in.eof();) {  // eof: the last line has no end
    const json line = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!line.is_object() || !line.contains("step") || line["step"] > resumed_step) break;
    keep += text.size() + 1;
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

JsonlSink::JsonlSink(std::filesystem::path path, std::int64_t resumed_step) : path_(std::move(path)) {
  if (std::filesystem::is_regular_file(path_)) std::filesystem::resize_file(path_, bytes_to_keep(path_, resumed_step));
  out_.open(path_, std::ios::app);
  PB_CHECK(out_, "cannot open {}: {}", path_.string(), std::strerror(errno));
}

void JsonlSink::record(const StepStats& stats) {
  out_ << to_json(stats).dump() << '\n' << std::flush;
  PB_CHECK(out_, "cannot write {}: {}", path_.string(), std::strerror(errno));
}

}  // namespace pixelbert::metrics
