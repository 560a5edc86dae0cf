#include "core/rng.h"

namespace pixelbert {
namespace {

// The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

constexpr std::uint64_t kGamma = 0x9e3779b97f4a7c15ULL;

}  // namespace

std::uint64_t fold(std::initializer_list<std::uint64_t> parts) {
  std::uint64_t folded = kGamma;
  for (const std::uint64_t part : parts) folded = mix(folded ^ mix(part + kGamma)) + kGamma;
  return mix(folded);
}

std::uint64_t Random::next() {
  return mix(state_ += kGamma);
}

std::uint64_t Random::below(std::uint64_t bound) {
  // Lemire's multiply-and-reject: a draw is thrown away only where the high word would be biased.
  __extension__ using Wide = unsigned __int128;
  const std::uint64_t threshold = -bound % bound;
  for (;;) {
    const Wide product = static_cast<Wide>(next()) * bound;
    if (static_cast<std::uint64_t>(product) >= threshold) return static_cast<std::uint64_t>(product >> 64);
  }
}

double Random::uniform() {
  return static_cast<double>(next() >> 11) * 0x1p-53;
}

}  // namespace pixelbert
