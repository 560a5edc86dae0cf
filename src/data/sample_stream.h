// The order of the whole training run as a pure function of (seed, epoch, step). With the indexes of the shard
// folders this is the data-parallel coordinator: every rank computes the same global batch and takes its part, so there
// is no server that deals out work and could fail.
//
//   block    neighbouring images of the data set, with their texts
//   unit     an image and at most g of its texts, because one CNN pass serves them all
//   window   about `blocks_in_window` blocks
//   section  steps in a row, with about `kSectionMicroBatches` micro-batches
//
// In each epoch the n texts of an image are distributed over ceil(n / g) units of nearly equal size, the blocks are
// shuffled, and the units of a window are shuffled together. The windows, one after another, are the shuffled order.
// Every pair occurs exactly once an epoch; a batch counts pairs and may cut a unit in two. The last step of an epoch
// takes what is left.
//
// The images of a micro-batch are padded to the largest height and width among them, and a step takes as long as its
// slowest rank. So the pairs of a section are sorted: images of similar shape share a micro-batch, and micro-batches of
// similar cost share a step. Which images meet still follows from the shuffled order, and in which step a shape comes
// is drawn. A section of images of one shape keeps its order.
//
// Memory: some numbers per block, and the pairs of the few windows and sections in use; nothing as long as the data
// set.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "core/option.h"
#include "core/problems.h"

namespace pixelbert::data {

// An image and one of its texts, as rows of the data set's tables.
struct Pair {
  std::int32_t data_set = 0;
  std::int64_t image = 0;
  std::int64_t text = 0;
  bool operator==(const Pair&) const = default;
};

// A run of neighbouring images with their texts, which are neighbours, too: the unit of shuffling.
struct Block {
  std::int32_t data_set = 0;
  std::int64_t first_image = 0;
  std::int64_t images = 0;
  std::int64_t first_text = 0;
  std::int64_t texts = 0;
};

// What images take up in a batch.
struct Shape {
  std::int64_t height = 0;  // of the tallest
  std::int64_t width = 0;   // of the widest
  std::int64_t images = 0;
  std::int64_t pixels = 0;  // of all, without padding
  bool operator==(const Shape&) const = default;
};

struct Position {
  std::int64_t epoch = 0;
  std::int64_t step = 0;  // within the epoch
  auto operator<=>(const Position&) const = default;
};

// Every `stride`th step from `begin` on, up to `end` and without it.
struct Steps {
  Position begin;
  Position end = {.epoch = std::numeric_limits<std::int64_t>::max(), .step = 0};  // no end
  std::int64_t stride = 1;
};

struct StreamConfig {
  std::int64_t global_batch = 4096;  // pairs (paper, section 4.1: 4096 on 64 GPUs)
  std::int64_t micro_batch = 64;
  std::int64_t texts_per_image = 4;  // SOHO: 16 images x 4 captions per GPU
  std::int64_t blocks_in_window = 16;
  bool group_shapes = true;
};

// Micro-batches that are sorted by shape together, at least. With 1024, the busiest of 64 ranks has 1.02 times the mean
// work; with 256, 1.06 (photographs of COCO and Flickr, 16 steps of 64 micro-batches and 4 steps).
constexpr std::int64_t kSectionMicroBatches = 1024;

template <class Field>
void describe(StreamConfig& config, Field&& field) {
  field("data.global-batch", config.global_batch,
        "samples (pairs, questions or statements) per optimizer step, over all ranks");
  field("data.micro-batch", config.micro_batch, "samples per forward and backward pass");
  field("data.texts-per-image", config.texts_per_image, "texts that share one CNN pass of their image, at most");
  field("data.blocks-in-window", config.blocks_in_window, "blocks of 128 images that are shuffled together");
  field("data.group-shapes", config.group_shapes, "put images of similar shape into one micro-batch");
}

// One problem, naming the option, for every value that cannot work.
void find_problems(const StreamConfig& config, Problems& problems);

// The global batch is a fixed list of micro-batches of `micro_batch` pairs (the last may be shorter); a rank owns a run
// of that list. Ranks may own different numbers, or none: rank r owns [run_bounds[r], run_bounds[r + 1]).
std::vector<std::int64_t> run_bounds(std::int64_t micro_batches, int ranks);

struct MicroBatch {
  std::int64_t index = 0;  // in the global batch: part of every key, the same at any world size
  std::int64_t first = 0;  // pair
  std::int64_t last = 0;
  bool operator==(const MicroBatch&) const = default;
};
struct Share {  // of one rank
  int rank = 0;
  int world_size = 1;
};
std::vector<MicroBatch> micro_batches(std::int64_t pairs_in_step, std::int64_t micro_batch, Share share);

// All functions may be called from several threads.
class SampleStream {
 public:
  // Texts of each image of a block, in order; called when a window is first needed, from any thread.
  using TextCounts = std::function<std::vector<std::int64_t>(const Block&)>;

