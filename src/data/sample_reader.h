// Reads a pair of the stream: its text and its images.
//
// Bad samples (an image that cannot be decoded, stored bytes with a wrong checksum) do not end the job: another image
// of the same data set stands in, the same on every rank and after every restart. Each bad image is logged once.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "data/data_sets.h"
#include "data/image_stack.h"
#include "data/sample.h"
#include "images/image_ops.h"

namespace pixelbert::data {

using BadSamples = std::map<std::string, std::int64_t>;  // reason -> samples that were replaced

class SampleReader {
 public:
  explicit SampleReader(const DataSets& data_sets) : data_sets_(data_sets) {}  // they must outlive the reader

  // Returns the sample of `pair`, or of the next good image in its place. Its images, one or two, are the last of
  // `stack`, and decoded only if they were not there already. `substitute_key` chooses the text of an image that
  // stands in. Throws Error when no image near a bad one is good. Thread-safe.
  Sample read(const Pair& pair, std::uint64_t substitute_key, ImageStack& stack, BadSamples& bad) const;

  const shards::ShardSet& data_set(const Pair& pair) const;

 private:
  // The next image of the data set that has a text, with one of its texts.
  Pair next_image(Pair pair, std::uint64_t text_key) const;

  std::vector<ImageRow> rows_of(const Pair& pair) const;        // its image, and the second one if there is one
  Sample read_pair(const Pair& pair, ImageStack& stack) const;  // BadImage, CorruptRecord
  void log_once(const Pair& pair, const std::string& why) const;

  const DataSets& data_sets_;
  mutable std::mutex logged_mutex_;
  mutable std::set<std::pair<std::int32_t, std::int64_t>> logged_;  // images, by data set
};

}  // namespace pixelbert::data
