#include "scenes/scenes.h"

#include <algorithm>
#include <set>
#include <span>

#include "core/check.h"
#include "core/rng.h"
#include "scenes/captions.h"
#include "scenes/claims.h"
#include "scenes/questions.h"
#include "scenes/render.h"
#include "scenes/statements.h"
#include "scenes/world.h"
#include "sources/vqa_answers.h"

namespace pixelbert::scenes {
namespace {

constexpr std::int64_t kIndexBits = 26;  // of an image's id; with 31 for the seed and 4 for the text they fit 63
constexpr std::int64_t kTextBits = 4;
static_assert(kMostTexts <= 1 << kTextBits);

constexpr std::int64_t kLeastSize = 32, kMostSize = 4096;

// What is drawn for a scene. The scene's own key is made of its id alone, for which key() is injective.
enum Drawn : std::uint64_t { kTexts = 1, kRightScene = 2 };

shards::StoredImage image_of(const Scene& scene, std::int64_t id) {
  return {id, render_jpeg(scene), static_cast<std::int32_t>(scene.height), static_cast<std::int32_t>(scene.width)};
}

shards::Answer answer_of(const Question& question) {
  const auto found = std::ranges::find(answers(), question.answer);
  return {static_cast<std::int32_t>(found - answers().begin()), 1, 1};
}

// Row of sources::kAnswerTypes.
std::int64_t type_of(const Question& question) {
  if (question.answer == "yes" || question.answer == "no") return 0;
  return std::ranges::count(kNumberNames, question.answer) > 0 ? 1 : 2;
}

shards::Record draw_record(const ScenesOptions& options, std::int64_t index) {
  const auto& [count, seed, task, level, size, text_count] = options;
  const std::int64_t id = static_cast<std::int64_t>(seed) << kIndexBits | index;
  const std::uint64_t scene_key = key(kScene, id);
  const std::uint64_t text_key = key(scene_key, kTexts);
  const Scene scene = make_scene(level, size, scene_key);

  shards::Record record;
  record.images.push_back(image_of(scene, id));
  const auto add = [&](std::string text, std::vector<shards::Answer> given) -> shards::Text& {
    const auto number = static_cast<std::int64_t>(record.texts.size());
    record.texts.push_back({id << kTextBits | number, std::move(text), std::move(given)});
    return record.texts.back();
  };
  if (task == "pairs") {
    for (const Claim& claim : captions(scene, level, text_count, text_key)) add(say(claim), {});
  } else if (task == "vqa") {
    for (const Question& asked : questions(scene, level, text_count, text_key)) {
      add(asked.text, {answer_of(asked)}).group = type_of(asked);
    }
  } else {
    const Scene right = make_right_scene(scene, level, size, key(scene_key, kRightScene));
    record.images.push_back(image_of(right, id + 1));
    for (const Statement& said : statements(scene, right, level, text_count, text_key)) {
      shards::Text& text = add(said.text, {{said.is_true ? 1 : 0, 1, 1}});
      text.group = text.id;  // each sentence is in one record
    }
  }
  return record;
}

// Adds the first image and its texts as plain files, to look at and to try `pixelbert predict` on.
void add_example(sources::Corpus& corpus) {
  const shards::Record record = corpus.record(0);
  corpus.files["example.jpg"] = {record.images[0].encoded.begin(), record.images[0].encoded.end()};
  std::string& texts = corpus.files["example.txt"];
  for (const shards::Text& text : record.texts) texts += text.text + "\n";
}

void check(const ScenesOptions& options) {
  const auto in_range = [](const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value >= least && value <= most) return;
    throw UsageError(fmt::format("--{}: expected {} to {}, found {}", name, least, most, value));
  };
  in_range("count", options.count, 1, std::int64_t{1} << kIndexBits);
  if (options.seed >> 31 != 0) throw UsageError(fmt::format("--seed: expected below 2^31, found {}", options.seed));
  in_range("level", options.level, 1, 3);
  in_range("size", options.size, kLeastSize, kMostSize);
  in_range("texts", options.texts, 1, kMostTexts);
  if (options.task != "pairs" && options.task != "vqa" && options.task != "nlvr2") {
    throw UsageError(fmt::format("--task: expected pairs, vqa or nlvr2, found '{}'", options.task));
  }
  if (options.task == "nlvr2" && options.count % 2 == 1) {
    throw UsageError(fmt::format("--count: expected an even number for nlvr2, found {}", options.count));
  }
}

}  // namespace

sources::Corpus read_scenes(const ScenesOptions& options) {
  check(options);
  sources::Corpus corpus;
  corpus.header.source = "scenes";
  corpus.header.task = options.task;
  corpus.header.options = {{"seed", std::to_string(options.seed)},
                           {"level", std::to_string(options.level)},
                           {"size", std::to_string(options.size)},
                           {"texts", std::to_string(options.texts)}};
  corpus.files["vocab.txt"] = fmt::format("{}\n", fmt::join(vocabulary(), "\n"));
  if (options.task == "vqa") {
    corpus.files["answers.txt"] = fmt::format("{}\n", fmt::join(answers(), "\n"));
    corpus.header.options["answer-types"] = fmt::to_string(fmt::join(sources::kAnswerTypes, ","));
  }
  const std::int64_t images = options.task == "nlvr2" ? 2 : 1;
  corpus.records = options.count / images;
  corpus.record = [options, images](std::int64_t i) { return draw_record(options, i * images); };
  add_example(corpus);
  return corpus;
}

std::vector<std::string> vocabulary() {
  std::set<std::string> words;
  const auto add = [&](std::span<const std::string_view> texts) {
    for (std::string_view text : texts) {
      for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find(' ', begin), text.size());
        const std::string_view word = text.substr(begin, end - begin);
        if (!word.starts_with('{')) words.emplace(word);
        begin = end + 1;
      }
    }
  };
  add(kShapeNames);
  add(kColourNames);
  add(kSizeNames);
  add(kPlacePhrases);
  add(kRelationNames);
  add(kNumberNames);
  add(caption_forms());
  add(question_forms());
  add(statement_forms());

  std::vector<std::string> tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  tokens.insert(tokens.end(), words.begin(), words.end());
  return tokens;
}

}  // namespace pixelbert::scenes
