// The source of every random choice. A choice is a pure function of a key folded from what identifies it, for example
// key(seed, epoch, sample_id, Purpose::kMasking): never of a rank, a thread or the number of calls.
// So training is the same at any number of ranks and after any restart, and a choice can be tested without a cluster.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>

namespace pixelbert {

// One per kind of choice, so that two choices about the same sample are independent. The values are part of what makes
// an old run reproducible: never renumber.
enum Purpose : std::uint64_t {
  kBlockOrder = 1,
  kUnitOrder = 2,
  kTextGroups = 3,
  kMasking = 4,
  kNegatives = 5,
  kNegativeText = 6,
  kPixels = 7,
  kDropout = 8,
  kSubstitute = 9,
  kWeights = 10,
  kScene = 11,
  kStepOrder = 12,
};

// Folds numbers into one well-mixed key; the order of the parts matters.
std::uint64_t fold(std::initializer_list<std::uint64_t> parts);
template <class... Parts>
std::uint64_t key(Parts... parts) {
  return fold({static_cast<std::uint64_t>(parts)...});
}

// A small generator (SplitMix64) started from a key. The sequences are the same on every platform, unlike those of
// the distributions in <random>.
class Random {
 public:
  explicit Random(std::uint64_t key) : state_(key) {}

  std::uint64_t next();
  std::uint64_t below(std::uint64_t bound);  // uniform in [0, bound), without modulo bias; bound > 0
  double uniform();                          // uniform in [0, 1)

  template <class T>
  void shuffle(std::span<T> items) {  // Fisher-Yates
    for (std::uint64_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  std::uint64_t state_;
};

}  // namespace pixelbert
