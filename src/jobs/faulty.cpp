#include "jobs/faulty.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/activity.h"
#include "core/faults.h"

namespace pixelbert::jobs {
namespace {

class FaultyObjective final : public objectives::Objective {
 public:
  FaultyObjective(std::shared_ptr<Objective> sound, int rank) : sound_(std::move(sound)), rank_(rank) {}

  const std::vector<std::string>& terms() const override { return sound_->terms(); }
  std::vector<std::int64_t> counts(const data::Batch& batch) const override { return sound_->counts(batch); }
  model::Wanted wanted() const override { return sound_->wanted(); }
  double flops(const model::PixelBertConfig& config, const data::Batch& batch) const override {
    return sound_->flops(config, batch);
  }

  std::vector<objectives::LossTerm> losses(model::PixelBert& model, const data::Batch& batch) override {
    std::vector<objectives::LossTerm> losses = sound_->losses(model, batch);
    torch::Tensor& sum = losses[0].sum;
    if (faults::wanted("nan-loss", batch.at.step, rank_)) sum = sum * NAN;
    // Adds 0, with a derivative of 0 * infinity.
    if (faults::wanted("nan-gradient", batch.at.step, rank_)) sum = sum + at::sqrt(sum * 0);
    return losses;
  }

 private:
  std::shared_ptr<Objective> sound_;
  int rank_;
};

class FaultyCommunicator final : public comm::Communicator {
 public:
  explicit FaultyCommunicator(comm::Communicator& sound) : sound_(sound) {}

  int rank() const override { return sound_.rank(); }
  int world_size() const override { return sound_.world_size(); }
  void broadcast(torch::Tensor tensor, int root) override { sound_.broadcast(std::move(tensor), root); }
  void send(torch::Tensor tensor, int to) override { sound_.send(std::move(tensor), to); }
  void receive(torch::Tensor tensor, int from) override { sound_.receive(std::move(tensor), from); }
  void barrier() override { sound_.barrier(); }

  std::unique_ptr<comm::Work> reduce_scatter(const comm::SumTree& tree, std::vector<torch::Tensor> own,
                                             torch::Tensor result) override {
    return sound_.reduce_scatter(tree, std::move(own), std::move(result));
  }
  comm::Range slice(std::int64_t size, int rank) const override { return sound_.slice(size, rank); }
  std::unique_ptr<comm::Work> all_gather(torch::Tensor tensor) override { return sound_.all_gather(std::move(tensor)); }

  std::unique_ptr<comm::Work> all_reduce(torch::Tensor tensor, comm::ReduceOp op) override {
    struct LeftOut final : comm::Work {
      void wait() override {}
    };
    const activity::Activity now = activity::all().front();
    if (now.doing == "counts" && faults::wanted("skip-collective", now.step - 1, rank())) {
      return std::make_unique<LeftOut>();
    }
    return sound_.all_reduce(std::move(tensor), op);
  }

 private:
  comm::Communicator& sound_;
};

}  // namespace

std::shared_ptr<objectives::Objective> with_faults(std::shared_ptr<objectives::Objective> objective, int rank) {
  return std::make_shared<FaultyObjective>(std::move(objective), rank);
}

std::unique_ptr<comm::Communicator> with_faults(comm::Communicator& control) {
  return std::make_unique<FaultyCommunicator>(control);
}

}  // namespace pixelbert::jobs
