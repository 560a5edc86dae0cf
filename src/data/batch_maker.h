// Turns a micro-batch's place in the run into tensors: reads, decodes, resizes, chooses negatives, tokenises, masks,
// pads. A pure function of the data and the configuration, so that any thread of any rank makes the same batch.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "core/rng.h"
#include "data/batch.h"
#include "data/batch_config.h"
#include "data/pair_choice.h"
#include "data/sample_reader.h"
#include "data/sample_stream.h"
#include "text/wordpiece.h"

namespace pixelbert::data {

class BatchMaker {
 public:
  // `data_sets`, `stream` and `tokenizer` must outlive the maker.
  BatchMaker(const DataSets& data_sets, const SampleStream& stream, const text::WordPiece& tokenizer,
             const BatchConfig& config);

  const SampleStream& stream() const { return stream_; }

  // Returns nothing when `stop` was requested in the meantime. Throws the errors of SampleReader, and Error when the
  // data does not fit the task. Thread-safe.
  std::optional<Batch> make(Position at, const MicroBatch& micro_batch, const std::stop_token& stop) const;

 private:
  // What a batch is made of.
  struct Draft {
    std::vector<Pair> dealt;
    std::vector<Sample> samples;
    std::vector<Picture> pictures;
    std::vector<std::int64_t> last_picture;  // of each sample, a row of `pictures`
  };

  std::uint64_t sample_key(const Batch& batch, const Pair& dealt, Purpose purpose) const;

  void add_images(const std::vector<Picture>& pictures, Batch& batch) const;
  void add_tokens(const std::vector<std::vector<std::int64_t>>& texts, Batch& batch) const;
  std::vector<std::int64_t> encode(const std::string& text) const;

  // Rows and targets of a task.
  void add_pretraining(Draft& draft, Batch& batch) const;
  void add_masked(const Draft& draft, Batch& batch) const;
  void add_questions(const Draft& draft, Batch& batch) const;
  void add_statements(const Draft& draft, Batch& batch) const;
  void add_candidates(const Draft& draft, Batch& batch) const;

  // Throws Error when the text of `pair` has no label, but should.
  void check_label(bool is_there, const shards::ShardSet& data, const Pair& pair) const;

  // Draws with the key `draw` a text of another image near sample `index`; nothing when the draw gives none.
  std::optional<Sample> draw_foreign(const Batch& batch, std::int64_t index, std::uint64_t draw) const;

  const SampleStream& stream_;
  const text::WordPiece& tokenizer_;
  BatchConfig config_;
  SampleReader reader_;
};

}  // namespace pixelbert::data
