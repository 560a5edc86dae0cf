#include "model/published_weights.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "core/check.h"
#include "model/resnet.h"

namespace pixelbert::model {
namespace {

constexpr std::string_view kWords = "embeddings.word_embeddings.weight";
constexpr std::string_view kPositions = "embeddings.position_embeddings.weight";
constexpr std::string_view kTypes = "embeddings.token_type_embeddings.weight";
constexpr std::string_view kLayers = "encoder.layer.";

constexpr std::size_t kNamesShown = 5;

std::string some_names(const Tensors& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    if (names.size() == kNamesShown) break;
    names.push_back(name);
  }
  return fmt::format("{} tensors: {}{}", tensors.size(), fmt::join(names, ", "),
                     tensors.size() > kNamesShown ? ", ..." : "");
}

// Returns the prefix of `name`, which the file must have once.
std::string prefix_of(std::string_view name, const Tensors& published, const std::string& what,
                      const std::string& file) {
  std::vector<std::string> prefixes;
  for (const auto& [full, tensor] : published) {
    if (!full.ends_with(name)) continue;
    const std::string prefix = full.substr(0, full.size() - name.size());
    if (prefix.empty() || prefix.ends_with('.')) prefixes.push_back(prefix);
  }
  PB_CHECK(!prefixes.empty(), "{} holds no {}: expected a tensor '{}', found {}", file, what, name,
           some_names(published));
  PB_CHECK(prefixes.size() == 1, "{} has {} sets of tensors of a {}, expected one: with the prefixes '{}' and '{}'",
           file, prefixes.size(), what, prefixes[0], prefixes[1]);
  return prefixes[0];
}

// Files of the original BERT still use TensorFlow's names of the LayerNorm parameters.
std::string without_gamma_and_beta(const std::string& name) {
  for (const auto& [old, now] : {std::pair(".gamma", ".weight"), std::pair(".beta", ".bias")}) {
    if (name.ends_with(old)) return name.substr(0, name.size() - std::string_view(old).size()) + now;
  }
  return name;
}

std::string shape_of(const torch::Tensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.sizes(), ", "));
}

void fold_types(const torch::Tensor& types, PublishedWeights& weights) {
  const auto positions = weights.tensors.find(fmt::format("bert.{}", kPositions));
  if (positions == weights.tensors.end()) return;  // copy_into() reports it
  torch::Tensor& table = positions->second;
  PB_CHECK(types.dim() == 2 && table.dim() == 2 && types.size(0) > 0 && types.size(1) == table.size(1),
           "{}: '{}' is {}, which does not fit '{}', {}", weights.file, kTypes, shape_of(types), kPositions,
           shape_of(table));
  table = table.to(at::kFloat) + types[0].to(at::kFloat);
  if (types.size(0) > 1) weights.tensors["visual.semantic_embedding"] = types[1];
}

// There is no rule for which of two spellings would count.
void check_spelled_once(const Tensors& published, const std::string& prefix, const std::string& file) {
  for (const auto& [name, tensor] : published) {
    const std::string now = without_gamma_and_beta(name);
    PB_CHECK(now == name || !name.starts_with(prefix) || !published.contains(now),
             "{} holds both '{}' and '{}', which are one parameter: remove one of them", file, name, now);
  }
}

// Of the tensors that are taken, as they will be used; checkpoint::check_finite() is for whole files.
void check_values(const torch::Tensor& tensor, const std::string& name, const std::string& file) {
  PB_CHECK(!tensor.is_floating_point() || at::isfinite(tensor).all().item<bool>(),
           "{}: '{}' holds values that are not finite (NaN or infinite)", file, name);
  PB_CHECK(!name.ends_with("running_var") || (tensor >= 0).all().item<bool>(),
           "{}: '{}' holds negative values, which have no square root", file, name);
}

