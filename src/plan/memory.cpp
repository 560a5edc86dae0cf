#include "plan/memory.h"

#include <bit>

#include "core/check.h"

namespace pixelbert::plan {
namespace {

constexpr double kMiB = 1 << 20;

// The program with LibTorch, MPI and its threads, before any tensor; and the share of the tensors' bytes that malloc
// loses between blocks. These and the next were measured (Linux x86-64, tcmalloc of gperftools 2.10, oneDNN 3).
constexpr double kProgram = 205 * kMiB;
constexpr double kLost = 0.02;

// When image sizes vary: oneDNN compiles its operators for each size, up to 1024.
constexpr double kCompiled = 150 * kMiB, kCompiledBf16 = 370 * kMiB;
// In bfloat16 also for the lengths of texts and the numbers of rows (model/row_multiple.h), which always vary.
constexpr double kCompiledForTexts = 50 * kMiB;

// The program with LibTorch's CUDA half, the driver and NCCL; and their memory on the GPU. Not measured.
constexpr double kProgramWithCuda = 3072 * kMiB;
constexpr double kCudaContext = 1024 * kMiB;

// cuDNN's plans: 200 KiB each, on the threads of forward and backward, up to the limit that launch/env.sh sets. Not
// measured.
constexpr double kPlans = 2 * 2000 * 200 * 1024.0;

std::int64_t numbers(const std::vector<std::pair<std::string, torch::Tensor>>& parameters) {
  std::int64_t sum = 0;
  for (const auto& [name, tensor] : parameters) sum += tensor.numel();
  return sum;
}

std::int64_t numbers(const torch::nn::Module& module) {
  std::int64_t sum = 0;
  for (const torch::Tensor& tensor : module.parameters()) sum += tensor.numel();
  for (const torch::Tensor& tensor : module.buffers()) sum += tensor.numel();
  return sum;
}

}  // namespace

ModelSize size_of(const model::PixelBert& model, const objectives::Objective& objective,
                  const optim::OptimConfig& config) {
  const std::int64_t backbone = numbers(model->backbone_parameters());
  const std::int64_t rest = numbers(model->transformer_parameters()) + numbers(objective);
  const std::int64_t of_backbone = config.backbone_algorithm == optim::Algorithm::AdamW ? 2
                                   : config.backbone_momentum != 0                      ? 1
                                                                                        : 0;
  return {.weights = numbers(*model) + numbers(objective),
          .trained = backbone + rest,
          .state = of_backbone * backbone + 2 * rest};
}

double checkpoint_bytes(const ModelSize& size) {
  return kFloat * static_cast<double>(size.weights + size.state);
}

double total(const std::vector<Part>& parts) {
  double sum = 0;
  for (const Part& part : parts) sum += part.bytes;
  return sum;
}

Memory memory_of_rank(const ModelSize& size, const Activations& activations, const BatchShape& shape, const Load& load,
                      const Compute& compute) {
  const auto batch_pixels = static_cast<double>(shape.images * 3 * shape.height * shape.width);
  const auto batches = static_cast<double>(load.micro_batches + load.queue);
  Part made_ahead{fmt::format("images of {} micro-batches", load.micro_batches + load.queue), batch_pixels * batches};
  const Part normalised{"images of a micro-batch", batch_pixels * kFloat};
  const double copied = 2 * batch_pixels;  // the next micro-batch is copied meanwhile
  const std::vector<Part> tensors = {
      {"weights", kFloat * static_cast<double>(size.weights)},
      {load.gradients == 1 ? "gradients" : fmt::format("gradients, {} sums kept apart", load.gradients),
       kFloat * static_cast<double>(size.trained * load.gradients)},
      {load.ranks == 1 ? "optimizer state" : fmt::format("optimizer state, 1 of {} parts", load.ranks),
       kFloat * static_cast<double>(size.state) / static_cast<double>(load.ranks)},
      {"CNN, kept for backward", activations.cnn},
      {"Transformer, kept for backward", activations.encoder + activations.head},
      {"weights converted for operators", activations.casts},
      {"temporary", activations.passing},
  };
  Memory memory;
  if (compute.cuda) {
    // LibTorch rounds pinned memory up to a power of two.
    const auto pinned = static_cast<double>(std::bit_ceil(static_cast<std::uint64_t>(batch_pixels)));
    made_ahead.bytes = batches * pinned;
    memory.host = {{"program", kProgramWithCuda}, tensors[0], made_ahead};
    if (load.sizes_vary) memory.host.push_back({"plans of cuDNN for each size", kPlans});
    memory.device = tensors;
    memory.device.insert(memory.device.begin(),
                         {{"CUDA and NCCL", kCudaContext}, {normalised.name, normalised.bytes + copied}});
  } else {
    memory.host = tensors;
    memory.host.push_back(made_ahead);
    memory.host.push_back(normalised);
    const double lost = kLost * total(memory.host);
    if (load.sizes_vary) {
      memory.host.push_back({"operators compiled for each size", compute.bf16 ? kCompiledBf16 : kCompiled});
    } else if (compute.bf16) {
      memory.host.push_back({"operators compiled for texts", kCompiledForTexts});
    }
    memory.host.push_back({"lost between blocks", lost});
    memory.host.push_back({"program", kProgram});
  }
  return memory;
}

}  // namespace pixelbert::plan
