#include "data/task.h"

namespace pixelbert::data {

Task task_named(const std::string& what, const std::string& name, const std::vector<Task>& allowed) {
  std::vector<std::string_view> names;
  for (const Task task : allowed) {
    if (name == name_of(task)) return task;
    names.push_back(name_of(task));
  }
  throw UsageError(fmt::format("{} must be {}, found '{}'", what, fmt::join(names, ", "), name));
}

void find_problems(const PretrainConfig& config, Problems& problems) {
  problems.require(
      config.mask_probability > 0 && config.mask_probability < 1,
      fmt::format("--data.mask-probability must be more than 0 and less than 1, found {}", config.mask_probability));
}

void find_problems(const HeadConfig& config, Problems& problems) {
  problems.dropout("finetune.head-dropout", config.dropout);
}

void find_problems(const RetrievalConfig& config, Problems& problems) {
  problems.countable("retrieval.foreign-texts", config.foreign_texts);
  problems.at_least("retrieval.hard-texts", config.hard_texts, 1);
  problems.require(config.hard_texts <= config.foreign_texts,
                   fmt::format("--retrieval.hard-texts {} is more than --retrieval.foreign-texts {}", config.hard_texts,
                               config.foreign_texts));
}

}  // namespace pixelbert::data
