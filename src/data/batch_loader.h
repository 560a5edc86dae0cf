// Makes this rank's micro-batches ahead of the loop, in threads, in the order of the stream.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/sample_stream.h"
#include "images/image_ops.h"
#include "shards/shard_set.h"
#include "text/wordpiece.h"

namespace pixelbert::data {

enum class Objective { Pretrain, PretrainBlankImages };

struct LoaderConfig {
  std::uint64_t seed = 0;
  std::int64_t micro_batch = 0;
  std::int64_t max_text_tokens = 40;      // with [CLS] and [SEP]; facts 1.1
  double mask_probability = 0.15;         // facts 2.3
  bool sample_pixels = true;              // fill pixel_keys (pre-training); false: all pixels
  bool mlm_on_negatives = true;           // facts 2.3: MLM also where the text was replaced
  bool blank_images = false;              // every picture becomes the mean colour: what text alone gives
  std::int64_t threads = 2;
  std::int64_t queue_batches = 8;         // made and not yet taken, at most
  images::ImageConfig image;
};

class BatchLoader {
 public:
  // `data_sets`, `stream` and `tokenizer` outlive the loader. Starts at `start`.
  BatchLoader(const std::vector<std::shared_ptr<const shards::ShardSet>>& data_sets, const SampleStream& stream,
              const text::WordPiece& tokenizer, const LoaderConfig& config, Slice slice, Position start);
  ~BatchLoader();

  // This rank's micro-batches of one step, in order; perhaps none. Steps are asked for one after the other from
  // `start` (stream.after(at)); an error in a thread is thrown here.
  std::vector<Batch> load(Position at);

  std::int64_t queued() const;  // made and waiting

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pixelbert::data
