#include "plan/calibration.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/check.h"
#include "core/files.h"
#include "core/json_text.h"

namespace pixelbert::plan {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t kWarmUp = 2;   // steps in which memory and threads are new
constexpr std::size_t kEnough = 10;  // steps to measure

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

Calibration measure(const std::filesystem::path& run, std::int64_t since, const MeasuredWork& work) {
  const std::filesystem::path path = run / "metrics.jsonl";
  std::ifstream in(path);
  PB_CHECK(in, "--calibration: cannot open {}: expected a run folder", path.string());
  std::vector<double> computing, updating, saving;
  std::size_t steps = 0;
  std::int64_t number = 0;
  try {
    for (std::string line; std::getline(in, line);) {
      ++number;
      const json stats = json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!stats.is_object() || !stats.contains("step")) continue;  // a note, or what a power failure left
      if (stats.at("step").get<std::int64_t>() <= since) continue;
      const json& phases = stats.at("phase_seconds");
      const auto seconds = [&](const char* phase) { return phases.at(phase).get<double>(); };
      if (stats.contains("checkpoint_seconds")) {
        for (const json& save : stats.at("checkpoint_seconds")) saving.push_back(save.get<double>());
      } else if (seconds("checkpoint") >
                 1e-3) {  // until 0.1 a step ended with its save; others spend microseconds there
        saving.push_back(seconds("checkpoint"));
      }
      if (steps++ < kWarmUp) continue;
      computing.push_back(seconds("data") + seconds("forward") + seconds("backward") + seconds("other"));
      updating.push_back(seconds("reduce_wait") + seconds("optimizer"));
    }
  } catch (const json::exception& error) {
    fail(fmt::format("--calibration: line {} of {}: {}", number, path.string(), error.what()));
  }
  PB_CHECK(computing.size() >= kEnough, "--calibration: expected at least {} steps in {}, found {}", kWarmUp + kEnough,
           path.string(), steps);
  PB_CHECK(!saving.empty(), "--calibration: expected a step in which a save ended in {}", path.string());
  return {.flops_per_second = work.flops / median(computing),
          .weights_per_second = work.weights / median(updating),
          .bytes_per_second = work.checkpoint_bytes / median(saving),
          .origin = fmt::format("{} steps of {}", steps, run.string())};
}

Calibration assumed(const Compute& compute, std::int64_t cores) {
  if (compute.cuda) {
    return {.flops_per_second = compute.bf16 ? 150e12 : 30e12,
            .weights_per_second = 5e9,
            .bytes_per_second = 500e6,
            .origin = "assumed for an H100-class GPU"};
  }
  return {.flops_per_second = 25e9 * static_cast<double>(cores),
          .weights_per_second = 200e6,
          .bytes_per_second = 300e6,
          .origin = fmt::format("assumed for {} cores per rank", cores)};
}

Calibration read_calibration(const std::filesystem::path& path) {
  try {
    const json root = json::parse(read_file(path));
    return {.flops_per_second = root.at("flops_per_second"),
            .weights_per_second = root.at("weights_per_second"),
            .bytes_per_second = root.at("bytes_per_second"),
            .origin = root.at("origin")};
  } catch (const json::exception& error) {
    fail(fmt::format("--calibration: {} is not a calibration: {}", path.string(), error.what()));
  }
}

void write_calibration(const std::filesystem::path& path, const Calibration& calibration) {
  const json root = {{"flops_per_second", calibration.flops_per_second},
                     {"weights_per_second", calibration.weights_per_second},
                     {"bytes_per_second", calibration.bytes_per_second},
                     {"origin", calibration.origin}};
  write_file(path, json_text(root, 2) + "\n");
}

}  // namespace pixelbert::plan