  // The shape of each image of a block, in order, after resizing; of NLVR2's pairs that of the left image together with
  // the right one. Called after TextCounts.
  using Shapes = std::function<std::vector<Shape>(const Block&)>;

  // All of a run's randomness begins with `seed`. Without `shapes` nothing is grouped. Throws Error when the blocks
  // have no text at all.
  SampleStream(std::vector<Block> blocks, TextCounts text_counts, const StreamConfig& config, std::uint64_t seed,
               Shapes shapes = {});
  SampleStream(SampleStream&&) noexcept;
  ~SampleStream();

  const StreamConfig& config() const { return config_; }
  std::uint64_t seed() const { return seed_; }
  std::int64_t pairs_per_epoch() const { return pairs_per_epoch_; }
  std::int64_t steps_per_epoch() const;
  Position after(Position at, std::int64_t steps = 1) const;

  // Pairs of the step; global_batch, fewer only in the last step of an epoch.
  std::int64_t pairs_in_step(Position at) const;

  std::int64_t micro_batches_in_step(Position at) const;

  // A rank's micro-batches of the step.
  std::vector<MicroBatch> micro_batches(Position at, Share share) const;

  // Pairs [first, last) of the step's global batch. The same for the same arguments, on every rank and after every
  // restart.
  std::vector<Pair> pairs(Position at, std::int64_t first, std::int64_t last) const;

  // Returns what the images of pairs [first, last) of the step take up in a batch. Without shapes it is empty.
  Shape shape(Position at, std::int64_t first, std::int64_t last) const;

  // Draws with `key` a pair whose text can be a negative of pair `index` of the step: with another image of the same
  // data set, near that pair (in its window, so that reading stays local), and of any shape. Returns nothing when the
  // draw hits the image itself.
  //
  // Of the same data set, because its style alone would reveal a text from another corpus. Of any shape, although the
  // step's images have similar shapes, because what is written about tall images differs from what is written about
  // wide ones, and negatives should be drawn as without grouping. Only the text is used, so the other image's shape
  // reveals nothing.
  std::optional<Pair> pair_of_another_image(Position at, std::int64_t index, std::uint64_t key) const;

  // The same from the whole data set: the window may have few images of it, where the short last block of one data set
  // is among blocks of others. Reads the text counts of a block.
  std::optional<Pair> pair_of_any_image(Position at, std::int64_t index, std::uint64_t key) const;

 private:
  struct Epoch;
  struct Window;
  struct Section;
  struct Cache;
  struct Place {
    std::shared_ptr<const Window> window;
    std::size_t position;  // in the window
  };

  std::int64_t windows_per_epoch() const;
  std::int64_t steps_per_section() const;
  Place place(Position at, std::int64_t index) const;
  Place shuffled_place(const Epoch& epoch, std::int64_t pair) const;
  std::shared_ptr<const Epoch> epoch(std::int64_t number) const;
  std::shared_ptr<const Window> window(const Epoch& epoch, std::int64_t number) const;
  std::shared_ptr<const Section> section(const Epoch& epoch, std::int64_t number) const;
  Epoch make_epoch(std::int64_t number) const;
  Window make_window(const Epoch& epoch, std::int64_t number) const;
  Section make_section(const Epoch& epoch, std::int64_t number) const;

  std::vector<Block> blocks_;
  TextCounts text_counts_;
  Shapes shapes_;
  StreamConfig config_;
  std::uint64_t seed_;
  std::int64_t pairs_per_epoch_ = 0;
  std::unique_ptr<Cache> cache_;
};

}  // namespace pixelbert::data
