// pixelbert pretrain: masked language modelling and image-text matching.
#include "apps/commands.h"
#include "jobs/training.h"

namespace pixelbert::apps {

int pretrain(const Arguments& arguments, const comm::MpiSession& session) {
  config::CommandLine line("pretrain", "pixelbert pretrain: MLM + ITM on image-text pairs (Pixel-BERT, section 3.2)");
  return jobs::run_training(arguments, line, jobs::read_pretraining, session);
}

}  // namespace pixelbert::apps
