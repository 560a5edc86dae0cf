#include "images/resampler.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>

namespace pixelbert::images {
namespace {

constexpr std::int64_t kBehind = 32;  // bytes that the kernels may touch behind a row

std::uint8_t rounded(std::int32_t sum, int precision) {
  return static_cast<std::uint8_t>(std::clamp(sum >> precision, 0, 255));
}

void across_portable(const std::uint8_t* row, const Taps& taps, std::uint8_t* out) {
  for (std::int64_t x = 0; x < taps.positions; ++x) {
    std::int32_t sum[3];
    std::fill_n(sum, 3, 1 << (taps.precision - 1));
    const std::uint8_t* pixel = row + 3 * taps.first[x];
    const std::int16_t* weights = taps.weights.data() + 2 * x;
    for (std::int64_t pair = 0; pair < taps.pairs; ++pair, pixel += 6, weights += 2 * taps.positions) {
      for (int c = 0; c < 3; ++c) sum[c] += weights[0] * pixel[c] + weights[1] * pixel[3 + c];
    }
    for (int c = 0; c < 3; ++c) *out++ = rounded(sum[c], taps.precision);
  }
}

void down_portable(const std::uint8_t* const* rows, const Taps& taps, std::int64_t y, std::int64_t bytes,
                   std::uint8_t* out) {
  for (std::int64_t i = 0; i < bytes; ++i) {
    std::int32_t sum = 1 << (taps.precision - 1);
    for (std::int64_t pair = 0; pair < taps.pairs; ++pair) {
      const std::int16_t* const weights = taps.weights.data() + 2 * (pair * taps.positions + y);
      sum += weights[0] * rows[2 * pair][i] + weights[1] * rows[2 * pair + 1][i];
    }
    out[i] = rounded(sum, taps.precision);
  }
}

#if defined(__x86_64__)

// The two weights of a pair of taps, as one number.
std::int32_t pair_of(const std::int16_t* weights) {
  std::int32_t both;
  std::memcpy(&both, weights, sizeof both);
  return both;
}

// Eight pixels at a time: pixel i in the low half of a register and pixel i + 4 in the high half, so that packing
// leaves each half with four pixels in order.
__attribute__((target("avx2"))) void across_avx2(const std::uint8_t* row, const Taps& taps, std::uint8_t* out) {
  constexpr char kNone = -1;
  // Two neighbouring pixels r0 g0 b0 r1 g1 b1 as 16-bit numbers r0 r1 g0 g1 b0 b1 0 0.
  const __m256i neighbours = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, kNone, 3, kNone, 1, kNone, 4, kNone, 2, kNone, 5, kNone, kNone, kNone, kNone, kNone));
  const __m256i without_fourth =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, kNone, kNone, kNone, kNone));
  const __m256i half = _mm256_set1_epi32(1 << (taps.precision - 1));
  const __m128i precision = _mm_cvtsi32_si128(taps.precision);
  for (std::int64_t x = 0; x < taps.positions; x += 8, out += 24) {
    __m256i sums[4];
    for (int i = 0; i < 4; ++i) {
      const std::uint8_t* low = row + 3 * taps.first[x + i];
      const std::uint8_t* high = row + 3 * taps.first[x + i + 4];
      const std::int16_t* weights = taps.weights.data() + 2 * (x + i);
      __m256i sum = half;
      for (std::int64_t pair = 0; pair < taps.pairs; ++pair, low += 6, high += 6, weights += 2 * taps.positions) {
        const __m256i pixels =
            _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low))),
                                    _mm_loadu_si128(reinterpret_cast<const __m128i*>(high)), 1);
        const __m256i both = _mm256_blend_epi32(_mm256_set1_epi32(pair_of(weights)),
                                                _mm256_set1_epi32(pair_of(weights + 8)), 0b11110000);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_shuffle_epi8(pixels, neighbours), both));
      }
      sums[i] = _mm256_sra_epi32(sum, precision);
    }
    const __m256i bytes =
        _mm256_packus_epi16(_mm256_packs_epi32(sums[0], sums[1]), _mm256_packs_epi32(sums[2], sums[3]));
    const __m256i pixels = _mm256_shuffle_epi8(bytes, without_fourth);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(pixels));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 12), _mm256_extracti128_si256(pixels, 1));
  }
}

