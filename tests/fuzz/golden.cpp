// golden DIR CONFIGS: writes the first inputs of the fuzz targets, DIR/TARGET/NAME: files made by the program itself,
// annotations as published, the presets of CONFIGS.
#include <png.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint_file.h"
#include "checkpoint/manifest.h"
#include "core/files.h"
#include "metrics/jsonl_sink.h"
#include "shards/shard_file.h"
#include "shards/shard_manifest.h"
#include "tests/checkpoint/examples.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tiny_run.h"
#include "tests/images/encode.h"
#include "tests/support/save.h"
#include "watch/report.h"

namespace pixelbert::fuzz {
namespace {

namespace fs = std::filesystem;

std::string_view text_of(const test::Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class Golden {
 public:
  explicit Golden(fs::path folder) : folder_(std::move(folder)) {}

  void add(const std::string& target, const std::string& name, std::string_view content) const {
    fs::create_directories(folder_ / target);
    write_file(folder_ / target / name, content);
  }

 private:
  fs::path folder_;
};

std::string joined(const std::vector<std::string>& parts) {
  return fmt::to_string(fmt::join(parts, kSeparator));
}

std::string nested(std::string_view open, std::string_view close, int depth) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += open;
  for (int i = 0; i < depth; ++i) text += close;
  return text;
}

constexpr int kDeep = 100'000;

void add_annotations(const Golden& golden) {
  const std::string karpathy =
      R"({"images": [{"filepath": "val2014", "sentids": [770337], "filename": "COCO_val2014_000000000042.jpg", "imgid": 0,
 "split": "test", "sentences": [{"tokens": ["a"], "raw": "A shoe rack.", "imgid": 0, "sentid": 770337}],
 "cocoid": 42}, {"filename": "1000092795.jpg", "imgid": 1, "split": "restval",
 "sentences": [{"raw": "Two men.", "sentid": 0}]}], "dataset": "coco"})";
  const std::string captions =
      R"({"info": {"year": 2014}, "licenses": [{"id": 1}],
"images": [{"license": 5, "file_name": "a.jpg", "height": 480, "width": 640, "id": 42},
{"file_name": "train2014/COCO_train2014_000000000007.jpg", "id": 7}],
"annotations": [{"image_id": 42, "id": 48, "caption": "A very clean bath\u00e9room."},
{"image_id": 7, "id": 49, "caption": " a \ud83d\ude00 "}]})";
  const std::string regions =
      R"([{"regions": [{"region_id": 1382, "width": 82, "height": 139, "image_id": 1, "phrase": "the clock is green",
 "y": 57, "x": 421}], "id": 1}, {"regions": [], "id": 2}])";
  const std::string image_data =
      R"([{"width": 800, "url": "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg", "height": 600, "image_id": 1,
 "coco_id": null, "flickr_id": null}, {"image_id": 2, "coco_id": 42, "flickr_id": 1000092795}])";
  const std::string questions =
      R"({"info": {"version": "2.0"}, "task_type": "Open-Ended", "data_type": "mscoco", "license": {"name": "x"},
"data_subtype": "train2014", "questions": [{"image_id": 7, "question": "What is this?", "question_id": 7000},
{"image_id": 7, "question": "How many?", "question_id": 7001}]})";
  const std::string annotations =
      R"({"data_type": "mscoco", "data_subtype": "train2014", "annotations": [{"question_type": "what is this",
"multiple_choice_answer": "net", "answers": [{"answer": "net", "answer_confidence": "maybe", "answer_id": 1},
{"answer": "A Net", "answer_id": 2}], "image_id": 7, "answer_type": "other", "question_id": 7000},
{"multiple_choice_answer": "2", "answers": [{"answer": "two"}, {"answer": "2"}], "image_id": 7,
"answer_type": "number", "question_id": 7001}]})";
  const std::string nlvr2 =
      R"({"validation": {}, "sentence": "There is a dog.", "left_url": "http://x/a.png", "writer": 1, "label": "True",
