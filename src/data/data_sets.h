// The shard folders of a job, and what follows from them alone: their identity, vocabulary, order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/sample_stream.h"
#include "images/image_ops.h"
#include "shards/shard_set.h"
#include "text/wordpiece.h"

namespace pixelbert::data {

using DataSets = std::vector<std::shared_ptr<const shards::ShardSet>>;

// UsageError when there is no folder.
DataSets open_data(const std::vector<std::string>& folders);

// One line per folder, the same for the same data.
std::vector<std::string> identity_of(const DataSets& data);

// From the file, or the data's own when `vocab_file` is empty; UsageError when there is neither.
text::WordPiece make_tokenizer(const std::string& vocab_file, const DataSets& data);

// The order of `data`, whose images are resized as `image` says.
SampleStream make_stream(const DataSets& data, const StreamConfig& config, std::uint64_t seed,
                         const images::ImageConfig& image);

}  // namespace pixelbert::data