__attribute__((target("avx2"))) void down_avx2(const std::uint8_t* const* rows, const Taps& taps, std::int64_t y,
                                               std::int64_t bytes, std::uint8_t* out) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i half = _mm256_set1_epi32(1 << (taps.precision - 1));
  const __m128i precision = _mm_cvtsi32_si128(taps.precision);
  for (std::int64_t i = 0; i < bytes; i += 32) {
    __m256i sums[4] = {half, half, half, half};
    for (std::int64_t pair = 0; pair < taps.pairs; ++pair) {
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[2 * pair] + i));
      const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[2 * pair + 1] + i));
      const __m256i both = _mm256_set1_epi32(pair_of(taps.weights.data() + 2 * (pair * taps.positions + y)));
      const __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
      sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi8(low, zero), both));
      sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi8(low, zero), both));
      sums[2] = _mm256_add_epi32(sums[2], _mm256_madd_epi16(_mm256_unpacklo_epi8(high, zero), both));
      sums[3] = _mm256_add_epi32(sums[3], _mm256_madd_epi16(_mm256_unpackhi_epi8(high, zero), both));
    }
    for (__m256i& sum : sums) sum = _mm256_sra_epi32(sum, precision);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_packus_epi16(_mm256_packs_epi32(sums[0], sums[1]),
                                                                                 _mm256_packs_epi32(sums[2], sums[3])));
  }
}

constexpr ResampleKernels kAvx2Kernels = {across_avx2, down_avx2};

#endif

}  // namespace

const ResampleKernels kPortableKernels = {across_portable, down_portable};

const ResampleKernels& fastest_kernels() {
#if defined(__x86_64__)
  static const bool avx2 = __builtin_cpu_supports("avx2");
  if (avx2) return kAvx2Kernels;
#endif
  return kPortableKernels;
}

// As ATen's HelperInterpBase::_compute_index_ranges_int16_weights with a triangle as filter.
Taps::Taps(std::int64_t from, std::int64_t to)
    : positions((to + 7) / 8 * 8), first(static_cast<std::size_t>(positions)) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double support = std::max(scale, 1.0), narrowed = 1 / support;
  const auto possible = 2 * static_cast<std::int64_t>(std::ceil(support)) + 1;  // taps of a position
  std::vector<double> exact(static_cast<std::size_t>(to * possible));
  std::int64_t most = 1;
  double largest = 0;
  for (std::int64_t i = 0; i < to; ++i) {
    const double center = scale * (static_cast<double>(i) + 0.5);
    const auto begin = std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
    const auto end = std::min(static_cast<std::int64_t>(center + support + 0.5), from);
    double* const weights = exact.data() + i * possible;
    double total = 0;
    for (std::int64_t j = begin; j < end; ++j) {
      const double distance = std::abs((static_cast<double>(j) - center + 0.5) * narrowed);
      total += weights[j - begin] = std::max(1 - distance, 0.0);
    }
    for (std::int64_t j = 0; j < end - begin; ++j) largest = std::max(largest, weights[j] /= total);
    first[i] = static_cast<std::int32_t>(begin);
    most = std::max(most, end - begin);
  }
  while (precision < 22 && 0.5 + largest * (1 << (precision + 1)) < 1 << 15) ++precision;

  pairs = (most + 1) / 2;
  weights.resize(static_cast<std::size_t>(2 * pairs * positions));
  for (std::int64_t i = 0; i < to; ++i) {
    for (std::int64_t j = 0; j < most; ++j) {
      weights[2 * (j / 2 * positions + i) + j % 2] =
          static_cast<std::int16_t>(exact[i * possible + j] * (1 << precision) + 0.5);  // none is negative
    }
  }
}

Resampler::Resampler(Size from, Size to, std::uint8_t* out, std::int64_t row_bytes, const ResampleKernels& kernels)
    : kernels_(kernels),
      across_(from.width, to.width),
      down_(from.height, to.height),
      from_(from),
      to_(to),
      out_(out),
      row_bytes_(row_bytes),
      kept_(2 * down_.pairs),
      narrow_bytes_(3 * across_.positions + kBehind) {
  // The second of the last pair may lie behind the row.
  input_.resize(static_cast<std::size_t>(3 * (from.width + 2 * across_.pairs) + kBehind));
  narrow_.resize(static_cast<std::size_t>(kept_ * narrow_bytes_));
  last_.resize(static_cast<std::size_t>(narrow_bytes_));
  rows_.resize(static_cast<std::size_t>(kept_));
}

void Resampler::end_row(std::int64_t y) {
  kernels_.across(input_.data(), across_, narrow_row(y));
  const std::int64_t bytes = 3 * to_.width;
  for (; next_ < to_.height; ++next_) {
    const std::int64_t first = down_.first[next_];
    if (std::min(first + kept_, from_.height) > y + 1) return;  // not all of its rows are there
    for (std::int64_t i = 0; i < kept_; ++i) {
      rows_[i] = narrow_row(std::min(first + i, y));  // behind the last row, weights are 0
    }
    // The kernel may write a little into the next rows, which follow, but not behind the image.
    const bool last = (to_.height - 1 - next_) * row_bytes_ < kBehind;
    std::uint8_t* const out = out_ + next_ * row_bytes_;
    kernels_.down(rows_.data(), down_, next_, bytes, last ? last_.data() : out);
    if (last) std::copy_n(last_.data(), bytes, out);
  }
}

}  // namespace pixelbert::images
