// Each host reads its own copies of configuration files, shards and vocabularies, and runs its own copy of the program.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "data/data_sets.h"
#include "text/wordpiece.h"

namespace pixelbert::jobs {

// What must be the same on all ranks of a job, by its name in a message.
using JobFacts = std::map<std::string, std::string>;

// `options` are all of a command's, by name. Leaves out those that may suit a host: its threads and its address.
JobFacts facts_of(const std::map<std::string, std::string>& options, const data::DataSets& data,
                  const text::WordPiece& tokenizer, const std::vector<std::string>& answers);

// Collective. Throws SharedError on all ranks unless they have the same facts. It names the first rank with others than
// rank 0's, its host, and what differs. Otherwise ranks would train on different data, or update their slices at
// different rates, and their weights would still agree.
void check_same_job(const JobFacts& own, const std::string& host, comm::Communicator& control);

}  // namespace pixelbert::jobs
