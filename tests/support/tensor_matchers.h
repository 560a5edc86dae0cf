// Differences between two tensors.
#pragma once

#include <ATen/ATen.h>

namespace pixelbert::test {

inline double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() == 0 ? 0 : (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

// Returns the relative difference of the tensors as a whole (Frobenius norm), because single elements near zero may
// differ by any factor.
inline double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor reference = b.to(at::kDouble);
  return ((a.to(at::kDouble) - reference).norm() / reference.norm().clamp_min(1e-30)).item<double>();
}

}  // namespace pixelbert::test