"synset": "dog", "query": "dogs", "identifier": "train-10171-0-0", "directory": 63})";

  golden.add("annotations", "coco", "coco\n" + captions);
  golden.add("annotations", "coco-splits", "coco\n" + joined({captions, karpathy}));
  golden.add("annotations", "karpathy", "karpathy\n" + karpathy);
  golden.add("annotations", "visual-genome", "visual-genome\n" + joined({regions, image_data}));
  golden.add("annotations", "visual-genome-excluded", "visual-genome\n" + joined({regions, image_data, karpathy}));
  golden.add("annotations", "vqa", "vqa\n" + joined({questions, annotations, "yes\nno\nnet\n2\n"}));
  golden.add("annotations", "vqa-json-answers", "vqa\n" + joined({questions, annotations, R"(["yes", "no", "net"])"}));
  golden.add("annotations", "vqa-ans2label", "vqa\n" + joined({questions, annotations, R"({"yes": 0, "net": 1})"}));
  golden.add("annotations", "vqa-test", "vqa\n" + questions);
  std::string lines = nlvr2;
  std::erase(lines, '\n');
  golden.add("annotations", "nlvr2", "nlvr2\n" + lines + "\n" + lines + "\n");
  golden.add("annotations", "nlvr2-deep",
             "nlvr2\n" + lines.substr(0, lines.rfind("63")) + nested("[", "]", kDeep) + "}\n");
  golden.add("annotations", "coco-deep", "coco\n{\"images\": [{\"id\": 1, \"x\": " + nested("[", "]", kDeep) + "}]}");
}

void add_images(const Golden& golden) {
  const auto add = [&](const char* name, const test::Bytes& image) { golden.add("images", name, text_of(image)); };
  const test::Bytes rgb = test::gradient(24, 17, 3), cmyk = test::gradient(24, 17, 4), grey = test::gradient(24, 17, 1);
  add("444.jpg", test::jpeg(rgb, 24, 17));
  add("420.jpg", test::jpeg(rgb, 24, 17, {.subsampling = TJSAMP_420}));
  add("progressive.jpg", test::jpeg(rgb, 24, 17, {.subsampling = TJSAMP_420, .flags = TJFLAG_PROGRESSIVE}));
  add("grey.jpg", test::jpeg(grey, 24, 17, {.format = TJPF_GRAY, .subsampling = TJSAMP_GRAY}));
  add("cmyk.jpg", test::jpeg(cmyk, 24, 17, {.format = TJPF_CMYK}));
  add("rgb.png", test::png(rgb, 24, 17));
  add("interlaced.png", test::png(rgb, 24, 17, {.interlaced = true, .gamma = true, .palette = {}}));
  add("grey.png", test::png(grey, 24, 17, {.colour_type = PNG_COLOR_TYPE_GRAY, .palette = {}}));
  add("alpha.png", test::png(cmyk, 24, 17, {.colour_type = PNG_COLOR_TYPE_RGB_ALPHA, .palette = {}}));
  add("16-bit.png", test::png(test::gradient(24, 17, 6), 24, 17, {.depth = 16, .palette = {}}));
  std::vector<png_color> palette(256);
  for (std::size_t i = 0; i < palette.size(); ++i) palette[i] = {static_cast<png_byte>(i), 0, 255};
  add("palette.png", test::png(grey, 24, 17, {.colour_type = PNG_COLOR_TYPE_PALETTE, .palette = palette}));
}

shards::StoredImage stored_image(std::int64_t id) {
  return {.id = id,
          .encoded = test::jpeg(test::gradient(8, 8, 1), 8, 8, {.format = TJPF_GRAY, .subsampling = TJSAMP_GRAY}),
          .height = 8,
          .width = 8};
}

void add_shard(const Golden& golden, const std::string& name, const std::vector<shards::Record>& records) {
  const fs::path path = folder() / "shard-00000.h5";
  shards::Manifest manifest;
  manifest.source = "scenes";
  manifest.options = {{"seed", "0"}};
  manifest.skipped = {{"no-text", 1}};
  manifest.files = {shards::write_shard_file(path, records)};
  const std::string counts = {static_cast<char>(manifest.images()), static_cast<char>(manifest.texts())};
  golden.add("shard_file", name, counts + read_file(path));
  shards::write_manifest_file(folder() / "manifest.json", manifest);
  golden.add("manifests", "shards-" + name, "shards\n" + read_file(folder() / "manifest.json"));
}

void add_shards(const Golden& golden) {
  add_shard(
      golden, "pairs",
      {{{stored_image(7)}, {{.id = 70, .text = "a red star", .answers = {}}, {.id = 71, .text = "a", .answers = {}}}},
       {{stored_image(8)}, {{.id = 80, .text = "a blue ring", .answers = {}}}}});
  add_shard(
      golden, "vqa",
      {{{stored_image(7)}, {{.id = 70, .text = "how many ?", .answers = {{1, 0.3F, 0.6F}, {4, 1, 1}}, .group = 1}}}});
  add_shard(golden, "nlvr2",
            {{{stored_image(7), stored_image(8)}, {{.id = 70, .text = "both", .answers = {{1, 1, 1}}, .group = 70}}}});
}

