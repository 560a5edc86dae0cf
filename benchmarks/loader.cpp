// benchmark_loader VOCABULARY TEXTS_PER_IMAGE SHORT_SIDE LONG_SIDE PAIRS SHARDS...
//
// Prints the pairs per second of one loader thread, from its start to the last of PAIRS (0: an epoch), read from a warm
// page cache. Batches of 16 pairs are made as in pre-training and dropped.
#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/check.h"
#include "data/batch_loader.h"
#include "data/data_sets.h"
#include "tasks/pretrain.h"

using namespace pixelbert;

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  PB_CHECK(arguments.size() >= 6, "see benchmarks/loader.cpp for the arguments");
  at::set_num_threads(1);

  const data::DataSets data = data::open_data({arguments.begin() + 5, arguments.end()});
  const text::WordPiece tokenizer = data::make_tokenizer(arguments[0], data);
  constexpr std::int64_t kBatch = 16;
  const images::ImageConfig image = {.short_side = std::stoll(arguments[2]), .long_side = std::stoll(arguments[3])};
  const data::SampleStream stream = data::make_stream(
      data, {.global_batch = kBatch, .micro_batch = kBatch, .texts_per_image = std::stoll(arguments[1])},
      /*seed=*/1, image);
  const std::int64_t asked = std::stoll(arguments[4]);
  const std::int64_t pairs = asked > 0 ? asked : stream.pairs_per_epoch();
  const tasks::PretrainTask task;
  const data::BatchMaker maker(data, stream, tokenizer, {.image = image}, task);

  const auto start = std::chrono::steady_clock::now();
  data::BatchLoader loader(maker, {.threads = 1, .queue_batches = 2}, {}, {});
  std::int64_t done = 0;
  for (data::Position at; done < pairs; at = stream.after(at)) {
    for (const data::Batch& batch : loader.load(at)) done += std::ssize(batch.pairs);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("%.3f\n", static_cast<double>(done) / seconds.count());
}
