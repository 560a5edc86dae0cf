// What the padding of images costs a training.
#pragma once

#include <cstdint>
#include <vector>

#include "data/sample_stream.h"
#include "images/image_ops.h"

namespace pixelbert::data {

// The micro-batches of a step, as SampleStream::shape() gives them.
using StepShapes = std::vector<Shape>;

// Returns whole steps from `at` on, with `micro_batches` in all or as many as the epoch still has. At least one step.
std::vector<StepShapes> shapes_from(const SampleStream& stream, Position at, std::int64_t micro_batches);

struct Padding {
  std::int64_t micro_batches = 0;
  std::int64_t sizes = 0;  // different ones of padded images
  double padded = 1;       // pixels with padding, divided by pixels of images
  double busiest = 1;      // the same of the rank that has most in each step, times the ranks
};

// All is 1 if the shapes are not known.
Padding padding_of(const std::vector<StepShapes>& steps, const images::ImageConfig& image, int ranks);

}  // namespace pixelbert::data
