// pixelbert import: a checkpoint from published weights. pixelbert export: a checkpoint as one file.
#include <ATen/Context.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "apps/commands.h"
#include "checkpoint/checkpoint_file.h"
#include "checkpoint/checkpoint_store.h"
#include "checkpoint/manifest.h"
#include "config/command_line.h"
#include "core/check.h"
#include "core/files.h"
#include "core/json_text.h"
#include "core/log.h"
#include "core/rng.h"
#include "jobs/restore.h"
#include "jobs/version.h"
#include "model/published_weights.h"
#include "tasks/pretrain.h"
#include "text/wordpiece.h"
#include "train/replicas.h"

namespace pixelbert::apps {
namespace {

using nlohmann::json;

struct ImportConfig {
  std::string backbone;
  std::string bert;
  std::string out;
  images::ImageConfig image;  // of trainings that will start from these weights
  text::TextConfig text;
  model::PixelBertConfig model;
  std::uint64_t seed = 0;
};

template <class Field>
void describe(ImportConfig& config, Field&& field) {
  field("backbone", config.backbone, "safetensors file of a ResNet of torchvision; empty: random weights");
  field("bert", config.bert, "safetensors file of a BERT of Hugging Face; empty: random weights");
  field("out", config.out, "checkpoint folder to make");
  describe(config.image, field);
  describe(config.text, field);
  describe(config.model, field);
  field("train.seed", config.seed, "decides the weights that come from no file");
}

void check_files(const ImportConfig& config) {
  if (config.out.empty()) throw UsageError("--out is missing: the checkpoint folder to make");
  if (config.backbone.empty() && config.bert.empty()) {
    throw UsageError("there is nothing to import: name safetensors files with --backbone, --bert or both");
  }
  if (config.text.vocab.empty()) {
    throw UsageError("--text.vocab is missing: the vocab.txt that the BERT was trained with");
  }
  const std::filesystem::path out = std::filesystem::absolute(config.out);
  if (std::filesystem::exists(out) && !(std::filesystem::is_directory(out) && std::filesystem::is_empty(out))) {
    throw UsageError(fmt::format("--out {} already exists: remove it or name another folder", config.out));
  }
  try {
    check_can_write_into(nearest_existing(out.parent_path()));
  } catch (const Error& error) {
    throw UsageError(fmt::format("--out: {}", error.what()));
  }
}

// Takes the options that the file decides, unless they were given.
void take_backbone_options(const model::PublishedWeights& weights, const config::CommandLine& line,
                           model::PixelBertConfig& model) {
  const std::string found = model::backbone_of(weights);
  if (line.given("model.backbone") && !found.empty() && found != model.backbone) {
    throw UsageError(fmt::format("--model.backbone is {}, but {} holds a {}: leave the option out", model.backbone,
                                 weights.file, found));
  }
  if (!line.given("model.backbone")) {
    PB_CHECK(!found.empty(), "{} holds none of {}: name one with --model.backbone to see what does not fit",
             weights.file, fmt::join(model::backbone_names(), ", "));
    model.backbone = found;
  }
  if (!model::has_affine_batch_norm(weights)) return;
  if (line.given("model.batch-norm") && model.batch_norm != model::NormMode::Frozen) {
    throw UsageError(
        fmt::format("--model.batch-norm is {}, but the BatchNorms of {} have only scale and bias, no "
                    "statistics: they can only be frozen",
                    name_of(model.batch_norm), weights.file));
  }
  model.batch_norm = model::NormMode::Frozen;
  log::info("{}: BatchNorms have only scale and bias, no statistics, so --model.batch-norm is frozen", weights.file);
}

// Returns the number of heads in config.json, which Hugging Face puts beside the weights.
std::optional<std::int64_t> heads_beside(const std::filesystem::path& weights) {
  const std::filesystem::path path = weights.parent_path() / "config.json";
  if (!std::filesystem::exists(path)) return std::nullopt;
  const json config = parse_json<json>(read_file(path, checkpoint::kMaxTextBytes), path.string());
  if (config.is_object() && !config.contains("num_attention_heads")) return std::nullopt;
  return json_integer(config, "num_attention_heads", path.string(), 1);
}

void take_bert_options(const model::PublishedWeights& weights, const config::CommandLine& line,
                       model::PixelBertConfig& model) {
  const model::BertSizes sizes = model::bert_sizes(weights);
  if (sizes.vocabulary != model.vocabulary) {
    throw UsageError(
        fmt::format("--text.vocab has {} tokens, but {} has {} word embeddings: name the vocab.txt that came "
                    "with it",
                    model.vocabulary, weights.file, sizes.vocabulary));
  }
  const auto take = [&line](const char* option, std::int64_t size, std::int64_t& value) {
    if (!line.given(option)) value = size;
  };
  take("model.hidden", sizes.hidden, model.hidden);
  take("model.layers", sizes.layers, model.layers);
  take("model.intermediate", sizes.intermediate, model.intermediate);
  take("model.positions", sizes.positions, model.positions);
  if (line.given("model.heads")) return;
  // No tensor's shape gives the number of heads.
  if (const std::optional<std::int64_t> heads = heads_beside(weights.file)) {
    model.heads = *heads;
    return;
  }
  // BERT's heads are 64 wide in all published sizes.
  if (model.hidden % 64 != 0) {
    throw UsageError(
        fmt::format("--model.heads is missing: {} has a hidden size of {}, no multiple of BERT's 64 per head",
                    weights.file, model.hidden));
  }
  model.heads = model.hidden / 64;
  log::warn(
      "{}: assuming {} heads, as BERT has one per 64 of its hidden size {}: there is no config.json beside it; "
      "--model.heads sets another number",
      weights.file, model.heads, model.hidden);
}

json import_part(const model::Tensors& model, model::PublishedWeights& weights) {
  model::copy_into(model, weights);
  log::info("{}: {} tensors taken", weights.file, weights.tensors.size());
  if (!weights.left_out.empty()) log::info("{}: left out {}", weights.file, fmt::join(weights.left_out, ", "));
  return {{"file", std::filesystem::path(weights.file).filename().string()},
          {"bytes", std::filesystem::file_size(weights.file)},
          {"crc32c", crc32c_of_file(weights.file)},
          {"left_out", weights.left_out}};
}

// Logs the tensors that no file has; a part of the model that is wholly missing is one name, "itm.*".
void log_random_weights(const model::Tensors& model, const std::vector<model::PublishedWeights>& published) {
  std::set<std::string> imported, imported_parts, random;
  const auto part_of = [](const std::string& name) { return name.substr(0, name.find('.')); };
  for (const model::PublishedWeights& weights : published) {
    for (const auto& [name, tensor] : weights.tensors) {
      imported.insert(name);
      imported_parts.insert(part_of(name));
    }
  }
  for (const auto& [name, tensor] : model) {
    if (imported.contains(name) || name.ends_with(".num_batches_tracked")) continue;
    random.insert(imported_parts.contains(part_of(name)) ? name : part_of(name) + ".*");
  }
  log::info("random to begin with: {}", fmt::join(random, ", "));
}

// Returns a pre-training checkpoint before its first step.
checkpoint::Weights weights_before_training(const config::CommandLine& line, json imported,
                                            const text::Vocabulary& vocabulary) {
  checkpoint::Weights weights;
  weights.config = line.values();
  std::erase_if(weights.config,
                [](const auto& option) { return option.first.find('.') == std::string::npos; });  // options of import
  weights.imported = std::move(imported);
  weights.code_version = fmt::format("{} ({})", version(), git_commit());
  weights.vocabulary = vocabulary.text();
  return weights;
}

}  // namespace

int import_weights(const Arguments& arguments) {
  ImportConfig config;
  config::CommandLine line(
      "import",
      "pixelbert import: a checkpoint from published weights. Needs --text.vocab. The sizes of the "
      "model come from the files, unless you give them");
  line.add(config);
  if (!line.parse(arguments)) return 0;
  check_files(config);

  model::PixelBertConfig& model_config = config.model;
  const text::Vocabulary vocabulary = text::Vocabulary::read(config.text.vocab);
  model_config.vocabulary = vocabulary.size();
  std::vector<model::PublishedWeights> parts;
  if (!config.backbone.empty()) {
    parts.push_back(model::from_torchvision(checkpoint::read_safetensors(config.backbone), config.backbone));
    take_backbone_options(parts.back(), line, model_config);
  }
  if (!config.bert.empty()) {
    parts.push_back(model::from_hugging_face(checkpoint::read_safetensors(config.bert), config.bert));
    take_bert_options(parts.back(), line, model_config);
  }
  Problems problems;
  jobs::find_problems(config.image, config.text, config.model, problems);
  problems.throw_if_any();

  at::manual_seed(key(config.seed, Purpose::kWeights));  // as in pretrain
  const model::PixelBert model(model_config);
  const tasks::PretrainObjective objective(model_config);
  const checkpoint::NamedTensors tensors = train::named_tensors({model.get(), &objective});
  json imported = json::array();
  for (model::PublishedWeights& part : parts) imported.push_back(import_part(tensors, part));
  log_random_weights(tensors, parts);
  checkpoint::Weights weights = weights_before_training(line, std::move(imported), vocabulary);
  weights.model = tensors;
  checkpoint::save_weights(config.out, weights);
  log::info("{}: {} and {} layers of {} with {} heads, vocabulary of {}", config.out, model_config.backbone,
            model_config.layers, model_config.hidden, model_config.heads, model_config.vocabulary);
  return 0;
}

namespace {

struct ExportConfig {
  std::string checkpoint;
  std::string out;
};

template <class Field>
void describe(ExportConfig& config, Field&& field) {
  field("checkpoint", config.checkpoint, "a step-... folder, a run folder (its newest), or an imported folder");
  field("out", config.out, "safetensors file to write");
}

}  // namespace

int export_weights(const Arguments& arguments) {
  ExportConfig config;
  config::CommandLine line("export", "pixelbert export: a checkpoint as one safetensors file");
  line.add(config);
  if (!line.parse(arguments)) return 0;
  if (config.checkpoint.empty()) throw UsageError("--checkpoint is missing: a step-... folder or a run folder");
  if (!config.out.ends_with(".safetensors")) {
    throw UsageError(fmt::format("--out must name a .safetensors file, found '{}'", config.out));
  }
  jobs::check_output("out", config.out);

  const checkpoint::Weights saved = checkpoint::load_weights(config.checkpoint);
  checkpoint::write_checkpoint_file(config.out, saved);
  log::info("{}: {} tensors of step {} from {}", config.out, saved.model.size(), saved.step, config.checkpoint);
  return 0;
}

}  // namespace pixelbert::apps