// "bert." is not part of the name of a bare BertModel's tensors, nor of the MLM head's.
bool add_bert_tensor(const std::string& name, const torch::Tensor& tensor, PublishedWeights& weights) {
  if (name != kWords && name != kPositions && !name.starts_with("embeddings.LayerNorm.") &&
      !name.starts_with(kLayers)) {
    return false;
  }
  weights.tensors["bert." + without_gamma_and_beta(name)] = tensor;
  return true;
}

bool add_head_tensor(const std::string& name, const torch::Tensor& tensor, const torch::Tensor& words,
                     PublishedWeights& weights) {
  if (name == "cls.predictions.decoder.weight") {
    PB_CHECK(tensor.equal(words),
             "{}: '{}' differs from the word embeddings, which decode here. Remove the cls.* tensors from the file: "
             "the MLM head then starts at random",
             weights.file, name);
    return true;
  }
  if (name != "cls.predictions.bias" && name != "cls.predictions.decoder.bias" &&
      !name.starts_with("cls.predictions.transform.")) {
    return false;
  }
  const bool decoder = name == "cls.predictions.decoder.bias";  // the same tensor as cls.predictions.bias; files have
  const std::string here = decoder ? "cls.predictions.bias" : without_gamma_and_beta(name);  // one or both
  const auto [place, added] = weights.tensors.emplace(here, tensor);
  PB_CHECK(added || place->second.equal(tensor),
           "{}: 'cls.predictions.bias' and 'cls.predictions.decoder.bias' are one parameter, but have different values",
           weights.file);
  return true;
}

bool has_conv(const Tensors& tensors, const std::string& name, const ConvShape& shape) {
  const auto found = tensors.find(name);
  return found != tensors.end() &&
         found->second.sizes() == at::IntArrayRef{shape.out, shape.in / shape.groups, shape.kernel, shape.kernel};
}

bool has_convs(const Tensors& tensors, const ResNetShape& shape) {
  for (std::size_t layer = 0; layer < shape.layers.size(); ++layer) {
    const std::string stage = fmt::format("backbone.layer{}.", layer + 1);
    const std::vector<BlockShape>& blocks = shape.layers[layer];
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      for (std::size_t conv = 0; conv < blocks[i].convs.size(); ++conv) {
        if (!has_conv(tensors, fmt::format("{}{}.conv{}.weight", stage, i, conv + 1), blocks[i].convs[conv])) {
          return false;
        }
      }
    }
    if (tensors.contains(fmt::format("{}{}.conv1.weight", stage, blocks.size()))) return false;
  }
  return has_conv(tensors, "backbone.conv1.weight", shape.stem);
}

const torch::Tensor& table(const PublishedWeights& weights, std::string_view name) {
  const auto found = weights.tensors.find(fmt::format("bert.{}", name));
  PB_CHECK(found != weights.tensors.end(), "{} has no tensor '{}'", weights.file, name);
  PB_CHECK(found->second.dim() == 2, "{}: '{}' is {}, expected two dimensions", weights.file, name,
           shape_of(found->second));
  return found->second;
}

std::string part_of(const std::string& name) {
  return name.substr(0, name.find('.'));
}

void check_complete(const Tensors& model, const PublishedWeights& weights) {
  std::set<std::string> parts;
  for (const auto& [name, tensor] : weights.tensors) parts.insert(part_of(name));
  parts.erase("visual");  // only its semantic embedding is ever published
  std::vector<std::string> missing;
  for (const auto& [name, tensor] : model) {
    const bool optional = name.ends_with(".num_batches_tracked");  // a counter that old files lack
    if (parts.contains(part_of(name)) && !optional && !weights.tensors.contains(name)) missing.push_back(name);
  }
  PB_CHECK(missing.empty(), "{} lacks {} tensors that this model needs: {}", weights.file, missing.size(),
           fmt::join(missing, ", "));
}

}  // namespace

