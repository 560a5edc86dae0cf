// Turns a micro-batch's place in the run into tensors: reads, decodes, resizes, pads, and lets the task make its rows.
// A pure function of the data and the configuration, so that any thread of any rank makes the same batch.
#pragma once

#include <optional>
#include <stop_token>

#include "data/batch.h"
#include "data/batch_config.h"
#include "data/draft.h"
#include "data/sample_reader.h"
#include "data/sample_stream.h"
#include "text/wordpiece.h"

namespace pixelbert::data {

class BatchMaker {
 public:
  // Everything but `config` must outlive the maker.
  BatchMaker(const DataSets& data_sets, const SampleStream& stream, const text::WordPiece& tokenizer,
             const BatchConfig& config, const RowMaker& row_maker);

  const SampleStream& stream() const { return stream_; }
  const images::ImageConfig& image() const { return config_.image; }

  // Returns the batch in memory that `device` can read by itself: pinned for a GPU. Returns nothing when `stop` was
  // requested in the meantime. Throws the errors of SampleReader and of RowMaker. Thread-safe.
  std::optional<Batch> make(Position at, const MicroBatch& micro_batch, const std::stop_token& stop,
                            torch::Device device = torch::kCPU) const;

 private:
  const SampleStream& stream_;
  const text::WordPiece& tokenizer_;
  BatchConfig config_;
  const RowMaker& row_maker_;
  SampleReader reader_;
};

}  // namespace pixelbert::data
