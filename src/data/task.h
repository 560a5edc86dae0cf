// What is trained: decides what a batch contains and which objective reads it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pixelbert::data {

enum class Task { Pretrain, Vqa, Nlvr2, Retrieval };

std::string_view name_of(Task task);  // "pretrain", "vqa", "nlvr2", "retrieval"

// Throws UsageError, listing `allowed`, for any other name.
Task task_named(const std::string& name, const std::vector<Task>& allowed);

}  // namespace pixelbert::data
