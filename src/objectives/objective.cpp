#include "objectives/objective.h"

#include "core/check.h"
#include "objectives/nlvr2.h"
#include "objectives/pretrain.h"
#include "objectives/retrieval.h"
#include "objectives/vqa.h"

namespace pixelbert::objectives {

double Objective::flops(const model::PixelBertConfig& config, const data::Batch& batch) const {
  return model::forward_flops(config, inputs_of(batch, wanted())).with_backward();
}

std::shared_ptr<Objective> make_objective(const data::TaskConfig& config, const model::PixelBertConfig& model) {
  switch (config.task) {
    case data::Task::Pretrain:
      return std::make_shared<PretrainImpl>(model, config.pretrain.mlm(), config.pretrain.itm());
    case data::Task::Vqa:
      return std::make_shared<VqaImpl>(model.hidden, config.answers, config.head.dropout);
    case data::Task::Nlvr2:
      return std::make_shared<Nlvr2Impl>(model.hidden, config.head.dropout);
    case data::Task::Retrieval:
      return std::make_shared<RetrievalImpl>(model.hidden, config.retrieval.hard_texts);
  }
  fail("a task without an objective");
}

model::Inputs inputs_of(const data::Batch& batch, model::Wanted wanted) {
  return {.images = batch.images,
          .image_sizes = batch.image_sizes,
          .image_of_row = batch.image_of_row,
          .tokens = batch.tokens,
          .token_mask = batch.token_mask,
          .pixel_keys = batch.pixel_keys,
          .wanted = wanted};
}

}  // namespace pixelbert::objectives
