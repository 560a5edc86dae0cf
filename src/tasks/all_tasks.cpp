#include "core/check.h"
#include "tasks/nlvr2.h"
#include "tasks/pretrain.h"
#include "tasks/retrieval.h"
#include "tasks/vqa.h"

namespace pixelbert::tasks {

Tasks finetuning_tasks() {
  return {
      std::make_shared<VqaTask>(),
      std::make_shared<Nlvr2Task>(),
      std::make_shared<RetrievalTask>(),
  };
}

Tasks all_tasks() {
  Tasks tasks = finetuning_tasks();
  tasks.insert(tasks.begin(), std::make_shared<PretrainTask>());
  return tasks;
}

std::string finetuning_names(std::string_view word) {
  const Tasks tasks = finetuning_tasks();
  std::string names(tasks[0]->name());
  for (std::size_t i = 1; i < tasks.size(); ++i) {
    names += i + 1 < tasks.size() ? ", " : fmt::format(" {} ", word);
    names += tasks[i]->name();
  }
  return names;
}

std::shared_ptr<Task> task_named(const std::string& what, const std::string& name, const Tasks& tasks) {
  std::vector<std::string_view> names;
  for (const auto& task : tasks) {
    if (name == task->name()) return task;
    names.push_back(task->name());
  }
  throw UsageError(fmt::format("{} must be {}, found '{}'", what, fmt::join(names, ", "), name));
}

}  // namespace pixelbert::tasks
