#include "model/published_weights.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/check.h"
#include "model/bert.h"
#include "model/resnet.h"

namespace pixelbert::model {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using ::testing::UnorderedElementsAre;

Tensors tensors_of(const torch::nn::Module& module, const std::string& prefix) {
  Tensors tensors;
  for (const auto& list : {module.named_parameters(), module.named_buffers()}) {
    for (const auto& item : list) tensors[prefix + item.key()] = item.value().detach();
  }
  return tensors;
}

// A file as torchvision publishes it.
Tensors resnet(const std::string& name, const std::string& prefix = "") {
  Tensors tensors = tensors_of(*ResNet(name, NormMode::Local, 0), prefix);
  tensors[prefix + "fc.weight"] = at::zeros({10, 512});
  return tensors;
}

PixelBertConfig bert_config() {
  PixelBertConfig config;
  config.vocabulary = 7;
  config.hidden = 6;
  config.layers = 2;
  config.heads = 2;
  config.intermediate = 10;
  config.positions = 5;
  return config;
}

// A file as transformers publishes it.
Tensors bert(const std::string& prefix = "bert.") {
  Tensors tensors = tensors_of(*Bert(bert_config()), prefix);
  tensors[prefix + "embeddings.token_type_embeddings.weight"] = at::randn({2, 6});
  tensors[prefix + "embeddings.position_ids"] = at::arange(5);
  tensors[prefix + "pooler.dense.weight"] = at::zeros({6, 6});
  return tensors;
}

void add_head(Tensors& file, const std::string& words) {
  file["cls.predictions.bias"] = at::randn({7});
  file["cls.predictions.decoder.weight"] = file.at(words).clone();
  for (const char* layer : {"dense", "LayerNorm"}) {
    for (const char* kind : {"weight", "bias"}) {
      file[fmt::format("cls.predictions.transform.{}.{}", layer, kind)] = at::randn({6});
    }
  }
}

void rename(Tensors& file, const std::string& from, const std::string& to) {
  auto node = file.extract(from);
  ASSERT_FALSE(node.empty()) << from;
  node.key() = to;
  file.insert(std::move(node));
}

TEST(FromTorchvision, KeepsTheBackboneWithoutItsClassifier) {
  for (const std::string prefix : {"", "backbone.", "module.", "state_dict.backbone."}) {
    const Tensors file = resnet("resnet18", prefix);
    const PublishedWeights weights = from_torchvision(file, "r18.safetensors");
    EXPECT_EQ(weights.tensors.size(), file.size() - 1);
    EXPECT_TRUE(weights.tensors.at("backbone.layer2.0.downsample.1.running_var")
                    .is_same(file.at(prefix + "layer2.0.downsample.1.running_var")));
    EXPECT_THAT(weights.left_out, ElementsAre(prefix + "fc.weight"));
  }
}

TEST(FromTorchvision, RefusesAFileThatHoldsNoneOrTwo) {
  EXPECT_THAT([] { from_torchvision(bert(), "bert.safetensors"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("bert.safetensors holds no ResNet of torchvision"),
                                         HasSubstr("expected a tensor 'layer1.0.conv1.weight', found 39 tensors: "
                                                   "bert.embeddings.LayerNorm.bias, "))));
  Tensors two = resnet("resnet18", "teacher.");
  two.merge(resnet("resnet18", "student."));
  EXPECT_THAT([&] { from_torchvision(two, "distilled.safetensors"); },
              ThrowsMessage<Error>(HasSubstr("with the prefixes 'student.' and 'teacher.'")));
}

TEST(BackboneOf, TellsEveryBackboneByItsShapes) {
  for (const std::string name : {"resnet18", "resnet34", "resnet50", "resnext50-32x4d"}) {
    EXPECT_EQ(backbone_of(from_torchvision(resnet(name), "")), name);
  }
  Tensors deeper = resnet("resnet18");
  deeper["layer4.2.conv1.weight"] = at::zeros({512, 512, 3, 3});
  EXPECT_EQ(backbone_of(from_torchvision(deeper, "")), "");
}

TEST(HasAffineBatchNorm, IsForFoldedStatisticsAlone) {
  Tensors file = resnet("resnet18");
  EXPECT_FALSE(has_affine_batch_norm(from_torchvision(file, "")));  // mean 0 and variance 1: untrained
  for (auto& [name, tensor] : file) {
    if (name.ends_with(".running_var")) tensor = at::full_like(tensor, 1 - 1e-5);
  }
  EXPECT_TRUE(has_affine_batch_norm(from_torchvision(file, "")));
  file["layer4.1.bn2.running_mean"] = at::full({512}, 0.1);
  EXPECT_FALSE(has_affine_batch_norm(from_torchvision(file, "")));
  std::erase_if(file, [](const auto& named) { return named.first.find("running") != std::string::npos; });
  EXPECT_FALSE(has_affine_batch_norm(from_torchvision(file, "")));
}

// Frozen BatchNorm computes rsqrt(running_var + 1e-5), in float32.
TEST(HasAffineBatchNorm, MeansAVarianceThatWithEpsilonIsExactlyOne) {
  EXPECT_EQ((at::full({1}, 1 - 1e-5) + 1e-5).item<float>(), 1.0f);
}

TEST(FromHuggingFace, FoldsTheTypesIntoPositionsAndPixels) {
  const Tensors file = bert();
  const PublishedWeights weights = from_hugging_face(file, "bert.safetensors");
  const torch::Tensor& types = file.at("bert.embeddings.token_type_embeddings.weight");
  EXPECT_TRUE(weights.tensors.at("bert.embeddings.position_embeddings.weight")
                  .equal(file.at("bert.embeddings.position_embeddings.weight") + types[0]));
  EXPECT_TRUE(weights.tensors.at("visual.semantic_embedding").equal(types[1]));
  EXPECT_THAT(weights.left_out, UnorderedElementsAre("bert.embeddings.position_ids", "bert.pooler.dense.weight"));
}

TEST(FromHuggingFace, NeedsNoTypes) {
  Tensors file = bert();
  file.erase("bert.embeddings.token_type_embeddings.weight");
  const PublishedWeights weights = from_hugging_face(file, "");
  EXPECT_TRUE(weights.tensors.at("bert.embeddings.position_embeddings.weight")
                  .equal(file.at("bert.embeddings.position_embeddings.weight")));
  EXPECT_FALSE(weights.tensors.contains("visual.semantic_embedding"));
}

TEST(FromHuggingFace, ReadsEverySpelling) {
  for (const std::string prefix : {"", "bert.", "module.bert.", "state_dict."}) {
    Tensors file = bert(prefix);
    for (const std::string norm : {"embeddings.LayerNorm", "encoder.layer.1.output.LayerNorm"}) {
      rename(file, prefix + norm + ".weight", prefix + norm + ".gamma");
      rename(file, prefix + norm + ".bias", prefix + norm + ".beta");
    }
    PublishedWeights weights = from_hugging_face(file, "");
    const Tensors model = tensors_of(*Bert(bert_config()), "bert.");
    copy_into(model, weights);
    EXPECT_TRUE(model.at("bert.encoder.layer.1.output.LayerNorm.weight")
                    .equal(file.at(prefix + "encoder.layer.1.output.LayerNorm.gamma")));
  }
}

TEST(FromHuggingFace, RefusesTwoSpellingsOfOneParameter) {
  const auto refused = [](const std::string& there, const std::string& added) {
    Tensors file = bert();
    add_head(file, "bert.embeddings.word_embeddings.weight");
    file[added] = at::zeros_like(file.at(there));
    EXPECT_THAT([&] { from_hugging_face(file, "b.safetensors"); },
                ThrowsMessage<Error>(AllOf(HasSubstr("b.safetensors"), HasSubstr("'" + there + "'"),
                                           HasSubstr("'" + added + "'"), HasSubstr("one parameter"))));
  };
  refused("bert.embeddings.LayerNorm.weight", "bert.embeddings.LayerNorm.gamma");
  refused("bert.encoder.layer.1.output.LayerNorm.bias", "bert.encoder.layer.1.output.LayerNorm.beta");
  refused("cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.gamma");
  refused("cls.predictions.bias", "cls.predictions.decoder.bias");
}

TEST(FromHuggingFace, TakesTheHeadWithOrWithoutItsTiedDecoder) {
  Tensors file = bert();
  add_head(file, "bert.embeddings.word_embeddings.weight");
  const torch::Tensor bias = file.at("cls.predictions.bias");
  file["cls.seq_relationship.weight"] = at::zeros({2, 6});
  const PublishedWeights tied = from_hugging_face(file, "");
  EXPECT_TRUE(tied.tensors.at("cls.predictions.bias").is_same(bias));
  EXPECT_FALSE(tied.tensors.contains("cls.predictions.decoder.weight"));
  EXPECT_THAT(tied.left_out, testing::Contains("cls.seq_relationship.weight"));

  file.erase("cls.predictions.decoder.weight");
  rename(file, "cls.predictions.bias", "cls.predictions.decoder.bias");
  const PublishedWeights other = from_hugging_face(file, "");
  EXPECT_TRUE(other.tensors.at("cls.predictions.bias").is_same(bias));
  EXPECT_EQ(other.tensors.size(), tied.tensors.size());

  file["cls.predictions.decoder.weight"] = at::randn({7, 6});
  EXPECT_THAT([&] { from_hugging_face(file, "untied.safetensors"); },
              ThrowsMessage<Error>(HasSubstr("'cls.predictions.decoder.weight' differs from the word embeddings")));
}

TEST(FromHuggingFace, RefusesWhatIsNoBert) {
  EXPECT_THAT([] { from_hugging_face(resnet("resnet18"), "r18.safetensors"); },
              ThrowsMessage<Error>(HasSubstr("r18.safetensors holds no BERT of Hugging Face: expected a tensor "
                                             "'embeddings.word_embeddings.weight'")));
  Tensors file = bert();
  file["bert.embeddings.token_type_embeddings.weight"] = at::zeros({2, 8});
  EXPECT_THAT(
      [&] { from_hugging_face(file, "b"); },
      ThrowsMessage<Error>(HasSubstr("b: 'embeddings.token_type_embeddings.weight' is [2, 8], which does not fit "
                                     "'embeddings.position_embeddings.weight', [5, 6]")));
}

TEST(BertSizesOf, AreThoseOfTheTables) {
  const BertSizes sizes = bert_sizes(from_hugging_face(bert(), ""));
  EXPECT_EQ(sizes.vocabulary, 7);
  EXPECT_EQ(sizes.hidden, 6);
  EXPECT_EQ(sizes.layers, 2);
  EXPECT_EQ(sizes.intermediate, 10);
  EXPECT_EQ(sizes.positions, 5);
  Tensors other = bert();
  std::erase_if(other, [](const auto& named) { return named.first.find("encoder") != std::string::npos; });
  EXPECT_THAT([&] { bert_sizes(from_hugging_face(other, "distilbert")); },
              ThrowsMessage<Error>(HasSubstr("distilbert has no tensor 'encoder.layer.0.intermediate.dense.weight'")));
}

class CopyInto : public testing::Test {
 protected:
  Tensors model_ = tensors_of(*Bert(bert_config()), "bert.");
  Tensors file_ = bert();
};

TEST_F(CopyInto, ListsWhatIsMissingInAPart) {
  file_.erase("bert.encoder.layer.1.output.dense.bias");
  file_.erase("bert.embeddings.LayerNorm.weight");
  PublishedWeights weights = from_hugging_face(file_, "b.safetensors");
  EXPECT_THAT(
      [&] { copy_into(model_, weights); },
      ThrowsMessage<Error>(HasSubstr("b.safetensors lacks 2 tensors that this model needs: "
                                     "bert.embeddings.LayerNorm.weight, bert.encoder.layer.1.output.dense.bias")));
}

TEST_F(CopyInto, LeavesPartsAloneThatTheFileDoesNotHave) {
  model_["itm.weight"] = at::ones({1, 6});
  model_["visual.conv.bias"] = at::ones({6});
  model_["visual.semantic_embedding"] = at::ones({6});
  PublishedWeights weights = from_hugging_face(file_, "");
  copy_into(model_, weights);
  EXPECT_TRUE(model_.at("itm.weight").equal(at::ones({1, 6})));
  EXPECT_TRUE(model_.at("visual.conv.bias").equal(at::ones({6})));
  EXPECT_TRUE(
      model_.at("visual.semantic_embedding").equal(file_.at("bert.embeddings.token_type_embeddings.weight")[1]));
}

TEST_F(CopyInto, NamesATensorOfAnotherShapeOrType) {
  PublishedWeights weights = from_hugging_face(file_, "b.safetensors");
  weights.tensors["bert.encoder.layer.0.output.dense.bias"] = at::zeros({8});
  EXPECT_THAT([&] { copy_into(model_, weights); },
              ThrowsMessage<Error>(
                  HasSubstr("b.safetensors: 'bert.encoder.layer.0.output.dense.bias' is [8], the model needs [6]")));
  weights.tensors["bert.encoder.layer.0.output.dense.bias"] = at::zeros({6}, at::kChar);
  EXPECT_THAT([&] { copy_into(model_, weights); }, ThrowsMessage<Error>(HasSubstr("holds Char, expected Float")));
}

TEST_F(CopyInto, NamesATensorThatIsNotFinite) {
  const auto refused = [this](const std::string& name, double value, const std::string& named) {
    Tensors file = bert();
    file.at(name) = file.at(name).to(at::kDouble);
    file.at(name)[0][0] = value;
    EXPECT_THAT(
        [&] {
          PublishedWeights weights = from_hugging_face(file, "b.safetensors");
          copy_into(model_, weights);
        },
        ThrowsMessage<Error>(HasSubstr("b.safetensors: '" + named + "' holds values that are not finite")));
  };
  const std::string query = "bert.encoder.layer.1.attention.self.query.weight";
  for (const double value : std::vector<double>{NAN, INFINITY, 1e300})
    refused(query, value, query);  // the last is none in float32
  refused("bert.embeddings.word_embeddings.weight", NAN, "bert.embeddings.word_embeddings.weight");
  refused("bert.embeddings.token_type_embeddings.weight", NAN, "bert.embeddings.position_embeddings.weight");
  file_.at("bert.pooler.dense.weight")[0][0] = NAN;  // not used here
  PublishedWeights weights = from_hugging_face(file_, "");
  EXPECT_NO_THROW(copy_into(model_, weights));
}

TEST_F(CopyInto, TakesAnyFloatingPointTypeAndListsWhatHasNoPlace) {
  file_["bert.encoder.layer.2.output.dense.bias"] = at::zeros({6});
  for (auto& [name, tensor] : file_) {
    if (tensor.is_floating_point()) tensor = tensor.to(at::kBFloat16);
  }
  PublishedWeights weights = from_hugging_face(file_, "");
  copy_into(model_, weights);
  const std::string name = "bert.encoder.layer.1.attention.self.query.weight";
  EXPECT_EQ(model_.at(name).scalar_type(), at::kFloat);
  EXPECT_TRUE(model_.at(name).equal(file_.at(name).to(at::kFloat)));
  EXPECT_THAT(weights.left_out, testing::Contains("bert.encoder.layer.2.output.dense.bias"));
}

TEST_F(CopyInto, NeedsNoCounterOfBatches) {
  const Tensors model = tensors_of(*ResNet("resnet18", NormMode::Local, 0), "backbone.");
  Tensors file = resnet("resnet18");
  std::erase_if(file, [](const auto& named) { return named.first.ends_with("num_batches_tracked"); });
  PublishedWeights weights = from_torchvision(file, "");
  copy_into(model, weights);
  EXPECT_TRUE(model.at("backbone.layer4.1.conv2.weight").equal(file.at("layer4.1.conv2.weight")));
  file.erase("bn1.running_var");
  weights = from_torchvision(file, "r18");
  EXPECT_THAT([&] { copy_into(model, weights); },
              ThrowsMessage<Error>(HasSubstr("r18 lacks 1 tensors that this model needs: backbone.bn1.running_var")));
}

}  // namespace
}  // namespace pixelbert::model
