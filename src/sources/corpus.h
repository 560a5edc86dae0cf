// A data source's output, and how it becomes a shard folder.
//
// Each source is a function from its options to a Corpus: read_coco(options), scenes::read_scenes(options), ...
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "shards/record.h"
#include "shards/shard_manifest.h"

namespace pixelbert::sources {

struct Corpus {
  shards::Manifest header;                   // source, task, options, what was left out of the annotations
  std::map<std::string, std::string> files;  // name -> content of files beside the shards: "vocab.txt"
  std::int64_t records = 0;

  // Reads or draws record i in [0, records). write_corpus() calls it once per record, from several threads, roughly in
  // order. A record that throws images::BadImage is left out, reported, and counted by its reason.
  std::function<shards::Record(std::int64_t)> record;
};

// Options that all sources share.
struct ShardOptions {
  std::string out;
  std::int64_t max_bad = 100;
  std::int64_t shard_mib = 256;
  std::string part;
};

template <class Visitor>
void describe(ShardOptions& options, Visitor&& field) {
  field("out", options.out, "folder to fill with shards; must not contain a manifest yet");
  field("max-bad", options.max_bad, "stop when more than this many images are missing or broken");
  field("shard-mib", options.shard_mib, "size at which a shard file ends, in MiB; also the memory it takes");
  field("part", options.part, "i/n: make only part i of n (1/4 ... 4/4, in n processes); the last one joins them");
}

// Throws UsageError for bad options, and Error where `options.out` is a finished folder. Call it before a source is
// read, which may take minutes.
void check(const ShardOptions& options);

// Checks the options and writes all records in order into the folder `options.out`, with one thread per core. Throws
// Error when more than max_bad records, or all of them, are bad.
void write_corpus(const ShardOptions& options, const Corpus& corpus);

}  // namespace pixelbert::sources
