// From the place of a micro-batch in the run to its tensors: read, decode, resize, choose negatives, tokenise, mask,
// pad. A pure function of the data and the configuration, so any thread of any rank makes the same batch.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "data/batch.h"
#include "data/loader_config.h"
#include "data/pair_choice.h"
#include "data/picture_memory.h"
#include "data/sample_stream.h"
#include "shards/shard_set.h"
#include "text/wordpiece.h"

namespace pixelbert::data {

using DataSets = std::vector<std::shared_ptr<const shards::ShardSet>>;

// Bad samples (a picture that cannot be decoded, stored bytes with a wrong checksum) do not end the job: another image
// of the same data set stands in, the same on every rank and after every restart. Each bad image is logged once.
class BatchMaker {
 public:
  // `data_sets`, `stream` and `tokenizer` outlive the maker.
  BatchMaker(const DataSets& data_sets, const SampleStream& stream, const text::WordPiece& tokenizer,
             const LoaderConfig& config);

  // Nothing when `stop` was requested in the meantime. Error when no image near a bad one is good. Thread-safe.
  std::optional<Batch> make(Position at, const MicroBatch& micro_batch, const std::stop_token& stop) const;

 private:
  struct Picture {
    std::int32_t data_set;
    std::int64_t image;
    torch::Tensor pixels;  // uint8 [h, w, 3], resized
  };
  using BadSamples = std::map<std::string, std::int64_t>;

  const shards::ShardSet& data_set(const Pair& pair) const;

  // The sample of `pair`, or of the next good image in its place. Its picture is the last of `pictures`.
  Sample read(const Pair& pair, std::uint64_t substitute_key, std::vector<Picture>& pictures, BadSamples& bad) const;

  // The next image of the data set that has a text, with one of its texts.
  Pair next_image(Pair pair, std::uint64_t text_key) const;

  // Reads both halves of a pair. The picture is appended unless it is the last already. BadImage, CorruptRecord.
  Sample read_pair(const Pair& pair, std::vector<Picture>& pictures) const;

  void log_once(const Pair& pair, const std::string& why) const;

  void add_images(const std::vector<Picture>& pictures, Batch& batch) const;
  void add_texts(const std::vector<Sample>& samples, const std::vector<std::uint64_t>& masking_keys,
                 Batch& batch) const;

  const DataSets& data_sets_;
  const SampleStream& stream_;
  const text::WordPiece& tokenizer_;
  LoaderConfig config_;
  mutable PictureMemory memory_;
  mutable std::mutex logged_mutex_;
  mutable std::set<std::pair<std::int32_t, std::int64_t>> logged_;  // images, by data set
};

}  // namespace pixelbert::data
