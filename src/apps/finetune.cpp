// pixelbert finetune --task vqa|nlvr2|retrieval --init CHECKPOINT
#include "apps/commands.h"
#include "jobs/training.h"

namespace pixelbert::apps {

int finetune(const Arguments& arguments, const comm::MpiSession& session) {
  config::CommandLine line("finetune", "pixelbert finetune: a downstream task from a pre-training checkpoint");
  return jobs::run_training(arguments, line, jobs::read_finetuning, session);
}

}  // namespace pixelbert::apps
