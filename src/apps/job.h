// What every job on ranks builds first: device, communicators, data.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi_session.h"
#include "config/train_config.h"
#include "data/sample_stream.h"
#include "shards/shard_set.h"
#include "text/wordpiece.h"

namespace pixelbert::apps {

// Sets the compute threads of this rank, too.
class Ranks {
 public:
  Ranks(const config::TrainConfig& config, const comm::MpiSession& session);

  comm::Communicator& control() { return *control_; }
  comm::Communicator& tensors() { return device_communicator_ ? *device_communicator_ : *control_; }
  torch::Device device() const { return device_; }

 private:
  torch::Device device_;
  std::unique_ptr<comm::Communicator> control_;
  std::unique_ptr<comm::Communicator> device_communicator_;  // only for CUDA; CPU tensors travel by `control_`
};

using DataSets = std::vector<std::shared_ptr<const shards::ShardSet>>;

DataSets open_data(const std::vector<std::string>& folders);
std::vector<std::string> data_identity(const DataSets& data);  // one line per folder, the same for the same data

// The order of `data` for this configuration. `data` outlives it.
data::SampleStream make_stream(const config::Config& config, const DataSets& data);

// From --text.vocab, or the data's own; UsageError when neither is there.
text::WordPiece make_tokenizer(const config::Config& config, const DataSets& data);

// The vocabulary file's text, one token a line.
std::string vocabulary_text(const text::Vocabulary& vocabulary);

}  // namespace pixelbert::apps
