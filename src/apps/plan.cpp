// pixelbert plan: memory, disk and time of a training at a given size, and a file for sbatch; without ranks or GPUs.
#include <filesystem>
#include <iostream>

#include "apps/commands.h"
#include "core/files.h"
#include "core/log.h"
#include "jobs/plan_report.h"
#include "jobs/plan_request.h"
#include "jobs/planned_run.h"
#include "plan/batch_script.h"

namespace pixelbert::apps {

int plan(const Arguments& arguments) {
  std::optional<jobs::PlanRequest> request = jobs::read_plan_request(arguments);
  if (!request) return 0;
  const jobs::PlannedRun run(std::move(request->job), request->data, *request->tokenizer);
  const jobs::Estimate found = jobs::estimate(*request, run);
  jobs::print_plan(std::cout, *request, run, found);
  Problems problems;
  find_problems(found, run.job().config, problems);
  problems.throw_if_any();
  const jobs::PlanConfig& options = request->options;
  if (options.out.empty()) return 0;

  write_file(options.out, plan::batch_script({.command = request->command(),
                                              .arguments = request->job_arguments,
                                              .root = request->root,
                                              .folder = std::filesystem::current_path(),
                                              .nodes = options.nodes,
                                              .ranks_per_node = options.ranks_on_node(),
                                              .gpus_per_node = options.gpus_per_node,
                                              .cores_per_rank = options.cores_per_rank(),
                                              .bytes_per_node = plan::total(found.memory.host) *
                                                                static_cast<double>(options.ranks_on_node()),
                                              .expected_seconds = found.seconds,
                                              .saving_seconds = found.save_seconds + 2 * found.step.all()}));
  log::info("{}: ready for sbatch", options.out);
  return 0;
}

}  // namespace pixelbert::apps
