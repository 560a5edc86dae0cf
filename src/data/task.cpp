#include "data/task.h"

#include "core/check.h"

namespace pixelbert::data {

std::string_view name_of(Task task) {
  switch (task) {
    case Task::Pretrain:
      return "pretrain";
    case Task::Vqa:
      return "vqa";
    case Task::Nlvr2:
      return "nlvr2";
    case Task::Retrieval:
      return "retrieval";
  }
  fail("a task without a name");
}

Task task_named(const std::string& name, const std::vector<Task>& allowed) {
  std::vector<std::string_view> names;
  for (const Task task : allowed) {
    if (name == name_of(task)) return task;
    names.push_back(name_of(task));
  }
  throw UsageError(fmt::format("--task must be {}, found '{}'", fmt::join(names, ", "), name));
}

}  // namespace pixelbert::data
