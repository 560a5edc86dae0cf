// benchmark_tree BACKBONE LAYERS HIDDEN SIDE MICRO_BATCHES ROUNDS
//
// Prints, for each round, the processor's seconds for forward and backward of a rank's micro-batches (two pairs each)
// with gradients added along the fixed tree by GradientReducer, and for the same where autograd adds them one after
// another. The two change places from round to round. A first round is a warm-up and not printed. Weights are random.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstdio>
#include <ctime>
#include <string>

#include "comm/gradient_reducer.h"
#include "comm/solo_communicator.h"
#include "core/check.h"
#include "core/log.h"
#include "model/pixel_bert.h"

using namespace pixelbert;

namespace {

constexpr std::int64_t kPairs = 2, kTokens = 16;

void micro_batch(model::PixelBert& model, std::int64_t side) {
  const model::Encoded encoded = model->forward({
      .images = at::ones({kPairs, 3, side, side}).contiguous(at::MemoryFormat::ChannelsLast),
      .image_sizes = at::full({kPairs, 2}, side, at::kLong),
      .image_of_row = at::arange(kPairs, at::kLong),
      .tokens = at::arange(kPairs * kTokens, at::kLong).view({kPairs, kTokens}),
      .token_mask = at::ones({kPairs, kTokens}, at::kBool),
      .pixel_keys = {},
  });
  (at::linear(encoded.text(), encoded.decoder).mean() + encoded.hidden.pow(2).mean()).backward();
}

// Of the one thread's own time: what else the machine does counts less.
template <class F>
double seconds_of(F run) {
  const std::clock_t start = std::clock();
  run();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

}  // namespace

int main(int argc, char** argv) {
  PB_CHECK(argc == 7, "see benchmarks/tree.cpp for the arguments");
  log::start(0, 1);  // on stderr, beside the figures
  at::set_num_threads(1);
  model::PixelBertConfig config;
  config.backbone = argv[1];
  config.layers = std::stoll(argv[2]);
  config.hidden = std::stoll(argv[3]);
  config.heads = config.hidden / 64;
  const std::int64_t side = std::stoll(argv[4]), micro_batches = std::stoll(argv[5]);

  model::PixelBert along_tree(config), in_turn(config);
  for (model::PixelBert& model : {std::ref(along_tree), std::ref(in_turn)}) {
    model::use_channels_last(*model);
    model->train();
  }
  comm::SoloCommunicator solo;
  comm::GradientReducer reducer(along_tree->parameters(), solo, comm::ReducerConfig().bucket_bytes());
  double tree = 0, fold = 0;
  const auto add_along_tree = [&] {
    reducer.begin_step(comm::SumTree({0, micro_batches}));
    for (std::int64_t i = 0; i < micro_batches; ++i) {
      reducer.begin_micro_batch(i);
      micro_batch(along_tree, side);
    }
    reducer.finish();
  };
  const auto add_in_turn = [&] {
    in_turn->zero_grad(/*set_to_none=*/false);  // gradients stay in their buckets in DistributedDataParallel, too
    for (std::int64_t i = 0; i < micro_batches; ++i) micro_batch(in_turn, side);
  };
  for (int round = 0; round <= std::stoi(argv[6]); ++round) {
    if (round % 2 == 0) tree = seconds_of(add_along_tree);
    fold = seconds_of(add_in_turn);
    if (round % 2 == 1) tree = seconds_of(add_along_tree);
    if (round > 0) std::printf("%.6f %.6f\n", tree, fold);
  }
}