PublishedWeights from_torchvision(const Tensors& published, const std::string& file) {
  const std::string prefix = prefix_of("layer1.0.conv1.weight", published, "ResNet of torchvision", file);
  PublishedWeights weights{.file = file, .tensors = {}, .left_out = {}};
  for (const auto& [full, tensor] : published) {
    const std::string name = full.starts_with(prefix) ? full.substr(prefix.size()) : "";
    if (name.starts_with("conv1.") || name.starts_with("bn1.") || name.starts_with("layer")) {
      weights.tensors["backbone." + name] = tensor;
    } else {
      weights.left_out.push_back(full);
    }
  }
  return weights;
}

PublishedWeights from_hugging_face(const Tensors& published, const std::string& file) {
  const std::string bert = prefix_of(kWords, published, "BERT of Hugging Face", file);
  const std::string outside = bert.ends_with("bert.") ? bert.substr(0, bert.size() - 5) : bert;
  const torch::Tensor& words = published.at(bert + std::string(kWords));
  check_values(words, bert + std::string(kWords), file);  // otherwise it would also differ from its decoder
  check_spelled_once(published, outside, file);

  PublishedWeights weights{.file = file, .tensors = {}, .left_out = {}};
  for (const auto& [full, tensor] : published) {
    const std::string inner = full.starts_with(bert) ? full.substr(bert.size()) : "";
    const std::string outer = full.starts_with(outside) ? full.substr(outside.size()) : "";
    if (inner != kTypes && !add_bert_tensor(inner, tensor, weights) &&
        !add_head_tensor(outer, tensor, words, weights)) {
      weights.left_out.push_back(full);
    }
  }
  if (const auto types = published.find(bert + std::string(kTypes)); types != published.end()) {
    fold_types(types->second, weights);
  }
  return weights;
}

std::string backbone_of(const PublishedWeights& weights) {
  for (const std::string& name : backbone_names()) {
    if (has_convs(weights.tensors, resnet_shape(name))) return name;
  }
  return "";
}

bool has_affine_batch_norm(const PublishedWeights& weights) {
  constexpr float kOneWithoutEpsilon = static_cast<float>(1 - 1e-5);
  bool has_statistics = false;
  for (const auto& [name, tensor] : weights.tensors) {
    const bool mean = name.ends_with(".running_mean"), variance = name.ends_with(".running_var");
    if (!mean && !variance) continue;
    has_statistics = true;
    if (!tensor.eq(mean ? 0.0f : kOneWithoutEpsilon).all().item<bool>()) return false;
  }
  return has_statistics;
}

BertSizes bert_sizes(const PublishedWeights& weights) {
  BertSizes sizes{.vocabulary = table(weights, kWords).size(0),
                  .hidden = table(weights, kWords).size(1),
                  .intermediate = table(weights, "encoder.layer.0.intermediate.dense.weight").size(0),
                  .positions = table(weights, kPositions).size(0)};
  const std::string prefix = fmt::format("bert.{}", kLayers);
  std::set<std::string> layers;
  for (const auto& [name, tensor] : weights.tensors) {
    if (name.starts_with(prefix))
      layers.insert(name.substr(prefix.size(), name.find('.', prefix.size()) - prefix.size()));
  }
  sizes.layers = static_cast<std::int64_t>(layers.size());
  return sizes;
}

void copy_into(const Tensors& model, PublishedWeights& weights) {
  check_complete(model, weights);
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : weights.tensors) {
    const auto place = model.find(name);
    if (place == model.end()) {
      weights.left_out.push_back(name);
      continue;
    }
    torch::Tensor into = place->second;
    PB_CHECK(tensor.sizes() == into.sizes(), "{}: '{}' is {}, the model needs {}", weights.file, name, shape_of(tensor),
             shape_of(into));
    PB_CHECK(tensor.is_floating_point() == into.is_floating_point(), "{}: '{}' holds {}, expected {}", weights.file,
             name, c10::toString(tensor.scalar_type()), c10::toString(into.scalar_type()));
    into.copy_(tensor);
    check_values(into, name, weights.file);
  }
}

}  // namespace pixelbert::model
