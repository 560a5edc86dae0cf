#include "jobs/planned_run.h"

#include <algorithm>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/manifest.h"
#include "comm/gradient_reducer.h"
#include "core/check.h"
#include "jobs/restore.h"
#include "objectives/objective.h"

namespace pixelbert::jobs {
namespace {

constexpr std::int64_t kSampledMicroBatches = 8;

}  // namespace

data::DataSets check_data(const TrainingJob& job, Problems& problems) {
  data::DataSets sound;
  if (job.config.shards.empty()) problems.collect([] { data::open_data({}); });
  for (const std::string& folder : job.config.shards) {
    problems.collect([&] {
      const data::DataSets one = data::open_data({folder});
      job.task->check_data(one);
      const std::size_t before = problems.list().size();
      std::int64_t image = 0;
      for (const shards::ShardFile& file : one[0]->manifest().files) {
        // Opens the file, which compares it with the manifest.
        problems.collect([&] { one[0]->text_counts(image, std::min(image + 1, image + file.images)); });
        image += file.images;
      }
      if (problems.list().size() == before) sound.push_back(one[0]);
    });
  }
  problems.collect([&] { job.task->read_data(sound); });
  return sound;
}

std::optional<text::WordPiece> check_vocabulary(const TrainingJob& job, const data::DataSets& data,
                                                Problems& problems) {
  std::optional<text::WordPiece> tokenizer;
  const bool in_checkpoint = job.resumed || (!job.init.empty() && job.init != "none");
  const bool missing = in_checkpoint ? !job.resumed && !job.initial : job.config.text.vocab.empty() && data.empty();
  if (!missing) problems.collect([&] { tokenizer = open_tokenizer(job, data); });  // otherwise a problem already
  return tokenizer;
}

PlannedRun::PlannedRun(TrainingJob job, const data::DataSets& data, const text::WordPiece& tokenizer)
    : job_(std::move(job)),
      stream_(data::make_stream(data, job_.config.stream, job_.config.loop.seed, job_.config.image)) {
  TrainingConfig& config = job_.config;
  config.model.vocabulary = tokenizer.vocabulary().size();
  const model::PixelBert model(config.model);
  const auto objective = job_.task->objective(config.model, job_.head);
  size_ = plan::size_of(model, *objective, config.optim);

  const data::BatchMaker maker(data, stream_, tokenizer, job_.batch(), *job_.task);
  workload_ = plan::sample_workload(maker, *objective, config.model, kSampledMicroBatches);

  const std::vector<std::int64_t> buckets =
      comm::bucket_sizes(objectives::trained(model, *objective).parameters, config.reducer.bucket_bytes());
  work_ = {.steps = plan::work_of_steps(stream_, config.image, workload_.cost),
           .pairs = static_cast<double>(stream_.pairs_in_step({0, 0})),
           .buckets = {buckets.begin(), buckets.end()},
           .weights = static_cast<double>(size_.trained),
           .checkpoint_bytes = plan::checkpoint_bytes(size_),
           .steps_between_saves = static_cast<double>(config.checkpoint.every_steps),
           .seconds_between_saves = 60 * config.checkpoint.every_minutes};
}

plan::Cut PlannedRun::cut(std::int64_t ranks) const {
  return plan::cut(stream_.pairs_in_step({0, 0}), job_.config.stream.micro_batch, ranks);
}

data::Padding PlannedRun::padding(std::int64_t ranks) const {
  return data::padding_of(data::shapes_from(stream_, {}, data::kSectionMicroBatches), job_.config.image,
                          static_cast<int>(ranks));
}

plan::Calibration calibrate(const std::filesystem::path& run) {
  const config::Arguments arguments = {"--config", run / "config.ini"};
  const std::optional<checkpoint::Description> last = checkpoint::describe(run / checkpoint::kCheckpointsName);
  PB_CHECK(last, "--calibration: {} is not a run folder with a checkpoint", run.string());
  const bool finetuned = !config::early_value(arguments, "task").empty();
  Problems problems;
  TrainingJob job;
  job.resumed = last;
  config::CommandLine line(finetuned ? "finetune" : "pretrain", "");
  line.set_defaults(options_of_run(*last));
  (finetuned ? read_finetuning : read_pretraining)(arguments, line, job, problems);
  job.config.text.vocab.clear();  // the checkpoint has it
  const data::DataSets data = check_data(job, problems);
  const std::optional<text::WordPiece> tokenizer = check_vocabulary(job, data, problems);
  problems.throw_if_any();

  const PlannedRun planned(std::move(job), data, *tokenizer);
  const auto& world_sizes = last->world_sizes;
  PB_CHECK(!world_sizes.empty(), "--calibration: {} holds imported weights, expected a run", run.string());
  const std::int64_t ranks = world_sizes.back().ranks;
  const plan::Cut cut = planned.cut(ranks);
  PB_CHECK(cut.least == cut.most,
           "--calibration: expected a run whose ranks all have the same work, found {} to {} micro-batches a step on "
           "the {} ranks of {}: measure on another number of ranks",
           cut.least, cut.most, ranks, run.string());
  const std::size_t n = world_sizes.size();
  const std::int64_t since = n > 1 ? world_sizes[n - 2].until_step : 0;
  return plan::measure(run, since, planned.work(), static_cast<int>(ranks));
}

}  // namespace pixelbert::jobs