void add_checkpoints(const Golden& golden) {
  checkpoint::Checkpoint small = checkpoint::example(5);
  small.model["backbone.conv1.weight"] = at::full({2, 3}, 0.5);
  small.model["counts"] = at::full({3}, 7, at::kLong);
  const fs::path file = folder() / "exported.safetensors";
  checkpoint::write_checkpoint_file(file, small);
  golden.add("safetensors", "exported", read_file(file));
  checkpoint::write_safetensors(file, small.model, {{"format", "pt"}});
  golden.add("safetensors", "weights", read_file(file));
  checkpoint::write_safetensors(file, {{"half", at::full({2}, 0.5, at::kHalf)}, {"flag", at::full({}, 1, at::kBool)}});
  golden.add("safetensors", "small-types", read_file(file));
  const std::string deep = nested("[", "]", kDeep);
  const std::uint64_t length = deep.size();
  golden.add("safetensors", "deep", std::string(reinterpret_cast<const char*>(&length), sizeof length) + deep);

  const checkpoint::Checkpoint run = tiny_run();
  test::save(folder() / "checkpoints", run, 1);
  const fs::path step = folder() / "checkpoints" / checkpoint::step_name(run.step);
  golden.add("trainer", "vqa", read_file(step / checkpoint::kTrainerName));
  golden.add("trainer", "deep", "{\"config\": " + deep + "}");
  golden.add("manifests", "checkpoint", "checkpoint\n" + read_file(step / checkpoint::kManifestName));
  golden.add("manifests", "shards-deep", "shards\n" + deep);
}

void add_vocabularies(const Golden& golden) {
  const std::string vocabulary =
      "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n,\n.\n##s\n##ing\nstar\nred\n\xe4\xb8\xad\nsing\n";
  golden.add("vocabulary", "words", joined({vocabulary, "Singing red stars, \xe4\xb8\xad\xe5\x9b\xbd."}));
  golden.add("vocabulary", "marks",
             joined({vocabulary, "St\xc3\xa4rs e\xcc\x81 [MASK] \xef\xbb\xbf\xe2\x80\x8b \xff"}));
}

void add_configurations(const Golden& golden, const fs::path& presets) {
  for (const auto& preset : fs::directory_iterator(presets)) {
    golden.add("configuration", preset.path().filename(), read_file(preset.path()));
  }
  golden.add("configuration", "all-types",
             "init = some where\n[run]\ndir = runs/#1\n[data]\nshards = a b\nshards = c\n[model]\ndropout = 0.1\n"
             "[optim]\ndrop-epochs = 25,35\n[train]\nseed = 18446744073709551615\nchannels-last = false\n");
}

void add_run_files(const Golden& golden) {
  std::string lines;
  for (std::int64_t step = 1; step <= 4; ++step) {
    lines += metrics::jsonl_line({.step = step,
                                  .loss = 0.5,
                                  .term_loss = {{"mlm", 0.5}},
                                  .term_accuracy = {},
                                  .learning_rate = {{"backbone", 0.01}},
                                  .skipped = step == 2 ? "a NaN" : "",
                                  .bucket_ready = {},
                                  .bad_samples = {},
                                  .checkpoint_seconds = {},
                                  .device_memory_bytes = {}}) +
             "\n";
  }
  golden.add("run_files", "metrics", "metrics 3\n" + lines);
  watch::Report report{.reason = watch::Reason::Stalled, .unix_time = 1.5e9, .limit_seconds = 60, .reporter = 0};
  for (int rank = 0; rank < 2; ++rank) {
    watch::RankStatus status{.rank = rank, .host = "n0", .pid = 12 + rank};
    status.others.emplace_back();
    status.stacks.push_back({12, "main", {"train_step", "main"}});
    report.ranks.push_back(status);
  }
  golden.add("run_files", "report", "report\n" + watch::to_json(report).dump());
  golden.add("run_files", "ranks", "ranks\n" + watch::to_json(watch::RankTable{.ranks = report.ranks}).dump());
}

}  // namespace
}  // namespace pixelbert::fuzz

int main(int, char** arguments) {
  const pixelbert::fuzz::Golden golden(arguments[1]);
  pixelbert::fuzz::add_annotations(golden);
  pixelbert::fuzz::add_images(golden);
  pixelbert::fuzz::add_shards(golden);
  pixelbert::fuzz::add_checkpoints(golden);
  pixelbert::fuzz::add_vocabularies(golden);
  pixelbert::fuzz::add_configurations(golden, arguments[2]);
  pixelbert::fuzz::add_run_files(golden);
}
