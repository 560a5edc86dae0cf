// bfloat16 autocast for one scope, like `with torch.autocast(...)` in Python.
#pragma once

#include <ATen/autocast_mode.h>
#include <torch/types.h>

#include "core/option.h"

namespace pixelbert::model {

enum class Precision { Float32, Bf16 };
constexpr auto names(Precision) {
  return std::to_array<std::string_view>({"float32", "bf16"});
}

// Returns the precision in which `device` computes when it is asked for `asked`. On a CPU without AVX-512 LibTorch
// multiplies bfloat16 in plain loops, ten times as slowly as float32, so such a CPU computes in float32.
Precision available(Precision asked, torch::Device device);

class Autocast {
 public:
  Autocast(c10::DeviceType device, Precision precision)
      : device_(device),
        was_enabled_(at::autocast::is_autocast_enabled(device)),
        was_dtype_(at::autocast::get_autocast_dtype(device)) {
    at::autocast::set_autocast_enabled(device, precision == Precision::Bf16);
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::increment_nesting();
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, was_enabled_);
    at::autocast::set_autocast_dtype(device_, was_dtype_);
  }

 private:
  c10::DeviceType device_;
  bool was_enabled_;
  at::ScalarType was_dtype_;
};

}  // namespace pixelbert::model
