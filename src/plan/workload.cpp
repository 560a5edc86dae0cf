#include "plan/workload.h"

#include <algorithm>
#include <stop_token>
#include <vector>

#include "comm/sum_tree.h"
#include "data/padding.h"
#include "images/image_ops.h"

namespace pixelbert::plan {

Cut cut(std::int64_t pairs_in_step, std::int64_t micro_batch, std::int64_t ranks) {
  Cut result;
  std::vector<std::int64_t> all = {0};  // micro-batches up to each rank
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const auto mine =
        data::micro_batches(pairs_in_step, micro_batch, {static_cast<int>(rank), static_cast<int>(ranks)});
    const std::int64_t count = std::ssize(mine);
    result.micro_batches += count;
    all.push_back(result.micro_batches);
    result.least = rank == 0 ? count : std::min(result.least, count);
    result.most = std::max(result.most, count);
    if (mine.empty()) ++result.idle;
  }
  const comm::SumTree tree(all);
  for (int rank = 0; rank < tree.ranks(); ++rank) result.gradients = std::max(result.gradients, tree.most_values(rank));
  return result;
}

Cost fit(const std::vector<Sampled>& samples) {
  // Least squares: the normal equations of two unknowns.
  double xx = 0, xp = 0, pp = 0, xy = 0, py = 0, pairs = 0, flops = 0;
  for (const auto& [x, p, y] : samples) {
    xx += x * x, xp += x * p, pp += p * p, xy += x * y, py += p * y;
    pairs += p, flops += y;
  }
  const double determinant = xx * pp - xp * xp;
  if (determinant > 1e-6 * xx * pp) {
    const Cost cost{.per_pixel = (pp * xy - xp * py) / determinant, .per_pair = (xx * py - xp * xy) / determinant};
    if (cost.per_pixel >= 0 && cost.per_pair >= 0) return cost;
  }
  return {.per_pair = flops / pairs};
}

Workload sample_workload(const data::BatchMaker& maker, const objectives::Objective& objective,
                         const model::PixelBertConfig& model, std::int64_t samples) {
  const data::SampleStream& stream = maker.stream();
  struct Place {
    data::Position at;
    data::MicroBatch micro_batch;
    std::int64_t pixels;  // with padding
  };
  // Of a section's micro-batches, by their pixels.
  const auto places_from = [&](data::Position at) {
    std::vector<Place> places;
    for (const data::StepShapes& step : data::shapes_from(stream, at, data::kSectionMicroBatches)) {
      const std::vector<data::MicroBatch> all = stream.micro_batches(at, {});
      for (std::size_t i = 0; i < all.size(); ++i) {
        const images::Size size = images::padded({step[i].height, step[i].width}, maker.image());
        places.push_back({at, all[i], step[i].images * size.height * size.width});
      }
      at = stream.after(at);
    }
    std::ranges::stable_sort(places, {}, &Place::pixels);
    return places;
  };
  const std::vector<Place> places = places_from({});

  Workload workload;
  const auto make = [&](const Place& place) {
    const std::optional<data::Batch> batch = maker.make(place.at, place.micro_batch, std::stop_token());
    const BatchShape shape = shape_of(*batch, model), before = workload.largest;
    workload.sizes_vary |= before.height > 0 && (shape.height != before.height || shape.width != before.width);
    workload.largest = largest(before, shape);
    return objective.flops(model, *batch);
  };
  std::vector<Sampled> sampled;
  for (std::int64_t i = 0; i < samples; ++i) {
    const Place& place = places[(2 * i + 1) * std::ssize(places) / (2 * samples)];
    sampled.push_back({.pixels = static_cast<double>(place.pixels),
                       .pairs = static_cast<double>(place.micro_batch.last - place.micro_batch.first),
                       .flops = make(place)});
  }
  make(places.back());
  // The last section of an epoch has what is left. If it is short, images of unlike shapes share its micro-batches.
  const std::int64_t in_step = stream.micro_batches_in_step({});
  const std::int64_t steps = (data::kSectionMicroBatches + in_step - 1) / in_step;
  make(places_from({0, std::max<std::int64_t>(0, stream.steps_per_epoch() - steps)}).back());
  workload.cost = fit(sampled);
  return workload;
}

std::vector<std::vector<MicroBatchWork>> work_of_steps(const data::SampleStream& stream,
                                                       const images::ImageConfig& image, const Cost& cost) {
  std::vector<std::vector<MicroBatchWork>> steps;
  data::Position at;
  for (const data::StepShapes& shapes : data::shapes_from(stream, at, data::kSectionMicroBatches)) {
    std::vector<MicroBatchWork>& step = steps.emplace_back();
    const std::vector<data::MicroBatch> all = stream.micro_batches(at, {});
    for (std::size_t i = 0; i < all.size(); ++i) {
      const images::Size size = images::padded({shapes[i].height, shapes[i].width}, image);
      const auto pixels = static_cast<double>(shapes[i].images * size.height * size.width);
      step.push_back(
          {.flops = cost.per_pixel * pixels + cost.per_pair * static_cast<double>(all[i].last - all[i].first),
           .images = static_cast<double>(shapes[i].images)});
    }
    at = stream.after(at);
  }
  return steps;
}

}  // namespace pixelbert::plan
