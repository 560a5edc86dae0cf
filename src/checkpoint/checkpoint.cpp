#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "core/json_text.h"
#include "core/option.h"

namespace pixelbert::checkpoint {
namespace {

using nlohmann::json;

std::string text_of(const json& trainer, const char* name, const std::string& otherwise, const std::string& where) {
  if (!trainer.contains(name)) return otherwise;
  PB_CHECK(trainer[name].is_string(), "{}: '{}' is not a string", where, name);
  return trainer[name];
}

// A list of strings (Texts: a vector), or an object of them (a map).
template <class Texts>
Texts texts_of(const json& trainer, const char* name, const std::string& where) {
  constexpr bool kObject = std::is_same_v<Texts, std::map<std::string, std::string>>;
  const json& texts = json_member(trainer, name, where);
  const bool good = (kObject ? texts.is_object() : texts.is_array()) &&
                    std::ranges::all_of(texts, [](const json& text) { return text.is_string(); });
  PB_CHECK(good, "{}: '{}' is not {} of strings", where, name, kObject ? "an object" : "a list");
  return texts;
}

std::vector<WorldSize> world_sizes_of(const json& trainer, const std::string& where) {
  const json& entries = json_member(trainer, "world_sizes", where);
  PB_CHECK(entries.is_array(), "{}: 'world_sizes' is not a list", where);
  std::vector<WorldSize> world_sizes;
  for (const json& entry : entries) {
    const std::string place = where + ": 'world_sizes'";
    world_sizes.push_back(
        {.until_step = json_integer(entry, "until_step", place), .ranks = json_integer(entry, "ranks", place, 1)});
    PB_CHECK(entry.size() == 2, "{}: an entry is {}, expected until_step and ranks", place, json_text(entry));
  }
  return world_sizes;
}

// Brings the options of a training that an earlier version saved up to date. Options that it lacks because they did not
// exist get the values that describe what it did. So it resumes in its old order, and says so if it is asked for
// another one.
void bring_up_to_date(std::map<std::string, std::string>& config) {
  for (const auto& [before, now] : kRenamedOptions) {
    if (auto option = config.extract(std::string(before))) {
      option.key() = now;
      config.insert(std::move(option));
    }
  }
  config.try_emplace("data.group-shapes", "false");
  config.try_emplace("image.size-multiple", "1");
  if (config.contains("data.mask-probability")) {
    config.try_emplace("train.mlm-epochs", "0");
    config.try_emplace("data.first-mask-probability", "0.5");
  }
}

}  // namespace

json to_json(const Description& description) {
  json world_sizes = json::array();
  for (const auto& [until_step, ranks] : description.world_sizes) {
    world_sizes.push_back({{"until_step", until_step}, {"ranks", ranks}});
  }
  json trainer = {{"step", description.step},
                  {"samples", description.samples},
                  {"position", {{"epoch", description.epoch}, {"step", description.step_in_epoch}}},
                  {"config", description.config},
                  {"data", description.data},
                  {"code_version", description.code_version},
                  {"world_sizes", std::move(world_sizes)}};
  if (!description.imported.is_null()) {
    trainer["imported"] = description.imported;
    return trainer;
  }
  trainer["task"] = description.task;
  trainer["answers"] = description.answers;
  trainer["initial"] = description.initial;
  trainer["numerics"] = description.numerics;
  trainer["save_seconds"] = description.save_seconds;
  trainer["skipped_in_a_row"] = description.skipped_in_a_row;
  trainer["metrics_line"] = description.metrics_line;
  return trainer;
}

Description parse_description(const std::string& content, std::string vocabulary, std::int64_t step,
                              const std::string& where) {
  const json trainer = parse_json<json>(content, where);
  Description description;
  description.vocabulary = std::move(vocabulary);
  description.step = json_integer(trainer, "step", where);
  PB_CHECK(description.step == step, "{} is of step {}, the checkpoint of step {}", where, description.step, step);
  description.samples = json_integer(trainer, "samples", where);
  const json& position = json_member(trainer, "position", where);
  description.epoch = json_integer(position, "epoch", where + ": 'position'");
  description.step_in_epoch = json_integer(position, "step", where + ": 'position'");
  description.config = texts_of<std::map<std::string, std::string>>(trainer, "config", where);
  if (description.config.contains("data.micro-batch")) bring_up_to_date(description.config);
  description.data = texts_of<std::vector<std::string>>(trainer, "data", where);
  if (trainer.contains("answers")) {
    description.answers = texts_of<std::vector<std::string>>(trainer, "answers", where);
  }
  description.task = text_of(trainer, "task", description.task, where);
  description.code_version = text_of(trainer, "code_version", "", where);
  if (trainer.contains("numerics")) {
    description.numerics = texts_of<std::map<std::string, std::string>>(trainer, "numerics", where);
  }
  description.metrics_line = text_of(trainer, "metrics_line", "", where);
  if (trainer.contains("save_seconds")) {
    PB_CHECK(trainer["save_seconds"].is_number(), "{}: 'save_seconds' is not a number", where);
    description.save_seconds = trainer["save_seconds"];
  }
  if (trainer.contains("skipped_in_a_row")) {
    description.skipped_in_a_row = json_integer(trainer, "skipped_in_a_row", where);
  }
  description.initial = trainer.value("initial", json());
  description.imported = trainer.value("imported", json());
  description.world_sizes = world_sizes_of(trainer, where);
  return description;
}

}  // namespace pixelbert::checkpoint
