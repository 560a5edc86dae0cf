// What tasks print and write for users.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>

#include "checkpoint/safetensors.h"

namespace pixelbert::tasks {

// Returns the five most probable of [n], each with its name and its probability.
std::string guesses(const torch::Tensor& probabilities, const std::function<std::string(std::int64_t)>& name);

// Writes a safetensors file, which has its name only once it is whole.
void write_tensors(const std::string& path, const checkpoint::NamedTensors& tensors);

}  // namespace pixelbert::tasks
