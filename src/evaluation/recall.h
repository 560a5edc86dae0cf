// Recall of image-text retrieval, from scores that are read once and not kept.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "evaluation/pass.h"

namespace pixelbert::evaluation {

// "tr_r1", "tr_r5", "tr_r10": the share of images one of whose texts is among the 1, 5, 10 best of all texts. "ir_...":
// the share of texts whose image is among the best of all images. Among equal scores the earlier one is better. From
// 2000 images on also "..._1k", the mean over the sequential folds of 1000 images (COCO 5K: five folds).
//
// Keeps the ten best images of each text (about 200 bytes, twice with folds), which is enough for these.
class Recall {
 public:
  // `image_of_text` has the image of each text, below `images`; it must not decrease.
  Recall(std::int64_t images, std::span<const std::int64_t> image_of_text);

  // Adds the scores of one image with all texts. Each image must be added once, on one of the ranks, in any order.
  void add(std::int64_t image, std::span<const float> scores);

  // Collective. Call it after all images have been added; returns the same on every rank and for any number of ranks.
  Metrics figures(comm::Communicator& control) const;

 private:
  struct Candidate {
    float score;
    std::int64_t image;

    bool is_better_than(const Candidate& other) const;
  };
  struct Text {
    std::int64_t image;
    float own = 0;                // its score with its image, on the rank that added the image
    std::vector<Candidate> best;  // the best first
  };
  // Images and texts that are ranked among themselves: all of them, or a fold.
  struct Part {
    std::int64_t first_image, first_text;
    std::vector<std::int64_t> image_ranks;  // of the best own text, on the rank that added the image; else 0
    std::vector<Text> texts;

    void add(std::int64_t image, std::span<const float> scores);
    Metrics figures(comm::Communicator& control) const;
  };

  static Part part_of(std::span<const std::int64_t> image_of_text, std::int64_t first_image, std::int64_t images);

  std::vector<Part> parts_;  // all, then the folds
};

}  // namespace pixelbert::evaluation
