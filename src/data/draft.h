// A micro-batch in the making.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/rng.h"
#include "data/batch.h"
#include "data/batch_config.h"
#include "data/sample_reader.h"
#include "data/sample_stream.h"
#include "text/wordpiece.h"

namespace pixelbert::data {

// The samples of a micro-batch, and what is needed to make rows of them.
struct Draft {
  const SampleStream& stream;
  const text::WordPiece& tokenizer;
  const SampleReader& reader;
  const BatchConfig& config;

  Batch batch = {};
  std::vector<Pair> dealt = {};  // by the stream, before substitution
  std::vector<Sample> samples = {};
  std::vector<std::int64_t> last_image = {};  // of each sample, a row of batch.images

  // Returns the key of a sample's random choices; `pair` is the one that was dealt.
  std::uint64_t sample_key(const Pair& pair, Purpose purpose) const;

  std::vector<std::int64_t> encode(const std::string& text) const;
  void add_tokens(const std::vector<std::vector<std::int64_t>>& texts);  // one of each row

  // Throws Error when the text of `pair` has no label, but should.
  void check_label(bool is_there, const Pair& pair) const;

  enum class From { Window, DataSet };
  // Draws with the key `draw` a text of another image than sample `index` has; nothing when the draw gives none.
  std::optional<Sample> draw_negative(std::int64_t index, std::uint64_t draw, From from = From::Window) const;
};

// Makes the rows of a batch and what is to be learned from them: the part of a batch that differs between tasks.
class RowMaker {
 public:
  virtual ~RowMaker() = default;

  // Fills in image_of_row, tokens, token_mask and the targets of draft.batch. May give a sample another text. Throws
  // Error when the data does not fit. Thread-safe.
  virtual void add_rows(Draft& draft) const = 0;
};

}  // namespace pixelbert::data
