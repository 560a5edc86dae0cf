// benchmark_retrieval SHARDS VOCAB BACKBONE LAYERS HIDDEN SHORT_SIDE ROUNDS
//
// Prints, for each round, the pairs/s of retrieval's scoring, for which the CNN reads each image once, and those
// of a loop that reads image and text of each pair anew, both 8 pairs at a time. Weights are random.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "comm/solo_communicator.h"
#include "core/check.h"
#include "core/log.h"
#include "evaluation/pair_scores.h"
#include "tasks/retrieval.h"

using namespace pixelbert;

namespace {

constexpr std::int64_t kPairsAtOnce = 8;  // on a CPU a tenth faster than 64

double seconds_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// One image beside kPairsAtOnce texts, each with a copy of the image.
void score_anew(const torch::Tensor& pixels, const std::vector<std::int64_t>& text, model::PixelBert& model,
                tasks::RetrievalObjective& retrieval) {
  model::Inputs inputs;
  inputs.images = pixels.repeat({kPairsAtOnce, 1, 1, 1}).contiguous(at::MemoryFormat::ChannelsLast);
  inputs.image_sizes = at::tensor({pixels.size(2), pixels.size(3)}, at::kLong).repeat({kPairsAtOnce, 1});
  inputs.image_of_row = at::arange(kPairsAtOnce);
  inputs.tokens = at::tensor(text, at::kLong).repeat({kPairsAtOnce, 1});
  inputs.token_mask = at::ones_like(inputs.tokens, at::kBool);
  retrieval.scores(model->forward(inputs));
}

}  // namespace

int main(int argc, char** argv) {
  PB_CHECK(argc == 8, "see benchmarks/retrieval.cpp for the arguments");
  log::start(0, 1);  // on stderr, beside the figures
  at::set_num_threads(1);
  const torch::NoGradGuard no_grad;
  const data::DataSets data = data::open_data({argv[1]});
  const text::WordPiece tokenizer(text::Vocabulary::read(argv[2]));
  model::PixelBertConfig config;
  config.backbone = argv[3];
  config.layers = std::stoll(argv[4]);
  config.hidden = std::stoll(argv[5]);
  config.heads = config.hidden / 64;
  config.vocabulary = tokenizer.vocabulary().size();
  const std::int64_t short_side = std::stoll(argv[6]);
  const images::ImageConfig image{.short_side = short_side, .long_side = short_side * 1333 / 800};

  model::PixelBert model(config);
  tasks::RetrievalObjective retrieval(config.hidden, 5);
  model::use_channels_last(*model);
  model->eval();
  comm::SoloCommunicator solo;
  const torch::Tensor pixels = images::load(data[0]->image(0), image);
  const std::vector<std::int64_t> text = tokenizer.encode(data[0]->text(0), 40);
  const evaluation::Pairs pairs = evaluation::all_pairs(*data[0], data[0]->texts());
  const auto scored = static_cast<double>(pairs.images.size() * pairs.texts.size());
  for (int round = 0; round < std::stoi(argv[7]); ++round) {
    const double scoring = seconds_of([&] {
      evaluation::score_pairs(
          {.data = data,
           .tokenizer = tokenizer,
           .model = model,
           .objective = retrieval,
           .image = image,
           .micro_batch = kPairsAtOnce,
           .control = solo},
          pairs, [&](const model::Encoded& encoded) { return retrieval.scores(encoded); },
          [](std::int64_t, const torch::Tensor&) {});
    });
    const double loop = seconds_of([&] { score_anew(pixels, text, model, retrieval); });
    std::printf("%.2f %.2f\n", scored / scoring, static_cast<double>(kPairsAtOnce) / loop);
    std::fflush(stdout);
  }
}
