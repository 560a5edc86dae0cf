// What every job on ranks builds first: device, communicators, data.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "comm/communicator.h"
#include "comm/mpi_session.h"
#include "config/train_config.h"
#include "data/batch_maker.h"
#include "data/sample_stream.h"
#include "data/task.h"
#include "shards/shard_set.h"
#include "text/wordpiece.h"
#include "watch/watchdog.h"

namespace pixelbert::apps {

// Device and communicators of this rank; sets its compute threads, too. Collective.
class Ranks {
 public:
  Ranks(const config::ComputeConfig& config, const comm::MpiSession& session,
        std::unique_ptr<comm::Communicator> control);

  comm::Communicator& control() { return *control_; }
  comm::Communicator& tensors() { return device_communicator_ ? *device_communicator_ : *control_; }
  torch::Device device() const { return device_; }

 private:
  torch::Device device_;
  std::unique_ptr<comm::Communicator> control_;
  std::unique_ptr<comm::Communicator> device_communicator_;  // only for CUDA; CPU tensors travel by `control_`
};

// What `arguments` say of the watchdog, which runs before they can be parsed.
watch::WatchdogConfig early_watchdog(const Arguments& arguments);

// Collective. Runs the job beside a watchdog, from its first file on.
int watched(const Arguments& arguments, const comm::MpiSession& session, comm::Communicator& control,
            const std::function<int(watch::Watchdog&)>& job);

// Before the work whose result `option` is to hold: UsageError when that file cannot be written. Nothing for no path.
void check_output(const char* option, const std::string& path);

// Collective. What rank 0 finds wrong with the usage, every rank does.
void check_on_rank_0(comm::Communicator& control, const std::function<void()>& check);

using data::DataSets;
using Strings = std::vector<std::string>;

DataSets open_data(const Strings& folders);
Strings data_identity(const DataSets& data);  // one line per folder, the same for the same data

// UsageError when a folder's shards were made for another task.
void check_data_for(data::Task task, const DataSets& data);

// The answer vocabulary of VQA shards. UsageError when folders have different ones, or none.
Strings read_answers(const DataSets& data);

// The order of `data`, which outlives it.
data::SampleStream make_stream(const DataSets& data, const data::StreamConfig& config);

// From the file, or the data's own when `vocab_file` is empty; UsageError when there is neither.
text::WordPiece make_tokenizer(const std::string& vocab_file, const DataSets& data);

// The vocabulary file's text, one token a line.
std::string vocabulary_text(const text::Vocabulary& vocabulary);

}  // namespace pixelbert::apps
