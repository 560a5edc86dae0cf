#include "tasks/task.h"

#include "core/check.h"

namespace pixelbert::tasks {

std::string Task::command() const {
  return fmt::format("finetune --task {}", name());
}

void Task::check_data(const data::DataSets& data) const {
  for (const auto& set : data) {
    if (set->manifest().task == shards()) continue;
    throw UsageError(
        fmt::format("--data.shards {} holds {} shards, {} needs {} ones: 'pixelbert shard {}' makes them, or "
                    "'pixelbert shard scenes --task {}'",
                    set->folder().string(), set->manifest().task, name(), shards(),
                    shards() == "pairs" ? "coco" : shards(), shards()));
  }
}

}  // namespace pixelbert::tasks
