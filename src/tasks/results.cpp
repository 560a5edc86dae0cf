#include "tasks/results.h"

#include <algorithm>
#include <filesystem>

#include "core/check.h"
#include "core/files.h"

namespace pixelbert::tasks {

std::string guesses(const torch::Tensor& probabilities, const std::function<std::string(std::int64_t)>& name) {
  constexpr std::int64_t kGuesses = 5;
  const auto [probability, id] = probabilities.topk(std::min(kGuesses, probabilities.numel()));
  std::string text;
  for (std::int64_t i = 0; i < id.numel(); ++i) {
    text += fmt::format("{}{} {:.3f}", i ? ", " : "", name(id[i].item<std::int64_t>()), probability[i].item<double>());
  }
  return text;
}

void write_tensors(const std::string& path, const checkpoint::NamedTensors& tensors) {
  write_aside(path, [&](const std::filesystem::path& aside) { checkpoint::write_safetensors(aside, tensors); });
}

}  // namespace pixelbert::tasks
