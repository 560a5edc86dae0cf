// pixelbert visualize: which pixels each word of a text looks at.
#include <ATen/ATen.h>

#include <filesystem>

#include "apps/commands.h"
#include "comm/make_communicator.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/files.h"
#include "core/log.h"
#include "drawing/attention.h"
#include "jobs/example.h"
#include "jobs/restore.h"
#include "model/autocast.h"

namespace pixelbert::apps {
namespace {

struct VisualizeConfig {
  std::string image;
  std::string text;
  std::string out;
  std::int64_t layer = 0;
  std::int64_t head = 0;
};

template <class Field>
void describe(VisualizeConfig& config, Field&& field) {
  field("image", config.image, "JPEG or PNG file");
  field("text", config.text, "a caption, question or statement");
  field("out", config.out, "FILE.png (a copy of the image per word) or FILE.html (a page on which to point at words)");
  field("layer", config.layer, "layer of the Transformer, from 1; 0: the mean of all; the page has them all");
  field("head", config.head, "attention head, from 1; 0: the mean of all; the page has them all");
}

void validate(const VisualizeConfig& config, const model::PixelBertConfig& model) {
  if (config.image.empty()) throw UsageError("--image is missing: a JPEG or PNG file");
  if (config.text.empty()) throw UsageError("--text is missing: a caption, question or statement");
  const std::string extension = std::filesystem::path(config.out).extension();
  if (extension != ".png" && extension != ".html") {
    throw UsageError(fmt::format("--out must end in .png or .html, found '{}'", config.out));
  }
  const auto in_range = [](const char* name, std::int64_t value, std::int64_t most) {
    if (value < 0 || value > most) throw UsageError(fmt::format("--{} must be 0 to {}, found {}", name, most, value));
  };
  in_range("layer", config.layer, model.layers);
  in_range("head", config.head, model.heads);
}

drawing::AttentionMaps make_maps(const std::string& path, const std::vector<std::string>& words,
                                 const torch::Tensor& weights, model::Grid grid, const images::ImageConfig& image) {
  drawing::AttentionMaps maps;
  maps.encoded = read_file(path);
  const torch::Tensor decoded =
      images::decode({reinterpret_cast<const std::uint8_t*>(maps.encoded.data()), maps.encoded.size()});
  const torch::Tensor pixels =
      images::resize(decoded, images::resized({decoded.size(0), decoded.size(1)}, image)).contiguous();
  maps.height = pixels.size(0);
  maps.width = pixels.size(1);
  maps.rgb.assign(pixels.data_ptr<std::uint8_t>(), pixels.data_ptr<std::uint8_t>() + pixels.numel());
  maps.words = words;
  maps.rows = grid.height;
  maps.columns = grid.width;

  maps.layers = weights.size(0);
  maps.heads = weights.size(1);
  maps.weights.assign(weights.data_ptr<float>(), weights.data_ptr<float>() + weights.numel());
  return maps;
}

}  // namespace

int visualize(const Arguments& arguments, const comm::MpiSession& session) {
  VisualizeConfig config;
  jobs::RestoreConfig restoring;
  config::CommandLine line(
      "visualize",
      "pixelbert visualize: which pixels each word of a text looks at. Options of the image, the "
      "text and the model, the precision and the memory order come from the checkpoint, unless you "
      "give them");
  line.add(config);
  line.add(restoring);
  if (session.world_size() > 1) throw UsageError("pixelbert visualize runs alone, without mpirun");
  auto control = comm::make_control_communicator(session);
  const auto saved = jobs::parse_with_checkpoint(arguments, line, *control);
  if (!saved) return 0;
  validate(config, restoring.model);
  pixelbert::validate(restoring);
  jobs::check_output("out", config.out);

  const text::WordPiece tokenizer = jobs::restore_tokenizer(restoring, *saved);
  jobs::Ranks ranks(restoring.compute, session, std::move(control));
  jobs::Restored restored = jobs::restore(restoring, *saved, *jobs::task_of(*saved), ranks.device(), ranks.tensors());

  activity::doing(activity::Phase::Forward, "one example");
  const torch::NoGradGuard no_grad;
  const std::vector<std::int64_t> ids = jobs::read_text(config.text, tokenizer, restoring.text.max_tokens);
  const model::Inputs inputs =
      jobs::make_inputs({jobs::read_image(config.image, restoring.image)}, ids, restoring.image, ranks.device());
  const model::Autocast autocast(ranks.device().type(), ranks.precision());
  std::vector<std::string> words;
  for (const std::int64_t id : ids) words.push_back(tokenizer.vocabulary().token(id));
  const auto* const size = inputs.image_sizes.const_data_ptr<std::int64_t>();
  const model::Grid pixels{size[0], size[1]};
  drawing::AttentionMaps maps = make_maps(config.image, words, jobs::attention_to_pixels(restored.model, inputs),
                                          model::token_grid(restoring.model, pixels), restoring.image);
  maps.cell =
      restoring.model.visual_order == model::VisualOrder::Conv ? 32 : 64;  // the CNN's stride, twice with pooling
  const bool page = std::filesystem::path(config.out).extension() == ".html";
  write_file(config.out,
             page ? drawing::attention_page(maps) : drawing::attention_png(maps, config.layer - 1, config.head - 1));
  log::info("wrote {}", config.out);
  return 0;
}

}  // namespace pixelbert::apps
