// Annotation files of each source. An input begins with a line that names the source; its files follow.
#include <nlohmann/json.hpp>

#include "images/codec.h"
#include "sources/coco.h"
#include "sources/karpathy.h"
#include "sources/nlvr2_statements.h"
#include "sources/visual_genome.h"
#include "sources/vqa_questions.h"
#include "tests/fuzz/fuzz.h"

namespace pixelbert::fuzz {
namespace {

// Its images are broken: only the search for their names is tested.
std::string image_folder() {
  static const std::filesystem::path path = [] {
    for (const char* name : {"images/a.jpg", "images/train2014/COCO_train2014_000000000007.jpg", "images/1/2/b.jpg"}) {
      write(name, "no image");
    }
    return folder() / "images";
  }();
  return path;
}

// Checks that every text of a corpus is UTF-8 (otherwise dump() throws) and not empty.
void read_all(const sources::Corpus& corpus) {
  static_cast<void>(nlohmann::json(corpus.header.options).dump());
  for (std::int64_t i = 0; i < corpus.records; ++i) {
    try {
      for (const shards::Text& text : corpus.record(i).texts) {
        if (text.text.empty()) found("an empty text");
        static_cast<void>(nlohmann::json(text.text).dump());
      }
    } catch (const images::BadImage& bad) {
      check_message(bad.what(), {});
    }
  }
}

template <class Options>
void try_source(sources::Corpus (*read)(const Options&), const Options& options, const Paths& files) {
  accepted(files, [&] { read_all(read(options)); });
}

void read(std::string_view source, std::string_view input) {
  if (source == "coco") {
    const auto parts = split(input, 2);
    const Paths files = {write("captions.json", parts[0]), write("dataset_coco.json", parts[1])};
    const std::string karpathy = parts[1].empty() ? "" : files[1];
    try_source(sources::read_coco, {{files[0]}, image_folder(), karpathy, ""}, files);
  } else if (source == "karpathy") {
    const Paths files = {write("dataset_coco.json", input)};
    try_source(sources::read_karpathy, {files[0], image_folder(), "train,restval"}, files);
  } else if (source == "visual-genome") {
    const auto parts = split(input, 3);
    const Paths files = {write("region_descriptions.json", parts[0]), write("image_data.json", parts[1]),
                         write("dataset_coco.json", parts[2])};
    const bool excludes = !parts[2].empty();
    try_source(sources::read_visual_genome,
               {files[0], files[1], image_folder(), excludes ? "karpathy-test" : "all-coco",
                excludes ? std::vector<std::string>{files[2]} : std::vector<std::string>{}},
               files);
  } else if (source == "vqa") {
    const auto parts = split(input, 3);
    const Paths files = {write("questions.json", parts[0]), write("annotations.json", parts[1]),
                         write("answers.txt", parts[2])};
    const auto given = [&](std::size_t i) { return parts[i].empty() ? std::string() : files[i]; };
    std::vector<std::string> annotations;
    if (!parts[1].empty()) annotations.push_back(files[1]);
    try_source(sources::read_vqa, {{files[0]}, annotations, given(2), image_folder(), ""}, files);
  } else if (source == "nlvr2") {
    const Paths files = {write("train.json", input)};
    try_source(sources::read_nlvr2, {{files[0]}, image_folder()}, files);
  }
}

}  // namespace
}  // namespace pixelbert::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = pixelbert::fuzz::text_of({data, size});
  const std::size_t end = std::min(input.find('\n'), input.size());
  pixelbert::fuzz::read(input.substr(0, end), input.substr(std::min(end + 1, input.size())));
  return 0;
}
