#include "evaluation/pass.h"

#include <ATen/core/grad_mode.h>

#include <vector>

#include "core/activity.h"
#include "core/check.h"
#include "core/stop_signal.h"

namespace pixelbert::evaluation {
namespace {

// Masks are the same for every checkpoint, independent of its seed. So are negatives, if the sizes of images and
// --data.micro-batch are, on which the order depends. Neighbours in a micro-batch also decide how an image is padded,
// and its scores depend on that (model/resnet.h).
constexpr std::uint64_t kSeed = 0;

void check_samples(const data::Batch& batch) {
  if (batch.bad_samples.empty()) return;
  std::vector<std::string> reasons;
  for (const auto& [reason, count] : batch.bad_samples) reasons.push_back(fmt::format("{} {}", count, reason));
  fail(
      fmt::format("some of the {} samples of micro-batch {} cannot be read ({}), and there are no scores without them: "
                  "'pixelbert inspect' on --data.shards tells what is broken; make those shards again",
                  batch.pairs.size(), batch.at.step, fmt::join(reasons, ", ")));
}

}  // namespace

std::int64_t texts_of(const data::DataSets& data) {
  std::int64_t texts = 0;
  for (const auto& set : data) texts += set->texts();
  return texts;
}

Pass::Pass(const Evaluation& evaluation, const data::RowMaker& row_maker)
    : evaluation_(evaluation),
      stream_(data::make_stream(evaluation.data,
                                {.global_batch = evaluation.micro_batch, .micro_batch = evaluation.micro_batch}, kSeed,
                                evaluation.image)),
      steps_{.begin = stream_.after({}, evaluation.control.rank()),
             .end = {.epoch = 1, .step = 0},
             .stride = evaluation.control.world_size()},
      maker_(evaluation.data, stream_, evaluation.tokenizer,
             {.text = evaluation.text,
              .image = evaluation.image,
              .sample_pixels = false,
              .unlabelled = true,
              .blank_images = evaluation.blank_images},
             row_maker),
      loader_(maker_, {.threads = evaluation.threads}, /*share=*/{}, steps_, evaluation.device) {}

void Pass::for_each_batch(const std::function<void(const data::Batch&)>& use) {
  const torch::NoGradGuard no_grad;
  for (data::Position at = steps_.begin; at < steps_.end; at = stream_.after(at, steps_.stride)) {
    activity::doing(activity::Phase::Data, "the loader's batches");
    for (const data::Batch& batch : loader_.load(at)) {
      end_when_stop_signalled();
      check_samples(batch);
      activity::doing(activity::Phase::Forward, fmt::format("micro-batch {}", at.step));
      const model::Autocast autocast(evaluation_.device.type(), evaluation_.precision);
      use(batch);
    }
  }
}

}  // namespace pixelbert::evaluation
