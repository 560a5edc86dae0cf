// pixelbert predict: one picture and one text; fills [MASK], scores the match.
#include <ATen/ATen.h>

#include <algorithm>
#include <iostream>

#include "apps/commands.h"
#include "apps/job.h"
#include "apps/restore.h"
#include "comm/make_communicator.h"
#include "checkpoint/safetensors.h"
#include "core/check.h"
#include "core/files.h"
#include "images/image_ops.h"
#include "train/autocast.h"

namespace pixelbert::apps {
namespace {

struct PredictConfig {
  std::string image;
  std::string text;
  std::string dump;
};

template <class Field>
void describe(PredictConfig& config, Field&& field) {
  field("image", config.image, "JPEG or PNG file");
  field("text", config.text, "a caption, perhaps with [MASK] in place of words");
  field("dump", config.dump, "safetensors file for what went in and what came out");
}

constexpr std::int64_t kGuesses = 5;

// As the backbone sees it: [1, 3, H, W].
torch::Tensor read_picture(const std::string& path, const images::ImageConfig& config) {
  const std::string encoded = read_file(path);
  try {
    const torch::Tensor pixels =
        images::decode({reinterpret_cast<const std::uint8_t*>(encoded.data()), encoded.size()});
    const torch::Tensor small = images::resize(pixels, images::resized({pixels.size(0), pixels.size(1)}, config));
    const torch::Tensor picture = at::empty({1, 3, small.size(0), small.size(1)},
                                            at::TensorOptions().memory_format(at::MemoryFormat::ChannelsLast));
    images::normalise_into(small, picture[0]);
    return picture;
  } catch (const images::BadImage& error) {
    fail(fmt::format("--image {}: {}", path, error.what()));
  }
}

model::Inputs make_inputs(const torch::Tensor& picture, const std::vector<std::int64_t>& ids, torch::Device device) {
  model::Inputs inputs;
  inputs.images = picture.to(device);
  inputs.image_sizes = at::tensor({picture.size(2), picture.size(3)}, at::kLong).view({1, 2});
  inputs.image_of_pair = at::zeros({1}, at::kLong);
  inputs.tokens = at::tensor(ids, at::kLong).unsqueeze(0).to(device);
  inputs.token_mask = at::ones_like(inputs.tokens, at::kBool);
  return inputs;
}

void print_guesses(const torch::Tensor& logits, std::int64_t position, const text::Vocabulary& vocabulary) {
  const auto [probability, id] = logits.softmax(-1).topk(std::min(kGuesses, vocabulary.size()));
  std::cout << "[MASK] at " << position << ":";
  for (std::int64_t i = 0; i < id.numel(); ++i) {
    std::cout << fmt::format("{} {} {:.3f}", i ? "," : "", vocabulary.token(id[i].item<std::int64_t>()),
                             probability[i].item<double>());
  }
  std::cout << "\n";
}

}  // namespace

int predict(const Arguments& arguments, const comm::MpiSession& session) {
  PredictConfig config;
  RestoreConfig restoring;
  config::CommandLine line("predict", "pixelbert predict: fill [MASK] and score the match of a picture and a text");
  line.add(config);
  line.add(restoring);
  if (session.world_size() > 1) throw UsageError("pixelbert predict runs alone, without mpirun");
  auto control = comm::make_control_communicator(session);
  const auto saved = read_checkpoint(arguments, line, *control);
  if (!line.parse(arguments)) return 0;
  if (!saved) throw UsageError("--checkpoint is missing: a step-... folder or a run folder");
  if (config.image.empty()) throw UsageError("--image is missing: a JPEG or PNG file");
  if (config.text.empty()) throw UsageError("--text is missing: a caption, perhaps with [MASK] in it");
  config::validate(restoring.compute);

  const text::WordPiece tokenizer = restore_tokenizer(restoring, *saved);
  const text::Vocabulary& vocabulary = tokenizer.vocabulary();
  Ranks ranks(restoring.compute, session, std::move(control));
  Restored restored = restore(restoring, *saved, ranks.device(), ranks.control(), ranks.tensors());

  const torch::NoGradGuard no_grad;
  const torch::Tensor picture = read_picture(config.image, restoring.image);
  std::vector<std::int64_t> ids = tokenizer.encode(config.text, restoring.text.max_tokens);
  const model::Inputs inputs = make_inputs(picture, ids, ranks.device());
  const train::Autocast autocast(ranks.device().type(), restoring.compute.precision == "bf16");
  const model::Encoded encoded = restored.model->forward(inputs);
  const torch::Tensor every_token = at::arange(inputs.tokens.numel(), inputs.tokens.options());
  const torch::Tensor mlm_logits =
      restored.objective->mlm_logits(restored.model, encoded, every_token).to(at::kCPU, at::kFloat);
  const torch::Tensor itm_logit = restored.objective->itm_logits(encoded).to(at::kCPU, at::kFloat);

  std::cout << fmt::format("match {:.4f}\n", itm_logit.sigmoid().item<double>());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] != vocabulary.mask()) continue;
    const torch::Tensor logits = mlm_logits[static_cast<std::int64_t>(i)];
    print_guesses(logits, static_cast<std::int64_t>(i), vocabulary);
    ids[i] = logits.argmax().item<std::int64_t>();
  }
  std::cout << tokenizer.decode(ids) << std::endl;
  if (!config.dump.empty()) {
    checkpoint::write_safetensors(config.dump, {{"image", picture[0]},
                                                {"input_ids", inputs.tokens[0].cpu()},
                                                {"hidden", encoded.hidden[0].to(at::kCPU, at::kFloat)},
                                                {"mlm_logits", mlm_logits},
                                                {"itm_logit", itm_logit}});
  }
  return 0;
}

}  // namespace pixelbert::apps
