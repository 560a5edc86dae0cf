// pixelbert shard <source>: turns a data set into a folder of HDF5 shards.
#include <functional>
#include <iostream>
#include <map>

#include "apps/commands.h"
#include "config/command_line.h"
#include "config/nearest_name.h"
#include "core/check.h"
#include "scenes/scenes.h"
#include "sources/coco.h"
#include "sources/corpus.h"
#include "sources/karpathy.h"
#include "sources/nlvr2_statements.h"
#include "sources/visual_genome.h"
#include "sources/vqa_questions.h"

namespace pixelbert::apps {
namespace {

constexpr const char* kHelp = R"(pixelbert shard <source> --out DIR [options]

  scenes          images and texts of a procedural world; needs no download
  coco            captions_*.json of MSCOCO
  karpathy        dataset_coco.json, dataset_flickr30k.json, dataset_flickr8k.json
  visual-genome   region_descriptions.json and image_data.json
  vqa             question and annotation files of VQA v2
  nlvr2           train.json, dev.json, test1.json of NLVR2

'pixelbert shard <source> --help' lists the options of a source. data_shards/README.md specifies the format.
)";

template <class Options>
int make_shards(const std::string& source, sources::Corpus (*read)(const Options&), const Arguments& arguments) {
  sources::ShardOptions output;
  Options options;
  config::CommandLine line("shard " + source, "pixelbert shard " + source + ": make a folder of shards");
  line.add(output);
  line.add(options);
  if (!line.parse(arguments)) return 0;
  sources::check(output);
  sources::write_corpus(output, read(options));
  return 0;
}

}  // namespace

int shard(const Arguments& arguments) {
  using Source = std::function<int(const std::string&, const Arguments&)>;
  const std::map<std::string, Source> known = {
      {"scenes", [](auto& name, auto& rest) { return make_shards(name, scenes::read_scenes, rest); }},
      {"coco", [](auto& name, auto& rest) { return make_shards(name, sources::read_coco, rest); }},
      {"karpathy", [](auto& name, auto& rest) { return make_shards(name, sources::read_karpathy, rest); }},
      {"visual-genome", [](auto& name, auto& rest) { return make_shards(name, sources::read_visual_genome, rest); }},
      {"vqa", [](auto& name, auto& rest) { return make_shards(name, sources::read_vqa, rest); }},
      {"nlvr2", [](auto& name, auto& rest) { return make_shards(name, sources::read_nlvr2, rest); }},
  };
  const std::string source = arguments.empty() ? "" : arguments[0];
  if (source == "--help") {
    std::cout << kHelp;
    return 0;
  }
  const auto found = known.find(source);
  if (found == known.end()) {
    std::vector<std::string> names;
    for (const auto& [name, function] : known) names.push_back(name);
    const std::string near = config::nearest_name(source, names);
    throw UsageError(fmt::format("pixelbert shard: expected a source ({}), found '{}'{}", fmt::join(names, ", "),
                                 source, near.empty() ? "" : "; did you mean '" + near + "'?"));
  }
  return found->second(source, {arguments.begin() + 1, arguments.end()});
}

}  // namespace pixelbert::apps
