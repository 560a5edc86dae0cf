#include "checkpoint/trainer_state.h"

#include <algorithm>

#include "core/check.h"
#include "core/json_text.h"

namespace pixelbert::checkpoint {
namespace {

using nlohmann::json;

void check_text(const json& trainer, const char* name, const std::string& where) {
  PB_CHECK(!trainer.contains(name) || trainer[name].is_string(), "{}: '{}' is no string", where, name);
}

// A list of strings, or an object of them.
void check_texts(const json& trainer, const char* name, bool object, const std::string& where) {
  const json& texts = json_member(trainer, name, where);
  const bool good = (object ? texts.is_object() : texts.is_array()) &&
                    std::ranges::all_of(texts, [](const json& text) { return text.is_string(); });
  PB_CHECK(good, "{}: '{}' is no {} of strings", where, name, object ? "object" : "list");
}

}  // namespace

json parse_trainer_state(const std::string& content, std::int64_t step, const std::string& where) {
  json trainer = parse_json<json>(content, where);
  const std::int64_t own = json_integer(trainer, "step", where);
  PB_CHECK(own == step, "{} is of step {}, the checkpoint of step {}", where, own, step);
  json_integer(trainer, "samples", where);
  const json& position = json_member(trainer, "position", where);
  for (const char* name : {"epoch", "step"}) json_integer(position, name, where + ": 'position'");
  check_texts(trainer, "config", true, where);
  check_texts(trainer, "data", false, where);
  if (trainer.contains("answers")) check_texts(trainer, "answers", false, where);
  for (const char* name : {"task", "code_version", "metrics_line"}) check_text(trainer, name, where);
  PB_CHECK(!trainer.contains("save_seconds") || trainer["save_seconds"].is_number(), "{}: 'save_seconds' is no number",
           where);
  const json& world_sizes = json_member(trainer, "world_sizes", where);
  PB_CHECK(world_sizes.is_array(), "{}: 'world_sizes' is no list", where);
  for (const json& entry : world_sizes) {
    const std::string place = where + ": 'world_sizes'";
    json_integer(entry, "until_step", place);
    json_integer(entry, "ranks", place, 1);
    PB_CHECK(entry.size() == 2, "{}: an entry is {}, expected until_step and ranks", place, json_text(entry));
  }
  return trainer;
}

}  // namespace pixelbert::checkpoint
