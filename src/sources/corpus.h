// What a source of data hands over, and how it becomes a shard folder.
//
// Each source is a function from its options to a Corpus: read_coco(options), scenes::read_scenes(options), ...
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "shards/manifest.h"
#include "shards/record.h"

namespace pixelbert::sources {

struct Corpus {
  shards::Manifest header;                   // source, task, options, what reading the annotations left out
  std::map<std::string, std::string> files;  // put beside the shards, name -> content: "vocab.txt"
  std::int64_t records = 0;

  // Reads or draws record i in [0, records). Called once for each, from several threads at once, roughly in order.
  // images::BadImage leaves the record out: it is reported and counted by its reason.
  std::function<shards::Record(std::int64_t)> record;
};

// Options of every source.
struct ShardOptions {
  std::string out;
  std::int64_t max_bad = 100;
  std::int64_t shard_mib = 256;
  std::string part;
};

template <class Visitor>
void describe(ShardOptions& options, Visitor&& field) {
  field("out", options.out, "folder to fill with shards; must not hold a manifest yet");
  field("max-bad", options.max_bad, "stop when more than this many pictures are missing or broken");
  field("shard-mib", options.shard_mib, "size at which a shard file ends, in MiB; also the memory held for it");
  field("part", options.part,
        "i/n: make only the i-th of n parts (1/4 ... 4/4, in n processes); the last one joins them");
}

// Makes the folder `options.out`, all records in order, with as many threads as there are cores. UsageError for bad
// options; Error when more than max_bad records are bad or no record is good.
void write_corpus(const ShardOptions& options, const Corpus& corpus);

}  // namespace pixelbert::sources
